"""What validation decides: each scorer's settings, then the mix; and the fit of what was decided.

Each choice is kept under a hash of all that it depends on, so that a second run takes it over.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from langrec import asking, finding, loops
from langrec.data.cache import cache_folder
from langrec.data.dataset import Dataset
from langrec.data.events import Events
from langrec.data.fitting import FitData, FittableScorer
from langrec.data.splits import Split
from langrec.entering import enters_mix, signals
from langrec.errors import BundleError, DataError, SettingsError
from langrec.evaluation.found import MANY, MANY_ROWS, few
from langrec.evaluation.lists import top_lists
from langrec.evaluation.protocol import Targets, next_item, target_ranks
from langrec.fusing import Gains, blocks, gain, learn
from langrec.protocols import Progress, Searched
from langrec.ranking.alone import best_alone
from langrec.ranking.calibration import Calibration, levels
from langrec.ranking.facts import Facts
from langrec.ranking.fusion import Fusion
from langrec.ranking.mix import Mix, rrf_mix
from langrec.ranking.near import pointwise
from langrec.ranking.rerank import Reranker
from langrec.ranking.situation import SITUATION
from langrec.ranking.trees import Trees
from langrec.recipe import to_dict
from langrec.registry import find, kind_of
from langrec.settings import RankingSettings, Settings
from langrec.steps import Steps, step_hash
from langrec.types import FloatMatrix, FloatVector, IntVector, Mask, QueryBlock

# With fewer questions that the mix did not learn from, the calibration looks at all.
FEWEST_FRESH = 200
# Ranks that NDCG@10 looks at.
RANKED = 10
# From so many questions of the mix on whose answer is new. Where nobody chose new items all that could be learned is to
# hide them; what places for them cost the others tell well enough, however few chose them.
FEWEST_NEW = 20


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the encoders read from the catalogue: encoders and (n, d) item vectors by space.

    Attributes:
        made: how the encoder was adapted and made cheaper, see `adapting.Reader`.
        notes: what of that could not be done.
    """

    encoders: Mapping[str, Any]
    vectors: Mapping[str, FloatMatrix]
    texts: list[str]
    made: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
        trees: over the mix, where validation favoured them.
        why: one sentence on that choice, with its interval.
        calibration: from scores of the mix, with its trees, to probabilities; None = not wanted, or not possible.
        calibrated: what it was learned from, or why there is none.
    """

    params: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]
    scores: Mapping[str, float]
    mix: Mix
    mix_scores: Mapping[str, float]
    notes: tuple[str, ...] = ()
    trees: Trees | None = None
    why: str = ""
    calibration: Calibration | None = None
    calibrated: str = ""


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
    if len(dataset.catalogue) > settings.ranking.dense_below:
        loops.start()  # scorers are tried on what they find, as a large release is served
    kept = Steps(cache_folder() / "steps" if steps is None else steps)
    inputs = {
        "data": dataset.hash(),
        "texts": _texts_hash(reading.texts),
        "split": to_dict(settings.split),
        "encoders": reading.identities,
        **({"parts": split.hash()} if split.kind == "given" else {}),
    }
    questions = next_item(
        split.train, split.valid, len(dataset.users), settings.ranking.tune_questions, settings.ranking.seed
    )
    data = replace(
        fit_data(dataset, split.train, reading, towers_folder(kept.folder), told, board_of(settings)),
        judge=lambda scorer, at_most: _ndcgs([scorer], _some(questions, at_most), settings)[0],
    )
    names = settings.retrieval.scorers
    learned_from = _mix_questions(dataset, split, settings).items
    new = int((_counts(dataset, split.train)[learned_from] == 0).sum()) >= FEWEST_NEW
    entering = [signal.name for signal in signals(names, settings, new)]
    fused = rrf_mix(entering, settings.ranking.rrf_k)
    if not len(questions):
        return _unchosen(fused, settings)
    params: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    scores: dict[str, float] = {}
    fitted: dict[str, Any] = {}

    def tune(name: str) -> dict[str, Any]:
        found, fitted[name] = _tune(name, data, questions, settings)
        return found

    for done, name in enumerate(names):
        told(f"choose {name}", done, len(names))
        own = to_dict(_section(find("scorers", kind_of(name)[0]), settings))
        key = {**inputs, "settings": own, "questions": settings.ranking.tune_questions, "seed": settings.ranking.seed}
        found = kept.run(f"tune-{name}", key, partial(tune, name))
        params[name], scores[name] = (found["fit"], found["run"]), found["ndcg"]
    if not mix:
        return Chosen(params, scores, fused, {})
    told("learn the mix", 0, 0)
    mixed = {name: found for name, found in params.items() if enters_mix(name)}
    key = {**inputs, "params": mixed, "ranking": _without_rerank(settings), "signals": entering, "situation": SITUATION}
    on_training = cache(lambda: _on_training(dataset, split, reading, mixed, settings, fitted, kept, new))
    found = kept.run(
        "mix",
        key,
        lambda: _learn(dataset, split, on_training(), settings, kept, key, told),
        whole=lambda found: "rrf_k" in found and (not found["trees"] or _kept_trees(kept, key) is not None),
    )
    weights = np.array(found["weights"], dtype=np.float32)
    slopes = np.array(found["slopes"], dtype=np.float32).reshape(-1, len(weights))
    learned = Mix(tuple(found["names"]), found["kind"], weights, found["rrf_k"], slopes)
    trees = _kept_trees(kept, key) if found["trees"] else None
    chosen = Chosen(params, scores, learned, found["scores"], trees=trees, why=found["why"])
    if not settings.calibration.fit:
        return chosen
    told("calibrate", 0, 0)
    key = {**key, "calibration": to_dict(settings.calibration)}
    curve = kept.run("curve", key, lambda: _calibrate(dataset, split, on_training(), chosen, settings))
    calibration = Calibration(*curve["curve"]) if curve["curve"] else None
    return replace(chosen, calibration=calibration, calibrated=curve["why"])


def _some(questions: Targets, at_most: int) -> Targets:
    """Evenly spread questions, at most so many."""
    every = -(-len(questions) // at_most)
    return questions if every <= 1 else questions.take(np.arange(0, len(questions), every))


def _unchosen(fused: Mix, settings: Settings) -> Chosen:
    """What is taken where there is nothing to choose by."""
    kinds: dict[str, type[FittableScorer]] = {
        name: find("scorers", kind_of(name)[0]) for name in settings.retrieval.scorers
    }
    params = {
        name: (kind.fit_grid(_section(kind, settings))[0], kind.run_grid(_section(kind, settings))[0])
        for name, kind in kinds.items()
    }
    note = (
        "not chosen: the validation part holds no item that is new to its user, so each scorer took the first point of "
        "its grid and the mix is rank fusion"
    )
    nothing = float("nan")
    return Chosen(params, dict.fromkeys(kinds, nothing), fused, {"rrf": nothing, "linear": nothing}, (note,))


def fit(
    dataset: Dataset,
    events: Events,
    reading: Reading,
    chosen: Chosen,
    settings: Settings,
    steps: Path | None = None,
    told: Progress | None = None,
    timed: dict[str, float] | None = None,
) -> Fusion:
    """All scorers with their chosen settings on these events, and the mix over them.

    Args:
        steps: where finished steps are kept; None = the cache folder.
        told: is told how far a long fit is.
        timed: is given the seconds of each scorer's fit; a kept one's are those of its training, where they are known.
    """
    kept = towers_folder(cache_folder() / "steps" if steps is None else steps)
    data = fit_data(dataset, events, reading, kept, told, board_of(settings))
    scorers = {}
    for name, (fit_, run) in chosen.params.items():
        start = time.perf_counter()
        scorer = _fit_one(name, data, settings, fit_)
        seconds = getattr(scorer, "seconds", time.perf_counter() - start)
        if timed is not None and seconds > 0:
            timed[name] = seconds
        scorers[name] = scorer.with_params(**run)
    second = None
    if chosen.trees is not None:
        second = Reranker(chosen.trees, Facts.of(dataset, events), settings.ranking.depth)
    return Fusion(
        scorers,
        signals(scorers, settings, any(name.endswith("@new") for name in chosen.mix.names)),
        chosen.mix,
        len(dataset.catalogue),
        settings.ranking.fallback,
        _counts(dataset, events),
        second,
    )


def fit_data(
    dataset: Dataset,
    events: Events,
    reading: Reading,
    kept: Path | None = None,
    told: Progress | None = None,
    board: Any = None,
) -> FitData:
    """What scorers are fitted from, on these events alone."""
    n_users, n_items = len(dataset.users), len(dataset.catalogue)
    return FitData(events, n_users, n_items, reading.texts, reading.vectors, kept=kept, told=told, board=board)


def board_of(settings: Settings) -> Any:
    """What takes the scalars of trainings; None where the settings want none.

    Raises:
        MissingExtra: TensorBoard, or what training.track names, is not installed.
        SettingsError: training.track without a folder.
    """
    if not settings.training.tensorboard:
        if settings.training.track:
            raise SettingsError("training.track: needs training.tensorboard, the folder of the runs", field="training")
        return None
    from langrec.towers.board import Board

    return Board(Path(settings.training.tensorboard), settings.training.track)


def towers_folder(steps: Path | None) -> Path | None:
    """Where trained towers are kept beside the finished steps."""
    return None if steps is None else steps / "towers"


def _tune(name: str, data: FitData, questions: Targets, settings: Settings) -> tuple[dict[str, Any], Any]:
    """The grid point of the highest validation NDCG@10, of equal ones the first, and the scorer fitted so."""
    kind: type[FittableScorer] = find("scorers", kind_of(name)[0])
    best: dict[str, Any] = {"ndcg": -1.0, "fit": {}, "run": {}}
    fitted = None
    section = _section(kind, settings)
    for fit_ in kind.fit_grid(section):
        scorer = _fit_one(name, data, settings, fit_)
        fit_ = {**fit_, **getattr(scorer, "settled", {})}
        runs = kind.run_grid(section)
        values = _ndcgs([scorer.with_params(**run) for run in runs], questions, settings)
        for run, value in zip(runs, values, strict=True):
            if value > best["ndcg"]:
                best, fitted = {"ndcg": value, "fit": fit_, "run": run}, scorer
    return best, fitted


def _on_training(
    dataset: Dataset,
    split: Split,
    reading: Reading,
    params: Mapping[str, tuple[dict[str, Any], dict[str, Any]]],
    settings: Settings,
    fitted: Mapping[str, Any],
    kept: Steps,
    new: bool,
) -> Fusion:
    """The scorers with their chosen settings on the training part, mixed by rank fusion.

    Args:
        fitted: scorers that were fitted with their chosen settings just before; the others are fitted here.
        new: as in `signals`.
    """
    data = fit_data(dataset, split.train, reading, towers_folder(kept.folder), board=board_of(settings))
    scorers = {}
    for name, (fit_, run) in params.items():
        scorer = fitted[name] if name in fitted else _fit_one(name, data, settings, fit_)
        scorers[name] = scorer.with_params(**run)
    inputs = signals(scorers, settings, new)
    fused = rrf_mix([signal.name for signal in inputs], settings.ranking.rrf_k)
    n_items, counts = len(dataset.catalogue), _counts(dataset, split.train)
    fusion = Fusion(scorers, inputs, fused, n_items, settings.ranking.fallback, counts)
    return finding_candidates(fusion, settings, split.train, len(dataset.users))


def finding_candidates(fusion: Fusion, settings: Settings, events: Events, n_users: int) -> Fusion:
    """The same mix with indexes to find candidates by, where the catalogue is too large to score it whole.

    Args:
        events: what the scorers were fitted on.
    """
    if fusion.n_items <= settings.ranking.dense_below:
        return fusion
    return finding.near(fusion, finding.build(fusion, settings, events, n_users)[0])


def _learn(
    dataset: Dataset,
    split: Split,
    fusion: Fusion,
    settings: Settings,
    kept: Steps,
    key: Mapping[str, Any],
    told: Progress,
) -> dict[str, Any]:
    """What `fusing.learn` finds, as JSON; trees are kept in a folder of their own."""
    ranking = settings.ranking
    questions = _mix_questions(dataset, split, settings)
    learned = learn(fusion, Facts.of(dataset, split.train), questions, ranking, told)
    if learned.trees is not None:
        learned.trees.save(_trees_folder(kept, key))
    return {
        "names": list(learned.mix.names),
        "kind": learned.mix.kind,
        "weights": learned.mix.weights.tolist(),
        "rrf_k": learned.mix.rrf_k,
        "slopes": learned.mix.slopes.tolist(),
        "scores": learned.scores,
        "why": learned.why,
        "trees": learned.trees is not None,
    }


def _mix_questions(dataset: Dataset, split: Split, settings: Settings) -> Targets:
    """Validation questions that the mix learns from; of many, a fifth is left for the calibration."""
    ranking, at_most = settings.ranking, settings.ranking.questions
    if settings.calibration.fit:
        there = len(next_item(split.train, split.valid, len(dataset.users)))
        at_most = min(at_most, there if there < 5 * FEWEST_FRESH else there * 4 // 5)
    return next_item(split.train, split.valid, len(dataset.users), at_most, ranking.seed)


def _calibrate(dataset: Dataset, split: Split, fusion: Fusion, chosen: Chosen, settings: Settings) -> dict[str, Any]:
    """The curve from scores to probabilities as JSON, and what it was learned from or why there is none.

    It is learned from validation questions that the mix and its trees did not learn from: of those they know the
    answer, and their scores would promise too much.
    """
    ranking, wanted = settings.ranking, settings.calibration
    second = None if chosen.trees is None else Reranker(chosen.trees, Facts.of(dataset, split.train), ranking.depth)
    fusion = replace(fusion, mix=chosen.mix, reranker=second)
    every = next_item(split.train, split.valid, len(dataset.users))
    learned = _mix_questions(dataset, split, settings)
    fresh = np.flatnonzero(~np.isin(every.events, learned.events))
    what = "questions that the mix did not learn from"
    if len(fresh) < FEWEST_FRESH:
        fresh = np.arange(len(every))
        what = "questions that the mix learned from, so its probabilities may be too high"
    if len(fresh) > wanted.questions:
        fresh = np.sort(np.random.default_rng(ranking.seed).choice(fresh, wanted.questions, replace=False))
    scores, labels = _listed(fusion, every.take(fresh), wanted.depth, ranking)
    try:
        curve = Calibration.fit(scores, labels)
    except DataError as error:
        return {"curve": [], "why": f"not calibrated: {error.message}"}
    return {"curve": [curve.scale, curve.offset], "why": f"{len(fresh):,} {what}"}


def _listed(fusion: Fusion, questions: Targets, depth: int, ranking: RankingSettings) -> tuple[FloatVector, Mask]:
    """Scores, less their question's level, of the best items of each question with something to go by, and which of
    them are the right answers.
    """
    scores, labels = [np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.bool_)]
    if fusion.near is not None:
        told, right = asking.listed(fusion, questions, depth, ranking)
        return np.concatenate([*scores, *told]), np.concatenate([*labels, *right])
    for part in blocks(questions, fusion):
        signals = fusion.signal_scores(part.block)
        mixed = np.asarray(fusion.parts(signals, part.block).sum(axis=0), dtype=np.float32)
        found = top_lists(mixed, part, depth)
        there = (found.nums >= 0) & ~fusion.silent(signals)[:, None]
        scores.append((found.scores - levels(mixed, part.block)[:, None])[there])
        labels.append((found.nums == part.items[:, None])[there])
    return np.concatenate(scores), np.concatenate(labels)


def _trees_folder(kept: Steps, key: Mapping[str, Any]) -> Path:
    return (kept.folder or cache_folder()) / f"trees-{step_hash('trees', key)[:20]}"


def _kept_trees(kept: Steps, key: Mapping[str, Any]) -> Trees | None:
    """The trees that were learned with the mix; None where their folder is gone or damaged."""
    try:
        return Trees.load(_trees_folder(kept, key))
    except BundleError:
        return None


def _counts(dataset: Dataset, events: Events) -> IntVector:
    """(n,) events of each item."""
    return np.bincount(events.items, minlength=len(dataset.catalogue)).astype(np.int32)


def ndcg_at_10(score: Callable[[QueryBlock], FloatMatrix], questions: Targets, block: int = 512) -> float:
    """Mean NDCG@10 of single-target questions over the full catalogue."""
    gains = [
        gain(target_ranks(score(part.block), part))
        for start in range(0, len(questions), block)
        for part in [questions.slice(start, start + block)]
    ]
    return float(np.concatenate(gains).mean())


def ndcg_found(states: Sequence[Any], questions: Targets) -> list[float]:
    """The same of each of a scorer's states, from its own best items: without a row as long as the catalogue."""
    gains: list[list[Gains]] = [[] for _ in states]
    sizes = (MANY, MANY_ROWS) if isinstance(states[0], Searched) else ()
    for part in few(questions, *sizes):
        block = replace(part.block, kept={})  # what one state reads of the histories, the next need not read again
        alive = []  # what is kept is named by the candidates it is of: none may get the name of one that is gone
        for state, found in zip(states, gains, strict=True):
            asked = best_alone(state, block, RANKED)
            alive.append(asked)
            scores = pointwise(state).score_items(block, asked)
            found.append(gain(asking.ranks_of(np.where(np.isnan(scores), -np.inf, scores), asked, part)))
    return [float(np.concatenate(found).mean()) for found in gains]


def _ndcgs(states: Sequence[Any], questions: Targets, settings: Settings) -> list[float]:
    """Mean NDCG@10 of each state of a scorer, as the size of the catalogue allows."""
    if states[0].n_items > settings.ranking.dense_below:
        return ndcg_found(states, questions)
    return [ndcg_at_10(state.score_block, questions) for state in states]


def _fit_one(name: str, data: FitData, settings: Settings, params: Mapping[str, Any]) -> FittableScorer:
    kind, own = kind_of(name)
    cls: type[FittableScorer] = find("scorers", kind)
    return cls.fit(data, _section(cls, settings), **own, **params)


def _section(kind: Any, settings: Settings) -> Any:
    """The settings that scorers of a kind read: those of its room, or a section of its own, or all."""
    name = getattr(kind, "section", "retrieval")
    return settings if name == "all" else getattr(settings, name)


def _without_rerank(settings: Settings) -> dict[str, Any]:
    """What the mix depends on: a rerank comes after it."""
    return {name: value for name, value in to_dict(settings.ranking).items() if name != "rerank"}


def _texts_hash(texts: Iterable[str]) -> str:
    """sha256 of what the text scorers read."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)} {text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
