"""All settings: one frozen dataclass per part, read once at the edge and passed in.

A recipe is a TOML file with a table per section; the command line's `--set section.key=value` and the variables
`LANGREC_SECTION_KEY` overlay it. Order, later wins: defaults, recipe, environment, command line.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from langrec.errors import SettingsError
from langrec.registry import check_scorer

ENV_PREFIX = "LANGREC_"
# Variables that are no settings. Kubernetes sets the last two for a service that is called langrec.
_NO_SETTINGS = re.compile(r"LANGREC_(CACHE|DEBUG|LOG|RELEASES|TEST_\w+|PORT(_\w+)?|SERVICE_\w+)")


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Reading and cleaning of events and items; every step is counted in the report.

    Attributes:
        strict: stop at the first kind of problem instead of setting the bad rows aside.
        drop_duplicates: drop rows equal in user, item, type, time and value to an earlier one.
        repeats: what to do with several events of one user, item and type: keep all, the first or the last.
        repair_text: repair mis-decoded Unicode and HTML entities (ftfy), and collapse whitespace.
        fill_texts: give items without a title one from their other fields, and mark them.
        min_time: earliest believable time (ISO date); rows before it are set aside.
        future_days: rows later than this many days from now are set aside.
        unknown_items: events of items that the item file does not hold: keep (an item with only an id) or reject.
        near_duplicates: items with the same normalised text: report or merge (events move to the first).
        type_weights: gain of each event type; types not named here weigh 1. A type of 0 says only that the item was
            seen: it teaches nothing, is no target, and stands in no history.
        default_type: the type of events where the file has no type column and no rating.
        rating_gain: gain of a rating: one (every rating counts alike) or scaled (rating / highest rating seen).
    """

    strict: bool = False
    drop_duplicates: bool = True
    repeats: Literal["all", "first", "last"] = "all"
    repair_text: bool = True
    fill_texts: bool = True
    min_time: str = "1980-01-01"
    future_days: float = 1.0
    unknown_items: Literal["keep", "reject"] = "keep"
    near_duplicates: Literal["off", "report", "merge"] = "report"
    type_weights: Mapping[str, float] = field(
        default_factory=lambda: {"view": 0.3, "click": 0.5, "purchase": 1.0, "rating": 1.0, "hide": 0.0}
    )
    default_type: str = "click"
    rating_gain: Literal["one", "scaled"] = "one"


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """How events are divided into training, validation and test.

    Attributes:
        kind: time (global cuts), loo (each user's last event; leaks other users' future), user (whole users held out).
        cut: for time and user: shares at which validation and test begin.
    """

    kind: Literal["time", "loo", "user"] = "time"
    cut: tuple[float, float] = (0.8, 0.9)


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What reads the items' texts.

    Attributes:
        name: minilm, hashing, or a sentence-transformers / transformers folder or hub id.
        runtime: auto measures the candidates on this machine; or one of them by name.
        fields: item fields that make up an item's text, in order; "*text" stands for all further text fields.
        max_tokens: longest text in tokens; what is beyond is not read.
        token_budget: padded tokens in one batch.
        threads: threads of the runtime; 0 = all cores.
        cache: folder of exported models and vectors; empty = the user's cache folder.
    """

    name: str = "minilm"
    runtime: Literal["auto", "onnx-fp32", "onnx-int8", "openvino", "openvino-int8", "torch-fp32", "torch-bf16"] = "auto"
    fields: tuple[str, ...] = ("title", "release_year", "*text", "categories")
    max_tokens: int = 256
    token_budget: int = 512
    threads: int = 0
    cache: str = ""


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """Which scorers are fitted, and their grids; a tuple is a grid searched on validation.

    Attributes:
        scorers: registered kinds, in the order of the report.
        decay: history item j steps back weighs exp(-decay * j).
        popular_efold: e-folding times of decayed popularity as shares of the log's span.
        itemknn_neighbours: neighbours kept per item.
        itemknn_shrink: shrinkage of the cosine.
        ease_reg: ridge of EASE.
        ease_dense_limit: above this many items EASE is solved on the densest neighbourhoods only.
        transition_steps: events up to this many steps apart count as a transition.
        transition_power: exponent of the popularity discount.
        transition_back: how much the way from a later event to an earlier one counts.
        als_dim: factors of implicit ALS.
        als_reg: its ridge.
        userknn_neighbours: users that vote.
        bm25_k1: BM25's term saturation.
        bm25_b: BM25's length normalisation.
    """

    scorers: tuple[str, ...] = (
        "popular",
        "popular_1d",
        "popular_7d",
        "popular_30d",
        "popular_decayed",
        "itemknn",
        "ease",
        "transitions",
        "als",
        "userknn",
        "bm25",
        "tfidf",
        "vectors",
        "tokens",
    )
    decay: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.15, 0.2, 0.3, 1.0)
    popular_efold: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    itemknn_neighbours: tuple[int, ...] = (50, 200)
    itemknn_shrink: tuple[float, ...] = (0.0, 20.0)
    ease_reg: tuple[float, ...] = (50.0, 150.0, 400.0, 1000.0)
    ease_dense_limit: int = 20_000
    transition_steps: tuple[int, ...] = (10,)
    transition_power: tuple[float, ...] = (0.3, 0.5)
    transition_back: tuple[float, ...] = (0.0, 1.0)
    als_dim: int = 64
    als_reg: tuple[float, ...] = (0.001, 0.02)
    userknn_neighbours: int = 100
    bm25_k1: float = 1.2
    bm25_b: float = 0.75


@dataclass(frozen=True, slots=True)
class RankingSettings:
    """How signals become one list.

    Attributes:
        extra_decays: item-to-item scorers enter the mix at these decays too, beside their own.
        tune_questions: validation events that a scorer's settings are chosen on, at most.
        questions: validation events that the mix learns from, at most.
        mix: linear (weights learned on validation), rrf (reciprocal rank fusion), or auto (the better on validation).
        candidates: how many of the best a diverse list chooses among.
        rrf_k: the constant of reciprocal rank fusion.
        diversity: 0 keeps the order of scores; up to 1 trades score for difference of text (MMR).
        fallback: the scorer that fills short lists.
        seed: of the mix's bootstrap and sampling.
    """

    extra_decays: tuple[float, ...] = (0.03, 1.0)
    tune_questions: int = 4000
    questions: int = 2000
    mix: Literal["auto", "linear", "rrf"] = "auto"
    candidates: int = 500
    rrf_k: float = 60.0
    diversity: float = 0.0
    fallback: str = "popular_decayed"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """The measuring protocol.

    Attributes:
        k: list lengths of the metrics.
        ranks: how many ranks of each list are written.
        bootstrap: resamples of users per interval.
        confidence: of the intervals.
        block: queries scored at once.
        tail_share: an item is tail if it is outside the most popular items that hold this share of the events.
        short_history: histories up to this length are short.
        seed: of the bootstrap.
    """

    k: tuple[int, ...] = (5, 10, 20)
    ranks: int = 20
    bootstrap: int = 1000
    confidence: float = 0.95
    block: int = 256
    tail_share: float = 0.8
    short_history: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The HTTP service.

    Attributes:
        host: address to listen on; anything but loopback requires keys.
        port: TCP port.
        workers: processes.
        store: SQLAlchemy URL of the store.
        keys_file: file of API keys, one `role:key` a line; roles read, write, admin.
        keys: API keys `role:key`, comma separated (from LANGREC_SERVE_KEYS; never logged).
        max_body: largest request body in bytes.
        max_k: longest list that may be asked for.
        max_queue: requests waiting for the scorer before new ones get 503.
        history: how many of a user's newest events form the history.
        popular_seconds: how often popularity counts the events that have arrived.
    """

    host: str = "127.0.0.1"
    port: int = 8087
    workers: int = 1
    store: str = "sqlite:///langrec.db"
    keys_file: str = ""
    keys: str = ""
    max_body: int = 8_000_000
    max_k: int = 1000
    max_queue: int = 256
    history: int = 200
    popular_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Every section."""

    data: DataSettings = field(default_factory=DataSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    ranking: RankingSettings = field(default_factory=RankingSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)


def load_settings(
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from the defaults, a recipe, the environment and `section.key=value` overrides, in that order.

    Raises:
        SettingsError: an unknown section, key or variable (with the nearest known one), or a value of the wrong type.
    """
    tables: dict[str, dict[str, Any]] = {}
    if recipe is not None:
        for section, table in _read_toml(recipe).items():
            if not isinstance(table, Mapping):
                raise SettingsError(f"{recipe}: '{section}' must be a table such as [{section}]", field=section)
            for key, value in table.items():
                _set(tables, section, key, value, where=str(recipe))
    for name, text in sorted((os.environ if environ is None else environ).items()):
        found = _variable(name)
        if found is not None:
            _set(tables, *found, text, where=name)
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.strip().partition(".")
        if not (equals and dot):
            raise SettingsError(f"--set {override}: write it as section.key=value, such as split.kind=loo")
        _set(tables, section, key, text, where="--set")
    sections = {
        f.name: dataclasses.replace(_default(f), **tables.get(f.name, {})) for f in dataclasses.fields(Settings)
    }
    settings = Settings(**sections)
    check_settings(settings)
    return settings


