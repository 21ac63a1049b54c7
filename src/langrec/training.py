"""The order of a training run, on one page.

split -> read the texts -> choose each scorer's settings on validation -> learn the mix there -> refit on all that
lies before the test -> measure -> refit on everything -> write the release.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from langrec.bundle import versions, write_release
from langrec.data.cache import cache_folder
from langrec.data.dataset import Dataset
from langrec.data.events import Events, joined
from langrec.data.splits import Split, split_events
from langrec.encoders import load_encoder
from langrec.encoders.cache import encode_cached
from langrec.errors import DataError
from langrec.evaluation.protocol import Question, Targets, next_item, per_user, target_ranks
from langrec.evaluation.report import Report
from langrec.evaluation.run import evaluate as measure
from langrec.ranking.fusion import Fusion, Signal, WithFallback
from langrec.ranking.mix import Mix, MixSamples, rrf_mix
from langrec.registry import find
from langrec.retrieval.fitting import FitData
from langrec.retrieval.item_item import ItemItem
from langrec.settings import Settings, to_dict
from langrec.steps import Steps
from langrec.types import FloatMatrix, QueryBlock

MIX = "mix"
TEXT_SCORERS = ("bm25", "tfidf", "vectors", "tokens")
# Questions on which the two kinds of mix are compared, about.
JUDGED = 600

# With fewer events a split by shares leaves a part empty: then nothing is held out.
FEWEST_EVENTS = 10


class Progress(Protocol):
    """Told what is being done and how far it is; total 0 = unknown."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the encoders read from the catalogue: encoders and (n, d) item vectors by space."""

    encoders: Mapping[str, Any]
    vectors: Mapping[str, FloatMatrix]
    texts: list[str]

    @property
    def identities(self) -> dict[str, str]:
        return {space: encoder.identity for space, encoder in self.encoders.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What validation decided.

    Attributes:
        params: by scorer name, the settings of its fit and of its run.
        scores: by scorer name, its validation NDCG@10.
        mix: the mix; its kind is what validation favoured.
        mix_scores: validation NDCG@10 of both kinds of mix, on users that the weights did not learn from.
        notes: what could not be chosen, and what was taken instead.
    """

    params: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]
    scores: Mapping[str, float]
    mix: Mix
    mix_scores: Mapping[str, float]
    notes: tuple[str, ...] = ()


def train(
    dataset: Dataset,
    settings: Settings | None = None,
    releases: Path | None = None,
    *,
    progress: Progress | None = None,
    steps: Path | None = None,
) -> tuple[Path, Report | None]:
    """A release from a dataset: chosen on validation, measured on the test, then fitted on everything.

    A log too small to choose by, or to measure on, gives a release all the same; its manifest's `notes` say so.

    Args:
        dataset: items and events.
        settings: all settings.
        releases: the folder of releases; None = `releases` in the working folder.
        progress: is told each step.
        steps: where finished steps are kept; None = the cache folder.

    Returns:
        The release's folder, and the report of the test; None where the test holds no question.

    Raises:
        DataError: the events cannot be split.
        SettingsError: a scorer or encoder that does not exist.
    """
    settings = settings or Settings()
    releases = releases or Path("releases")
    told = progress or _untold
    reading = read_texts(dataset, settings, told)
    split = _split(dataset, settings)
    chosen = choose(dataset, split, reading, settings, told, steps)
    report, notes = None, chosen.notes
    if len(_questions(dataset, split)):
        report = measure_split(dataset, split, reading, chosen, settings, progress=told)
    else:
        notes = (*notes, "not measured: the test part holds no item that is new to its user")
    told("fit on everything", 0, 0)
    fusion = fit(dataset, dataset.events, reading, chosen, settings)
    models = {name: {"kind": _kind(name)[0], "params": {**fit_, **run}} for name, (fit_, run) in chosen.params.items()}
    rows = [dataclasses.asdict(row) for row in report.rows if row.slice == "all"] if report else []
    extra = {
        "chosen": MIX,
        "validation": {"scorers": dict(chosen.scores), "mixes": dict(chosen.mix_scores)},
        "weights": dict(zip(chosen.mix.names, chosen.mix.weights.tolist(), strict=True)),
        "notes": list(notes),
    }
    told("write the release", 0, 0)
    releases.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=releases, prefix=".measured-") as name:
        measured = Path(name) if report else None
        if report and measured:
            report.write(measured)
        folder = write_release(releases, dataset, settings, fusion, models, reading.encoders, rows, measured, extra)
    return folder, report


def evaluate_models(
    dataset: Dataset,
    settings: Settings,
    models: Iterable[str] = (),
    *,
    progress: Progress | None = None,
    steps: Path | None = None,
) -> tuple[Report, Report | None]:
    """The reports of the next-item question and, where the split knows a cut in time, of one list per user.

    Args:
        models: scorer names and `mix`; empty = all scorers of the settings and the mix. A scorer's numbers do not
            depend on what else is named; one that the settings do not hold joins the mix.

    Raises:
        DataError: the events cannot be split, or the test holds no question.
        SettingsError: a scorer or encoder that does not exist.
    """
    told = progress or _untold
    own, fallback = settings.retrieval.scorers, settings.ranking.fallback
    names = tuple(dict.fromkeys(models)) or (*own, MIX)
    wanted = [name for name in names if name != MIX]
    for name in wanted:
        find("scorers", _kind(name)[0])
    # Without the mix only what is asked for is fitted, and the fallback, which answers where a scorer cannot.
    fitted = own if MIX in names else tuple(name for name in own if name in (*wanted, fallback))
    retrieval = dataclasses.replace(settings.retrieval, scorers=tuple(dict.fromkeys((*fitted, *wanted))))
    settings = dataclasses.replace(settings, retrieval=retrieval)
    reading = read_texts(dataset, settings, told)
    split = split_events(dataset.events, len(dataset.users), settings.split)
    chosen = choose(dataset, split, reading, settings, told, steps, mix=MIX in names)
    told("fit for the test", 0, 0)
    fusion = fit(dataset, _before_test(split), reading, chosen, settings)
    first = measure_split(dataset, split, reading, chosen, settings, names, fusion=fusion, progress=told)
    second = None
    if split.kind == "time":
        second = measure_split(
            dataset, split, reading, chosen, settings, names, question="per user", fusion=fusion, progress=told
        )
    return first, second


def read_texts(dataset: Dataset, settings: Settings, told: Progress) -> Reading:
    """Every item's text, read once: the vectors come from the cache where the text was read before."""
    texts = dataset.catalogue.texts(settings.encoder.fields)
    wanted = [name for name in settings.retrieval.scorers if name in ("vectors", "tokens")]
    if not wanted:
        return Reading({}, {}, texts)
    encoder = load_encoder(settings.encoder, progress=told)
    encoders = {"vectors": encoder, "tokens": encoder.static()}
    folder = Path(settings.encoder.cache) if settings.encoder.cache else cache_folder()
    vectors = {space: encode_cached(encoders[space], texts, folder / "vectors", progress=told) for space in wanted}
    return Reading({space: encoders[space] for space in wanted}, vectors, texts)


def choose(
    dataset: Dataset,
    split: Split,
    reading: Reading,
    settings: Settings,
    told: Progress,
    steps: Path | None = None,
    mix: bool = True,
) -> Chosen:
    """Settings of each scorer, and the mix, by NDCG@10 on validation; nothing of the test is looked at.

    Where validation holds no question, each scorer takes the first point of its grid, and the mix is rank fusion.

    Args:
        mix: False learns no mix; it is rank fusion then.
    """
    kept = Steps(cache_folder() / "steps" if steps is None else steps)
    inputs = {
        "data": dataset.hash(),
        "texts": _texts_hash(reading.texts),
        "split": to_dict(settings.split),
        "retrieval": to_dict(settings.retrieval),
        "encoders": reading.identities,
    }
    data = fit_data(dataset, split.train, reading)
    questions = next_item(
        split.train, split.valid, len(dataset.users), settings.ranking.tune_questions, settings.ranking.seed
    )
    names = settings.retrieval.scorers
    entering = [signal.name for signal in signals(names, settings)]
    fused = rrf_mix(entering, settings.ranking.rrf_k)
    if not len(questions):
        return _unchosen(fused, settings)
    params: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    scores: dict[str, float] = {}
    for done, name in enumerate(names):
        told(f"choose {name}", done, len(names))
        key = {**inputs, "questions": settings.ranking.tune_questions, "seed": settings.ranking.seed}
        found = kept.run(f"tune-{name}", key, lambda name=name: _tune(name, data, questions, settings))  # type: ignore[misc]
        params[name], scores[name] = (found["fit"], found["run"]), found["ndcg"]
    if not mix:
        return Chosen(params, scores, fused, {})
    told("learn the mix", 0, 0)
    key = {**inputs, "params": params, "ranking": to_dict(settings.ranking), "signals": entering}
    found = kept.run("mix", key, lambda: _learn_mix(dataset, split, reading, params, settings))
    weights = np.array(found["weights"], dtype=np.float32)
    learned = Mix(tuple(found["names"]), found["kind"], weights, settings.ranking.rrf_k)
    return Chosen(params, scores, learned, found["scores"])


def _unchosen(fused: Mix, settings: Settings) -> Chosen:
    """What is taken where there is nothing to choose by."""
    kinds = {name: find("scorers", _kind(name)[0]) for name in settings.retrieval.scorers}
    params = {
        name: (kind.fit_grid(settings.retrieval)[0], kind.run_grid(settings.retrieval)[0])
        for name, kind in kinds.items()
    }
    note = (
        "not chosen: the validation part holds no item that is new to its user, so each scorer took the first point of "
        "its grid and the mix is rank fusion"
    )
    nothing = float("nan")
    return Chosen(params, dict.fromkeys(kinds, nothing), fused, {"rrf": nothing, "linear": nothing}, (note,))


def fit(dataset: Dataset, events: Events, reading: Reading, chosen: Chosen, settings: Settings) -> Fusion:
    """All scorers with their chosen settings on these events, and the mix over them."""
    data = fit_data(dataset, events, reading)
    scorers = {
        name: _fit_one(name, data, settings, fit_).with_params(**run) for name, (fit_, run) in chosen.params.items()
    }
    inputs, n_items = signals(scorers, settings), len(dataset.catalogue)
    counts = np.bincount(events.items, minlength=n_items).astype(np.int32)
    return Fusion(scorers, inputs, chosen.mix, n_items, settings.ranking.fallback, counts)


def fit_data(dataset: Dataset, events: Events, reading: Reading) -> FitData:
    """What scorers are fitted from, on these events alone."""
    return FitData(events, len(dataset.users), len(dataset.catalogue), reading.texts, reading.vectors)


def signals(scorers: Iterable[str], settings: Settings) -> tuple[Signal, ...]:
    """What enters the mix: each scorer, item-to-item ones at other decays too, readers of text for rare items too."""
    names = list(scorers)
    extra = [
        Signal(name, (("decay", decay),))
        for name in names
        if issubclass(find("scorers", _kind(name)[0]), ItemItem)
        for decay in settings.ranking.extra_decays
    ]
    rare = [Signal(name, rare=True) for name in names if name in TEXT_SCORERS]
    return (*(Signal(name) for name in names), *extra, *rare)


def measure_split(
    dataset: Dataset,
    split: Split,
    reading: Reading,
    chosen: Chosen,
    settings: Settings,
    names: Iterable[str] = (),
    question: Question = "next item",
    fusion: Fusion | None = None,
    progress: Progress | None = None,
) -> Report:
    """Fits on what lies before the test (leave-one-out: on training alone) and measures on the test.

    Args:
        names: models in the order of the report; empty = all.
        fusion: what was fitted so before; None fits it.

    Raises:
        DataError: the test holds no question.
    """
    told = progress or _untold
    seen = _before_test(split)
    targets = _questions(dataset, split, question)
    if not len(targets):
        raise DataError("the test part holds no item that is new to its user: there is nothing to measure")
    if fusion is None:
        told("fit for the test", 0, 0)
        fusion = fit(dataset, seen, reading, chosen, settings)
    fallback = fusion.scorers.get(settings.ranking.fallback)
    singles = {
        name: scorer if fallback is None else WithFallback(scorer, fallback) for name, scorer in fusion.scorers.items()
    }
    models: dict[str, Any] = {**singles, MIX: fusion}
    wanted = list(names) or list(models)
    stamp = {
        "question": question,
        "split": split.kind,
        "leaks": split.leaks,
        "cut": list(settings.split.cut) if split.kind == "time" else None,
        "valid_from": split.valid_from,
        "test_from": split.test_from,
        "data": dataset.hash(),
        "n_users": len(dataset.users),
        "n_items": len(dataset.catalogue),
        "n_events": len(dataset.events),
        "encoders": reading.identities,
        "params": {name: {**fit_, **run} for name, (fit_, run) in chosen.params.items()},
        "validation": dict(chosen.scores),
        "mix": {**chosen.mix.to_dict(), "validation": dict(chosen.mix_scores)},
        "empty_history": settings.ranking.fallback,
        "versions": versions(),
    }
    return measure(
        {name: models[name] for name in wanted},
        targets,
        users=dataset.users,
        items=dataset.catalogue.ids,
        counts=np.bincount(seen.items, minlength=len(dataset.catalogue)),
        has_text=np.array([bool(text) for text in reading.texts]),
        vectors=reading.vectors.get("vectors"),
        settings=settings.evaluate,
        protocol=stamp,
        chosen=MIX if MIX in wanted else None,
        progress=told,
    )


def _split(dataset: Dataset, settings: Settings) -> Split:
    """The split of the settings; of a handful of events nothing is held out."""
    events = dataset.events
    if len(events) >= FEWEST_EVENTS:
        return split_events(events, len(dataset.users), settings.split)
    nothing = events.take(slice(0, 0))
    return Split(events, nothing, nothing, settings.split.kind)


def _before_test(split: Split) -> Events:
    """What models are fitted on for the test; leave-one-out keeps the validation out of it."""
    return split.train if split.kind == "loo" else joined(split.train, split.valid)


def _questions(dataset: Dataset, split: Split, question: Question = "next item") -> Targets:
    """What the test asks."""
    asked = next_item if question == "next item" else per_user
    return asked(joined(split.train, split.valid), split.test, len(dataset.users))


def _texts_hash(texts: Iterable[str]) -> str:
    """sha256 of what the text scorers read."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)} {text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _tune(name: str, data: FitData, questions: Targets, settings: Settings) -> dict[str, Any]:
    """The grid point of the highest validation NDCG@10; of equal ones the first."""
    kind = find("scorers", _kind(name)[0])
    best: dict[str, Any] = {"ndcg": -1.0, "fit": {}, "run": {}}
    for fit_ in kind.fit_grid(settings.retrieval):
        scorer = _fit_one(name, data, settings, fit_)
        for run in kind.run_grid(settings.retrieval):
            value = ndcg_at_10(scorer.with_params(**run).score_block, questions)
            if value > best["ndcg"]:
                best = {"ndcg": value, "fit": fit_, "run": run}
    return best


def _learn_mix(
    dataset: Dataset,
    split: Split,
    reading: Reading,
    params: Mapping[str, tuple[dict[str, Any], dict[str, Any]]],
    settings: Settings,
) -> dict[str, Any]:
    """The linear mix and rank fusion, compared on the half of the users that the weights did not learn from."""
    data = fit_data(dataset, split.train, reading)
    scorers = {name: _fit_one(name, data, settings, fit_).with_params(**run) for name, (fit_, run) in params.items()}
    inputs = signals(scorers, settings)
    names = [signal.name for signal in inputs]
    fused = rrf_mix(names, settings.ranking.rrf_k)
    n_items = len(dataset.catalogue)
    counts = np.bincount(split.train.items, minlength=n_items).astype(np.int32)
    fusion = Fusion(scorers, inputs, fused, n_items, settings.ranking.fallback, counts)
    questions = next_item(
        split.train, split.valid, len(dataset.users), settings.ranking.questions, settings.ranking.seed
    )
    samples = MixSamples(names, settings.ranking.seed)
    for _, part in _blocks(questions, fusion):
        seen = [part.block.history(i) for i in range(len(part))]
        samples.add(fusion.signal_scores(part.block), seen, part.items)
    held = questions.block.users % 2 == 1
    learned = np.flatnonzero(~held)
    scores = {"rrf": float("nan"), "linear": float("nan")}
    if held.any() and len(learned):
        trial = samples.fit(rows=learned)
        gains: dict[str, list[npt.NDArray[np.float64]]] = {"rrf": [], "linear": []}
        rows = np.flatnonzero(held)
        judged = questions.take(rows[:: max(1, len(rows) // JUDGED)])
        for _, part in _blocks(judged, fusion):
            raw = fusion.signal_scores(part.block)
            for kind, mix in (("rrf", fused), ("linear", trial)):
                mixed = dataclasses.replace(fusion, mix=mix).parts(raw).sum(axis=0)
                gains[kind].append(_gain(target_ranks(mixed, part)))
        scores = {kind: float(np.concatenate(found).mean()) for kind, found in gains.items()}
    kind = settings.ranking.mix
    if kind == "auto":
        kind = "rrf" if scores["rrf"] > scores["linear"] else "linear"
    mix = samples.fit() if kind == "linear" else fused
    return {"names": names, "kind": kind, "weights": mix.weights.tolist(), "scores": scores}


def ndcg_at_10(score: Callable[[QueryBlock], FloatMatrix], questions: Targets, block: int = 512) -> float:
    """Mean NDCG@10 of single-target questions over the full catalogue."""
    gains = [
        _gain(target_ranks(score(part.block), part))
        for start in range(0, len(questions), block)
        for part in [questions.slice(start, start + block)]
    ]
    return float(np.concatenate(gains).mean())


def _gain(ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.where(ranks <= 10, 1.0 / np.log2(1.0 + ranks), 0.0)


def _blocks(questions: Targets, fusion: Fusion) -> Iterable[tuple[int, Targets]]:
    """Blocks of questions whose signals stay within some 200 MB."""
    size = max(1, 200_000_000 // (4 * len(fusion.signals) * fusion.n_items))
    for start in range(0, len(questions), size):
        yield start, questions.slice(start, start + size)


def _fit_one(name: str, data: FitData, settings: Settings, params: Mapping[str, Any]) -> Any:
    kind, own = _kind(name)
    return find("scorers", kind).fit(data, settings.retrieval, **own, **params)


def _kind(name: str) -> tuple[str, dict[str, Any]]:
    """The registered kind of a scorer's name, and what the name itself sets: popular_7d is popular of 7 days."""
    window = re.fullmatch(r"popular_(\d+)d", name)
    return ("popular", {"days": float(window.group(1))}) if window else (name, {})


def _untold(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
