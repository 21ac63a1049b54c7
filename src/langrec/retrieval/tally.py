"""Gains by item that change by a few rows at a time: a table made once, and what has come or gone since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from langrec.types import IntVector

# The highest of a table that are looked at for the best, beside the items that have changed since it was made.
TOP = 4_096

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """(n,) gains of many items, with the numbers of its highest."""

    values: Doubles

    @cached_property
    def top(self) -> IntVector:
        """The TOP highest above 0, rising by number."""
        some = np.flatnonzero(self.values > 0)
        if len(some) > TOP:
            some = some[np.argpartition(self.values[some], len(some) - TOP)[len(some) - TOP :]]
        return np.sort(some).astype(np.int32)

    @cached_property
    def sum(self) -> float:
        return float(self.values.sum())

    @cached_property
    def highest(self) -> float:
        return float(self.values.max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Tally:
    """A table, and what is added for a few items.

    Attributes:
        table: None = zeros.
        items: (u,) int32 distinct items, rising.
        gains: (u,) what is added to each.
        scale: multiplies both.
    """

    table: Table | None
    items: IntVector
    gains: Doubles
    scale: float = 1.0

    @classmethod
    def of_rows(cls, table: Table | None, items: IntVector, gains: Doubles) -> Tally:
        """From rows in any order; an item may come again."""
        distinct, places = np.unique(items, return_inverse=True)
        sums = np.bincount(places.ravel(), gains, minlength=len(distinct)).astype(np.float64)
        return cls(table, distinct.astype(np.int32), sums)

    def scaled(self, by: float) -> Tally:
        return Tally(self.table, self.items, self.gains, self.scale * by)

    def of(self, nums: IntVector) -> Doubles:
        """(len(nums),) gains."""
        out = np.zeros(len(nums), dtype=np.float64)
        if self.table is not None:
            within = nums < len(self.table.values)
            out[within] = self.table.values[nums[within]]
        if len(self.items):
            places = np.minimum(np.searchsorted(self.items, nums), len(self.items) - 1)
            out += np.where(self.items[places] == nums, self.gains[places], 0.0)
        return out if self.scale == 1.0 else out * self.scale

    @property
    def sum(self) -> float:
        table = 0.0 if self.table is None else self.table.sum
        return self.scale * (table + float(self.gains.sum()))

    @property
    def likely(self) -> IntVector:
        """Items among which the highest are, some twice; more may come and go than TOP before that is untrue."""
        return self.items if self.table is None else np.concatenate([self.table.top, self.items])


def highest(tallies: Sequence[Tally]) -> float:
    """The highest sum of unscaled tallies, whose gains are not below 0."""
    best = max((tally.table.highest for tally in tallies if tally.table is not None), default=0.0)
    for tally in tallies:
        if len(tally.items):
            best = max(best, float(np.sum([other.of(tally.items) for other in tallies], axis=0).max()))
    return best
