"""The encoder that a training run reads with: the settings' own, or that one adapted to the data and made cheaper.

It learns from the events of the training part and from the catalogue's texts alone: what the test asks later it has not
seen. Each finished step is kept under a hash of its inputs; an interrupted one goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from langrec.alone import in_turn
from langrec.data.cache import cache_folder
from langrec.data.dataset import Dataset
from langrec.data.events import Events
from langrec.encoders import load_encoder, load_saved
from langrec.errors import DataError, MissingExtra, SettingsError
from langrec.lm.adapt.question import LATEST, LIKED
from langrec.lm.adapt.settings import AdaptSettings, with_overrides
from langrec.lm.compress.steps import Step, parse_steps
from langrec.lm.model import find_model
from langrec.protocols import Progress
from langrec.recipe import to_dict
from langrec.sealed import seal, sealed
from langrec.settings import EncoderAdaptSettings, EncoderSettings, Settings
from langrec.steps import Steps, step_hash

# The newest share of the pairs judges each epoch; at most so many.
JUDGES, MOST_JUDGES = 0.1, 2_000
# With fewer pairs or texts there is nothing to learn.
FEWEST = 20


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """What reads the texts.

    Attributes:
        encoder: ready to read.
        made: `adapted` and `compressed` with what each came to; plain values, for the manifest.
        notes: what was wanted and could not be done.
    """

    encoder: Any
    made: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check(settings: Settings) -> None:
    """Refuses before any work what `reader` could not do.

    Raises:
        SettingsError: `encoder.adapt` or `compress` ask for something that does not exist, or of an encoder that has no
            weights.
        MissingExtra: they ask for something, and PyTorch is not installed.
    """
    wanted = [name for name, on in (("encoder.adapt", _adapts(settings)), ("compress", settings.compress.steps)) if on]
    if not wanted:
        return
    if settings.encoder.name == "hashing":
        raise SettingsError(
            f"{' and '.join(wanted)}: the encoder hashing has no weights to work on; name a model such as minilm",
            field=wanted[0],
        )
    _adapt_settings(settings.encoder.adapt)
    if settings.compress.steps:
        _steps(settings)
    try:
        import torch  # noqa: F401 - the first thing that the extra lm brings
    except ImportError as error:
        raise MissingExtra("lm", " and ".join(wanted)) from error


def reader(
    dataset: Dataset, events: Events | None, settings: Settings, told: Progress, steps: Path | None = None
) -> Reader:
    """The encoder of the settings, adapted and made cheaper as they say.

    Args:
        dataset: its catalogue's texts are read.
        events: of the training part; None takes the encoder as it is.
        told: is told each step.
        steps: where finished steps are kept; None = the cache folder.

    Raises:
        SettingsError: see `check`.
        DataError: a step needs more texts than there are.
    """
    if events is None:
        return Reader(load_encoder(settings.encoder, progress=told))
    check(settings)
    kept = Steps(cache_folder() / "steps" if steps is None else steps)
    encoder, made, notes = settings.encoder, dict[str, Any](), list[str]()
    if _adapts(settings):
        folder, made["adapted"] = _adapted(dataset, events, settings, kept, told)
        notes += made["adapted"]["notes"]
        encoder = encoder if folder is None else dataclasses.replace(encoder, name=str(folder))
    if not settings.compress.steps:
        return Reader(load_encoder(encoder, progress=told), made, tuple(notes))
    folder, made["compressed"] = _compressed(dataset, encoder, settings, kept, told)
    return Reader(load_saved(folder, threads=encoder.threads), made, tuple(notes))


# ---- adapt -----------------------------------------------------------------------------------------------------------


def _adapts(settings: Settings) -> bool:
    return settings.encoder.adapt.task != "off"


def _adapt_settings(own: EncoderAdaptSettings) -> AdaptSettings:
    """As `langrec adapt` has them; of "off" those of pairs, so that a wrong one is said whether it is used or not."""
    task = "pairs" if own.task == "off" else own.task
    plain = {name: getattr(own, name) for name in ("kind", "epochs", "rate", "max_tokens", "seed")}
    try:
        found = with_overrides(AdaptSettings(task=task, **plain), own.more)
    except SettingsError as error:
        said = error.message.replace("--set ", "encoder.adapt.more: ").replace("adapt.", "encoder.adapt.", 1)
        raise SettingsError(said.replace("encoder.encoder.", "encoder."), field="encoder.adapt") from error
    if any(text.partition("=")[0].strip().removeprefix("adapt.") == "pairs" for text in own.more):
        raise SettingsError("encoder.adapt.more pairs: is encoder.adapt.pairs here", field="encoder.adapt.more")
    return found


def _adapted(
    dataset: Dataset, events: Events, settings: Settings, kept: Steps, told: Progress
) -> tuple[Path | None, dict[str, Any]]:
    """The adapted model's folder, None where there was too little to learn from, and what came of it."""
    own, name = settings.encoder.adapt, settings.encoder.name
    key = {
        "model": find_model(name, own.max_tokens).hash,
        "adapt": to_dict(own),
        "fields": settings.encoder.fields,
        "data": dataset.hash(),
        "events": hashlib.sha256(events.rows.tobytes()).hexdigest(),
    }
    place = _place(kept, "adapt", key)
    # Vectors are called after their model's folder.
    folder = place / re.sub(r"[^\w.-]+", "_", f"{Path(name).name}-{own.task}-{own.kind}")
    run = partial(_adapt, dataset, events, settings, place, folder, told)
    with in_turn(place, told):
        found = kept.run("adapt", key, run, whole=lambda found: not found["rows"] or sealed(folder) is not None)
    return (folder if found["rows"] else None), found


