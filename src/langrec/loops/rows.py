"""Products with rows of vectors where they lie: candidates' scores, means of histories, logits, a list that differs.

Rows come as four arrays (`data.rows.laid`): a base, and over it the rows of some rising numbers, each at its place in a
log. Numbers past the base that are not among these are rows of zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from langrec.loops.compiling import (
    b1,
    compiled,
    f,
    f1,
    f2,
    fetch,
    fetch_row,
    i,
    i1,
    in_any_order,
    inlined,
    l1,
    wf2,
    wi1,
)
from langrec.loops.sparse import place_among

# So many rows ahead of the one in work are fetched.
ROWS_AHEAD, FLAGS_AHEAD = 3, 16
ROWS = (f2, i1, l1, f2)
_FLAGS = (b1, i1, l1, b1)


@in_any_order
def dot(one: Any, other: Any) -> Any:
    """The inner product of two vectors."""
    total = np.float32(0.0)
    for j in range(len(one)):
        total += one[j] * other[j]
    return total


@inlined
def row_of(base: Any, nums: Any, places: Any, log: Any, num: Any) -> Any:
    """The row of a number; zeros where there is none."""
    if len(nums):
        new = place_among(nums, num)
        if new >= 0:
            return log[places[new]]
    return base[num] if num < len(base) else np.zeros(base.shape[1], np.float32)


@in_any_order
def _dot(rows: Any, at: Any, queries: Any, one: Any) -> Any:
    total = np.float32(0.0)
    for j in range(rows.shape[1]):
        total += rows[at, j] * queries[one, j]
    return total


@inlined
def _product(base: Any, nums: Any, places: Any, log: Any, num: Any, queries: Any, one: Any) -> Any:
    if len(nums):
        new = place_among(nums, num)
        if new >= 0:
            return _dot(log, places[new], queries, one)
    return _dot(base, num, queries, one) if num < len(base) else np.float32(0.0)


@inlined
def _flag(base: Any, nums: Any, places: Any, log: Any, num: Any) -> Any:
    if len(nums):
        new = place_among(nums, num)
        if new >= 0:
            return log[places[new]]
    return num < len(base) and base[num]


@inlined
def _ahead(base: Any, flags: Any, asked: Any, at: Any, end: Any) -> None:
    """Fetches what is read soon."""
    if at + ROWS_AHEAD < end and asked[at + ROWS_AHEAD] < len(base):
        fetch_row(base, asked[at + ROWS_AHEAD])
    if at + FLAGS_AHEAD < end and asked[at + FLAGS_AHEAD] < len(flags):
        fetch(flags, asked[at + FLAGS_AHEAD])


@compiled((*ROWS, *_FLAGS, i, i1, l1, f2))
def products(
    base: Any, nums: Any, places: Any, log: Any,
    flags: Any, flag_nums: Any, flag_places: Any, flag_log: Any,
    n: Any, asked: Any, offsets: Any, queries: Any,
) -> Any:  # fmt: skip
    """(c, m) each candidate's row times c vectors of its query; NaN from n on and where it has no flag.

    Args:
        queries: (c * q, d) one vector of each query, then another of each. A row is read from memory once for all.
    """
    q = len(offsets) - 1
    out = np.empty((len(queries) // max(q, 1), len(asked)), np.float32)
    for one in range(q):
        for at in range(offsets[one], offsets[one + 1]):
            num = asked[at]
            _ahead(base, flags, asked, at, offsets[one + 1])
            if num < n and _flag(flags, flag_nums, flag_places, flag_log, num):
                for c in range(len(out)):
                    out[c, at] = _product(base, nums, places, log, num, queries, c * q + one)
            else:
                out[:, at] = np.nan
    return out


@in_any_order
def _add(out: Any, one: Any, rows: Any, at: Any, weight: Any) -> None:
    for j in range(rows.shape[1]):
        out[one, j] += weight * rows[at, j]


@compiled((*ROWS, i1, l1, f1, i))
def means(base: Any, nums: Any, places: Any, log: Any, items: Any, offsets: Any, weights: Any, n: Any) -> Any:
    """(q, d) sums of the rows of each query's items by their weights; what weighs 0 is not read."""
    out = np.zeros((len(offsets) - 1, base.shape[1]), np.float32)
    for one in range(len(out)):
        for h in range(offsets[one], offsets[one + 1]):
            num = items[h]
            if h + 2 < offsets[one + 1] and weights[h + 2] != 0 and items[h + 2] < len(base):
                fetch_row(base, items[h + 2])
            if num >= n or weights[h] == 0:
                continue
            new = place_among(nums, num)
            if new >= 0:
                _add(out, one, log, places[new], weights[h])
            elif num < len(base):
                _add(out, one, base, num, weights[h])
    return out


