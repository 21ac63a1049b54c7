"""EASE: the linear item-to-item model in closed form."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy import linalg, sparse

from langrec.data.fitting import FitData
from langrec.errors import SettingsError
from langrec.retrieval.item_item import ItemItem, keep_largest
from langrec.settings import RetrievalSettings
from langrec.types import FloatMatrix

# A dense W of more items than this is cut to its largest entries, so that a bundle stays small enough to serve.
DENSE_ITEMS = 5_000
KEPT_PER_ITEM = 300
NEIGHBOURHOOD = 100


class EASE(ItemItem):
    """B = I - P / diag(P) with P = (X'X + reg I)^-1   (Steck 2019, equation 8).

    Above `ease_dense_limit` items each column is solved on the item's most co-occurring neighbours only
    (the sparse approximation of Steck, NeurIPS 2019).
    """

    __slots__ = ()

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, reg: float = 400.0, **_: Any) -> Self:
        matrix = data.matrix()
        gram = sparse.csr_array(matrix.T @ matrix)
        trained = gram.diagonal() > 0
        nums = np.flatnonzero(trained)
        if len(nums) <= settings.ease_dense_limit:
            solved = _solve_dense(gram[nums][:, nums].toarray(), reg)
            if data.n_items <= DENSE_ITEMS:
                weights = np.zeros((data.n_items, data.n_items), dtype=np.float32)
                weights[np.ix_(nums, nums)] = solved
                return cls(weights=weights, trained=trained)
            small = sparse.coo_array(keep_largest_dense(solved, KEPT_PER_ITEM))
        else:
            small = sparse.coo_array(_solve_neighbourhoods(gram[nums][:, nums], reg))
        weights_csr = sparse.csr_array(
            (small.data, (nums[small.row], nums[small.col])), shape=(data.n_items, data.n_items), dtype=np.float32
        )
        return cls(weights=weights_csr, trained=trained)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"reg": reg} for reg in settings.ease_reg]


def keep_largest_dense(weights: FloatMatrix, k: int) -> sparse.csr_array:
    """`keep_largest` for a dense matrix, in blocks of columns so that no second dense copy is made."""
    blocks = [
        keep_largest(np.ascontiguousarray(weights[:, start : start + 1000]), k)
        for start in range(0, weights.shape[1], 1000)
    ]
    return sparse.csr_array(sparse.hstack(blocks))


def _solve_dense(gram: FloatMatrix, reg: float) -> FloatMatrix:
    """(n, n) float32 B by one Cholesky factorisation, in the memory of `gram`."""
    gram[np.diag_indices_from(gram)] += np.float32(reg)
    # LAPACK reads by columns: the transpose of a symmetric matrix is the same matrix, and is not copied.
    factor, failed = linalg.lapack.spotrf(gram.T, lower=1, overwrite_a=1)
    if failed:
        raise SettingsError(
            f"retrieval.ease_reg = {reg:g}: the matrix has no inverse; choose a greater ridge",
            field="retrieval.ease_reg",
        )
    inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    _mirror(inverse)
    inverse /= -np.diag(inverse)
    inverse[np.diag_indices_from(inverse)] = 0.0
    return np.asarray(inverse, dtype=np.float32)


def _mirror(lower: FloatMatrix, step: int = 1024) -> None:
    """Writes the lower triangle into the upper one, block by block, so that no second dense copy is made."""
    for start in range(0, len(lower), step):
        stop = start + step
        lower[start:stop, stop:] = lower[stop:, start:stop].T
        block = lower[start:stop, start:stop]
        block[:] = np.tril(block) + np.tril(block, -1).T


def _solve_neighbourhoods(gram: sparse.csr_array, reg: float) -> sparse.csr_array:
    """Each item's ridge regression on its most co-occurring items alone."""
    diagonal = gram.diagonal()
    rows: list[np.ndarray[Any, Any]] = []
    cols: list[np.ndarray[Any, Any]] = []
    values: list[np.ndarray[Any, Any]] = []
    for j in range(gram.shape[0]):
        lo, hi = gram.indptr[j], gram.indptr[j + 1]
        near, strength = gram.indices[lo:hi], gram.data[lo:hi]
        near, strength = near[near != j], strength[near != j]
        if not len(near):
            continue
        if len(near) > NEIGHBOURHOOD:
            kept = np.argpartition(-strength, NEIGHBOURHOOD)[:NEIGHBOURHOOD]
            near, strength = near[kept], strength[kept]
        local = gram[near][:, near].toarray()
        local[np.diag_indices_from(local)] = diagonal[near] + reg
        solved = linalg.solve(local, strength, assume_a="pos", overwrite_a=True, check_finite=False)
        rows.append(near)
        cols.append(np.full(len(near), j))
        values.append(solved.astype(np.float32))
    if not rows:
        return sparse.csr_array(gram.shape, dtype=np.float32)
    return sparse.csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), shape=gram.shape)
