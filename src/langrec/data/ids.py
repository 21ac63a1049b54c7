"""Ids: strings at the border, int32 numbers inside, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from langrec.errors import DataError
from langrec.types import IntVector


class Ids:
    """An immutable list of distinct ids; an id's number is its place.

    Args:
        names: the ids in the order of their numbers.

    Raises:
        DataError: at the first look-up: an id occurs twice.
    """

    def __init__(self, names: Sequence[str] | npt.NDArray[np.object_], base: Ids | None = None) -> None:
        self._names: npt.NDArray[np.object_] = np.asarray(names, dtype=object)
        self._base = base

    @cached_property
    def _numbers(self) -> dict[str, int]:
        numbers = {name: num for num, name in enumerate(self._names)}
        if len(numbers) != len(self._names):
            twice = next(name for num, name in enumerate(self._names) if numbers[name] != num)
            raise DataError(f"ids must be distinct; {twice!r} occurs twice")
        return numbers

    def __len__(self) -> int:
        return len(self._names) + (len(self._base) if self._base is not None else 0)

    def __repr__(self) -> str:
        shown = [repr(self[num]) for num in range(min(len(self), 3))]
        return f"<Ids: {len(self):,}{': ' if shown else ''}{', '.join(shown)}{', ...' if len(self) > 3 else ''}>"

    def __getitem__(self, num: int) -> str:
        if self._base is None:
            return str(self._names[num])
        return self._base[num] if num < len(self._base) else str(self._names[num - len(self._base)])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.number(name) >= 0

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @property
    def names(self) -> npt.NDArray[np.object_]:
        """(n,) the ids as an object array; do not write into it."""
        return self._names if self._base is None else np.concatenate([self._base.names, self._names])

    def number(self, name: str) -> int:
        """The id's number, -1 where it is unknown."""
        num = self._numbers.get(name, -1)
        if self._base is None:
            return num
        return self._base.number(name) if num < 0 else num + len(self._base)

    def numbers(self, names: Iterable[str]) -> IntVector:
        """(len(names),) numbers, -1 where an id is unknown."""
        if self._base is None:
            get = self._numbers.get
            return np.fromiter((get(name, -1) for name in names), dtype=np.int32)
        asked = list(names)
        nums = self._base.numbers(asked)
        get, start = self._numbers.get, len(self._base)
        for place in np.flatnonzero(nums < 0).tolist():
            own = get(asked[place], -1)
            nums[place] = own + start if own >= 0 else -1
        return nums

    def take(self, nums: npt.NDArray[np.integer]) -> tuple[str, ...]:
        """The ids of numbers."""
        if self._base is None:
            return tuple(self._names[nums])
        if not len(nums) or int(np.max(nums)) < len(self._base):
            return self._base.take(nums)
        return tuple(self[int(num)] for num in nums)

    def extended(self, names: Sequence[str]) -> Ids:
        """These ids followed by new ones; the old table is shared, so a long list is not copied."""
        if self._base is None:
            return Ids(names, base=self)
        return Ids(np.concatenate([self._names, np.asarray(names, dtype=object)]), base=self._base)
