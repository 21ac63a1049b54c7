"""Work on candidates: rows of unequal length laid end to end, their unions, and places of numbers without a table."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.loops import compiled
from langrec.types import Candidates, FloatVector, IntVector, Mask, Population, QueryBlock

# Items of a sample: means over a catalogue are taken from so many, one of each of as many equal stretches.
SAMPLED = 1_024

# Of very many scores one of so many is looked at first, to pass over those that are too low.
EACH = 8

Places = npt.NDArray[np.intp]
_of_thread = threading.local()


def population_of(n: int, members: Mask | None = None, seed: int = 0, sampled: int = SAMPLED) -> Population:
    """All items up to n, or those of them that the mask names; equal arguments give equal samples."""
    if members is None:
        nums: Places = np.arange(n)
    else:
        known = members[:n]
        nums = np.concatenate([np.flatnonzero(known), np.arange(len(known), n)])
    size = len(nums)
    if size > sampled:
        bounds = np.linspace(0, size, sampled + 1).astype(np.int64)
        nums = nums[np.random.default_rng(seed).integers(bounds[:-1], bounds[1:])]
    return Population(n, size, nums.astype(np.int32), members)


def ragged(starts: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> Places:
    """Places starts[0], starts[0] + 1, ... of the first row, then those of the next, end to end."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    places: Places = np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
    return places


def union(parts: Sequence[Candidates]) -> Candidates:
    """What any of the parts holds for each query, rising, each number once; all parts are of the same q queries."""
    q = len(parts[0])
    if (loops := compiled("sparse")) is not None:
        nums = np.concatenate([part.nums for part in parts])
        begins = np.cumsum([0, *(len(part.nums) for part in parts[:-1])])
        bounds = np.concatenate([part.offsets + begin for part, begin in zip(parts, begins, strict=True)])
        return Candidates(*loops.union(nums, bounds, q, slots(int(nums.max(initial=-1)) + 1)))
    width = np.int64(max([1, *(int(part.nums.max(initial=-1)) + 1 for part in parts)]))
    keys = once(np.concatenate([part.rows() * width + part.nums for part in parts]))
    offsets = np.searchsorted(keys, np.arange(q + 1) * width).astype(np.int64)
    return Candidates(offsets, (keys % width).astype(np.int32))


def once(nums: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The distinct numbers, rising; `np.unique` hashes them first, which takes ten times as long as to sort."""
    ordered = np.sort(nums)
    first = np.ones(len(ordered), dtype=np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    found: npt.NDArray[Any] = ordered[first]
    return found


def slots(n: int) -> IntVector:
    """A table of this thread of at least n numbers, whatever is in it: whoever reads checks what is found there.

    A table that is cleared for each use would cost a pass over the catalogue; one whose entries are checked costs none.
    """
    found: IntVector | None = getattr(_of_thread, "slots", None)
    if found is None or len(found) < n:
        found = np.zeros(n + n // 8 + 1024, dtype=np.int32)
        _of_thread.slots = found
    return found


def zeros(n: int) -> FloatVector:
    """A table of this thread of at least n zeros; whoever writes into it writes the zeros back."""
    found: FloatVector | None = getattr(_of_thread, "zeros", None)
    if found is None or len(found) < n:
        found = np.zeros(n + n // 8 + 1024, dtype=np.float32)
        _of_thread.zeros = found
    return found


def places_in(nums: IntVector, wanted: IntVector) -> tuple[Places, Mask]:
    """For each wanted number its place among distinct `nums`, and True where it is there; places elsewhere are any."""
    if not len(nums):
        return np.zeros(len(wanted), dtype=np.intp), np.zeros(len(wanted), dtype=np.bool_)
    table = slots(int(max(nums.max(), wanted.max(initial=0))) + 1)
    table[nums] = np.arange(len(nums), dtype=np.int32)
    places: Places = np.minimum(table[wanted], len(nums) - 1).astype(np.intp)
    there: Mask = nums[places] == wanted
    return places, there


def within(nums: IntVector, some: IntVector) -> Mask:
    """(len(nums),) which of distinct numbers are among some others; no sort."""
    mask = np.zeros(len(nums), dtype=np.bool_)
    places, there = places_in(nums, some)
    mask[places[there]] = True
    return mask


def had(block: QueryBlock, asked: Candidates) -> Mask:
    """(m,) which candidates their query's history holds; kept with the block."""

    def made() -> tuple[Candidates, Mask]:
        if (loops := compiled("sparse")) is not None:
            room = slots(int(max(asked.nums.max(initial=-1), block.items.max(initial=-1))) + 1)
            return asked, loops.had(block.items, block.offsets, asked.nums, asked.offsets, room)
        parts = [within(asked[i], block.history(i)) for i in range(len(block))]
        return asked, np.concatenate([np.zeros(0, dtype=np.bool_), *parts])

    # The candidates are kept too: what the key names stays alive, so that no others get its name.
    mask: Mask = block.keep(("had", id(asked)), made)[1]
    return mask


def reduced(ufunc: np.ufunc, values: npt.NDArray[Any], offsets: npt.NDArray[np.int64], empty: float) -> Any:
    """(q,) the ufunc over each query's stretch of values; `empty` where a query has none."""
    some = offsets[1:] > offsets[:-1]
    out = np.full(len(some), empty, dtype=values.dtype)
    if some.any():
        out[some] = ufunc.reduceat(values, offsets[:-1][some])
    return out


def distinct(nums: IntVector) -> tuple[IntVector, Places]:
    """The distinct numbers in order of their last occurrence, and the place of each of `nums` among them; no sort."""
    if not len(nums):
        return nums, np.zeros(0, dtype=np.intp)
    table = slots(int(nums.max()) + 1)
    own = np.arange(len(nums), dtype=np.int32)
    table[nums] = own
    last = table[nums]
    is_last = last == own
    rank = np.cumsum(is_last) - 1
    return nums[is_last], rank[last]


def best_of(nums: IntVector, scores: npt.NDArray[np.floating], k: int) -> IntVector:
    """Rising numbers of the at most k highest scores above zero."""
    nums, scores = _likely(nums, scores, k)
    positive = scores > 0
    if int(np.count_nonzero(positive)) > k:
        # Half the width takes a quarter of the time.
        narrow = scores.astype(np.float32, copy=False)
        bar = np.partition(narrow, len(narrow) - k)[len(narrow) - k]
        positive = narrow >= bar
    found = nums[positive]
    if len(found) > k:  # ties at the bar: the lowest numbers stay
        values = scores[positive]
        found = found[np.lexsort((found, -values))[:k]]
    return np.sort(found)


def _likely(nums: IntVector, scores: npt.NDArray[np.floating], k: int) -> tuple[IntVector, npt.NDArray[np.floating]]:
    """Of many scores those above what one in EACH of them says is too low: some 2 k, which hold the k highest."""
    sampled = scores[::EACH]
    among = 2 * k // EACH
    if not 0 < among < len(sampled) // 2:
        return nums, scores
    kept = scores >= np.partition(sampled, len(sampled) - among)[len(sampled) - among]
    return (nums[kept], scores[kept]) if int(np.count_nonzero(kept)) >= k else (nums, scores)
