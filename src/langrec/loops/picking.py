"""The second look: which candidates have it, what their texts say beside the history's, and the sum of the trees."""

from __future__ import annotations

from typing import Any

import numpy as np

from langrec.loops.compiling import b1, compiled, f1, f2, fetch_row, i, i1, l1, u1
from langrec.loops.rows import ROWS, dot, row_of
from langrec.loops.sparse import keep_best

# Times a number with one bit set, its highest five bits tell which bit it is (Leiserson et al. 1998).
TELLS = np.uint32(0x077CB531)
SLOTS = 32


@compiled((f1, f1, b1, l1, i, i))
def foremost(mixed: Any, told: Any, new: Any, offsets: Any, depth: Any, few: Any) -> Any:
    """Places of each query's candidates that are looked at again, best of the mix first.

    Args:
        mixed, told: (m,) scores by the mix, and of rare items by their texts.
        new: (m,) those that the history does not hold; others are passed over.
        depth, few: how many by the mix, and of the others how many by their texts.

    Returns:
        (q + 1,) offsets and the places.
    """
    q = len(offsets) - 1
    bounds, out = np.zeros(q + 1, np.int64), np.empty(q * (depth + few), np.int32)
    tops, places = np.empty(depth + few, np.float32), np.empty(depth + few, np.int32)
    taken = np.zeros(len(mixed), np.bool_)
    for one in range(q):
        size = 0
        for at in range(offsets[one], offsets[one + 1]):
            if new[at] and mixed[at] > 0:
                size = keep_best(mixed[at], at, tops, places, size, depth)
        # The best by text follow in their own order, which counts where the mix says the same.
        own = np.sort(places[:size])
        taken[own] = True
        more = 0
        for at in range(offsets[one], offsets[one + 1]):
            if new[at] and told[at] > 0 and not taken[at]:
                more = keep_best(told[at], at, tops[depth:], places[depth:], more, few)
        rare = np.sort(places[depth : depth + more])
        rare = rare[np.argsort(-told[rare], kind="mergesort")]
        both = np.concatenate((own, rare))
        lo, hi = bounds[one], bounds[one] + size + more
        out[lo:hi] = both[np.argsort(-mixed[both], kind="mergesort")]
        bounds[one + 1] = hi
    return bounds, out[: bounds[q]].copy()


@compiled((f1, i1, l1, f1, b1, l1, i))
def lifted(value: Any, places: Any, bounds: Any, mixed: Any, new: Any, offsets: Any, depth: Any) -> Any:
    """(m,) what the trees add, all of a query lifted by one number: none falls below where the mix has it.

    Args:
        value: of the looked at, whose places these are.
        new: as for `foremost`; what is not new is lifted where the mix puts it among the looked at.
    """
    out = np.zeros(len(mixed), np.float32)
    for one in range(len(bounds) - 1):
        lo, hi = bounds[one], bounds[one + 1]
        if hi == lo:
            continue
        lift = max(np.float32(0.0), -value[lo:hi].min())
        floor = mixed[places[lo + min(depth, hi - lo) - 1]]
        for at in range(offsets[one], offsets[one + 1]):
            if not new[at] and mixed[at] >= floor:
                out[at] = lift
        for at in range(lo, hi):
            out[places[at]] = value[at] + lift
    return out


@compiled((*ROWS, i1, l1, i1, l1, i1, f1, i))
def text_columns(
    base: Any, nums: Any, places: Any, log: Any, asked: Any, bounds: Any,
    items: Any, offsets: Any, steps: Any, weights: Any, near: Any,
) -> Any:  # fmt: skip
    """(3, m) cosines with the last item, with the mean of the history, and the highest with one of the newest.

    Args:
        asked, bounds: the candidates of each query.
        items, offsets: the histories; rows that weigh nothing are not read.
        steps: of each history row.
        near: rows at most so many steps back are the newest.
    """
    out = np.full((3, len(asked)), np.nan, np.float32)
    q, d = len(bounds) - 1, base.shape[1]
    for one in range(q):
        lo, hi = offsets[one], offsets[one + 1]
        read, mean = np.empty((near + 1, d), np.float32), np.zeros((1, d), np.float32)
        count, is_last, some = 0, False, False
        for h in range(lo, hi):
            if weights[h] == 0:
                continue
            row = row_of(base, nums, places, log, items[h])
            if dot(row, row) <= 0:
                continue
            some = True
            for j in range(d):
                mean[0, j] += weights[h] * row[j]
            if steps[h] < near:
                read[count] = row
                is_last = steps[h] == 0
                count += 1
        if not some:
            continue
        length = max(np.sqrt(dot(mean[0], mean[0])), np.float32(1e-9))
        for j in range(d):
            mean[0, j] /= length
        for at in range(bounds[one], bounds[one + 1]):
            if at + 2 < bounds[one + 1] and asked[at + 2] < len(base):
                fetch_row(base, asked[at + 2])
            row = row_of(base, nums, places, log, asked[at])
            if dot(row, row) == 0:
                continue
            out[1, at] = dot(mean[0], row)
            if count:
                top = np.float32(-np.inf)
                for r in range(count):
                    last = dot(read[r], row)
                    top = max(top, last)
                out[2, at] = top
                if is_last:
                    out[0, at] = last
    return out


@compiled((f2, l1, i1, f1, u1, f1))
def tree_sums(x: Any, starts: Any, feature: Any, threshold: Any, mask: Any, value: Any) -> Any:
    """(m,) the sum of the trees for (f, m) features.

    Every node of a tree is asked of every row: whoever lies above its threshold cannot end in the leaves to the left of
    it, whose bits its mask clears. The lowest bit that is left is the leaf (QuickScorer, Lucchese et al. 2015). No
    branch depends on a row, so that the rows go through sixteen at a time.

    Args:
        starts: (T + 1,) first node of each tree.
        value: (SLOTS * T,) of each tree's leaves, each where `TELLS` puts its bit.
    """
    m = x.shape[1]
    out, bits = np.zeros(m, np.float64), np.empty(m, np.uint32)
    every = np.uint32(0xFFFFFFFF)
    for tree in range(len(starts) - 1):
        bits[:] = every
        for node in range(starts[tree], starts[tree + 1]):
            column, bar, clears = x[feature[node]], threshold[node], mask[node]
            for r in range(m):
                bits[r] &= clears if column[r] > bar else every
        base = SLOTS * tree
        for r in range(m):
            lowest = bits[r] & (~bits[r] + np.uint32(1))
            out[r] += value[base + np.int64(np.uint32(lowest * TELLS) >> np.uint32(27))]
    return out.astype(np.float32)
