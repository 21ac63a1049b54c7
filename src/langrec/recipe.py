"""Settings from where people write them: a recipe, the environment, the command line.

A recipe is a TOML file with a table per section; the command line's `--set section.key=value` and the variables
`LANGREC_SECTION_KEY` overlay it. Order, later wins: defaults, recipe, environment, command line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import math
import operator
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from langrec.errors import SettingsError
from langrec.registry import check_scorer
from langrec.settings import Settings
from langrec.types import AnyPath

ENV_PREFIX = "LANGREC_"
# Variables that are no settings. Kubernetes sets the last two for a service that is called langrec.
_NO_SETTINGS = re.compile(r"LANGREC_(CACHE|CHECKED|DEBUG|LOG|RELEASES|TEST_\w+|PORT(_\w+)?|SERVICE_\w+)")


def load_settings(
    recipe: AnyPath | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    base: Settings | None = None,
) -> Settings:
    """Settings from the defaults, a recipe, the environment and `section.key=value` overrides, in that order.

    Args:
        base: settings in place of the defaults.

    Raises:
        SettingsError: an unknown section, key or variable (with the nearest known one), or a value of the wrong type.
    """
    tables: dict[str, dict[str, Any]] = {}
    for section, table in to_dict(base).items() if base is not None else ():
        _set_all(tables, section, table, where="the release in use")
    if recipe is not None:
        for section, table in _read_toml(Path(recipe)).items():
            if not isinstance(table, Mapping):
                raise SettingsError(f"{recipe}: '{section}' must be a table such as [{section}]", field=section)
            _set_all(tables, section, table, where=str(recipe))
    for name, text in sorted((os.environ if environ is None else environ).items()):
        found = _variable(name)
        if found is not None:
            _set(tables, *found, text, where=name)
    for override in overrides:
        path, equals, text = override.partition("=")
        first, dot, rest = path.strip().partition(".")
        if not (equals and dot):
            raise SettingsError(f"--set {override}: write it as section.key=value, such as split.kind=loo")
        inner, _, key = path.strip().rpartition(".")
        section, key = (inner, key) if inner in section_types() else (first, rest)
        _set(tables, section, key, text, where="--set")
    settings = _built(tables)
    check_settings(settings)
    return settings


_TOWERS = ("id_tower", "text_tower")
_LEAST = {
    **{
        f"{tower}.{name}": least
        for tower in _TOWERS
        for least, names in (
            (0, ("temperature", "patience", "pretrain_epochs", "warmup", "weight_decay", "full_below", "seed")),
            (1, ("dim", "layers", "heads", "length", "epochs", "judged", "tokens", "negatives")),
        )
        for name in names
    },
    "text_tower.shrink": 0,
    "data.future_days": 0,
    "encoder.max_tokens": 1,
    "encoder.token_budget": 1,
    "encoder.threads": 0,
    "encoder.adapt.rows": 1,
    "encoder.adapt.epochs": 0,
    "encoder.adapt.rate": 0,
    "encoder.adapt.max_tokens": 3,
    "encoder.adapt.seed": 0,
    "compress.epochs": 1,
    "compress.minutes": 0,
    "retrieval.als_dim": 1,
    "retrieval.bm25_k1": 0,
    "retrieval.ease_dense_limit": 0,
    "retrieval.userknn_neighbours": 1,
    "index.exact_below": 0,
    "index.nlist": 0,
    "index.nprobe": 0,
    "index.refine": 0,
    "index.threads": 0,
    "index.seed": 0,
    "ranking.candidates": 1,
    "ranking.questions": 1,
    "ranking.tune_questions": 1,
    "ranking.rrf_k": 0,
    "ranking.depth": 1,
    "ranking.dense_below": 0,
    "ranking.retrieved": 1,
    "ranking.trees": 1,
    "ranking.tree_leaves": 2,
    "ranking.tree_min_leaf": 0,
    "ranking.seed": 0,
    "ranking.rerank.top": 2,
    "ranking.rerank.weight": 0,
    "ranking.rerank.questions": 1,
    "explore.places": 0,
    "explore.among": 1,
    "explore.seed": 0,
    "calibration.questions": 1,
    "calibration.depth": 1,
    "evaluate.ranks": 1,
    "evaluate.max_questions": 0,
    "evaluate.bootstrap": 2,  # of one there is no interval
    "evaluate.short_history": 0,
    "evaluate.seed": 0,
    "serve.workers": 1,
    "serve.max_k": 1,
    "serve.max_queue": 1,
    "serve.max_block": 1,
    "serve.deadline_ms": 0,
    "serve.stop_seconds": 1,
    "serve.keep_alive": 1,
    "serve.max_impressions": 1,
    "serve.lists_mb": 0,
    "serve.max_age": 0,
    "serve.budget.total_ms": 0,
    "serve.budget.trees_ms": 0,
    "serve.budget.rerank_ms": 0,
    "serve.budget.diversity_ms": 0,
    "serve.budget.reasons_ms": 0,
    "serve.ready_mb": 0,
    "serve.texts_mb": 0,
    "serve.filters_mb": 0,
    "serve.max_body": 1,
    "serve.history": 1,
    "serve.popular_seconds": 0,
    "serve.follow_seconds": 0,
    "serve.update_seconds": 0,
    "serve.update_users": 1,
    "serve.update_pairs": 0,
    "serve.rate": 0,
    "serve.burst": 1,
    "serve.max_rows": 1,
    "serve.max_tenants": 1,
    "serve.tenant_share": 1,
    # What is older than a number of days below 0 is all there is: the store would be emptied.
    "store.events_days": 0,
    "store.events_per_user": 0,
    "store.impressions_days": 0,
    "store.ids_days": 0,
    "store.removed_days": 0,
    "store.compact_minutes": 0,
    "retrain.min_events": 0,
    "retrain.min_questions": 0,
    "retrain.fresh_days": 0,
    "retrain.keep": 0,
    "retrain.nice": 0,
    "retrain.threads": 1,
    "feedback.seconds": 0,
    "feedback.days": 0,
    "feedback.window_minutes": 0,
    "feedback.most_lists": 1,
    "feedback.least": 0,
    "feedback.most_fallback": 0,
    "feedback.least_click_through": 0,
    "feedback.least_coverage": 0,
    "feedback.most_event_days": 0,
    "feedback.most_item_days": 0,
    "feedback.most_release_days": 0,
    "feedback.most_unknown_words": 0,
    "feedback.most_text_distance": 0,
    "feedback.most_divergence": 0,
}
_ABOVE_ZERO = ("ranking.tree_rate", *(f"{tower}.rate" for tower in _TOWERS))
_SHARES = (
    "ranking.new_cost",
    "retrieval.bm25_b",
    "ranking.diversity",
    "evaluate.tail_share",
    "index.recall",
    "index.glance",
    "id_tower.drop_ids",
    "text_tower.head_dropout",
    *(f"{tower}.{name}" for tower in _TOWERS for name in ("dropout", "smoothing", "refit")),
)


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
        value = operator.attrgetter(path)(settings)
        if not value >= least:
            raise SettingsError(f"{path}: {value} must be at least {least}", field=path)
    for path in _ABOVE_ZERO:
        value = operator.attrgetter(path)(settings)
        if not value > 0:
            raise SettingsError(f"{path}: {value} must be above 0", field=path)
    for path in _SHARES:
        value = operator.attrgetter(path)(settings)
        if not 0 <= value <= 1:
            raise SettingsError(f"{path}: {value} must be from 0 to 1", field=path)
    if not 0 <= settings.serve.port <= 65_535:  # sockets take a greater one for another, in silence
        raise SettingsError(f"serve.port: {settings.serve.port} must be from 0 to 65535", field="serve.port")
    for name in _TOWERS:
        tower = getattr(settings, name)
        parts = tower.heads * (2 if tower.positions == "rotary" else 1)
        if tower.dim % parts:
            what = f"{name}.heads" if tower.positions == "learned" else f"twice {name}.heads, as positions are rotary"
            raise SettingsError(f"{name}.dim: {tower.dim} must be a multiple of {parts}, {what}", field=f"{name}.dim")
    for name, weight in settings.data.type_weights.items():
        if weight < 0:
            raise SettingsError(f"data.type_weights: {name} = {weight} must be from 0", field="data.type_weights")
    if not settings.retrieval.scorers:
        raise SettingsError("retrieval.scorers: name at least one scorer", field="retrieval.scorers")
    for name in settings.retrieval.scorers:
        check_scorer(name, "retrieval.scorers")
    check_scorer(settings.ranking.fallback, "ranking.fallback")
    for part in dataclasses.fields(settings.retrieval):
        grid = getattr(settings.retrieval, part.name)
        if isinstance(grid, tuple) and part.name != "scorers" and not (grid and min(grid) >= 0):
            path = f"retrieval.{part.name}"
            raise SettingsError(f"{path}: needs numbers from 0", field=path)
    if min(settings.ranking.extra_decays, default=0.0) < 0:
        raise SettingsError("ranking.extra_decays: needs numbers from 0", field="ranking.extra_decays")
    for path, values in (
        ("evaluate.k", settings.evaluate.k),
        ("evaluate.block", (settings.evaluate.block,)),
        ("retrieval.itemknn_neighbours", settings.retrieval.itemknn_neighbours),
        ("text_tower.head", settings.text_tower.head or (1,)),
    ):
        if not values or min(values) < 1:
            raise SettingsError(f"{path}: needs whole numbers from 1", field=path)
    lengths = settings.evaluate.k
    if len(set(lengths)) < len(lengths):
        raise SettingsError(f"evaluate.k: {', '.join(map(str, lengths))} names a length twice", field="evaluate.k")
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
        _set_all(tables, section, table, where)
    return _built(tables)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


@functools.cache
def section_types() -> dict[str, Any]:
    """The dataclass of every section by name; one within another as `encoder.adapt`."""

    def within(cls: Any, before: str) -> Iterator[tuple[str, Any]]:
        for name, hint in _hints(cls).items():
            if dataclasses.is_dataclass(hint):
                yield before + name, hint
                yield from within(hint, f"{before}{name}.")

    return dict(within(Settings, ""))


def _built(tables: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings of tables by section, the inner sections put into the outer ones."""
    found: dict[str, Any] = {}
    for section in reversed(section_types()):
        within = {name.rpartition(".")[2]: found[name] for name in found if name.rpartition(".")[0] == section}
        found[section] = section_types()[section](**tables.get(section, {}), **within)
    return Settings(**{name: value for name, value in found.items() if "." not in name})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
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
    own = [one for one, section in rest.items() if name.startswith(f"{ENV_PREFIX}{section}_".replace(".", "_").upper())]
    near = difflib.get_close_matches(name.removeprefix(ENV_PREFIX), own or rest, n=1, cutoff=0.0 if own else 0.8)
    if not near:
        return None
    raise SettingsError(f"{name}: no setting has this variable (did you mean {ENV_PREFIX}{near[0]}?)", field=name)