_LEAST = {
    "data.future_days": 0,
    "encoder.max_tokens": 1,
    "encoder.token_budget": 1,
    "encoder.threads": 0,
    "retrieval.als_dim": 1,
    "retrieval.userknn_neighbours": 1,
    "ranking.candidates": 1,
    "ranking.questions": 1,
    "ranking.tune_questions": 1,
    "evaluate.ranks": 1,
    "evaluate.bootstrap": 1,
    "serve.workers": 1,
    "serve.max_k": 1,
    "serve.max_queue": 1,
    "serve.max_body": 1,
    "serve.history": 1,
}


def check_settings(settings: Settings) -> None:
    """Raises SettingsError where values contradict each other or are out of range."""
    low, high = settings.split.cut
    if not 0 < low < high < 1:
        raise SettingsError(f"split.cut: {low},{high} must rise within 0 and 1, such as 0.8,0.9", field="split.cut")
    try:
        datetime.fromisoformat(settings.data.min_time)
    except ValueError as error:
        raise SettingsError(
            f"data.min_time: {settings.data.min_time!r} is not an ISO date such as 1980-01-01", field="data.min_time"
        ) from error
    for path, least in _LEAST.items():
        section, _, key = path.partition(".")
        value = getattr(getattr(settings, section), key)
        if not value >= least:
            raise SettingsError(f"{path}: {value} must be at least {least}", field=path)
    if not settings.retrieval.scorers:
        raise SettingsError("retrieval.scorers: name at least one scorer", field="retrieval.scorers")
    for name in settings.retrieval.scorers:
        check_scorer(name, "retrieval.scorers")
    check_scorer(settings.ranking.fallback, "ranking.fallback")
    if not all(decay >= 0 for decay in settings.retrieval.decay):
        raise SettingsError("retrieval.decay: needs numbers from 0", field="retrieval.decay")
    if not 0 <= settings.ranking.diversity <= 1:
        raise SettingsError("ranking.diversity: must be from 0 to 1", field="ranking.diversity")
    for path, values in (("evaluate.k", settings.evaluate.k), ("evaluate.block", (settings.evaluate.block,))):
        if not values or min(values) < 1:
            raise SettingsError(f"{path}: needs whole numbers from 1", field=path)
    if not 0 < settings.evaluate.confidence < 1:
        raise SettingsError("evaluate.confidence: must be between 0 and 1", field="evaluate.confidence")


