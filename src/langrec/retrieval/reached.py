"""What a few rows of a sparse matrix reach: columns, and weighted sums of them, without a pass over all columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

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
class ReachedBlock:
    """The entries of the rows of a block's histories, laid end to end: what one query reaches is a stretch of them.

    Attributes:
        offsets: (q + 1,) int64; the columns of query i are columns[offsets[i]:offsets[i + 1]].
        columns: (u,) int32, within a query distinct and in no order.
        places, rows, values: (e,) as in `Reached`; rows are those of the block's histories.
    """

    offsets: npt.NDArray[np.int64]
    columns: IntVector
    places: Places
    rows: Places
    values: FloatVector

    @classmethod
    def of(cls, block: QueryBlock, rows: Places, columns: IntVector, values: FloatVector) -> Self:
        """From entries whose rows, those of the block's histories, rise."""
        bounds = np.searchsorted(rows, block.offsets)
        parts, places = [np.zeros(0, dtype=np.int32)], np.empty(len(columns), dtype=np.intp)
        offsets = np.zeros(len(block) + 1, dtype=np.int64)
        for i, (lo, hi) in enumerate(pairwise(bounds)):
            own, places[lo:hi] = distinct(columns[lo:hi])
            places[lo:hi] += offsets[i]
            offsets[i + 1] = offsets[i] + len(own)
            parts.append(own)
        return cls(offsets, np.concatenate(parts), places, rows, values)

    def sums(self, weights: FloatVector) -> FloatVector:
        """(u,) of each query's columns, with a weight for each row of the histories."""
        sums = np.bincount(self.places, self.values * weights[self.rows], minlength=len(self.columns))
        return sums.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums of a block: of each query the columns it reaches and what they sum to, laid end to end.

    Attributes:
        offsets: (q + 1,) int64; those of query i are offsets[i]:offsets[i + 1].
        columns: (u,) int32, within a query distinct.
        values: (u,) float32.
    """

    offsets: npt.NDArray[np.int64]
    columns: IntVector
    values: FloatVector

    @classmethod
    def of(cls, columns: Sequence[IntVector], values: Sequence[npt.NDArray[np.floating]]) -> Self:
        """From the columns and sums of each query."""
        offsets = np.zeros(len(columns) + 1, dtype=np.int64)
        np.cumsum([len(own) for own in columns], out=offsets[1:])
        joined = np.concatenate([np.zeros(0, dtype=np.int32), *columns])
        return cls(offsets, joined, np.concatenate([np.zeros(0), *values]).astype(np.float32))

    def items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the candidates' sums; 0 where nothing reaches them."""
        out = np.zeros(len(asked.nums), dtype=np.float32)
        places, there = block.keep((id(self.columns), id(asked)), lambda: self._met(asked))
        out[places] = self.values[there]
        return out

    def _met(self, asked: Candidates) -> tuple[Places, Places]:
        """Places of candidates that a query reaches, and where these stand among the columns."""
        places, columns = [np.zeros(0, dtype=np.intp)], [np.zeros(0, dtype=np.intp)]
        for i, (lo, hi) in enumerate(pairwise(self.offsets)):
            found, there = places_in(self.columns[lo:hi], asked[i])
            met = np.flatnonzero(there)
            places.append(asked.offsets[i] + met)
            columns.append(lo + found[met])
        return np.concatenate(places), np.concatenate(columns)

    def means(self, among: Population) -> FloatVector:
        """(q,) mean over the catalogue of what is above 0."""
        positive = np.maximum(self.values, 0.0)
        if among.members is not None:
            positive = np.where(among.holds(self.columns), positive, 0.0)
        ends = np.concatenate([[0.0], np.cumsum(positive, dtype=np.float64)])[self.offsets]
        return (np.diff(ends) / max(among.n, 1)).astype(np.float32)

    def best(self, k: int, allowed: Mask | None, keep: Mask | None = None) -> Candidates:
        """Of each query the k columns of the highest sums above 0.

        Args:
            keep: (n,) columns that can be found at all.
        """
        values = self.values
        if keep is not None:
            values = np.where(keep[self.columns], values, 0.0)
        if allowed is not None:
            values = np.where(permitted(allowed, self.columns), values, 0.0)
        return Candidates.of([best_of(self.columns[lo:hi], values[lo:hi], k) for lo, hi in pairwise(self.offsets)])


def permitted(allowed: Mask, nums: IntVector) -> Mask:
    """(len(nums),) which of the numbers the mask allows; none past its end."""
    within = nums < len(allowed)
    return np.asarray(allowed[np.where(within, nums, 0)] & within) if len(allowed) else within & False


def reached(block: QueryBlock, n: int, matrix: sparse.csr_array) -> ReachedBlock:
    """What the histories reach by the rows of their items below n; kept with the block."""

    def made() -> ReachedBlock:
        known = np.flatnonzero(block.items < n)
        items = block.items[known]
        starts = matrix.indptr[items]
        lengths = matrix.indptr[items + 1] - starts
        entries = ragged(starts, lengths)
        return ReachedBlock.of(block, np.repeat(known, lengths), matrix.indices[entries], matrix.data[entries])

    found: ReachedBlock = block.keep(("history", id(matrix)), made)
    return found
