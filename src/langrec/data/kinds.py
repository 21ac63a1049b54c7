"""The categories of a catalogue as numbers, by item and by category: who asks for some does not read all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from langrec.data.candidates import ragged
from langrec.types import IntVector, Mask, TimeVector


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Categories of n items.

    Attributes:
        places: place of each category.
        starts: (n + 1,) the categories of item i are codes[starts[i]:starts[i + 1]].
        codes: (c,) int32.
        firsts: the items of category j are nums[firsts[j]:firsts[j + 1]].
        nums: (c,) int32, rising within a category.
    """

    places: dict[str, int]
    starts: TimeVector
    codes: IntVector
    firsts: TimeVector
    nums: IntVector

    @classmethod
    def of(cls, column: pl.Series) -> Self:
        """Of a column of lists."""
        sizes = column.list.len().fill_null(0).to_numpy().astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        flat = (
            column.filter(pl.Series(sizes > 0)).explode(empty_as_null=False)
            if sizes.any()
            else column.head(0).explode()
        )
        names = flat.unique(maintain_order=True)
        places = {name: place for place, name in enumerate(names.to_list())}
        codes = (
            flat.replace_strict(names, np.arange(len(names), dtype=np.int32), return_dtype=pl.Int32).to_numpy()
            if len(names)
            else np.zeros(0, dtype=np.int32)
        )
        owners = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        order = np.argsort(codes, kind="stable")
        firsts = np.searchsorted(codes[order], np.arange(len(names) + 1)).astype(np.int64)
        return cls(places, starts, codes.astype(np.int32), firsts, owners[order])

    def any_of(self, names: Sequence[str], nums: IntVector) -> Mask:
        """(len(nums),) True for items with at least one of the categories."""
        wanted = np.zeros(len(self.places) + 1, dtype=np.bool_)
        wanted[[self.places[name] for name in names if name in self.places]] = True
        starts = self.starts[nums]
        lengths = self.starts[nums + 1] - starts
        hits = wanted[self.codes[ragged(starts, lengths)]]
        return np.bincount(np.repeat(np.arange(len(nums)), lengths), hits, minlength=len(nums)) > 0

    def items_of(self, names: Sequence[str]) -> npt.NDArray[np.int32]:
        """Numbers of the items with at least one of the categories; one may come again."""
        found = [self.places[name] for name in set(names) if name in self.places]
        lists = [self.nums[self.firsts[place] : self.firsts[place + 1]] for place in found]
        return np.concatenate([np.zeros(0, dtype=np.int32), *lists])
