"""Rows that grow: what came or changed lies over an array that never changes, and states of many moments share both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from langrec.types import IntVector

# Room for so many rows at first; doubled where it is full.
FIRST_ROOM = 256


class _Log:
    """Rows in the order they came; only the state that holds all of them may add more."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.rows: npt.NDArray[Any] = np.empty((FIRST_ROOM, *shape), dtype=dtype)
        self.used = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows: those of `base`, and over them rows by number. A number that nothing was said of is a row of zeros.

    `with_rows` gives the next state in time by what has changed; both states share the base and the log of rows.

    Attributes:
        base: (b, ...) never written to; possibly memory-mapped.
        nums: (u,) int32 numbers of the rows that lie over it, rising.
        places: (u,) int64 where each lies in the log.
        n: length.
    """

    base: npt.NDArray[Any]
    nums: IntVector
    places: npt.NDArray[np.int64]
    n: int
    _log: _Log

    @classmethod
    def over(cls, base: npt.NDArray[Any]) -> Rows:
        """The rows of an array."""
        none = np.zeros(0, dtype=np.int32)
        return cls(base, none, none.astype(np.int64), len(base), _Log(base.shape[1:], base.dtype))

    def __len__(self) -> int:
        return self.n

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.n, *self.base.shape[1:])

    def __getitem__(self, nums: Any) -> npt.NDArray[Any]:
        """The rows of numbers, or one row."""
        if not isinstance(nums, np.ndarray):
            return np.asarray(self[np.array([nums], dtype=np.int64)][0])
        nums = np.flatnonzero(nums) if nums.dtype == np.bool_ else nums
        inside = nums < len(self.base)
        if inside.all():
            out = self.base[nums]
        else:
            out = np.zeros((*nums.shape, *self.base.shape[1:]), dtype=self.base.dtype)
            out[inside] = self.base[nums[inside]]
        if len(self.nums):
            where = np.minimum(np.searchsorted(self.nums, nums), len(self.nums) - 1)
            over = self.nums[where] == nums
            if over.any():
                out[over] = self._log.rows[self.places[where[over]]]
        found: npt.NDArray[Any] = out
        return found

    def with_rows(self, nums: IntVector, values: npt.NDArray[Any] | Any) -> Rows:
        """The same rows with these added or replaced; of a number that comes twice the last counts."""
        if not len(nums):
            return self
        log, used = self._log, int(self.places.max(initial=-1)) + 1
        if log.used > used:  # a later state has written there: its rows are not this one's
            log = self._own_log()
            used = log.used
        need = used + len(nums)
        if need > len(log.rows):
            grown = np.empty((max(need, 2 * len(log.rows)), *log.rows.shape[1:]), dtype=log.rows.dtype)
            grown[:used] = log.rows[:used]
            log.rows = grown
        log.rows[used:need] = values
        log.used = need
        kept = ~np.isin(self.nums, nums)
        last = np.unique(np.asarray(nums)[::-1], return_index=True)
        fresh, places = last[0].astype(np.int32), used + len(nums) - 1 - last[1].astype(np.int64)
        both, where = np.concatenate([self.nums[kept], fresh]), np.concatenate([self.places[kept], places])
        order = np.argsort(both, kind="stable")
        n = max(self.n, int(both.max()) + 1)
        return Rows(self.base, both[order], where[order], n, log)

    def longer(self, n: int) -> Rows:
        """The same rows with rows of zeros up to n."""
        return self if n <= self.n else Rows(self.base, self.nums, self.places, n, self._log)

    def _own_log(self) -> _Log:
        log = _Log(self.base.shape[1:], self.base.dtype)
        used = int(self.places.max(initial=-1)) + 1
        log.rows = self._log.rows[: max(used, 1)].copy()
        log.used = used
        return log

    @cached_property
    def whole(self) -> npt.NDArray[Any]:
        """(n, ...) one array, made in time by n at the first look."""
        out = np.zeros(self.shape, dtype=self.base.dtype)
        out[: len(self.base)] = self.base
        out[self.nums] = self._log.rows[self.places]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self.whole if dtype is None else self.whole.astype(dtype)


# An array, or the rows that grew from one.
Growing: TypeAlias = Any


def whole(rows: Growing) -> npt.NDArray[Any]:
    """One array of all rows."""
    return rows.whole if isinstance(rows, Rows) else np.asarray(rows)


def with_rows(rows: Growing, nums: IntVector, values: Any) -> Rows:
    """The rows with some added or replaced, in time by these."""
    return (rows if isinstance(rows, Rows) else Rows.over(rows)).with_rows(nums, values)


def longer(rows: Growing, n: int) -> Rows:
    """The rows with rows of zeros up to n."""
    return (rows if isinstance(rows, Rows) else Rows.over(rows)).longer(n)


def laid(rows: Growing) -> tuple[npt.NDArray[Any], IntVector, npt.NDArray[np.int64], npt.NDArray[Any]]:
    """The rows as loops read them: the base, numbers of the rows that lie over it, their places in the log, the log."""
    if isinstance(rows, Rows):
        return rows.base, rows.nums, rows.places, rows._log.rows
    return rows, _NO_NUMS, _NO_PLACES, rows[:0]


_NO_NUMS, _NO_PLACES = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