def to_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain JSON values."""
    return {
        f.name: to_dict(value) if dataclasses.is_dataclass(value) else _plain(value)
        for f in dataclasses.fields(settings)
        for value in [getattr(settings, f.name)]
    }


def from_dict(values: Mapping[str, Mapping[str, Any]], where: str) -> Settings:
    """The inverse of `to_dict`; `where` names the source in errors."""
    tables: dict[str, dict[str, Any]] = {}
    for section, table in values.items():
        for key, value in table.items():
            _set(tables, section, key, value, where=where)
    return Settings(
        **{f.name: dataclasses.replace(_default(f), **tables.get(f.name, {})) for f in dataclasses.fields(Settings)}
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _default(section: dataclasses.Field[Any]) -> Any:
    return typing.get_type_hints(Settings)[section.name]()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error


def _variable(name: str) -> tuple[str, str] | None:
    """The section and key of an environment variable; None where it is no setting.

    Raises:
        SettingsError: it starts as a section's variables do, or is nearly one of them, and is none: a slip of the pen.
    """
    if not name.startswith(ENV_PREFIX) or _NO_SETTINGS.fullmatch(name):
        return None
    known = _env_names()
    if name in known:
        return known[name]
    # Without the prefix, which all have in common and which would make everything look alike.
    rest = {one.removeprefix(ENV_PREFIX): section for one, (section, _) in known.items()}
    own = [one for one, section in rest.items() if name.startswith(f"{ENV_PREFIX}{section}_".upper())]
    near = difflib.get_close_matches(name.removeprefix(ENV_PREFIX), own or rest, n=1, cutoff=0.0 if own else 0.8)
    if not near:
        return None
    raise SettingsError(f"{name}: no setting has this variable (did you mean {ENV_PREFIX}{near[0]}?)", field=name)


def _env_names() -> dict[str, tuple[str, str]]:
    names: dict[str, tuple[str, str]] = {}
    for section in dataclasses.fields(Settings):
        for key in dataclasses.fields(_default(section)):
            names[f"{ENV_PREFIX}{section.name}_{key.name}".upper()] = (section.name, key.name)
    return names


def _set(tables: dict[str, dict[str, Any]], section: str, key: str, value: Any, where: str) -> None:
    sections = {f.name: f for f in dataclasses.fields(Settings)}
    if section not in sections:
        raise SettingsError(f"{where}: unknown section {section}{_near(section, sections)}", field=section)
    cls = typing.get_type_hints(Settings)[section]
    hints = typing.get_type_hints(cls)
    if key not in hints:
        raise SettingsError(f"{where}: unknown key {section}.{key}{_near(key, hints)}", field=f"{section}.{key}")
    try:
        tables.setdefault(section, {})[key] = _convert(value, hints[key])
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{where}: {section}.{key} = {value!r}: {error}", field=f"{section}.{key}") from error


def _near(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]}?)" if near else f" (known: {', '.join(sorted(known))})"


def _convert(value: Any, hint: Any) -> Any:
    """The value as the type of its field; text from the command line and the environment is parsed."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(map(str, choices))}")
        return value
    if origin is tuple:
        inner = typing.get_args(hint)
        items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            items = [items]
        if inner[-1] is not Ellipsis and len(items) != len(inner):
            raise ValueError(f"needs {len(inner)} values")
        return tuple(_convert(item, inner[0]) for item in items)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        pairs = dict(part.split("=", 1) for part in value.split(",")) if isinstance(value, str) else value
        if not isinstance(pairs, Mapping):
            raise TypeError("needs a table of names and values")
        return {str(name): _convert(item, typing.get_args(hint)[1]) for name, item in pairs.items()}
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _convert(value, next(a for a in typing.get_args(hint) if a is not type(None)))
    if hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "1", "yes", "on"):
            return True
        if str(value).lower() in ("false", "0", "no", "off"):
            return False
        raise ValueError("must be true or false")
    if hint in (int, float):
        if isinstance(value, bool):
            raise TypeError("must be a number")
        return hint(value)
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value