@compiled((*ROWS, *_FLAGS, b1, b1, i, i1, l1, f2, i1, i1, l1, wf2, wi1))
def logits(
    base: Any, nums: Any, places: Any, log: Any,
    flags: Any, flag_nums: Any, flag_places: Any, flag_log: Any,
    trained: Any, had: Any, n: Any, asked: Any, offsets: Any, queries: Any,
    drawn: Any, items: Any, bounds: Any, others: Any, table: Any,
) -> Any:  # fmt: skip
    """What a tower says of candidates, and what the sum below its softmax is made of.

    Args:
        trained: (t,) items of the training.
        had: (m,) candidates that the query's history holds.
        n: items that the tower knows.
        drawn: (t,) the place of each item in a sample of the training's items, or -1.
        items, bounds: the histories.
        others: (q, c) logits of the sample; -inf is written where a candidate or an item of the history stands.
        table: room for a number per item, whatever is in it.

    Returns:
        (m,) logits; (m,) which can be scored; (m,) the logits of those of the training, -inf for the others; (q,) the
        highest logit; (q,) how many of the sample are left, how many candidates are of the training, and how many
        items of the history are.
    """
    q, t = len(offsets) - 1, len(trained)
    values, scored, mine = (
        np.empty(len(asked), np.float32),
        np.empty(len(asked), np.bool_),
        np.empty(len(asked), np.float32),
    )
    levels, counts = np.empty(q, np.float64), np.zeros((3, q), np.int64)
    for one in range(q):
        top = np.float32(-np.inf)
        for at in range(offsets[one], offsets[one + 1]):
            num = asked[at]
            inside = num < n
            _ahead(base, flags, asked, at, offsets[one + 1])
            if at + FLAGS_AHEAD < offsets[one + 1] and asked[at + FLAGS_AHEAD] < t:
                fetch(trained, asked[at + FLAGS_AHEAD])
                fetch(drawn, asked[at + FLAGS_AHEAD])
            values[at] = _product(base, nums, places, log, num if inside else 0, queries, one)
            scored[at] = inside and not had[at] and _flag(flags, flag_nums, flag_places, flag_log, num)
            mine[at] = -np.inf
            if scored[at] and num < t and trained[num]:
                mine[at] = values[at]
                counts[1, one] += 1
                top = max(top, mine[at])
            if num < t and drawn[num] >= 0:
                others[one, drawn[num]] = -np.inf
        for h in range(bounds[one], bounds[one + 1]):
            num = items[h]
            if num >= t:
                continue
            place = table[num]
            is_new = place < bounds[one] or place >= h or items[place] != num
            table[num] = h
            counts[2, one] += is_new and trained[num]
            if drawn[num] >= 0:
                others[one, drawn[num]] = -np.inf
        for c in range(others.shape[1]):
            value = others[one, c]
            counts[0, one] += value != -np.inf
            top = max(top, value)
        levels[one] = top
    return values, scored, mine, levels, counts


@compiled((f1, *ROWS, i1, i, f, i))
def differing(
    scores: Any, base: Any, nums: Any, places: Any, log: Any, listed: Any, k: Any, amount: Any, depth: Any
) -> Any:
    """Places of the k picked by maximal marginal relevance among the first `depth`, as `select.diverse` picks them.

    An item's worth is at most what its score alone is worth: in the order of scores, it is compared with what was
    picked only where that could still win.

    Args:
        scores: best first.
        listed: the items' numbers.
    """
    depth = min(depth, len(scores))
    k = min(k, depth)
    picked, nearest, compared = np.empty(k, np.int32), np.zeros(depth, np.float32), np.zeros(depth, np.int32)
    left, vectors = np.ones(depth, np.bool_), np.zeros((k, base.shape[1]), np.float32)
    least = scores[:depth].min()
    spread = max(np.float64(scores[:depth].max() - least), 1e-9)
    for step in range(k):
        best, worth = -1, np.float32(-np.inf)
        for at in range(depth):
            most = np.float32((1 - amount) * np.float32((scores[at] - least) / spread))
            if best >= 0 and most <= worth:
                break
            if not left[at]:
                continue
            while compared[at] < step and (best < 0 or most - np.float32(amount * nearest[at]) > worth):
                near = _product(base, nums, places, log, listed[at], vectors, compared[at])
                nearest[at] = max(nearest[at], near)
                compared[at] += 1
            value = most - np.float32(amount * nearest[at])
            if compared[at] == step and (best < 0 or value > worth):
                best, worth = at, value
        picked[step] = best
        left[best] = False
        num = listed[best]
        new = place_among(nums, num)
        if new >= 0:
            vectors[step] = log[places[new]]
        elif num < len(base):
            vectors[step] = base[num]
    return picked
