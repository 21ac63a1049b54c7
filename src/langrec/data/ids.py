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
        DataError: an id occurs twice.
    """

    def __init__(self, names: Sequence[str] | npt.NDArray[np.object_]) -> None:
        self._names: npt.NDArray[np.object_] = np.asarray(names, dtype=object)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        numbers = {name: num for num, name in enumerate(self._names)}
        if len(numbers) != len(self._names):
            raise DataError("ids must be distinct; an id occurs twice")
        return numbers

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, num: int) -> str:
        return str(self._names[num])

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    @property
    def names(self) -> npt.NDArray[np.object_]:
        """(n,) the ids as an object array; do not write into it."""
        return self._names

    def number(self, name: str) -> int:
        """The id's number, -1 where it is unknown."""
        return self._numbers.get(name, -1)

    def numbers(self, names: Iterable[str]) -> IntVector:
        """(len(names),) numbers, -1 where an id is unknown."""
        get = self._numbers.get
        return np.fromiter((get(name, -1) for name in names), dtype=np.int32)

    def take(self, nums: npt.NDArray[np.integer]) -> tuple[str, ...]:
        """The ids of numbers."""
        return tuple(self._names[nums])

    def extended(self, names: Sequence[str]) -> Ids:
        """These ids followed by new ones."""
        return Ids(np.concatenate([self._names, np.asarray(names, dtype=object)]))
