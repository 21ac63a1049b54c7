"""What rows of sparse matrices reach: columns, sums of them, the highest, and unions of what was found."""

from __future__ import annotations

from typing import Any

import numpy as np

from langrec.loops.compiling import b1, compiled, f1, fetch, i, i1, inlined, l1, wi1

# So many entries ahead of the one in work are fetched.
AHEAD = 16


@inlined
def place_among(nums: Any, num: Any) -> Any:
    """The place of a number among rising ones, -1 where it is not there."""
    lo, hi = 0, len(nums)
    while lo < hi:
        mid = (lo + hi) >> 1
        if nums[mid] < num:
            lo = mid + 1
        else:
            hi = mid
    return lo if lo < len(nums) and nums[lo] == num else -1


@compiled((i1, i1, i1, i1, i1, i1, l1, i, wi1))
def reach(
    indptr: Any, indices: Any, nums: Any, new_indptr: Any, new_indices: Any,
    items: Any, offsets: Any, n: Any, table: Any,
) -> Any:  # fmt: skip
    """Of each query the distinct columns that the rows of its items hold.

    Args:
        indptr, indices: of a matrix.
        nums, new_indptr, new_indices: rising numbers of rows that lie over it, and those rows.
        items, offsets: numbers of rows; those of query q are items[offsets[q]:offsets[q + 1]]. Those
            from n on that no row lies over are passed over.
        table: room for a number per column, whatever is in it.

    Returns:
        (q + 1,) offsets, (u,) columns, and (e,) the place of each entry's column, in the order of the entries.
    """
    q, count, total = len(offsets) - 1, 0, 0
    for row in items:
        new = place_among(nums, row)
        if new >= 0:
            total += new_indptr[new + 1] - new_indptr[new]
        elif row < n:
            total += indptr[row + 1] - indptr[row]
    columns, places = np.empty(total, np.int32), np.empty(total, np.int32)
    bounds = np.zeros(q + 1, np.int64)
    entry = 0
    for one in range(q):
        begin = count
        for h in range(offsets[one], offsets[one + 1]):
            row = items[h]
            if h + 1 < offsets[one + 1] and items[h + 1] < n:
                ahead = indptr[items[h + 1]]
                for line in range(4):
                    fetch(indices, ahead + AHEAD * line)
            new = place_among(nums, row)
            if new < 0 and row >= n:
                continue
            held = new_indices if new >= 0 else indices
            lo = new_indptr[new] if new >= 0 else indptr[row]
            hi = new_indptr[new + 1] if new >= 0 else indptr[row + 1]
            for at in range(lo, hi):
                if at + AHEAD < hi:
                    fetch(table, held[at + AHEAD])
                column = held[at]
                place = table[column]
                if place < begin or place >= count or columns[place] != column:
                    place = count
                    columns[place] = column
                    table[column] = place
                    count += 1
                places[entry] = place
                entry += 1
        bounds[one + 1] = count
    return bounds, columns[:count].copy(), places


@compiled((i1, f1, i1, i1, f1, i, i1, i, f1, i1, i))
def sums(
    indptr: Any, data: Any, nums: Any, new_indptr: Any, new_data: Any, step: Any,
    items: Any, n: Any, weights: Any, places: Any, u: Any,
) -> Any:  # fmt: skip
    """(u,) float32 of each reached column, with a weight for each item of the histories; what weighs 0 is not read.

    Args:
        step: 1, or 0 where all entries are the first.
    """
    out = np.zeros(u, np.float64)
    entry = 0
    for h in range(len(items)):
        row = items[h]
        new = place_among(nums, row)
        if new < 0 and row >= n:
            continue
        held = new_data if new >= 0 else data
        lo = new_indptr[new] if new >= 0 else indptr[row]
        hi = new_indptr[new + 1] if new >= 0 else indptr[row + 1]
        weight = weights[h]
        if weight != 0:
            for at in range(lo, hi):
                out[places[entry + at - lo]] += held[at * step] * weight
        entry += hi - lo
    return out.astype(np.float32)


@compiled((f1, i1, l1, b1, i))
def means(values: Any, columns: Any, offsets: Any, members: Any, n: Any) -> Any:
    """(q,) sums of what is above 0 of the members, over n; numbers past the mask's end are members."""
    out = np.empty(len(offsets) - 1, np.float32)
    for one in range(len(out)):
        total = 0.0
        for at in range(offsets[one], offsets[one + 1]):
            column = columns[at]
            if values[at] > 0 and (column >= len(members) or members[column]):
                total += values[at]
        out[one] = total / max(n, 1)
    return out


