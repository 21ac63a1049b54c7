"""ItemKNN: items are near when the same users chose them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy import sparse

from langrec.data.fitting import FitData, product
from langrec.retrieval.item_item import ItemItem, keep_largest
from langrec.settings import RetrievalSettings


class ItemKNN(ItemItem):
    """Cosine between item columns with shrinkage, the nearest neighbours of each item kept.

    w(i, j) = x_i . x_j / (|x_i| |x_j| + shrink)   (Sarwar et al. 2001; shrinkage as in Bell & Koren 2007)
    """

    __slots__ = ()

    @classmethod
    def fit(
        cls, data: FitData, settings: RetrievalSettings, neighbours: int = 200, shrink: float = 20.0, **_: Any
    ) -> Self:
        matrix = data.matrix()
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel())
        gram = sparse.coo_array(matrix.T @ matrix)
        off = gram.row != gram.col
        row, col = gram.row[off], gram.col[off]
        cosine = gram.data[off] / (norms[row] * norms[col] + shrink)
        weights = sparse.csr_array((cosine.astype(np.float32), (row, col)), shape=gram.shape)
        return cls(weights=keep_largest(weights, neighbours), trained=norms > 0)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return product(neighbours=settings.itemknn_neighbours, shrink=settings.itemknn_shrink)
