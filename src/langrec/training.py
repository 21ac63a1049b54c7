"""The order of a training run, on one page.

split -> adapt the encoder and make it cheaper, where wanted -> read the texts -> choose each scorer's settings on
validation -> learn the mix there -> judge the rerank there, where one is named -> refit on all that lies before the
test -> measure -> refit on everything -> write the release.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from langrec import reranking
from langrec.adapting import check, reader
from langrec.bundle import write_release
from langrec.choosing import Chosen, Reading, choose, finding_candidates, fit
from langrec.data.cache import cache_folder
from langrec.data.dataset import Dataset
from langrec.data.events import Events, joined
from langrec.data.splits import Split, split_events
from langrec.encoders.cache import encode_cached
from langrec.entering import enters_mix
from langrec.errors import DataError
from langrec.evaluation.beside import Bound, Control
from langrec.evaluation.found import sample_of
from langrec.evaluation.outside import OutsideLists
from langrec.evaluation.protocol import Question, Targets, next_item, per_user
from langrec.evaluation.report import Report
from langrec.evaluation.run import evaluate as measure
from langrec.manifest import versions
from langrec.protocols import Progress, untold
from langrec.ranking.alone import Alone, Answered, Mixed
from langrec.ranking.calibration import Calibration, levels
from langrec.ranking.fusion import Fusion, WithFallback
from langrec.ranking.near import total_of
from langrec.registry import find, kind_of
from langrec.settings import Settings
from langrec.types import AnyPath, Candidates, FloatMatrix, FloatVector, QueryBlock

MIX = "mix"
# What is spoilt in the controls of the text tower (`registry.kind_of`).
CONTROLS = {
    "permuted": "each item reads the text of another, so that what is left is not what texts mean",
    "raw": "the vectors of the texts as the encoder gives them, their spectrum not shaped",
}
# Both towers, whose headroom is what choosing the better of their two lists for each question would bring.
TOWERS = ("id_tower", "text_tower")
# Test questions that are asked of a catalogue too large to score whole, where the settings do not say.
LARGE_QUESTIONS = 20_000
# What is ranked there, in the report.
_RANKED = (
    "what the retrievers find, {retrieved} items each at most, as in serving; of a single scorer its own best of the "
    "full catalogue; without the history of the question. A target that was not found is in no list; its rank among "
    "all, which auc reads, is estimated from a sample"
)
LAST_LEAK = (
    "data.repeats=last drops an event whose user comes back to the item, after the cut too, so training lacks what the "
    "test holds"
)
# So many texts at most are looked at for tokens that the encoder does not know; from this share on a note says so.
LOOKED_AT, UNKNOWN = 1_000, 0.1
# With fewer events a split by shares leaves a part empty: then nothing is held out.
FEWEST_EVENTS = 10


def train(
    dataset: Dataset,
    settings: Settings | None = None,
    releases: AnyPath | None = None,
    *,
    progress: Progress | None = None,
    steps: AnyPath | None = None,
    split: Split | None = None,
    rivals: Mapping[str, Any] | None = None,
    use: bool = True,
) -> tuple[Path, Report | None]:
    """A release from a dataset: chosen on validation, measured on the test, then fitted on everything.

    A log too small to choose by, or to measure on, gives a release all the same; its manifest's `notes` say so.

    Args:
        dataset: items and events.
        settings: all settings.
        releases: the folder of releases; None = `releases` in the working folder.
        progress: is told each step.
        steps: where finished steps are kept; None = the cache folder.
        split: the parts to choose and measure on; None = by the settings.
        rivals: scorers by name that are measured on the test beside the release's own.
        use: the new release becomes the one in use.

    Returns:
        The release's folder, and the report of the test; None where the test holds no question.

    Raises:
        DataError: the events cannot be split, `releases` is a file, or a rival has the name of one of the release's
            own models.
        SettingsError: a scorer or encoder that does not exist.
    """
    settings = with_fallback(settings or Settings())
    for name in rivals or {}:
        if name in (*settings.retrieval.scorers, MIX):
            raise DataError(f"rivals: {name} is one of the release's own models; choose another name", field="rivals")
    releases = Path(releases or "releases")
    if releases.exists() and not releases.is_dir():
        raise DataError(f"{releases}: is a file; name a folder that the releases go to", field="releases")
    steps = None if steps is None else Path(steps)
    told = progress or untold
    check(settings)
    reranking.check(settings)
    split = _split(dataset, settings) if split is None else split
    reading = read_texts(dataset, settings, told, split.train, steps)
    chosen = choose(dataset, split, reading, settings, told, steps)
    cross, reranked = reranking.choose_rerank(dataset, split, reading, chosen, settings, told, steps)
    report, notes = None, (*reading.notes, *chosen.notes)
    if len(_questions(dataset, split)):
        told("fit for the test", 0, 0)
        timed: dict[str, float] = {}
        tested = fit(dataset, _before_test(split), reading, chosen, settings, steps, told, timed)
        tested = finding_candidates(tested, settings, _before_test(split), len(dataset.users))
        more: dict[str, Any] = {"fusion": tested, "fit_seconds": timed, "rivals": rivals}
        report = measure_split(dataset, split, reading, chosen, settings, progress=told, **more)
        if cross is not None:
            some = _questions(dataset, split, limit=settings.ranking.rerank.questions, seed=settings.ranking.seed)
            on_test = reranking.compare(tested, some, cross, dataset, reading.texts, settings, told)
            reranked = {**reranked, "test": on_test}
        del tested, more
    else:
        notes = (*notes, "not measured: the test part holds no item that is new to its user")
    if reranked:
        notes = (*notes, reranking.told_of(reranked))
    told("fit on everything", 0, 0)
    chosen = dataclasses.replace(
        chosen, params={name: found for name, found in chosen.params.items() if enters_mix(name)}
    )
    fusion = fit(dataset, dataset.events, reading, chosen, settings, steps, told)
    models = {
        name: {"kind": kind_of(name)[0], "params": {**fit_, **run}} for name, (fit_, run) in chosen.params.items()
    }
    rows = [dataclasses.asdict(row) for row in report.rows if row.slice == "all"] if report else []
    extra = {
        "chosen": MIX,
        "validation": {
            "scorers": dict(chosen.scores),
            "mixes": dict(chosen.mix_scores),
            "why": chosen.why,
            "calibration": chosen.calibrated,
        },
        "weights": dict(zip(chosen.mix.names, chosen.mix.weights.tolist(), strict=True)),
        "notes": list(notes),
        **({"rerank": reranked} if reranked else {}),
        **reading.made,
    }
    told("write the release", 0, 0)
    releases.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=releases, prefix=".measured-") as name:
        measured = Path(name) if report else None
        if report and measured:
            report.write(measured)
        folder = write_release(
            releases,
            dataset,
            settings,
            fusion,
            models,
            reading.encoders,
            rows,
            measured,
            extra,
            chosen.calibration,
            use,
            cross,
        )
    return folder, report


def evaluate_models(
    dataset: Dataset,
    settings: Settings,
    models: Iterable[str] = (),
    *,
    split: Split | None = None,
    lists: Mapping[str, OutsideLists] | None = None,
    progress: Progress | None = None,
    steps: Path | None = None,
) -> tuple[Report, Report | None]:
    """The reports of the next-item question and, where the split knows a cut in time, of one list per user.

    Args:
        models: scorer names and `mix`; empty = all scorers of the settings and the mix. A scorer's numbers do not
            depend on what else is named; one that the settings do not hold joins the mix. With the text tower come
            its controls (`evaluate.controls`), and with both towers their headroom.
        split: parts that the data names itself, of the kind `given`; None divides the log as the settings say.
        lists: answers that were made elsewhere, by name; each is in the report whose questions it answers.

    Raises:
        DataError: the events cannot be split, the test holds no question, or lists answer none.
        SettingsError: a scorer or encoder that does not exist.
    """
    told = progress or untold
    settings = with_fallback(settings)
    own, fallback = settings.retrieval.scorers, settings.ranking.fallback
    names = tuple(dict.fromkeys(models)) or (*own, MIX)
    if settings.evaluate.controls and "text_tower" in names:
        names = tuple(dict.fromkeys((*names, *(f"text_tower_{spoilt}" for spoilt in CONTROLS))))
    wanted = [name for name in names if name != MIX]
    for name in wanted:
        find("scorers", kind_of(name)[0])
    # Without the mix only what is asked for is fitted, and the fallback, which answers where a scorer cannot.
    fitted = own if MIX in names else tuple(name for name in own if name in (*wanted, fallback))
    retrieval = dataclasses.replace(settings.retrieval, scorers=tuple(dict.fromkeys((*fitted, *wanted))))
    settings = dataclasses.replace(settings, retrieval=retrieval)
    check(settings)
    split = split or split_events(dataset.events, len(dataset.users), settings.split)
    asked = _answering(dataset, split, settings, lists or {})
    reading = read_texts(dataset, settings, told, split.train, steps)
    chosen = choose(dataset, split, reading, settings, told, steps, mix=MIX in names)
    told("fit for the test", 0, 0)
    timed: dict[str, float] = {}
    fusion = fit(dataset, _before_test(split), reading, chosen, settings, steps, told, timed)
    fitted_in: dict[str, Any] = {"fusion": fusion, "fit_seconds": timed, "progress": told}
    reports = []
    for question, rivals in asked.items():
        more = {**fitted_in, "question": question, "rivals": rivals}
        reports.append(measure_split(dataset, split, reading, chosen, settings, (*names, *rivals), **more))
    return reports[0], reports[1] if len(reports) > 1 else None


def _answering(
    dataset: Dataset, split: Split, settings: Settings, lists: Mapping[str, OutsideLists]
) -> dict[Question, dict[str, OutsideLists]]:
    """The questions that are asked, and the lists made elsewhere that answer them.

    Raises:
        DataError: lists answer none of them.
    """
    questions: tuple[Question, ...] = ("next item", "per user") if split.kind == "time" else ("next item",)
    asked: dict[Question, dict[str, OutsideLists]] = {}
    for question in questions:
        targets = _at_most(_questions(dataset, split, question), settings, len(dataset.catalogue))
        asked[question] = {name: one for name, one in lists.items() if one.answers(targets)}
    for name, one in lists.items():
        if not any(name in rivals for rivals in asked.values()):
            way_out = "they have none of these rows" if one.by == "event" else "each user asks many"
            raise DataError(
                f"lists {name}: answer no question of this test: {way_out}; give a column `event` as questions.parquet "
                "of an evaluation has it",
                field="lists",
            )
    return asked


def with_fallback(settings: Settings) -> Settings:
    """The settings whose fallback is fitted: in place of one that is not, the first popularity among the scorers.

    Without it lists would be filled in the catalogue's order, and starters be drawn from no popularity at all.
    """
    scorers = settings.retrieval.scorers
    popular = [name for name in scorers if name.startswith("popular")]
    if settings.ranking.fallback in scorers or not popular:
        return settings
    return dataclasses.replace(settings, ranking=dataclasses.replace(settings.ranking, fallback=popular[0]))


def read_texts(
    dataset: Dataset, settings: Settings, told: Progress, events: Events | None = None, steps: Path | None = None
) -> Reading:
    """Every item's text, read once: the vectors come from the cache where the text was read before.

    Args:
        events: of the training part, for the encoder to be adapted and made cheaper as the settings say; None takes
            it as it is.
        steps: where finished steps are kept; None = the cache folder.
    """
    texts = dataset.catalogue.texts(settings.encoder.fields)
    spaces = {getattr(find("scorers", kind_of(name)[0]), "space", None) for name in settings.retrieval.scorers}
    wanted = [space for space in ("vectors", "tokens") if space in spaces]
    if not wanted:
        return Reading({}, {}, texts)
    own = reader(dataset, events, settings, told, steps)
    encoder = own.encoder
    encoders = {"vectors": encoder, "tokens": encoder.static()}
    folder = Path(settings.encoder.cache) if settings.encoder.cache else cache_folder()
    vectors = {space: encode_cached(encoders[space], texts, folder / "vectors", progress=told) for space in wanted}
    notes = (*own.notes, *_strange(encoder, texts, settings.encoder.name))
    return Reading({space: encoders[space] for space in wanted}, vectors, texts, own.made, notes)


def _strange(encoder: Any, texts: Sequence[str], name: str) -> list[str]:
    """A note where the encoder does not know a good part of what the texts are made of."""
    if not hasattr(encoder, "unknown_share"):
        return []
    share = encoder.unknown_share(texts[:: len(texts) // LOOKED_AT + 1])
    if share < UNKNOWN:
        return []
    return [
        f"the encoder {name} does not know {share:.0%} of the tokens of the texts, so it hardly reads them; "
        "encoder.name takes a model of their language (docs/encoders.md)"
    ]


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
    steps: Path | None = None,
    fit_seconds: Mapping[str, float] | None = None,
    rivals: Mapping[str, Any] | None = None,
) -> Report:
    """Fits on what lies before the test (leave-one-out: on training alone) and measures on the test.

    Args:
        names: models in the order of the report; empty = all.
        fusion: what was fitted so before; None fits it.
        fit_seconds: what that took, by scorer.
        rivals: further scorers by name, measured beside these.

    Raises:
        DataError: the test holds no question.
    """
    told = progress or untold
    seen = _before_test(split)
    targets = _at_most(_questions(dataset, split, question), settings, len(dataset.catalogue))
    if not len(targets):
        raise DataError("the test part holds no item that is new to its user: there is nothing to measure")
    if fusion is None:
        told("fit for the test", 0, 0)
        timed: dict[str, float] = {}
        fit_seconds = timed
        fusion = fit(dataset, seen, reading, chosen, settings, steps, told, timed)
    fallback: Any = fusion.scorers.get(settings.ranking.fallback)
    if fusion.near is None:
        fusion = finding_candidates(fusion, settings, seen, len(dataset.users))
    mix: Any
    if fusion.near is None:
        mix = _Levelled(fusion)
        singles: dict[str, Any] = {
            name: scorer if fallback is None else WithFallback(scorer, fallback)
            for name, scorer in fusion.scorers.items()
        }
        ranked = {}
    else:
        mix = _LevelledFound(fusion, settings.ranking.retrieved)
        singles = {name: Alone(scorer, fallback) for name, scorer in fusion.scorers.items()}
        ranked = {"candidates": _RANKED.format(retrieved=settings.ranking.retrieved)}
    calibrated = None
    if chosen.calibration is not None:
        calibrated = (MIX, partial(mix.probabilities, chosen.calibration))
    models: dict[str, Any] = {**singles, **(rivals or {}), MIX: mix}
    wanted = list(names) or list(models)
    stamp = {
        "question": question,
        "split": split.kind,
        "leaks": "; ".join(filter(None, (split.leaks, LAST_LEAK if settings.data.repeats == "last" else ""))),
        "cut": list(settings.split.cut) if split.kind == "time" else None,
        "valid_from": split.valid_from,
        "test_from": split.test_from,
        "equal_times": settings.data.equal_times,
        "data": dataset.hash(),
        "n_users": len(dataset.users),
        "n_items": len(dataset.catalogue),
        "n_events": len(dataset.events),
        "encoders": reading.identities,
        **reading.made,
        "params": {name: {**fit_, **run} for name, (fit_, run) in chosen.params.items()},
        "validation": dict(chosen.scores),
        "mix": {**chosen.mix.to_dict(), "validation": dict(chosen.mix_scores), "ranker": chosen.why},
        "empty_history": settings.ranking.fallback,
        "versions": versions(),
        **ranked,
    }
    outside = {name: one.told(targets) for name, one in models.items() if isinstance(one, OutsideLists)}
    stamp |= {"lists": outside} if outside else {}
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
        beside=_beside(wanted),
        titles=dataset.catalogue.titles,
        fit_seconds=fit_seconds,
        calibrated=calibrated,
        progress=told,
    )


class _LevelledFound:
    """The mix over candidates, which remembers the level of each question that it was asked, in the order of asking."""

    def __init__(self, fusion: Fusion, retrieved: int) -> None:
        self._mixed, self._n = Mixed(fusion, retrieved), fusion.n_items
        self._levels: list[FloatVector] = []

    def answer(self, block: QueryBlock, k: int, also: Candidates) -> Answered:
        answered = self._mixed.answer(block, k, also)
        known = answered.found | ~np.isin(answered.asked.nums, sample_of(self._n))
        found = Candidates.of([answered.asked.nums[lo:hi][known[lo:hi]] for lo, hi in pairwise(answered.asked.offsets)])
        self._levels.append(total_of(found, answered.asked, answered.scores, block, self._n))
        return answered

    def probabilities(self, calibration: Calibration, scores: FloatMatrix) -> FloatMatrix:
        """(q, K) probabilities of listed scores of all questions that were asked."""
        return calibration.probability(scores - np.concatenate(self._levels)[:, None])


class _Levelled:
    """The mix, which remembers the level of each question that it was asked, in the order of asking."""

    def __init__(self, fusion: Fusion) -> None:
        self._fusion = fusion
        self._levels: list[FloatVector] = []

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        scores = self._fusion.score_block(block)
        self._levels.append(levels(scores, block))
        return scores

    def probabilities(self, calibration: Calibration, scores: FloatMatrix) -> FloatMatrix:
        """(q, K) probabilities of listed scores of all questions that were asked."""
        return calibration.probability(scores - np.concatenate(self._levels)[:, None])


def _beside(names: Iterable[str]) -> dict[str, Control | Bound]:
    """The controls among the names, and the headroom of the towers."""
    spoilt = {name: kind_of(name) for name in names}
    controls: dict[str, Control | Bound] = {
        name: Control(kind, CONTROLS[own["control"]]) for name, (kind, own) in spoilt.items() if "control" in own
    }
    return {**controls, "oracle_union": Bound(TOWERS)}


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


def _questions(
    dataset: Dataset, split: Split, question: Question = "next item", limit: int | None = None, seed: int = 0
) -> Targets:
    """What the test asks; of next items at most so many, drawn by the seed."""
    before = joined(split.train, split.valid)
    if question == "next item":
        return next_item(before, split.test, len(dataset.users), limit, seed)
    return per_user(before, split.test, len(dataset.users))


def _at_most(targets: Targets, settings: Settings, n_items: int) -> Targets:
    """The questions, or as many of them as the settings allow, drawn at random and in order."""
    most = settings.evaluate.max_questions
    if not most and n_items > settings.ranking.dense_below:
        most = LARGE_QUESTIONS
    if not most or len(targets) <= most:
        return targets
    rng = np.random.default_rng(settings.evaluate.seed)
    return targets.take(np.sort(rng.choice(len(targets), most, replace=False)))
