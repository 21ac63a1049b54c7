"""How signals become one score, learned on validation: the weights of the mix, then trees over it.

Each weight and tree is judged on users that it did not learn from. The simpler way stays in use unless the other is
better with an interval that does not hold zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec import asking
from langrec.errors import DataError, LangrecError
from langrec.evaluation.intervals import Resamples, percentiles
from langrec.evaluation.protocol import Targets, target_ranks
from langrec.protocols import Progress, untold
from langrec.ranking.facts import Facts
from langrec.ranking.features import candidate_features, feature_names
from langrec.ranking.fusion import Fusion, Signal
from langrec.ranking.mix import Mix, MixSamples, log_features, ranks_in
from langrec.ranking.rerank import candidates_of, holding
from langrec.ranking.trees import Trees, with_step
from langrec.ranking.voting import Ballot
from langrec.settings import RankingSettings
from langrec.types import FloatMatrix, FloatVector, Mask

Gains = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.int64]
# Questions on which rank fusion is compared with the linear mix, about: it sorts whole catalogues.
JUDGED = 1000
# With how many of `SITUATION`, the first, weights may bend: how much and how lately someone takes, then what.
BENDS = (2, 4)
# By how much the weights of what is said of new items alone may grow.
ROOM = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
# What trees may add to new items, in nats.
LIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What validation made of the signals.

    Attributes:
        mix: weights, or rank fusion.
        trees: boosted over the mix; None where they were not wanted, or did not win.
        scores: of both kinds of mix, validation NDCG@10 on users that the weights did not learn from.
        why: one sentence on the choice of trees, with its interval.
    """

    mix: Mix
    trees: Trees | None
    scores: dict[str, float]
    why: str


def learn(
    fusion: Fusion, facts: Facts, questions: Targets, settings: RankingSettings, told: Progress = untold
) -> Learned:
    """The mix of the fusion's signals, and trees over it.

    Every question is answered by weights that were learned from the other half of the users, so that the trees boost
    over scores as they will meet them: of people whom the mix has not seen.

    Args:
        fusion: scorers fitted on training, with rank fusion as its mix; one that finds candidates learns from these.
        facts: of items and users, from training.
        questions: of the validation period.
        told: is told how many questions are done.
    """
    names = [signal.name for signal in fusion.signals]
    samples = MixSamples(names, settings.seed)
    judged = _judged(len(questions))
    if fusion.near is None:
        ranks = _gather(samples, fusion, questions, judged, told)
    else:
        ranks = asking.gather(samples, fusion, questions, judged, settings, told)
    ballot = Ballot(gain(ranks).mean(axis=1), settings.rrf_k)
    odd = questions.block.users % 2 == 1
    scores = {"rrf": float("nan"), "linear": float("nan")}
    if not odd.any() or odd.all():
        mix = fusion.mix if settings.mix == "rrf" else samples.fit()
        return Learned(mix, None, scores, "one half of the users has no question, so nothing could be judged")
    mix, *halves = with_room(
        samples, bending(samples, questions.block.users, settings.seed), odd, fusion.signals, settings.new_cost
    )
    del samples  # the largest thing in memory; what follows makes its own
    answered = _answer if fusion.near is None else _answer_found
    if settings.mix == "rrf":
        settings = replace(settings, ranker="none")  # trees look at what the linear mix holds best
    rows = answered(fusion, facts, questions, halves, odd, ballot, settings, told)
    fused, way = _elected(ballot, rows.fused, odd)
    scores["rrf"], scores["linear"] = float(np.nanmean(fused)), float(rows.linear.mean())
    if settings.mix == "rrf":
        return Learned(ballot.mix(names, way), None, scores, "settings.ranking.mix is rrf")
    asked = ~np.isnan(fused)
    pair = np.stack([fused, rows.linear], axis=1)[asked]
    if settings.mix == "auto" and difference(pair, questions.block.users[asked], settings.seed)[0] > 0:
        why = "rank fusion was better than learned weights, with an interval above 0"
        return Learned(ballot.mix(names, way), None, scores, why)
    trees, why = None, "settings.ranking.ranker is none"
    if settings.ranker != "none":
        new = any(signal.only == "new" for signal in fusion.signals)
        trees, why = _trees(rows, questions.block.users, fusion.is_rare()[questions.items], new, settings)
    return Learned(mix, trees, scores, why)


