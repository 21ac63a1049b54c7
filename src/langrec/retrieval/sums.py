"""Sums over all users, kept so that a change of some users' logs is added and taken away, not fitted again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.fitting import FitData, greatest_gains, with_few_pairs
from langrec.types import IntVector, Mask, UserLogs

# Of a log whose users' items make more pairs, the longest are shortened: the Gram matrix takes 12 bytes a pair.
PAIRS = 150_000_000
# What is left of an entry that was taken away entirely, as a share of what was taken: rounding, and no entry.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """X'X of the greatest gains per user and item.

    Attributes:
        matrix: (n, n) float64, symmetric, its indices sorted; kept with 12 bytes an entry.
        users: (n,) how many users have a gain of each item.
    """

    matrix: sparse.csr_array
    users: IntVector

    @classmethod
    def of(cls, gains: sparse.csr_array) -> Self:
        """The Gram matrix of (users, n) gains."""
        return cls(_squared(gains), _users(gains))

    @classmethod
    def fitting(cls, data: FitData) -> Self:
        """The Gram matrix of a fit's log, made once for all that are fitted from it.

        Of people with very many items only the newest count where all pairs would take too much memory; not where
        changes are to be added and taken away, which need all of it.
        """

        def made() -> Gram:
            gains = data.matrix()
            gram = Gram.of(gains if data.growing else with_few_pairs(gains, data.events, PAIRS))
            return Gram(gram.matrix, _users(gains))

        gram: Self = data.keep("gram", made)
        return gram

    @property
    def trained(self) -> Mask:
        """(n,) True for items that somebody has a gain of."""
        trained: Mask = self.users > 0
        return trained

    def changed(self, gone: sparse.csr_array, come: sparse.csr_array) -> Self:
        """The Gram matrix with some rows of gains in place of others."""
        matrix = summed(self.matrix, _squared(come) - _squared(gone))
        users = padded(self.users, matrix.shape[0]) + _users(come) - _users(gone)
        return type(self)(matrix, users.astype(np.int32))

    def reached(self, other: Self, touched: IntVector) -> IntVector:
        """Items that stand beside one of some items, here or in another Gram matrix, and these items."""
        n = self.matrix.shape[0]
        near = np.zeros(n, dtype=np.bool_)
        near[touched] = True
        for gram in (self.matrix, other.matrix):
            near[gram[touched[touched < gram.shape[0]]].indices] = True
        return np.flatnonzero(near).astype(np.int32)


def rows_of(before: UserLogs, after: UserLogs, n: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """The gains of the users before and after, as (users, n or more) float64; those of users who are as they were are
    left out.
    """
    names, users = np.unique(np.concatenate([before.users, after.users]), return_inverse=True)
    for log in (before, after):
        n = max(n, int(log.items.max(initial=-1)) + 1)
    gone, come = (
        sparse.csr_array(
            greatest_gains(UserLogs(own.astype(np.int32), log.items, log.at, log.gains), len(names), n),
            dtype=np.float64,
        )
        for own, log in ((users[: len(before)], before), (users[len(before) :], after))
    )
    differ = np.flatnonzero(np.diff((gone != come).indptr))
    return gone[differ], come[differ]


def summed(matrix: sparse.csr_array, change: sparse.csr_array) -> sparse.csr_array:
    """Matrix and change added; an entry that is taken away entirely is none."""
    change = sparse.coo_array(change)
    total = sparse.csr_array(widened(matrix, change.shape[0]) + change)
    row, col = change.coords
    left = np.asarray(total[row, col]).ravel()
    rest = np.abs(left) <= ROUNDING * np.abs(change.data)
    if rest.any():
        total = sparse.csr_array(total - sparse.csr_array((left[rest], (row[rest], col[rest])), shape=total.shape))
    total.eliminate_zeros()
    return total


def widened(matrix: sparse.csr_array, n: int) -> sparse.csr_array:
    """The matrix with n rows and columns, the new ones empty."""
    more = n - matrix.shape[0]
    if more <= 0:
        return matrix
    indptr = np.concatenate([matrix.indptr, np.full(more, matrix.indptr[-1], dtype=matrix.indptr.dtype)])
    return sparse.csr_array((matrix.data, matrix.indices, indptr), shape=(n, n))


def padded(counts: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.int32]:
    """(n,) counts, zero for what is new."""
    return np.concatenate([counts, np.zeros(max(n - len(counts), 0), dtype=counts.dtype)])


def with_columns(matrix: sparse.csr_array, columns: IntVector, fresh: sparse.csr_array) -> sparse.csr_array:
    """A square matrix in which (n, len(columns)) fresh values stand in these columns, as wide as the fresh ones."""
    n = fresh.shape[0]
    old, new = sparse.coo_array(matrix), sparse.coo_array(fresh)
    stays = np.ones(n, dtype=np.bool_)
    stays[columns] = False
    kept = stays[old.col]
    data = np.concatenate([old.data[kept], new.data])
    row = np.concatenate([old.row[kept], new.row])
    col = np.concatenate([old.col[kept], columns[new.col]])
    return sparse.csr_array((data, (row, col)), shape=(n, n))


def _squared(gains: sparse.csr_array) -> sparse.csr_array:
    # Products of float32 gains are exact in float64, and sums of millions keep ten digits.
    exact = sparse.csr_array(gains, dtype=np.float64)
    squared = sparse.csr_array(sparse.csr_array(exact.T) @ exact)
    squared.sort_indices()
    return squared


def _users(gains: sparse.csr_array) -> IntVector:
    return np.bincount(gains.indices, minlength=gains.shape[1]).astype(np.int32)
