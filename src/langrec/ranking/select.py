"""From scores to a list: the best k, or the best k that differ."""

from __future__ import annotations

import numpy as np

from langrec.data.rows import Growing, laid
from langrec.loops import compiled
from langrec.types import FloatMatrix, FloatVector, IntVector, ItemList


def top_k(scores: FloatVector, k: int) -> IntVector:
    """Numbers of the k highest scores, best first, equal scores by number; NaN is never picked."""
    valid = np.flatnonzero(~np.isnan(scores)) if k > 0 else np.zeros(0, dtype=np.intp)
    if len(valid) > k:
        values = scores[valid]
        bar = np.partition(values, len(values) - k)[len(values) - k]
        sure, tied = valid[values > bar], valid[values == bar]
        valid = np.concatenate([sure, tied[: k - len(sure)]])
    order = np.lexsort((valid, -scores[valid]))
    return valid[order].astype(np.int32)


def diverse_rows(
    candidates: ItemList, vectors: Growing, nums: IntVector, k: int, amount: float, depth: int
) -> ItemList:
    """`diverse` with the vectors of items `nums`, which are read as far as they are needed."""
    n = len(candidates)
    if (loops := compiled("rows")) is None or amount <= 0 or n <= 1:
        return diverse(candidates, vectors[nums], k, amount, depth)
    picked = loops.differing(candidates.scores, *laid(vectors), nums, k, amount, depth)
    return candidates.take(np.concatenate([picked, np.arange(min(depth, n), min(k, n), dtype=np.int32)]))


def diverse(candidates: ItemList, vectors: FloatMatrix, k: int, amount: float, depth: int | None = None) -> ItemList:
    """Maximal marginal relevance (Carbonell & Goldstein 1998): relevant, and unlike what was picked before.

    Args:
        candidates: best first.
        vectors: (len(candidates), d) unit rows; a zero row is unlike everything.
        k: list length.
        amount: 0 keeps the order, 1 looks at difference alone.
        depth: only the first so many are rearranged, so that a longer list begins as a shorter one does; None = all.
    """
    n = len(candidates)
    if amount <= 0 or n <= 1:
        return candidates.take(np.arange(min(k, n)))
    depth = n if depth is None else min(depth, n)
    scores, vectors = candidates.scores[:depth], vectors[:depth]
    relevance = (scores - scores.min()) / max(float(scores.max() - scores.min()), 1e-9)
    nearest = np.zeros(depth, dtype=np.float32)
    left = np.ones(depth, dtype=np.bool_)
    picked: list[int] = []
    for _ in range(min(k, depth)):
        value = np.where(left, (1 - amount) * relevance - amount * nearest, -np.inf)
        best = int(np.argmax(value))
        picked.append(best)
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return candidates.take(np.array([*picked, *range(depth, min(k, n))], dtype=np.intp))
