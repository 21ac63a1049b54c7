"""What to show someone new first: known items, unlike one another, whose likes say much about all others.

The items are picked one by one so that, whichever of them is liked, as much as possible of what people choose is
spoken for: max over the picks of affinity(pick, j), summed over the items j by their popularity (facility location;
the greedy picks reach 1 - 1/e of the best, Nemhauser, Wolsey & Fisher 1978). A pick that is popular, that says much,
and that says what no earlier one says brings most.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from langrec.data.asked import Asked
from langrec.data.items import Items
from langrec.ranking.filters import allowed
from langrec.ranking.fusion import Fusion
from langrec.ranking.select import top_k
from langrec.types import (
    FloatMatrix,
    FloatVector,
    IntVector,
    ItemList,
    Query,
    QueryBlock,
    Recommendation,
    Stage,
    Trace,
)

# A newcomer can judge only what is known: starters are among so many of the most popular, or more for a long list.
AMONG = 60
AMONG_PER_PLACE = 5
# Signals that are asked at once stay within so many bytes.
AT_ONCE = 128_000_000
# The square root keeps a few very popular items from being all that counts.
POPULARITY_POWER = 0.5


def starters(query: Query, asked: Asked, items: Items, fusion: Fusion, popularity: FloatVector) -> Recommendation:
    """The starters of one query; what its history holds counts as liked.

    Args:
        asked: the same in numbers.
        popularity: (n,) of all items now.

    Raises:
        DataError: a filter that no item can answer.
    """
    start, wanted = time.perf_counter(), query.k + query.offset
    mask, dropped = allowed(items, items.hidden(), query.filters, asked.seen, asked.at)
    among = top_k(np.where(mask, popularity, np.nan), candidates_for(wanted))
    near = affinities(fusion.without_popularity(), np.concatenate([among, np.unique(asked.history)]), asked.at)
    best = pick_starters(near[: len(among)], among, np.maximum(popularity, 0.0), near[len(among) :], wanted)
    listed = ItemList(best.nums[query.offset :], best.gains[query.offset :])
    stages = (
        Stage("filter", len(items), int(mask.sum()), 0.0),
        Stage("select", len(among), len(listed), 1000 * (time.perf_counter() - start)),
    )
    return Recommendation(
        items.ids.take(listed.nums), listed, Trace("starters", stages, dropped, unknown=asked.unknown)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Starters:
    """Picked items and what each adds, as a share of all that can be spoken for."""

    nums: IntVector
    gains: FloatVector


def candidates_for(k: int) -> int:
    """How many of the most popular items k starters are picked among."""
    return max(AMONG, AMONG_PER_PLACE * k)


def pick_starters(
    affinity: FloatMatrix, candidates: IntVector, popularity: FloatVector, covered: FloatMatrix, k: int
) -> Starters:
    """The k best starters, best first; of equal ones the earlier candidate.

    Args:
        affinity: (c, n) from 0 to 1, how much a like of each candidate speaks for each item.
        candidates: (c,) their numbers.
        popularity: (n,) not below 0.
        covered: (l, n) the same as `affinity` for what is liked already; l may be 0.
        k: how many.
    """
    worth = np.asarray(popularity, dtype=np.float32) ** np.float32(POPULARITY_POWER)
    whole = max(float(worth.sum()), 1e-9)
    spoken_for = covered.max(axis=0) if len(covered) else np.zeros(affinity.shape[1], dtype=np.float32)
    left = np.ones(len(candidates), dtype=np.bool_)
    picked: list[int] = []
    gains: list[float] = []
    for _ in range(min(k, len(candidates))):
        gain = np.where(left, np.maximum(affinity - spoken_for, 0.0) @ worth, -1.0)
        best = int(np.argmax(gain))
        left[best] = False
        spoken_for = np.maximum(spoken_for, affinity[best])
        picked.append(best)
        gains.append(float(gain[best]) / whole)
    return Starters(candidates[np.array(picked, dtype=np.intp)], np.array(gains, dtype=np.float32))


def affinities(fusion: Fusion, nums: IntVector, at: int) -> FloatMatrix:
    """(len(nums), n) from 0 to 1, how much a like of each item speaks for each other one; 1 for the item itself.

    Args:
        fusion: without popularity, which speaks for the same items whatever is liked.
        at: "now" in epoch milliseconds; the likes are of this moment.
    """
    q, block = len(nums), liking(nums, at)
    scores = np.zeros((q, fusion.n_items), dtype=np.float32)
    size = max(1, AT_ONCE // (4 * max(fusion.n_items, 1) * max(len(fusion.signals), 1)))
    for start in range(0, q, size):
        part = block.slice(start, start + size)
        signals = fusion.signal_scores(part)
        said = ~fusion.silent(signals)
        scores[start : start + size][said] = np.maximum(fusion.parts(signals, part).sum(axis=0)[said], 0.0)
    scores[np.arange(q), nums] = 0.0
    scores /= np.maximum(scores.max(axis=1, keepdims=True, initial=0.0), 1e-9)
    scores[np.arange(q), nums] = 1.0
    return scores


def liking(nums: IntVector, at: int) -> QueryBlock:
    """A query for each item, of someone who has just liked it and nothing else."""
    q = len(nums)
    return QueryBlock(
        users=np.full(q, -1, dtype=np.int32),
        offsets=np.arange(q + 1, dtype=np.int64),
        items=nums.astype(np.int32),
        times=np.full(q, at, dtype=np.int64),
        at=np.full(q, at, dtype=np.int64),
        texts=(None,) * q,
    )
