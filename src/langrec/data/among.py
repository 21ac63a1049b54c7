"""Some items of a catalogue, seen by their numbers: what filters ask of all items, asked of these alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.data.candidates import within
from langrec.data.ids import Ids
from langrec.data.items import Items, field_of
from langrec.types import IntVector, Mask, TimeVector


class Among:
    """What `Items` says, of distinct items alone and in their order.

    Args:
        items: all items.
        nums: (m,) numbers.
    """

    def __init__(self, items: Items, nums: IntVector) -> None:
        self._items = items
        self.nums = nums
        base = len(items.catalogue)
        self._inside = nums < base
        self._places = nums if self._inside.all() else np.where(self._inside, nums, 0)
        changed = items.changed_nums
        self._changed: list[int] = np.flatnonzero(within(nums, changed)).tolist() if len(changed) else []

    def __len__(self) -> int:
        return len(self.nums)

    @property
    def ids(self) -> Ids:
        return self._items.ids

    def all_but(self, nums: IntVector) -> Mask:
        """(m,) False for these items."""
        return ~within(self.nums, nums[nums >= 0])

    def hidden(self) -> Mask:
        """(m,) True for items that are never shown: hidden or deleted."""
        mask = self._taken(self._items.base_hidden, False)
        for place in self._changed:
            mask[place] = self._items.changed[int(self.nums[place])].hidden
        if self._items.deleted:
            mask |= within(self.nums, self._items.deleted_nums)
        return mask

    def times(self) -> TimeVector:
        """(m,) as `Items.times`."""
        times = self._taken(self._items.catalogue.times, -1)
        for place in self._changed:
            times[place] = self._items.changed[int(self.nums[place])].at
        return times

    def in_categories(self, names: Sequence[str]) -> Mask:
        """(m,) True for items with at least one of the categories."""
        mask = self._items.kinds.any_of(names, self._places) & self._inside
        for place in self._changed:
            mask[place] = not set(names).isdisjoint(self._items.changed[int(self.nums[place])].categories)
        return mask

    def field_names(self) -> tuple[str, ...]:
        """As `Items.field_names`."""
        return self._items.field_names()

    def field(self, name: str) -> npt.NDArray[Any]:
        """(m,) as `Items.field`."""
        base = self._items.base_field(name)
        fresh = {place: field_of(self._items.changed[int(self.nums[place])], name) for place in self._changed}
        if base.dtype.kind == "f":
            numbers = self._taken(base, np.nan)
            if all(isinstance(value, (int, float, type(None))) for value in fresh.values()):
                for place, value in fresh.items():
                    numbers[place] = np.nan if value is None else value
                return numbers
            values = numbers.astype(object)
            values[np.isnan(numbers)] = None
        else:
            values = self._taken(base, None)
        for place, value in fresh.items():
            values[place] = value
        return values

    def _taken(self, values: npt.NDArray[Any], nothing: Any) -> npt.NDArray[Any]:
        """The base's values of these items, `nothing` for those past its end; the caller's own."""
        if not len(values):
            return np.full(len(self.nums), nothing, dtype=values.dtype)
        taken = values[self._places]
        if not self._inside.all():
            taken[~self._inside] = nothing
        return taken
