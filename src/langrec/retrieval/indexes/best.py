"""The best k of scored numbers, ties by number, and how lists of them are joined."""

from __future__ import annotations

from typing import Any

import numpy as np

from langrec.types import FloatMatrix, FloatVector, IntMatrix, IntVector

# Stands in for "no item" while lists are joined: it sorts behind every number.
NONE = np.iinfo(np.int32).max
NOTHING = np.float32(-np.inf)


def best(scores: FloatVector, nums: Any, k: int) -> tuple[IntVector, FloatVector]:
    """The at most k highest scores above -inf with their numbers, best first, equal scores by number.

    Args:
        scores: (m,) without NaN.
        nums: (m,) whole numbers in any order.
    """
    if len(scores) > k:
        bar = np.partition(scores, len(scores) - k)[len(scores) - k] if k else np.float32(np.inf)
        # Of the items at the bar those with the lowest numbers stay.
        above = np.flatnonzero(scores > bar)
        tied = np.flatnonzero(scores == bar)
        if len(above) + len(tied) > k:
            tied = tied[np.argsort(nums[tied], kind="stable")[: k - len(above)]]
        kept = np.concatenate([above, tied])
        scores, nums = scores[kept], nums[kept]
    order = np.lexsort((nums, -scores))
    order = order[scores[order] > NOTHING]
    return nums[order].astype(np.int32), scores[order]


def blank(q: int, k: int) -> tuple[IntMatrix, FloatMatrix]:
    """q lists of k places that hold nothing yet."""
    return np.full((q, k), NONE, dtype=np.int32), np.full((q, k), NOTHING, dtype=np.float32)


def joined(
    first: tuple[IntMatrix, FloatMatrix], second: tuple[IntMatrix, FloatMatrix], k: int
) -> tuple[IntMatrix, FloatMatrix]:
    """The best k of two lists each, which hold no number twice."""
    nums = np.concatenate([first[0], second[0]], axis=1)
    scores = np.concatenate([first[1], second[1]], axis=1)
    order = np.lexsort((nums, -scores), axis=-1)[:, :k]
    return np.take_along_axis(nums, order, axis=1), np.take_along_axis(scores, order, axis=1)


def finished(found: tuple[IntMatrix, FloatMatrix], k: int) -> tuple[IntMatrix, FloatMatrix]:
    """(q, k) numbers and scores as a search returns them: -1 and NaN where there is nothing."""
    nums, scores = blank(len(found[0]), k)
    width = min(k, found[0].shape[1])
    nums[:, :width], scores[:, :width] = found[0][:, :width], found[1][:, :width]
    nothing = scores == NOTHING
    nums[nothing], scores[nothing] = -1, np.nan
    return nums, scores