def _adapt(
    dataset: Dataset, events: Events, settings: Settings, place: Path, folder: Path, told: Progress
) -> dict[str, Any]:
    own, texts = settings.encoder.adapt, dataset.catalogue.texts(settings.encoder.fields)
    if own.task == "pairs":
        train, valid = pairs(dataset, events, texts, own)
    else:
        train, valid = pl.DataFrame({"text": list(dict.fromkeys(text for text in texts if text.strip()))}), None
    about = {"model": settings.encoder.name, "task": own.task, "kind": own.kind}
    if len(train) < FEWEST:
        what = "pairs of likes in the training part" if own.task == "pairs" else "texts in the catalogue"
        note = f"not adapted: {len(train)} {what}, {FEWEST} are needed"
        return {**about, "rows": {}, "notes": [note]}
    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt

    files = Files(
        _written(train, place / "train.parquet"), None if valid is None else _written(valid, place / "valid.parquet")
    )

    def run(resume: bool) -> dict[str, Any]:
        return adapt(settings.encoder.name, _adapt_settings(own), files, place, resume=resume, told=told)

    try:
        summary = run((place / "run.json").is_file())
    except (DataError, SettingsError):  # what an interruption left cannot be read: from the beginning
        summary = run(False)
    shutil.rmtree(folder, ignore_errors=True)
    (place / "model").replace(folder)
    _seal(folder)
    before, after = summary["epochs"][0], max(summary["epochs"], key=lambda row: row["score"])
    notes = [] if after["epoch"] else ["adapting brought nothing on the pairs held out of it: the model is as it was"]
    return {
        **about,
        "trainable_share": summary["trainable_share"],
        "seconds": summary["seconds"],
        "precision": summary["precision"],
        "epochs": len(summary["epochs"]) - 1,
        "best_epoch": after["epoch"],
        "rows": summary["rows"],
        "judged": "mean reciprocal rank" if own.task == "pairs" else "minus loss",
        "before": before["score"],
        "after": after["score"],
        "notes": notes,
    }


