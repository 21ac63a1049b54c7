"""How the signals of many scorers become one score: a learned linear mix, or reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from langrec.ranking.select import top_k
from langrec.ranking.situation import SITUATION
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Mask

Kind = Literal["linear", "rrf"]
Signals = npt.NDArray[np.float32]
FloatMatrix64 = npt.NDArray[np.float64]
FloatVector64 = npt.NDArray[np.float64]

# Below this many items the softmax of the fit runs over the whole catalogue; above, over a sample with correction.
WHOLE_CATALOGUE = 1_000
BEST_OF_EACH = 60
# The constant of rank fusion where nothing says better (Cormack et al. 2009).
RRF_K = 60.0
# Ranks past this one add less than a tenth of what the first adds; a full sort of a large catalogue costs much more.
RRF_DEPTH = 1_000
RANDOM_ITEMS = 500
# Ridge of the slopes, shared out among the questions: a weight bends only as far as these insist.
SLOPES_L2 = 10.0
# Newton's method ends where a step promises less than this, in nats a question; it needs about six.
NEWTON_STEPS, NEWTON_END = 50, 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """One score per item: sum over signals of weight * feature, so that each signal's part is exact.

    linear: feature = log(1 + max(x, 0) / mean of max(x, 0) over the catalogue). The logarithm tames the heavy tail of
    co-occurrence sums, the mean makes histories of all lengths alike. A signal that cannot score an item adds nothing.
    rrf: feature = 1 / (rrf_k + rank) (Cormack et al. 2009), weight 1 for voters (`voting.Ballot` says which).

    What a signal is worth depends on the person: after three events words say more than neighbours, after a break of a
    month the last item says little. So a weight may bend with the situation, linearly: weights + situation @ slopes.

    Attributes:
        names: the signals in order.
        kind: linear or rrf.
        weights: (s,) float32.
        rrf_k: the constant of rrf.
        slopes: (c, s) float32, of the first c of SITUATION; without rows the weights are the same for all.
    """

    names: tuple[str, ...]
    kind: Kind
    weights: FloatVector
    rrf_k: float = RRF_K
    slopes: FloatMatrix = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))

    def features(self, signals: Signals) -> Signals:
        """(s, q, n) what the weights weigh."""
        return rank_features(signals, self.rrf_k) if self.kind == "rrf" else log_features(signals)

    def weights_in(self, situations: FloatMatrix) -> FloatMatrix:
        """(s, q) the weights in each of q situations (q, len(SITUATION))."""
        if not len(self.slopes):
            return np.repeat(self.weights[:, None], len(situations), axis=1)
        known = situations[:, : len(self.slopes)]
        return np.asarray(self.weights[:, None] + self.slopes.T @ known.T, dtype=np.float32)

    def parts(self, signals: Signals, situations: FloatMatrix | None = None) -> Signals:
        """(s, q, n) weighted features of raw signals; their sum over s is the score. None = an ordinary situation."""
        situations = _ordinary(signals.shape[1]) if situations is None else situations
        return np.asarray(self.features(signals) * self.weights_in(situations)[:, :, None], dtype=np.float32)

    def to_dict(self) -> dict[str, object]:
        return {
            "names": list(self.names),
            "kind": self.kind,
            "weights": [float(weight) for weight in self.weights],
            "rrf_k": self.rrf_k,
            "slopes": self.slopes.tolist(),
        }


def log_features(signals: Signals) -> Signals:
    """(s, q, n) log(1 + x / mean), zero where x is NaN or not positive."""
    positive: Signals = np.fmax(signals, np.float32(0.0))
    means = positive.mean(axis=2, keepdims=True)
    positive /= np.maximum(means, 1e-12)
    return np.log1p(positive, out=positive)


def rank_features(signals: Signals, rrf_k: float) -> Signals:
    """(s, q, n) 1 / (rrf_k + rank), zero where x is NaN and past the first RRF_DEPTH; equal scores rank by number."""
    return votes_of(ranks_in(signals), rrf_k)


def ranks_in(signals: Signals) -> npt.NDArray[np.int16]:
    """(s, q, n) ranks from 1, ties by number; 0 where x is NaN and past the first RRF_DEPTH."""
    out = np.zeros(signals.shape, dtype=np.int16)
    for s in range(len(signals)):
        for q in range(signals.shape[1]):
            best = top_k(signals[s, q], RRF_DEPTH)
            out[s, q, best] = np.arange(1, len(best) + 1)
    return out


def votes_of(ranks: npt.NDArray[np.int16], rrf_k: float) -> npt.NDArray[np.float32]:
    """1 / (rrf_k + rank) of ranks of any shape; none, a rank of 0, votes 0."""
    value = np.zeros(RRF_DEPTH + 1, dtype=np.float32)
    value[1:] = 1.0 / (rrf_k + np.arange(1, RRF_DEPTH + 1))
    return value[ranks]


def rrf_mix(names: Sequence[str], rrf_k: float) -> Mix:
    """Reciprocal rank fusion of all the named signals; a constant of 0 is the usual one."""
    return Mix(tuple(names), "rrf", np.ones(len(names), dtype=np.float32), rrf_k or RRF_K)


def _ordinary(q: int) -> FloatMatrix:
    return np.zeros((q, len(SITUATION)), dtype=np.float32)


class MixSamples:
    """Collects what the linear mix learns from, block by block: features of the candidates of each question.

    A question's softmax runs over the whole catalogue where that is small, else over each signal's best and a uniform
    sample of the others whose logits are raised by log(others / sampled), which keeps the partition function unbiased.
    """

    def __init__(self, names: Sequence[str], seed: int = 0) -> None:
        self.names = tuple(names)
        self._rng = np.random.default_rng(seed)
        self._chunks: list[_Chunk] = []

    def __len__(self) -> int:
        return sum(len(chunk.starts) for chunk in self._chunks)

    def add(
        self,
        signals: Signals,
        seen: Sequence[IntVector],
        targets: IntVector,
        situations: FloatMatrix | None = None,
    ) -> None:
        """Adds questions: signals (s, q, n), history items per question, the (q,) right answers, and the situations."""
        if not len(targets):
            return
        features = log_features(signals)
        picked = [self._candidates(features[:, q], seen[q], int(target)) for q, target in enumerate(targets)]
        rows = [features[:, q, nums].T for q, (nums, _) in enumerate(picked)]
        right = [int(np.flatnonzero(nums == target)[0]) for (nums, _), target in zip(picked, targets, strict=True)]
        self._add(rows, [offset for _, offset in picked], right, situations)

    def add_found(
        self,
        logs: FloatMatrix,
        asked: Candidates,
        drawn: Mask,
        n_others: IntVector,
        targets: IntVector,
        situations: FloatMatrix | None = None,
    ) -> None:
        """Adds questions over a catalogue that is too large to look at whole.

        Args:
            logs: (s, m) log features of the candidates, the target among them and nothing of the history.
            asked: the candidates of each of q questions.
            drawn: (m,) True for those that were drawn at random from all that were not found.
            n_others: (q,) how many items the drawn ones of each question stand for.
            targets: (q,) the right answers.
        """
        rows, offsets, right = [], [], []
        for q, target in enumerate(targets):
            mine = slice(asked.offsets[q], asked.offsets[q + 1])
            rows.append(np.ascontiguousarray(logs[:, mine].T))
            own = drawn[mine]
            raised = np.log(max(int(n_others[q]), 1) / max(int(own.sum()), 1))
            offsets.append(np.where(own, raised, 0.0).astype(np.float32))
            right.append(int(np.searchsorted(asked.nums[mine], target)))
        if rows:
            self._add(rows, offsets, right, situations)

    def _add(
        self,
        rows: Sequence[FloatMatrix],
        offsets: Sequence[FloatVector],
        right: Sequence[int],
        situations: FloatMatrix | None,
    ) -> None:
        """Adds the features, what is added to the logits, and the row of the right answer of each question."""
        lengths = np.array([len(own) for own in rows])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        situations = _ordinary(len(rows)) if situations is None else situations
        chunk = _Chunk(
            np.concatenate(rows),
            np.concatenate(offsets),
            starts,
            lengths,
            starts + np.asarray(right, dtype=np.int64),
            situations,
        )
        self._chunks.append(chunk)

    def _candidates(self, features: FloatMatrix, seen: IntVector, target: int) -> tuple[IntVector, FloatVector]:
        n = features.shape[1]
        free = np.ones(n, dtype=np.bool_)
        free[seen[seen < n]] = False
        free[target] = True
        if n <= WHOLE_CATALOGUE:
            nums = np.flatnonzero(free).astype(np.int32)
            return nums, np.zeros(len(nums), dtype=np.float32)
        masked = np.where(free, features, -1.0)
        best = np.unique(np.append(np.argpartition(-masked, BEST_OF_EACH, axis=1)[:, :BEST_OF_EACH], target))
        best = best[free[best]]
        free[best] = False
        others = np.flatnonzero(free)
        drawn = self._rng.choice(others, min(RANDOM_ITEMS, len(others)), replace=False)
        raised = np.log(len(others) / max(len(drawn), 1)) if len(others) else 0.0
        offset = np.concatenate([np.zeros(len(best)), np.full(len(drawn), raised)]).astype(np.float32)
        return np.concatenate([best, drawn]).astype(np.int32), offset

    def fit(
        self,
        l2: float = 1e-3,
        rows: npt.NDArray[np.intp] | None = None,
        start: Mix | None = None,
        bends: int = 0,
    ) -> Mix:
        """The linear mix by listwise softmax regression: minimises -log p(target) + ridge, by Newton's method.

        The loss is convex and has few weights, so a handful of steps with its whole curvature end where a method that
        knows only slopes has not come after a hundred. Without a question nothing can be learned, and all signals
        weigh 1.

        Args:
            rows: questions to learn from; None = all.
            start: weights to begin at; the end is the same, and sooner reached from near it.
            bends: with how many of SITUATION, the first, the weights may bend.
        """
        counted = self._counted(rows)
        if not counted.any():
            return Mix(self.names, "linear", np.ones(len(self.names), dtype=np.float32))
        shape = (1 + bends, len(self.names))
        ridge = np.full(shape, SLOPES_L2 / counted.sum())
        ridge[0] = l2
        weights = np.zeros(shape)
        if start is not None:
            weights[0] = start.weights

        def curve(weights: FloatMatrix64) -> _Curve:
            found = self._curve(weights, counted)
            return _Curve(
                found.value + float((ridge * weights**2).sum()),
                found.slope + 2 * ridge * weights,
                found.curvature + 2 * np.diag(ridge.ravel()),
            )

        here = curve(weights)
        for _ in range(NEWTON_STEPS):
            step = np.linalg.solve(here.curvature, here.slope.ravel()).reshape(shape)
            expected = float((step * here.slope).sum())
            if expected < NEWTON_END:
                break
            there = curve(weights - step)
            # Far from the end a whole step may overshoot.
            while there.value > here.value - 1e-4 * expected and expected > NEWTON_END:
                step, expected = step / 2, expected / 2
                there = curve(weights - step)
            weights, here = weights - step, there
        found = weights.astype(np.float32)
        return Mix(self.names, "linear", found[0], slopes=found[1:])

    def losses(self, mix: Mix) -> FloatVector64:
        """(q,) -log p(target) of each question by a linear mix."""
        weights = np.concatenate([mix.weights[None], mix.slopes.reshape(-1, len(self.names))]).astype(np.float64)
        return np.concatenate([np.zeros(0), *(chunk.losses(weights) for chunk in self._chunks)])

    def ranks(
        self, mix: Mix, raised: FloatVector, steps: Sequence[float], rows: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.int64]:
        """(steps, rows) rank of the right answer among the candidates where weights grow by step * raised.

        Args:
            raised: (s,) which weights grow.
            rows: questions.
        """
        weights = np.concatenate([mix.weights[None], mix.slopes.reshape(-1, len(self.names))]).astype(np.float64)
        ranks = [chunk.ranks(weights, raised, np.asarray(steps)) for chunk in self._chunks]
        return np.concatenate(ranks, axis=1)[:, rows]

    def _counted(self, rows: npt.NDArray[np.intp] | None) -> FloatVector64:
        """(q,) how often each question counts."""
        counted = np.ones(len(self)) if rows is None else np.bincount(rows, minlength=len(self))
        return counted.astype(np.float64)

    def _curve(self, weights: FloatMatrix64, counted: FloatVector64) -> _Curve:
        """Mean -log p(target) over the questions at these weights, its slope and its curvature."""
        bounds = np.cumsum([len(chunk.starts) for chunk in self._chunks])[:-1]
        parts = [chunk.curve(weights, one) for chunk, one in zip(self._chunks, np.split(counted, bounds), strict=True)]
        total = max(float(counted.sum()), 1.0)
        return _Curve(
            sum(one.value for one in parts) / total,
            np.sum([one.slope for one in parts], axis=0) / total,
            np.sum([one.curvature for one in parts], axis=0) / total,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """A loss of weights (k, s): its value, its slope (k, s), and its curvature (k * s, k * s)."""

    value: float
    slope: FloatMatrix64
    curvature: FloatMatrix64


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Questions that were added together.

    Attributes:
        features: (c, s) of the candidates of all questions, one question after the other.
        offsets: (c,) what is added to each candidate's logit.
        starts: (q,) first row of each question.
        lengths: (q,) candidates of each question.
        targets: (q,) row of each question's right answer.
        situations: (q, len(SITUATION)).
    """

    features: FloatMatrix
    offsets: FloatVector
    starts: npt.NDArray[np.intp]
    lengths: npt.NDArray[np.intp]
    targets: npt.NDArray[np.int64]
    situations: FloatMatrix

    def curve(self, weights: FloatMatrix64, counted: FloatVector64) -> _Curve:
        """Sum over questions of counted * -log p(target).

        Args:
            weights: (1, s), or (1 + len(SITUATION), s) with the slopes.
            counted: (q,).
        """
        k, s = weights.shape
        asked = np.flatnonzero(counted)
        basis = self._basis(k)[asked]
        mine = (basis @ weights).astype(np.float32)
        value, often = 0.0, counted[asked]
        slopes = np.empty((len(asked), s))
        curvatures = np.empty((len(asked), s, s))
        for i, q in enumerate(asked):
            rows = slice(self.starts[q], self.starts[q] + self.lengths[q])
            x = self.features[rows]
            logits = x @ mine[i] + self.offsets[rows]
            logits -= logits.max()
            p = np.exp(logits)
            total = p.sum()
            p /= total
            mean = p @ x
            value += often[i] * float(np.log(total) - logits[self.targets[q] - self.starts[q]])
            slopes[i] = mean - self.features[self.targets[q]]
            curvatures[i] = (x * p[:, None]).T @ x - np.outer(mean, mean)
        slope = (basis * often[:, None]).T @ slopes
        pairs = (basis[:, :, None] * basis[:, None, :] * often[:, None, None]).reshape(-1, k * k)
        curvature = (pairs.T @ curvatures.reshape(-1, s * s)).reshape(k, k, s, s)
        return _Curve(value, slope, curvature.transpose(0, 2, 1, 3).reshape(k * s, k * s))

    def losses(self, weights: FloatMatrix64) -> FloatVector64:
        """(q,) -log p(target), of weights as `curve` takes them."""
        mine = (self._basis(len(weights)) @ weights).astype(np.float32)
        out = np.empty(len(self.starts))
        for q, start in enumerate(self.starts):
            rows = slice(start, start + self.lengths[q])
            logits = self.features[rows] @ mine[q] + self.offsets[rows]
            top = logits.max()
            out[q] = top + np.log(np.exp(logits - top).sum()) - logits[self.targets[q] - start]
        return out

    def ranks(self, weights: FloatMatrix64, raised: FloatVector, steps: FloatVector64) -> npt.NDArray[np.int64]:
        """(steps, q) as `MixSamples.ranks`, of weights as `curve` takes them."""
        mine = (self._basis(len(weights)) @ weights).astype(np.float32)
        out = np.empty((len(steps), len(self.starts)), dtype=np.int64)
        for q, start in enumerate(self.starts):
            x = self.features[start : start + self.lengths[q]]
            scores = (x @ mine[q])[None] + steps.astype(np.float32)[:, None] * (x @ raised)[None]
            own = scores[:, self.targets[q] - start]
            out[:, q] = 1 + (scores > own[:, None]).sum(axis=1)
        return out

    def _basis(self, k: int) -> FloatMatrix64:
        """(q, k) what a weight and its slopes are multiplied by in each question; the weight itself by 1."""
        basis = np.ones((len(self.starts), k))
        basis[:, 1:] = self.situations[:, : k - 1]
        return basis
