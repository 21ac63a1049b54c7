"""What a few rows of a sparse matrix reach: columns, and weighted sums of them, without a pass over all columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.candidates import Places, best_of, distinct, places_in, ragged, slots
from langrec.loops import compiled
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
        # Rows of a matrix whose pointers are wide have wide columns; numbers of items are narrow everywhere.
        return cls(offsets, np.concatenate(parts).astype(np.int32, copy=False), places, rows, values)

    def sums(self, weights: FloatVector) -> FloatVector:
        """(u,) of each query's columns, with a weight for each row of the histories."""
        sums = np.bincount(self.places, self.values * weights[self.rows], minlength=len(self.columns))
        return sums.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """A sparse matrix by rows, with newer rows by number laid over it, as the loops read them.

    Attributes:
        indptr, indices, data: of the matrix.
        nums: (u,) int32 rising numbers of the newer rows.
        new_indptr, new_indices, new_data: those rows.
        n: rows from this on are passed over, where no newer ones lie over them.
        step: 0 where one value stands for all; else 1.
    """

    indptr: IntVector
    indices: IntVector
    data: FloatVector
    nums: IntVector
    new_indptr: IntVector
    new_indices: IntVector
    new_data: FloatVector
    n: int
    step: int = 1

    @classmethod
    def of(cls, matrix: sparse.csr_array, data: FloatVector, n: int) -> Self:
        """The rows of a matrix with this in place of its values."""
        none = np.zeros(0, dtype=np.int32)
        flat = 0 if data.strides == (0,) else 1
        data = data if flat else data[:1]
        return cls(matrix.indptr, matrix.indices, data, none, matrix.indptr[:1], none, data[:0], n, flat)

    def under(self, nums: IntVector, newer: sparse.csr_array, data: FloatVector) -> Self:
        """The same under newer rows."""
        new = data if self.step else data[:1]
        indptr, indices = newer.indptr.astype(np.int32, copy=False), newer.indices.astype(np.int32, copy=False)
        return replace(self, nums=nums, new_indptr=indptr, new_indices=indices, new_data=new)


@dataclass(frozen=True, slots=True, eq=False)
class ReachedRows:
    """What `ReachedBlock` is, by the loops: entries are read where they lie.

    Attributes:
        offsets, columns: as of `ReachedBlock`.
        places: (e,) int32 place in `columns` of each entry.
        rows: the matrix.
        items: (h,) the block's histories.
    """

    offsets: npt.NDArray[np.int64]
    columns: IntVector
    places: IntVector
    rows: Laid
    items: IntVector

    @classmethod
    def of(cls, block: QueryBlock, rows: Laid, width: int) -> Self:
        """What the rows of a block's histories reach in a matrix of so many columns."""
        at = (rows.indptr, rows.indices, rows.nums, rows.new_indptr, rows.new_indices)
        found = compiled("sparse").reach(*at, block.items, block.offsets, rows.n, slots(width))
        offsets, columns, places = found
        return cls(offsets, columns, places, rows, block.items)

    def sums(self, weights: FloatVector) -> FloatVector:
        """(u,) of each query's columns, with a weight for each row of the histories."""
        rows = self.rows
        held = (rows.indptr, rows.data, rows.nums, rows.new_indptr, rows.new_data, rows.step)
        sums: FloatVector = compiled("sparse").sums(*held, self.items, rows.n, weights, self.places, len(self.columns))
        return sums


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
        joined = np.concatenate([np.zeros(0, dtype=np.int32), *columns]).astype(np.int32, copy=False)
        return cls(offsets, joined, np.concatenate([np.zeros(0), *values]).astype(np.float32))

    def items(self, block: QueryBlock, asked: Candidates, known: Mask, trained: Mask) -> FloatVector:
        """(m,) the candidates' sums: 0 where nothing reaches them, NaN where nothing can be said.

        Args:
            known: (q,) True where something can be said of a query.
            trained: (n,) True where something can be said of an item.
        """
        if (loops := compiled("sparse")) is not None:
            room = slots(int(max(asked.nums.max(initial=-1), self.columns.max(initial=-1))) + 1)
            met = block.keep(
                (id(self.columns), id(asked)),
                lambda: loops.met(self.columns, self.offsets, asked.nums, asked.offsets, room),
            )
            found: FloatVector = loops.scores(self.values, met, asked.nums, asked.offsets, known, trained, len(trained))
            return found
        out = np.zeros(len(asked.nums), dtype=np.float32)
        places, there = block.keep((id(self.columns), id(asked)), lambda: self._met(asked))
        out[places] = self.values[there]
        inside = asked.nums < len(trained)
        out[~(inside & known[asked.rows()])] = np.nan
        out[inside & ~trained[np.where(inside, asked.nums, 0)]] = np.nan
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
        if (loops := compiled("sparse")) is not None:
            members = NOBODY if among.members is None else among.members
            found: FloatVector = loops.means(self.values, self.columns, self.offsets, members, among.n)
            return found
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
            values = np.where(keep[self.columns], values, np.float32(0.0))
        if (loops := compiled("sparse")) is not None:
            told = NOBODY if allowed is None else allowed
            return Candidates(*loops.best(values, self.columns, self.offsets, k, told, allowed is not None))
        if allowed is not None:
            values = np.where(permitted(allowed, self.columns), values, 0.0)
        return Candidates.of([best_of(self.columns[lo:hi], values[lo:hi], k) for lo, hi in pairwise(self.offsets)])


# A mask without an item.
NOBODY: Mask = np.zeros(0, dtype=np.bool_)


def permitted(allowed: Mask, nums: IntVector) -> Mask:
    """(len(nums),) which of the numbers the mask allows; none past its end."""
    within = nums < len(allowed)
    return np.asarray(allowed[np.where(within, nums, 0)] & within) if len(allowed) else within & False


def is_narrow(*matrices: sparse.csr_array) -> bool:
    """Whether the loops can read matrices: those of two thousand million entries have wider row pointers."""
    return all(matrix.indptr.dtype == matrix.indices.dtype == np.int32 for matrix in matrices)


def reached(block: QueryBlock, n: int, matrix: sparse.csr_array) -> ReachedBlock | ReachedRows:
    """What the histories reach by the rows of their items below n; kept with the block."""

    def made() -> ReachedBlock | ReachedRows:
        if compiled("sparse") is not None and is_narrow(matrix):
            return ReachedRows.of(block, Laid.of(matrix, matrix.data, n), matrix.shape[1])
        known = np.flatnonzero(block.items < n)
        items = block.items[known]
        starts = matrix.indptr[items]
        lengths = matrix.indptr[items + 1] - starts
        entries = ragged(starts, lengths)
        return ReachedBlock.of(block, np.repeat(known, lengths), matrix.indices[entries], matrix.data[entries])

    found: ReachedBlock | ReachedRows = block.keep(("history", id(matrix)), made)
    return found