@compiled((i1, l1, i1, l1, wi1))
def met(columns: Any, bounds: Any, nums: Any, offsets: Any, table: Any) -> Any:
    """(m,) the place of each candidate among its query's columns, -1 where nothing reaches it."""
    out = np.empty(len(nums), np.int32)
    for one in range(len(bounds) - 1):
        lo, hi = bounds[one], bounds[one + 1]
        for at in range(lo, hi):
            table[columns[at]] = at
        for at in range(offsets[one], offsets[one + 1]):
            place = table[nums[at]]
            out[at] = place if lo <= place < hi and columns[place] == nums[at] else -1
    return out


@compiled((f1, i1, i1, l1, b1, b1, i))
def scores(values: Any, places: Any, nums: Any, offsets: Any, known: Any, trained: Any, n: Any) -> Any:
    """(m,) the candidates' sums, 0 where nothing reaches them; NaN where the model cannot say."""
    out = np.empty(len(nums), np.float32)
    for one in range(len(offsets) - 1):
        for at in range(offsets[one], offsets[one + 1]):
            num = nums[at]
            if not known[one] or num >= n or not trained[num]:
                out[at] = np.nan
            else:
                out[at] = values[places[at]] if places[at] >= 0 else 0.0
    return out


@inlined
def _sink(values: Any, nums: Any, at: Any, size: Any) -> None:
    """Restores a heap whose first is the lowest; of equal values the highest number is the lowest."""
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        other = child + 1
        if other < size and (
            values[other] < values[child] or (values[other] == values[child] and nums[other] > nums[child])
        ):
            child = other
        if values[at] < values[child] or (values[at] == values[child] and nums[at] > nums[child]):
            return
        values[at], values[child] = values[child], values[at]
        nums[at], nums[child] = nums[child], nums[at]
        at = child


@inlined
def keep_best(value: Any, num: Any, values: Any, nums: Any, size: Any, k: Any) -> Any:
    """The size of a heap of the k best after a number was offered."""
    if size < k:
        at = size
        values[at], nums[at] = value, num
        while at > 0:
            above = (at - 1) >> 1
            if values[at] < values[above] or (values[at] == values[above] and nums[at] > nums[above]):
                values[at], values[above] = values[above], values[at]
                nums[at], nums[above] = nums[above], nums[at]
                at = above
            else:
                break
        return size + 1
    if value > values[0] or (value == values[0] and num < nums[0]):
        values[0], nums[0] = value, num
        _sink(values, nums, 0, size)
    return size


@compiled((f1, i1, l1, i, b1, i))
def best(values: Any, columns: Any, offsets: Any, k: Any, allowed: Any, is_told: Any) -> Any:
    """Of each query the at most k highest above 0, rising by number; of equal ones the lowest numbers.

    Args:
        allowed: what may be found, where `is_told`; numbers past its end may not.

    Returns:
        (q + 1,) offsets and the numbers.
    """
    q = len(offsets) - 1
    bounds, found = np.zeros(q + 1, np.int64), np.empty(q * k, np.int32)
    tops, nums = np.empty(k, np.float32), np.empty(k, np.int32)
    for one in range(q):
        size = 0
        for at in range(offsets[one], offsets[one + 1]):
            if not values[at] > 0 or (size == k and values[at] < tops[0]):
                continue
            column = columns[at]
            if is_told and (column >= len(allowed) or not allowed[column]):
                continue
            size = keep_best(values[at], column, tops, nums, size, k)
        lo = bounds[one]
        found[lo : lo + size] = np.sort(nums[:size])
        bounds[one + 1] = lo + size
    return bounds, found[: bounds[q]].copy()


@compiled((i1, l1, i, wi1))
def union(nums: Any, bounds: Any, q: Any, table: Any) -> Any:
    """What any part holds for each query, rising, each number once.

    Args:
        nums: the numbers of all parts end to end.
        bounds: (parts * (q + 1),) of each part its offsets, counted from the first of all numbers.
    """
    parts = len(bounds) // (q + 1)
    offsets, out = np.zeros(q + 1, np.int64), np.empty(len(nums), np.int32)
    count = 0
    for one in range(q):
        begin = count
        for part in range(parts):
            base = part * (q + 1) + one
            for at in range(bounds[base], bounds[base + 1]):
                num = nums[at]
                place = table[num]
                if place < begin or place >= count or out[place] != num:
                    out[count] = num
                    table[num] = count
                    count += 1
        out[begin:count] = np.sort(out[begin:count])
        offsets[one + 1] = count
    return offsets, out[:count].copy()


@compiled((i1, l1, i1, l1, wi1))
def had(items: Any, bounds: Any, nums: Any, offsets: Any, table: Any) -> Any:
    """(m,) which candidates their query's items hold."""
    out = np.zeros(len(nums), np.bool_)
    for one in range(len(offsets) - 1):
        lo, hi = bounds[one], bounds[one + 1]
        for at in range(lo, hi):
            table[items[at]] = at
        for at in range(offsets[one], offsets[one + 1]):
            place = table[nums[at]]
            out[at] = lo <= place < hi and items[place] == nums[at]
    return out