def _env_names() -> dict[str, tuple[str, str]]:
    names: dict[str, tuple[str, str]] = {}
    for section, cls in section_types().items():
        for key in dataclasses.fields(cls):
            if f"{section}.{key.name}" not in section_types():
                names[f"{ENV_PREFIX}{section}_{key.name}".replace(".", "_").upper()] = (section, key.name)
    return names


@functools.cache
def _hints(section: type) -> dict[str, Any]:
    """Types of a section's fields; working them out for each value would take longer than opening a release."""
    return typing.get_type_hints(section)


def _set_all(tables: dict[str, dict[str, Any]], section: str, table: Mapping[str, Any], where: str) -> None:
    """A section's values, those of sections within it too."""
    for key, value in table.items():
        if f"{section}.{key}" in section_types() and isinstance(value, Mapping):
            _set_all(tables, f"{section}.{key}", value, where)
        else:
            _set(tables, section, key, value, where)


def _set(tables: dict[str, dict[str, Any]], section: str, key: str, value: Any, where: str) -> None:
    sections = section_types()
    if section not in sections:
        raise SettingsError(f"{where}: unknown section {section}{_near(section, sections)}", field=section)
    hints = {name: h for name, h in _hints(sections[section]).items() if f"{section}.{name}" not in sections}
    if f"{section}.{key}" in sections:
        inner = f"{section}.{key}"
        raise SettingsError(f"{where}: {inner} is a table: write [{inner}], or --set {inner}.key=value", field=inner)
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
        items = _as_in_a_recipe(value)
        items = [part.strip() for part in items.split(",") if part.strip()] if isinstance(items, str) else items
        if not isinstance(items, (list, tuple)):
            items = [items]
        if inner[-1] is not Ellipsis and len(items) != len(inner):
            raise ValueError(f"needs {len(inner)} values")
        return tuple(_convert(item, inner[0]) for item in items)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = _as_in_a_recipe(value)
        if isinstance(value, str) and not all("=" in part for part in value.split(",")):
            raise ValueError("needs names with values, such as view=0.3,click=1")
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
        return _number(value, hint)
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value


def _as_in_a_recipe(value: Any) -> Any:
    """What a text in brackets says in TOML, as people carry it over from a recipe; anything else as it is."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(f"value = {value.strip()}")["value"]
    return value


def _number(value: Any, kind: type[int] | type[float]) -> int | float:
    """The value as a number; a part of a whole one is not cut off in silence."""
    what = "must be a whole number" if kind is int else "must be a number"
    if isinstance(value, bool) or (kind is int and isinstance(value, float) and not value.is_integer()):
        raise TypeError(what)
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(what) from None
    if not math.isfinite(number):  # a manifest could not hold it
        raise ValueError("must be a finite number")
    return number
