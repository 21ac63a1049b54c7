"""A block's histories as a sparse matrix, newer items weighing more."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from langrec.data.mapped import rows_over
from langrec.types import FloatVector, Mask, QueryBlock

# A step back that weighs less than this weighs nothing: of a long history a steep decay reads only the newest part,
# and most of the work is the length of the history.
FADED = 1e-4


def history_matrix(block: QueryBlock, n_items: int, decay: float, normalise: bool = False) -> sparse.csr_array:
    """(q, n_items) float32: an item j steps back weighs exp(-decay * j); a repeated item adds up.

    Items that the scorer does not know (number >= n_items) are left out, but they keep their step. Scorers of one block
    may share the matrix: it is read only.

    Args:
        normalise: divide each row by its sum, so that a score is a mean over the history.
    """
    if block.kept is None:
        return _matrix(block, n_items, decay, normalise)
    name = (n_items, decay, normalise)
    if name not in block.kept:
        block.kept[name] = _matrix(block, n_items, decay, normalise)
    kept: sparse.csr_array = block.kept[name]
    return kept


def _matrix(block: QueryBlock, n_items: int, decay: float, normalise: bool) -> sparse.csr_array:
    # Built row by row as CSR: going through coordinates costs more than the product it is made for.
    # Pointers as narrow as the items: SciPy would widen both matrices of a product, the whole model for each query.
    weights = history_weights(block, n_items, decay, normalise)
    known = weights > 0
    if known.all():
        return rows_over(weights, block.items, block.offsets, (len(block), n_items))
    kept = np.concatenate([[0], np.cumsum(known)])[block.offsets]
    return rows_over(weights[known], block.items[known], kept, (len(block), n_items))


def history_weights(block: QueryBlock, n_items: int, decay: float, normalise: bool = False) -> FloatVector:
    """(h,) float32 weight of each history row, zero for items the scorer does not know and for what has faded.

    Kept with the block: the caller reads it only.
    """
    key = ("weights", n_items, decay, normalise)
    weights: FloatVector = block.keep(key, lambda: _weights(block, n_items, decay, normalise))
    return weights


def _weights(block: QueryBlock, n_items: int, decay: float, normalise: bool) -> FloatVector:
    weights: FloatVector = np.exp(-decay * block.steps_back()).astype(np.float32)
    weights[(block.items >= n_items) | (weights < FADED)] = 0.0
    if normalise:
        sums = np.bincount(block.rows(), weights, minlength=len(block))
        weights = (weights / np.maximum(sums, 1e-12)[block.rows()]).astype(np.float32)
    return weights


def has_known_history(block: QueryBlock, n_items: int) -> Mask:
    """(q,) True where a query's history holds at least one item that the scorer knows."""

    def made() -> Mask:
        return np.asarray(np.bincount(block.rows()[block.items < n_items], minlength=len(block)) > 0)

    known: Mask = block.keep(("known", n_items), made)
    return known
