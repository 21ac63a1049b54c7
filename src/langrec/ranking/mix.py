"""How the signals of many scorers become one score: a learned linear mix, or reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize

from langrec.ranking.select import top_k
from langrec.types import FloatMatrix, FloatVector, IntVector

Kind = Literal["linear", "rrf"]
Signals = npt.NDArray[np.float32]

# Below this many items the softmax of the fit runs over the whole catalogue; above, over a sample with correction.
WHOLE_CATALOGUE = 1_000
BEST_OF_EACH = 60
# Ranks past this one add less than a tenth of what the first adds; a full sort of a large catalogue costs much more.
RRF_DEPTH = 1_000
RANDOM_ITEMS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """One score per item: sum over signals of weight * feature, so that each signal's part is exact.

    linear: feature = log(1 + max(x, 0) / mean of max(x, 0) over the catalogue). The logarithm tames the heavy tail of
    co-occurrence sums, the mean makes histories of all lengths alike. A signal that cannot score an item adds nothing.
    rrf: feature = 1 / (rrf_k + rank) (Cormack et al. 2009), all weights 1.

    Attributes:
        names: the signals in order.
        kind: linear or rrf.
        weights: (s,) float32.
        rrf_k: the constant of rrf.
    """

    names: tuple[str, ...]
    kind: Kind
    weights: FloatVector
    rrf_k: float = 60.0

    def features(self, signals: Signals) -> Signals:
        """(s, q, n) what the weights weigh."""
        return rank_features(signals, self.rrf_k) if self.kind == "rrf" else log_features(signals)

    def weighted(self, features: Signals) -> Signals:
        """(s, q, n) weighted features; their sum over s is the score."""
        return np.asarray(features * self.weights[:, None, None], dtype=np.float32)

    def parts(self, signals: Signals) -> Signals:
        """(s, q, n) weighted features of raw signals."""
        return self.weighted(self.features(signals))

    def to_dict(self) -> dict[str, object]:
        return {
            "names": list(self.names),
            "kind": self.kind,
            "weights": [float(weight) for weight in self.weights],
            "rrf_k": self.rrf_k,
        }


def log_features(signals: Signals) -> Signals:
    """(s, q, n) log(1 + x / mean), zero where x is NaN or not positive."""
    positive: Signals = np.fmax(signals, np.float32(0.0))
    means = positive.mean(axis=2, keepdims=True)
    positive /= np.maximum(means, 1e-12)
    return np.log1p(positive, out=positive)


def rank_features(signals: Signals, rrf_k: float) -> Signals:
    """(s, q, n) 1 / (rrf_k + rank), zero where x is NaN and past the first RRF_DEPTH; equal scores rank by number."""
    out = np.zeros_like(signals)
    value = (1.0 / (rrf_k + 1.0 + np.arange(RRF_DEPTH))).astype(np.float32)
    for s in range(len(signals)):
        for q in range(signals.shape[1]):
            best = top_k(signals[s, q], RRF_DEPTH)
            out[s, q, best] = value[: len(best)]
    return out


def rrf_mix(names: Sequence[str], rrf_k: float) -> Mix:
    """Reciprocal rank fusion of the named signals."""
    return Mix(tuple(names), "rrf", np.ones(len(names), dtype=np.float32), rrf_k)


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

    def add(self, signals: Signals, seen: Sequence[IntVector], targets: IntVector) -> None:
        """Adds questions: signals (s, q, n), history item numbers per question, and the (q,) right answers."""
        if not len(targets):
            return
        features = log_features(signals)
        picked = [self._candidates(features[:, q], seen[q], int(target)) for q, target in enumerate(targets)]
        lengths = np.array([len(nums) for nums, _ in picked])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        rows = np.empty((int(lengths.sum()), len(signals)), dtype=np.float32)
        right = np.empty(len(targets), dtype=np.int64)
        for q, (nums, _) in enumerate(picked):
            rows[starts[q] : starts[q] + lengths[q]] = features[:, q, nums].T
            right[q] = starts[q] + np.flatnonzero(nums == targets[q])[0]
        self._chunks.append(_Chunk(rows, np.concatenate([offset for _, offset in picked]), starts, lengths, right))

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

    def fit(self, l2: float = 1e-3, rows: npt.NDArray[np.intp] | None = None, start: Mix | None = None) -> Mix:
        """The linear mix by listwise softmax regression: minimises -log p(target), L-BFGS, ridge `l2`.

        The features are read where they lie, chunk by chunk: nothing is copied. Without a question nothing can be
        learned, and all signals weigh 1.

        Args:
            rows: questions to learn from; None = all.
            start: weights to begin at; the end is the same, and sooner reached from near it.
        """
        counted = np.ones(len(self)) if rows is None else np.bincount(rows, minlength=len(self)).astype(np.float64)
        if not counted.any():
            return Mix(self.names, "linear", np.ones(len(self.names), dtype=np.float32))
        bounds = np.cumsum([len(chunk.starts) for chunk in self._chunks])[:-1]
        parts = [
            (chunk, weight)
            for chunk, weight in zip(self._chunks, np.split(counted, bounds), strict=True)
            if weight.any()
        ]
        total = counted.sum()

        def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            value, gradient = l2 * float(weights @ weights), 2 * l2 * weights
            for chunk, weight in parts:
                ours, slope = chunk.loss(weights, weight)
                value += ours / total
                gradient = gradient + slope / total
            return value, gradient

        first = np.zeros(len(self.names)) if start is None else start.weights.astype(np.float64)
        found = optimize.minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 100})
        return Mix(self.names, "linear", found.x.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Questions that were added together.

    Attributes:
        features: (c, s) of the candidates of all questions, one question after the other.
        offsets: (c,) what is added to each candidate's logit.
        starts: (q,) first row of each question.
        lengths: (q,) candidates of each question.
        targets: (q,) row of each question's right answer.
    """

    features: FloatMatrix
    offsets: FloatVector
    starts: npt.NDArray[np.intp]
    lengths: npt.NDArray[np.intp]
    targets: npt.NDArray[np.int64]

    def loss(
        self, weights: npt.NDArray[np.float64], counted: npt.NDArray[np.float64]
    ) -> tuple[float, npt.NDArray[np.float64]]:
        """Sum over questions of counted * -log p(target), and its gradient."""
        logits = self.features @ weights.astype(np.float32)
        logits += self.offsets
        logits -= np.repeat(np.maximum.reduceat(logits, self.starts), self.lengths)
        right = logits[self.targets]
        exp = np.exp(logits, out=logits)
        sums = np.add.reduceat(exp, self.starts)
        value = float(((np.log(sums) - right) * counted).sum())
        exp *= np.repeat((counted / sums).astype(np.float32), self.lengths)
        wanted = counted @ self.features[self.targets].astype(np.float64)
        return value, (exp @ self.features).astype(np.float64) - wanted
