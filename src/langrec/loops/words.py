"""BM25 of a block: what histories find by the terms that matter most, and what their terms say of candidates."""

from __future__ import annotations

from typing import Any

import numpy as np

from langrec.loops.compiling import b1, compiled, d1, f1, fetch, i, i1, l1, wf1, wi1
from langrec.loops.sparse import AHEAD, keep_best, place_among


@compiled((l1, i1, f1, f1, i1, l1, i, i))
def foremost_terms(offsets: Any, terms: Any, weights: Any, idf: Any, indptr: Any, most: Any, each: Any, v: Any) -> Any:
    """Of each query the terms that matter most, first by first, until their postings are `most[q]`.

    What a term can bring at most, or nearly so, is its weight times its rarity.

    Args:
        indptr: of the postings, for v terms; others are passed over.
        each: so many postings of one term are looked at.

    Returns:
        (q + 1,) offsets and the places among `terms`.
    """
    q = len(offsets) - 1
    bounds, picked = np.zeros(q + 1, np.int64), np.empty(len(terms), np.int32)
    count = 0
    for one in range(q):
        lo, hi = offsets[one], offsets[one + 1]
        worth = np.empty(hi - lo, np.float32)
        for at in range(lo, hi):
            worth[at - lo] = -weights[at] * idf[terms[at]] if terms[at] < v else np.float32(np.inf)
        cost = 0
        for place in np.argsort(worth, kind="mergesort"):
            term = terms[lo + place]
            if term >= v:
                break
            cost += min(indptr[term + 1] - indptr[term], each)
            if cost > most[one] and count > bounds[one]:
                break
            picked[count] = lo + place
            count += 1
        bounds[one + 1] = count
    return bounds, picked[:count].copy()


@compiled((l1, l1, l1, b1, f1, i1, f1, i1, f1, i1, b1, i, i, wi1))
def find(
    bounds: Any, starts: Any, stops: Any, is_more: Any, weights: Any,
    indices: Any, gives: Any, more_indices: Any, more_gives: Any,
    left_out: Any, allowed: Any, is_told: Any, k: Any, table: Any,
) -> Any:  # fmt: skip
    """The k items of each query to which its terms say most, rising by number.

    Args:
        bounds: (q + 1,) each query's stretch of the terms.
        starts, stops: each term's postings: in `indices` and `gives`, or, where `is_more`, in the others.
        weights: of the terms.
        left_out: rising numbers that are not to be found.
        allowed: what may be found, where `is_told`.
        table: room for a number per item, whatever is in it.

    Returns:
        (q + 1,) offsets and the numbers.
    """
    q = len(bounds) - 1
    offsets, out = np.zeros(q + 1, np.int64), np.empty(q * k, np.int32)
    tops, nums = np.empty(k, np.float32), np.empty(k, np.int32)
    for one in range(q):
        total = 0
        for t in range(bounds[one], bounds[one + 1]):
            total += stops[t] - starts[t]
        columns, sums = np.empty(total, np.int32), np.empty(total, np.float64)
        count = 0
        for t in range(bounds[one], bounds[one + 1]):
            held, says = (more_indices, more_gives) if is_more[t] else (indices, gives)
            for at in range(starts[t], stops[t]):
                if at + AHEAD < stops[t]:
                    fetch(table, held[at + AHEAD])
                column = held[at]
                place = table[column]
                if place < 0 or place >= count or columns[place] != column:
                    place = count
                    columns[place], sums[place] = column, 0.0
                    table[column] = place
                    count += 1
                sums[place] += says[at] * weights[t]
        size = 0
        for place in range(count):
            column, value = columns[place], np.float32(sums[place])
            if value <= 0 or (size == k and value < tops[0]):
                continue
            if is_told and (column >= len(allowed) or not allowed[column]):
                continue
            if len(left_out) and place_among(left_out, column) >= 0:
                continue
            size = keep_best(value, column, tops, nums, size, k)
        lo = offsets[one]
        out[lo : lo + size] = np.sort(nums[:size])
        offsets[one + 1] = lo + size
    return offsets, out[: offsets[q]].copy()


@compiled((i1, i1, f1, i1, i1, i1, f1, i1, l1, l1, i1, f1, i, wf1))
def said(
    indptr: Any, indices: Any, gives: Any, nums: Any, new_indptr: Any, new_indices: Any, new_gives: Any,
    asked: Any, offsets: Any, bounds: Any, terms: Any, weights: Any, n: Any, table: Any,
) -> Any:  # fmt: skip
    """(m,) what each query's terms say of its candidates; NaN for items without words, and queries without terms.

    Args:
        asked, offsets: the candidates; numbers from n on have words only where they are among the newer `nums`.
        bounds, terms, weights: each query's terms.
        table: zeros, a number per term; left as zeros.
    """
    out = np.empty(len(asked), np.float32)
    for one in range(len(offsets) - 1):
        lo, hi = bounds[one], bounds[one + 1]
        for t in range(lo, hi):
            table[terms[t]] = weights[t]
        for at in range(offsets[one], offsets[one + 1]):
            num = asked[at]
            if at + AHEAD < offsets[one + 1] and asked[at + AHEAD] < n:
                fetch(indptr, asked[at + AHEAD])
            if at + 4 < offsets[one + 1] and asked[at + 4] < n:
                fetch(indices, indptr[asked[at + 4]])
                fetch(gives, indptr[asked[at + 4]])
            new = place_among(nums, num)
            if hi == lo or (new < 0 and num >= n):
                out[at] = np.nan
                continue
            held, says = (new_indices, new_gives) if new >= 0 else (indices, gives)
            first = new_indptr[new] if new >= 0 else indptr[num]
            last = new_indptr[new + 1] if new >= 0 else indptr[num + 1]
            total = 0.0
            for entry in range(first, last):
                total += table[held[entry]] * says[entry]
            out[at] = total if last > first else np.nan
        for t in range(lo, hi):
            table[terms[t]] = 0.0
    return out


@compiled((l1, i1, f1, d1, i))
def means(bounds: Any, terms: Any, weights: Any, sums: Any, n: Any) -> Any:
    """(q,) the mean over n items of what each query's terms say, from what all items offer to each term."""
    out = np.empty(len(bounds) - 1, np.float32)
    for one in range(len(out)):
        total = 0.0
        for t in range(bounds[one], bounds[one + 1]):
            total += weights[t] * sums[terms[t]]
        out[one] = total / max(n, 1)
    return out