def _judged(n: int) -> Mask:
    """(n,) True for the questions that rank fusion is asked."""
    judged: Mask = np.arange(n) % max(1, n // JUDGED) == 0
    return judged


def _gather(samples: MixSamples, fusion: Fusion, questions: Targets, judged: Mask, told: Progress) -> Ranks:
    """Adds the questions' signals to the samples; (s, judged) ranks of their right answers by each signal alone."""
    done = 0
    ranks = [np.zeros((len(fusion.signals), 0), dtype=np.int64)]
    for part in blocks(questions, fusion):
        seen = [part.block.history(i) for i in range(len(part))]
        raw = fusion.signal_scores(part.block)
        samples.add(raw, seen, part.items, fusion.situations.of(part.block))
        asked = np.flatnonzero(judged[done : done + len(part)])
        if len(asked):
            mine = part.take(asked)
            ranks.append(np.stack([target_ranks(own[asked], mine) for own in raw]))
        done += len(part)
        told("learn the mix", done, 2 * len(questions))
    return np.concatenate(ranks, axis=1)


def _elected(ballot: Ballot, gains: Gains, odd: Mask) -> tuple[Gains, int]:
    """What rank fusion gains on users who had no voice in its choice, NaN where it was not asked; the choice of all."""
    asked = ~np.isnan(gains[0])
    by_even, by_odd = (ballot.best(gains[:, asked & half]) for half in (~odd, odd))
    return np.where(odd, gains[by_even], gains[by_odd]), ballot.best(gains[:, asked])


def bending(samples: MixSamples, users: npt.NDArray[Any], seed: int) -> tuple[Mix, Mix, Mix]:
    """The mix of all questions, that of the even users' alone, and that of the odd users' alone.

    The weights bend with as much of the situation as makes the answers of users whom the weights did not see surely
    likelier.

    Args:
        users: (q,) of the questions.
    """
    odd = users % 2 == 1
    parts = (np.flatnonzero(~odd), np.flatnonzero(odd))

    def unseen(halves: Sequence[Mix]) -> npt.NDArray[np.float64]:
        return np.where(odd, samples.losses(halves[0]), samples.losses(halves[1]))

    plain = samples.fit()
    best, halves = plain, [samples.fit(rows=rows, start=plain) for rows in parts]
    lost = unseen(halves)
    for bends in BENDS:
        bent = [samples.fit(rows=rows, start=half, bends=bends) for rows, half in zip(parts, halves, strict=True)]
        theirs = unseen(bent)
        if difference(np.stack([lost, theirs], axis=1), users, seed)[0] > 0:
            best, halves, lost = samples.fit(start=best, bends=bends), bent, theirs
    return best, halves[0], halves[1]


def with_room(
    samples: MixSamples, mixes: tuple[Mix, Mix, Mix], odd: Mask, signals: Sequence[Signal], cost: float
) -> tuple[Mix, Mix, Mix]:
    """The same mixes with more weight on what is said of new items alone.

    The likeliest weights hardly ever let a new item onto a list, as it seldom is the answer; yet lists bear more of
    them at next to no loss. The weights grow as far as validation NDCG@10, on users that they were not learned from,
    stays within a share of its best.

    Args:
        mixes: of all questions, of the even users' alone, and of the odd users' alone.
        odd: (q,) True for questions of odd users.
        cost: that share.
    """
    new = np.array([signal.only == "new" for signal in signals], dtype=np.float32)
    if not new.any():
        return mixes
    parts = (np.flatnonzero(odd), np.flatnonzero(~odd))
    gains = [gain(samples.ranks(mix, new, ROOM, rows)) for mix, rows in zip(mixes[1:], parts, strict=True)]
    more = ROOM[_most(np.concatenate(gains, axis=1), cost)]
    whole, by_even, by_odd = (replace(mix, weights=mix.weights + np.float32(more) * new) for mix in mixes)
    return whole, by_even, by_odd


def gain(ranks: Ranks) -> Gains:
    """NDCG@10 of single targets by rank."""
    return np.where(ranks <= 10, 1.0 / np.log2(1.0 + ranks), 0.0)


def blocks(questions: Targets, fusion: Fusion) -> Iterator[Targets]:
    """Blocks of questions whose signals stay within some 64 MB; there are a few such arrays at a time."""
    size = max(1, 64_000_000 // (4 * max(len(fusion.signals), 1) * max(fusion.n_items, 1)))
    for start in range(0, len(questions), size):
        yield questions.slice(start, start + size)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Candidates of the questions whose right answer is among them, one question after the other.

    The others' gain is 0 whatever trees say, and they teach trees nothing: `groups` holds 0 for these.

    Attributes:
        names: f features.
        x: (m, f) features.
        base: (m,) scores of the mix.
        labels: (m,) 1 for the right answer.
        groups: (q,) candidates of each question.
        linear: (q,) NDCG@10 of the mix.
        fused: (ways, q) NDCG@10 of rank fusion by each way of the ballot, NaN where it was not asked.
    """

    names: tuple[str, ...]
    x: FloatMatrix
    base: FloatVector
    labels: npt.NDArray[np.int8]
    groups: npt.NDArray[np.int64]
    linear: Gains
    fused: Gains

    def of(self, questions: Mask) -> tuple[FloatMatrix, npt.NDArray[np.int8], npt.NDArray[np.int64], FloatVector]:
        """Those of some questions, as trees are trained from."""
        if questions.all():
            return self.x, self.labels, self.groups, self.base
        rows = np.repeat(questions, self.groups)
        return self.x[rows], self.labels[rows], self.groups[questions], self.base[rows]


def _answer_found(
    fusion: Fusion,
    facts: Facts,
    questions: Targets,
    halves: Sequence[Mix],
    odd: Mask,
    ballot: Ballot,
    settings: RankingSettings,
    told: Progress,
) -> _Rows:
    """As `_answer`, of the candidates that the retrievers find."""
    some = _judged(len(questions))
    found = asking.answer(fusion, facts, questions, halves, odd, ballot, some, settings, told)
    return _Rows(
        feature_names(facts, fusion.names, fusion.text_vectors is not None),
        found.x,
        found.base,
        found.labels.astype(np.int8),
        found.groups,
        gain(found.linear),
        np.where(some, gain(found.fused), np.nan),
    )


def _answer(
    fusion: Fusion,
    facts: Facts,
    questions: Targets,
    halves: Sequence[Mix],
    odd: Mask,
    ballot: Ballot,
    settings: RankingSettings,
    told: Progress,
) -> _Rows:
    """Every question answered by the mix of the other half of the users: its gains, and its candidates' features."""
    names = [signal.name for signal in fusion.signals]
    vectors = fusion.text_vectors
    judged = _judged(len(questions))
    x: list[FloatMatrix] = []
    base: list[FloatVector] = []
    labels: list[Mask] = []
    groups: list[int] = []
    linear: list[Gains] = []
    fused: list[Gains] = []
    done = 0
    for part in blocks(questions, fusion):
        raw = fusion.signal_scores(part.block)
        place = np.arange(done, done + len(part))
        done += len(part)
        asked = np.flatnonzero(judged[place])
        ranked = np.full((len(ballot.ways), len(part)), np.nan)
        if len(asked):
            some = part.take(asked)
            ranked[:, asked] = [gain(target_ranks(said, some)) for said in ballot.merged(ranks_in(raw[:, asked]))]
        logs = log_features(raw)
        mixed = np.empty(logs.shape[1:], dtype=np.float32)
        situations = fusion.situations.of(part.block)
        # The first half's weights were learned from even users, so they answer the odd ones.
        for mix, mine in zip(halves, (odd[place], ~odd[place]), strict=True):
            weights = mix.weights_in(situations[mine])
            mixed[mine] = np.einsum("sq,sqn->qn", weights, logs[:, mine], optimize=True)
        fused.append(ranked)
        linear.append(gain(target_ranks(mixed, part)))
        told("learn the mix", len(questions) + done, 2 * len(questions))
        if settings.ranker == "none":
            continue
        nums = candidates_of(names, logs, mixed, part.block, settings.depth)
        nums = holding(nums, [target in own for own, target in zip(nums, part.items, strict=True)])
        x.append(candidate_features(facts, names, logs, mixed, part.block, nums, vectors))
        base.extend(mixed[i, own] for i, own in enumerate(nums))
        labels.extend(own == target for own, target in zip(nums, part.items, strict=True))
        groups.extend(len(own) for own in nums)
    columns = feature_names(facts, names, vectors is not None)
    return _Rows(
        columns,
        np.concatenate(x) if x else np.zeros((0, len(columns)), np.float32),
        np.concatenate([np.zeros(0, np.float32), *base]),
        np.concatenate([np.zeros(0, np.bool_), *labels]).astype(np.int8),
        np.array(groups, dtype=np.int64),
        np.concatenate(linear),
        np.concatenate(fused, axis=1),
    )


def _trees(
    rows: _Rows, users: npt.NDArray[Any], rare: Mask, new: bool, settings: RankingSettings
) -> tuple[Trees | None, str]:
    """Trees from all questions, where trees from one half of the users please the other half; and why.

    Both halves judge: a quarter of the users says after how many rounds the other half's trees should stop, another
    quarter compares these with the mix. The trees are taken where they are better with an interval above zero, or where
    they are no worse on the whole and that much better on rare and new items, where the mix is weak. They take back
    much of the room that the mix gave to new items, and one more tree gives it again, by the same rule.

    Args:
        users: (q,) of the questions.
        rare: (q,) True where the right answer is an item with few events or none.
        new: new items get room.
    """
    from langrec.ranking.boosting import train_trees

    options: dict[str, Any] = {
        "rate": settings.tree_rate,
        "leaves": settings.tree_leaves,
        "min_leaf": settings.tree_min_leaf,
        "seed": settings.seed,
    }
    grown: list[int] = []
    gains, judges, judged_by = [], [], []
    unseen = rows.names.index("unseen")
    for half in (0, 1):
        counted, judged = (users % 4 == 1 - half), (users % 4 == 3 - half)
        try:
            trial, rounds = train_trees(
                *rows.of(users % 2 == half), rows.of(counted), rows.names, rounds=settings.trees, **options
            )
        except DataError as error:
            return None, f"trees: {error.message}"
        except LangrecError as error:  # LightGBM is not there: the mix serves alone, and the release says so.
            return None, f"no trees: {error.message}"
        grown.append(rounds)
        x, labels, groups, base = rows.of(judged)
        theirs = _gains(base, labels, groups)
        told = base + trial.predict(x) if rounds else base
        ours = _gains(told, labels, groups) if rounds else theirs
        judged_by.append((told, x[:, unseen], labels, groups))
        gains.append(np.stack([ours, theirs], axis=1))
        judges.append(np.flatnonzero(judged))
    compared, judged = np.concatenate(gains), np.concatenate(judges)
    why, better = "no round of boosting was better than the mix", False
    if any(grown) and len(compared):
        why, low, mean = _compare(compared, users[judged], settings.seed)
        better = low > 0
        some = rare[judged]
        if not better and mean >= 0 and some.any():
            on_rare, low, _ = _compare(compared[some], users[judged][some], settings.seed)
            better, why = low > 0, f"{why}; on rare and new items {on_rare}"
    if not better and settings.ranker == "auto":
        return None, f"the mix alone: {why}"
    everything = rows.of(np.ones(len(users), dtype=np.bool_))
    rounds = max(round(float(np.mean(grown))), 1)
    trees, _ = train_trees(*everything, None, rows.names, rounds=rounds, **options)
    if new:
        steps = [
            np.concatenate([_gains(told + more * of_new, labels, groups) for told, of_new, labels, groups in judged_by])
            for more in LIFTS
        ]
        if more := LIFTS[_most(np.stack(steps), settings.new_cost)]:
            trees = with_step(trees, "unseen", more, float(rows.x[:, unseen].mean()))
            why = f"{why}; and {more:g} more for new items"
    return trees, f"trees: {why}"


def _most(gains: Gains, cost: float) -> int:
    """The last step whose mean of (steps, q) gains is within a share of the best step's; the first where none gains."""
    means = gains.mean(axis=1) if gains.size else np.zeros(1)
    if not means.any():
        return 0
    return int(np.flatnonzero(means >= (1.0 - cost) * means.max())[-1])


def _compare(gains: Gains, users: npt.NDArray[Any], seed: int) -> tuple[str, float, float]:
    """NDCG@10 with trees and without (q, 2), in words; the lower end of the difference's interval, and its mean."""
    low, high = difference(gains, users, seed)
    ours, theirs = gains.mean(axis=0)
    words = f"NDCG@10 {ours:.4f} with trees, {theirs:.4f} without {told_interval(low, high)}"
    return words, low, float(ours - theirs)


def difference(gains: Gains, users: npt.NDArray[Any], seed: int) -> tuple[float, float]:
    """95 % interval, by user, of the first column of gains (q, 2) less the second; NaN of too few users."""
    means = Resamples(users, 1000, seed).means((gains[:, 0] - gains[:, 1])[:, None])
    low, high = percentiles(means, 0.95)
    return float(low[0]), float(high[0])


def told_interval(low: float, high: float) -> str:
    """An interval in words."""
    return f"[{low:+.4f}, {high:+.4f}]" if low == low else "[no interval: too few users]"


def _gains(scores: FloatVector, labels: npt.NDArray[np.int8], groups: npt.NDArray[np.int64]) -> Gains:
    """(q,) NDCG@10 of each question's candidates; candidates of one score keep their order."""
    starts = np.concatenate([[0], np.cumsum(groups)])
    out = np.zeros(len(groups))
    for i in range(len(groups)):
        mine = labels[starts[i] : starts[i + 1]]
        order = np.argsort(-scores[starts[i] : starts[i + 1]], kind="stable")[:10]
        place = np.flatnonzero(mine[order])
        out[i] = 1.0 / np.log2(2.0 + place[0]) if len(place) else 0.0
    return out
