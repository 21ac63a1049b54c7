"""EASE: the linear item-to-item model in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy
from scipy import sparse

from langrec.data.fitting import FitData
from langrec.data.mapped import narrowed
from langrec.errors import SettingsError
from langrec.protocols import Progress
from langrec.retrieval.item_item import ItemItem, Weights, keep_largest
from langrec.retrieval.sums import Gram, rows_of, with_columns
from langrec.settings import RetrievalSettings
from langrec.types import FloatMatrix, IntVector, UserLogs

# A dense W of more items than this is cut to its largest entries, so that a bundle stays small enough to serve.
DENSE_ITEMS = 5_000
KEPT_PER_ITEM = 300
NEIGHBOURHOOD = 100
# Columns between two words on how far the fit is.
TOLD = 1_000
# A change of rank r costs 2 r n^2 and a new inverse n^3, at about the same speed: measured, even at a third of n.
WORTH_UPDATING = 1 / 3


class EASE(ItemItem):
    """B = I - P / diag(P) with P = (X'X + reg I)^-1   (Steck 2019, equation 8).

    Above `ease_dense_limit` items each column is solved on the item's most co-occurring neighbours only
    (the sparse approximation of Steck, NeurIPS 2019).
    """

    __slots__ = ()

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, reg: float = 400.0, **_: Any) -> Self:
        gram = Gram.fitting(data)
        if not data.growing and int(gram.trained.sum()) > settings.ease_dense_limit:
            # What takes long is to gather the neighbourhoods: they are solved for every ridge of the grid at once.
            grid = (reg,) if reg not in settings.ease_reg or data.judge is None else settings.ease_reg
            every = np.arange(data.n_items, dtype=np.int32)
            solved = data.keep(f"ease {grid}", lambda: _solve_neighbourhoods(gram.matrix, grid, every, data.told))
            return cls(weights=solved[grid.index(reg)], trained=gram.trained)
        if not data.growing:
            return cls(weights=_weights(gram, reg, settings.ease_dense_limit), trained=gram.trained)
        sums = EaseSums.of(gram, reg, settings.ease_dense_limit)
        return cls(weights=sums.weights(), trained=gram.trained, sums=sums)

    def with_logs(self, before: UserLogs, after: UserLogs) -> Self:
        """The scorer fitted with other logs of some users.

        Up to DENSE_ITEMS items the inverse takes the change in, or is made anew where so many users changed that this
        is cheaper. Above, the columns that the changed items reach are solved anew; where W is cut from a dense one,
        that is all of it.
        """
        old: EaseSums = self._sums()
        gone, come = rows_of(before, after, self.n_items)
        if not gone.shape[0]:
            return self
        sums = old.changed(gone, come)
        if sums.inverse is None and sums.by_neighbourhood and old.by_neighbourhood:
            columns = sums.gram.reached(old.gram, np.unique(np.concatenate([gone.indices, come.indices])))
            weights: Weights = with_columns(sparse.csr_array(self.weights), columns, sums.columns(columns))
        else:
            weights = sums.weights()
        return replace(self, weights=weights, trained=sums.gram.trained, sums=sums)

    @classmethod
    def grows(cls, n_items: int, settings: RetrievalSettings) -> bool:
        """True where the inverse is kept, or columns are solved one by one."""
        return n_items <= DENSE_ITEMS or n_items > settings.ease_dense_limit

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"reg": reg} for reg in settings.ease_reg]


@dataclass(frozen=True, slots=True, eq=False)
class EaseSums:
    """What EASE is made of.

    Attributes:
        gram: X'X.
        reg: the ridge.
        dense_limit: above so many items columns are solved on neighbourhoods.
        inverse: (n, n) float64 P, up to DENSE_ITEMS items; None above.
    """

    gram: Gram
    reg: float
    dense_limit: int
    inverse: npt.NDArray[np.float64] | None

    @classmethod
    def of(cls, gram: Gram, reg: float, dense_limit: int) -> Self:
        bare = cls(gram, reg, dense_limit, None)
        if bare.by_neighbourhood or len(gram.users) > DENSE_ITEMS:
            return bare
        return replace(bare, inverse=_inverse(gram.matrix.toarray(), reg))

    @property
    def by_neighbourhood(self) -> bool:
        """True where there are too many items for one inverse."""
        return int(self.gram.trained.sum()) > self.dense_limit

    def changed(self, gone: sparse.csr_array, come: sparse.csr_array) -> Self:
        """The sums with some users' rows of gains in place of others.

        (G + U C U')^-1 = P - P U (C^-1 + U' P U)^-1 U' P   (Woodbury 1950), with a row of U' for each row that comes
        (C = 1) and each that goes (C = -1); items that are new have reg on the diagonal of G.
        """
        gram = self.gram.changed(gone, come)
        n, rank = len(gram.users), gone.shape[0] + come.shape[0]
        if self.inverse is None or n > DENSE_ITEMS or rank > WORTH_UPDATING * n:
            return self.of(gram, self.reg, self.dense_limit)
        inverse = np.zeros((n, n))
        inverse[np.diag_indices(n)] = 1.0 / self.reg
        inverse[: len(self.inverse), : len(self.inverse)] = self.inverse
        rows = sparse.csr_array(sparse.vstack([come, gone]))
        signs = np.concatenate([np.ones(come.shape[0]), -np.ones(gone.shape[0])])
        reached = rows @ inverse
        inner = np.asarray(rows @ reached.T)
        inner[np.diag_indices(rank)] += signs
        inverse -= reached.T @ scipy.linalg.solve(inner, reached, assume_a="sym")
        return replace(self, gram=gram, inverse=inverse)

    def weights(self) -> Weights:
        """(n, n) B."""
        if self.inverse is None:
            return _weights(self.gram, self.reg, self.dense_limit)
        weights = (self.inverse / -np.diag(self.inverse)).astype(np.float32)
        weights[np.diag_indices_from(weights)] = 0.0
        return weights

    def columns(self, nums: IntVector) -> sparse.csr_array:
        """(n, len(nums)) columns of B, each solved on its neighbourhood."""
        return _solve_neighbourhoods(self.gram.matrix, (self.reg,), nums)[0]


def keep_largest_dense(weights: FloatMatrix, k: int) -> sparse.csr_array:
    """`keep_largest` for a dense matrix, in blocks of columns so that no second dense copy is made."""
    blocks = [
        keep_largest(np.ascontiguousarray(weights[:, start : start + 1000]), k)
        for start in range(0, weights.shape[1], 1000)
    ]
    return sparse.csr_array(sparse.hstack(blocks))


def _weights(gram: Gram, reg: float, dense_limit: int) -> Weights:
    """(n, n) B of a Gram matrix."""
    n_items, nums = len(gram.users), np.flatnonzero(gram.trained)
    if len(nums) > dense_limit:
        return _solve_neighbourhoods(gram.matrix, (reg,), np.arange(n_items, dtype=np.int32))[0]
    solved = _solve_dense(gram.matrix[nums][:, nums].astype(np.float32).toarray(), reg)
    if n_items <= DENSE_ITEMS:
        weights = np.zeros((n_items, n_items), dtype=np.float32)
        weights[np.ix_(nums, nums)] = solved
        return weights
    small = sparse.coo_array(keep_largest_dense(solved, KEPT_PER_ITEM))
    return sparse.csr_array(
        (small.data, (nums[small.row], nums[small.col])), shape=(n_items, n_items), dtype=np.float32
    )


def _inverse(gram: npt.NDArray[np.float64], reg: float) -> npt.NDArray[np.float64]:
    """(n, n) float64 (gram + reg I)^-1 by one Cholesky factorisation."""
    gram[np.diag_indices_from(gram)] += reg
    factor, failed = scipy.linalg.lapack.dpotrf(gram.T, lower=1, overwrite_a=1)
    if failed:
        raise _singular(reg)
    inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    _mirror(inverse)
    return np.asarray(inverse)


def _singular(reg: float) -> SettingsError:
    return SettingsError(
        f"retrieval.ease_reg = {reg:g}: the matrix has no inverse; choose a greater ridge", field="retrieval.ease_reg"
    )


def _solve_dense(gram: FloatMatrix, reg: float) -> FloatMatrix:
    """(n, n) float32 B by one Cholesky factorisation, in the memory of `gram`."""
    if not len(gram):  # a log whose events all say nothing: LAPACK prints a complaint
        return gram
    gram[np.diag_indices_from(gram)] += np.float32(reg)
    # LAPACK reads by columns: the transpose of a symmetric matrix is the same matrix, and is not copied.
    factor, failed = scipy.linalg.lapack.spotrf(gram.T, lower=1, overwrite_a=1)
    if failed:
        raise _singular(reg)
    inverse, _ = scipy.linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    _mirror(inverse)
    inverse /= -np.diag(inverse)
    inverse[np.diag_indices_from(inverse)] = 0.0
    return np.asarray(inverse, dtype=np.float32)


def _mirror(lower: npt.NDArray[Any], step: int = 1024) -> None:
    """Writes the lower triangle into the upper one, block by block, so that no second dense copy is made."""
    for start in range(0, len(lower), step):
        stop = start + step
        lower[start:stop, stop:] = lower[stop:, start:stop].T
        block = lower[start:stop, start:stop]
        block[:] = np.tril(block) + np.tril(block, -1).T


def _solve_neighbourhoods(
    gram: sparse.csr_array, regs: Sequence[float], columns: IntVector, told: Progress | None = None
) -> list[sparse.csr_array]:
    """For each ridge the (n, len(columns)) regressions of items on their most co-occurring items alone."""
    diagonal = gram.diagonal()
    lengths = np.zeros(len(columns), dtype=np.int64)
    rows: list[IntVector] = [np.zeros(0, dtype=np.int32)]
    values: list[list[FloatMatrix]] = [[np.zeros(0, dtype=np.float32)] for _ in regs]
    for place, j in enumerate(columns):
        if told is not None and place % TOLD == 0:
            told("fit ease", place, len(columns))
        lo, hi = gram.indptr[j], gram.indptr[j + 1]
        near, strength = gram.indices[lo:hi], gram.data[lo:hi]
        if len(near) > NEIGHBOURHOOD + 1:
            # In float32 equal strengths are equal, whatever the order in which they were summed.
            weighed = np.where(near == j, -np.inf, strength).astype(np.float32)
            kept = np.sort(np.argpartition(-weighed, NEIGHBOURHOOD)[:NEIGHBOURHOOD])
        else:
            kept = np.flatnonzero(near != j)
        near, strength = near[kept], strength[kept]
        if not len(near):
            continue
        lengths[place] = len(near)
        rows.append(near)
        local = _between(gram, near)
        for reg, found in zip(regs, values, strict=True):
            local[np.diag_indices_from(local)] = diagonal[near] + reg
            _, solved, failed = scipy.linalg.lapack.dposv(local, strength, lower=0)
            if failed:
                raise _singular(reg)
            found.append(solved.astype(np.float32))
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    nums = np.concatenate(rows)
    shape = (gram.shape[0], len(columns))
    return [
        narrowed(
            sparse.csr_array(sparse.csc_array((np.concatenate(found), nums, indptr), shape=shape, dtype=np.float32))
        )
        for found in values
    ]


def _between(gram: sparse.csr_array, near: IntVector) -> npt.NDArray[np.float64]:
    """The entries between rising items, above the diagonal: each row is searched, however long it is."""
    out = np.zeros((len(near), len(near)), order="F")
    for a in range(len(near) - 1):
        lo, hi = gram.indptr[near[a]], gram.indptr[near[a] + 1]
        own = gram.indices[lo:hi]
        wanted = near[a + 1 :]
        places = own.searchsorted(wanted)
        np.minimum(places, len(own) - 1, out=places)
        out[a, a + 1 :] = np.where(own[places] == wanted, gram.data[lo + places], 0.0)
    return out
