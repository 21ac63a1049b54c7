"""What a few rows of a sparse matrix reach: columns, and weighted sums of them, without a pass over all columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.candidates import Places, best_of, distinct, places_in, ragged
from langrec.types import Candidates, FloatVector, IntVector, Mask, Population, QueryBlock


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """The entries of some rows.

    Attributes:
        columns: (u,) int32 distinct columns, in no order.
        places: (e,) place in `columns` of each entry.
        rows: (e,) which of the rows each entry stands in.
        values: (e,) float32.
    """

    columns: IntVector
    places: Places
    rows: Places
    values: FloatVector

    @classmethod
    def of(cls, matrix: sparse.csr_array, rows: IntVector) -> Self:
        """Of these rows of a matrix, in this order; a row may come again."""
        starts = matrix.indptr[rows]
        lengths = matrix.indptr[rows + 1] - starts
        entries = ragged(starts, lengths)
        columns, places = distinct(matrix.indices[entries])
        return cls(columns, places, np.repeat(np.arange(len(rows)), lengths), matrix.data[entries])

    def sums(self, weights: FloatVector) -> npt.NDArray[np.float64]:
        """(u,) of each column, with a weight for each row."""
        sums: npt.NDArray[np.float64] = np.bincount(
            self.places, self.values * weights[self.rows], minlength=len(self.columns)
        ).astype(np.float64, copy=False)
        return sums


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums of a block: of each query the columns it reaches and what they sum to."""

    columns: Sequence[IntVector]
    values: Sequence[npt.NDArray[np.float64]]

    def items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the candidates' sums; 0 where nothing reaches them."""
        out = np.zeros(len(asked.nums), dtype=np.float32)
        for i, (columns, values) in enumerate(zip(self.columns, self.values, strict=True)):
            places, there = block.keep((id(columns), id(asked)), partial(_met, asked[i], columns))
            out[asked.offsets[i] + places] = values[there]
        return out

    def means(self, among: Population) -> FloatVector:
        """(q,) mean over the catalogue of what is above 0."""
        out = np.zeros(len(self.columns), dtype=np.float32)
        for i, (columns, values) in enumerate(zip(self.columns, self.values, strict=True)):
            positive = np.maximum(values, 0.0)
            out[i] = (positive if among.members is None else positive[among.holds(columns)]).sum() / max(among.n, 1)
        return out

    def best(self, k: int, allowed: Mask | None, keep: Mask | None = None) -> Candidates:
        """Of each query the k columns of the highest sums above 0.

        Args:
            keep: (n,) columns that can be found at all.
        """
        found = []
        for columns, values in zip(self.columns, self.values, strict=True):
            if keep is not None:
                values = np.where(keep[columns], values, 0.0)
            if allowed is not None:
                values = np.where(permitted(allowed, columns), values, 0.0)
            found.append(best_of(columns, values, k))
        return Candidates.of(found)


def permitted(allowed: Mask, nums: IntVector) -> Mask:
    """(len(nums),) which of the numbers the mask allows; none past its end."""
    within = nums < len(allowed)
    return np.asarray(allowed[np.where(within, nums, 0)] & within) if len(allowed) else within & False


def _met(nums: IntVector, columns: IntVector) -> tuple[Places, Places]:
    """Where columns stand among candidates, and which of them do."""
    places, there = places_in(nums, columns)
    there_at = np.flatnonzero(there)
    return places[there_at], there_at


def reached(
    block: QueryBlock, name: Any, rows: Callable[[int], IntVector], matrix: sparse.csr_array
) -> Sequence[Reached]:
    """What each query reaches from its rows; kept with the block under a name."""
    made: Sequence[Reached] = block.keep(
        (name, id(matrix)), lambda: [Reached.of(matrix, rows(i)) for i in range(len(block))]
    )
    return made