def pairs(
    dataset: Dataset, events: Events, texts: list[str], own: EncoderAdaptSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Likes and what their users liked before: rows `anchor, positive, user_id`, the newest apart to judge by.

    Args:
        events: where most hold a rating, those above 3 of 5 are likes; else all that say something for their item.
        texts: of each item.

    Returns:
        Rows to learn from, at most `own.rows`, and rows to judge by.
    """
    rated = bool(len(events)) and bool(np.isfinite(events.values).mean() > 0.5)
    liked = events.gains > 0
    if rated:
        liked &= events.values > LIKED * np.nanmax(events.values)
    log = events.take(liked)
    order = np.argsort(log.users, kind="stable")
    users, items = log.users[order], log.items[order]
    first = np.searchsorted(users, users, "left")
    places = np.flatnonzero(np.arange(len(users)) > first)
    places = places[np.argsort(order[places])]  # by time again
    cut = len(places) - int(JUDGES * len(places))
    rng = np.random.default_rng((own.seed, 11))
    titles = [title or text for title, text in zip(dataset.catalogue.titles, texts, strict=True)]

    def rows(among: Any, at_most: int) -> pl.DataFrame:
        drawn = among[np.sort(rng.permutation(len(among))[:at_most])]
        begin = np.maximum(first[drawn], drawn - LATEST)
        if own.pairs == "items":
            anchors = [texts[item] for item in items[rng.integers(begin, drawn)]]
        else:
            anchors = ["; ".join(titles[i] for i in items[a:b][::-1]) for a, b in zip(begin, drawn, strict=True)]
        found = zip(anchors, (texts[item] for item in items[drawn]), dataset.users.names[users[drawn]], strict=True)
        whole = [(a, b, str(user)) for a, b, user in found if a.strip() and b.strip() and a != b]
        return pl.DataFrame(whole, schema=dict.fromkeys(("anchor", "positive", "user_id"), pl.String), orient="row")

    return rows(places[:cut], own.rows), rows(places[cut:], MOST_JUDGES)


def _written(rows: pl.DataFrame, file: Path) -> Path | None:
    """The file with these rows, as an interrupted run left it if it did; None for none."""
    if not len(rows):
        return None
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(".half")
        rows.write_parquet(half)
        half.replace(file)
    return file


# ---- compress --------------------------------------------------------------------------------------------------------


def _steps(settings: Settings) -> tuple[Step, ...]:
    try:
        steps = parse_steps(",".join(settings.compress.steps))
    except SettingsError as error:
        raise SettingsError(error.message.replace("--steps", "compress.steps:", 1), field="compress.steps") from error
    if any(step.kind == "teach" for step in steps):
        raise SettingsError(
            "compress.steps: teach: needs a cross-encoder, which a training run has not; make the model by langrec "
            "compress --cross, and name what it wrote as encoder.name",
            field="compress.steps",
        )
    return steps


def _compressed(
    dataset: Dataset, encoder: EncoderSettings, settings: Settings, kept: Steps, told: Progress
) -> tuple[Path, dict[str, Any]]:
    """The folder of the saved encoder, and what its steps cost and kept."""
    from langrec.lm.compress.chain import ENCODER, KEPT, compress
    from langrec.lm.compress.corpus import Corpus
    from langrec.lm.compress.work import Healing

    own = settings.compress
    try:
        corpus = Corpus.of_catalogue(dataset.catalogue)
    except DataError:  # too few texts: the chain measures on made-up ones, and refuses what it would have to train
        corpus = None
    key = {
        "model": find_model(encoder.name, encoder.max_tokens).space,
        "compress": to_dict(own),
        "texts": corpus.hash() if corpus else "",
    }
    out = _place(kept, "compress", key)

    def run() -> dict[str, Any]:
        start = time.perf_counter()
        found = compress(
            encoder.name,
            _steps(settings),
            out,
            corpus,
            open_encoder=partial(load_saved, threads=encoder.threads),
            healing=Healing(epochs=own.epochs, minutes=own.minutes),
            heal=own.heal,
            max_tokens=encoder.max_tokens,
            threads=encoder.threads,
            progress=told,
        )
        shown = ("name", "runtime", "megabytes", "texts_per_second", "ms", "ndcg", "kept", "kept_held_out", "note")
        rows = [{name: getattr(row, name) for name in shown} for row in found.rows]
        _seal(out / ENCODER)
        seconds = time.perf_counter() - start
        return {"steps": list(found.steps), "seconds": seconds, "question": found.corpus["question"], "rows": rows}

    def whole(_: Any) -> bool:
        if sealed(out / ENCODER) is not None:
            return True
        shutil.rmtree(out / KEPT, ignore_errors=True)  # files that are linked with the damaged ones
        return False

    with in_turn(out, told):
        found = kept.run("compress", key, run, whole=whole)
    return out / ENCODER, found


def _seal(folder: Path) -> None:
    seal(folder, [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()])


def _place(kept: Steps, name: str, key: Mapping[str, Any]) -> Path:
    """The folder of a step's files."""
    return (kept.folder or cache_folder()) / f"{name}-{step_hash(name, key)[:20]}"
