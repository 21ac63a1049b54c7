"""ItemKNN: items are near when the same users chose them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy import sparse

from langrec.data.fitting import FitData, product
from langrec.retrieval.item_item import ItemItem, keep_largest, served
from langrec.retrieval.sums import Gram, rows_of, with_columns
from langrec.settings import RetrievalSettings
from langrec.types import IntVector, UserLogs


@dataclass(frozen=True, slots=True, eq=False)
class KnnSums:
    """What ItemKNN is made of: the Gram matrix, and the settings of the fit."""

    gram: Gram
    neighbours: int
    shrink: float

    def weights(self, columns: IntVector | None = None) -> sparse.csr_array:
        """(n, n) cosines, the nearest of each column kept; of some columns (n, len(columns))."""
        # The matrix is symmetric: its rows are its columns, and need not be turned.
        near = self.gram.matrix if columns is None else self.gram.matrix[columns]
        norms = np.sqrt(self.gram.matrix.diagonal())
        of = np.repeat(np.arange(near.shape[0]) if columns is None else columns, np.diff(near.indptr))
        cosine = near.data / (norms[of] * norms[near.indices] + self.shrink)
        cosine[of == near.indices] = 0.0
        # A copy: what follows would write into the Gram matrix's own indices.
        turned = sparse.csc_array(
            (cosine.astype(np.float32), near.indices, near.indptr), shape=near.shape[::-1], copy=True
        )
        turned.eliminate_zeros()
        return keep_largest(turned, self.neighbours)


class ItemKNN(ItemItem):
    """Cosine between item columns with shrinkage, the nearest neighbours of each item kept.

    w(i, j) = x_i . x_j / (|x_i| |x_j| + shrink)   (Sarwar et al. 2001; shrinkage as in Bell & Koren 2007)
    """

    __slots__ = ()

    @classmethod
    def fit(
        cls, data: FitData, settings: RetrievalSettings, neighbours: int = 200, shrink: float = 20.0, **_: Any
    ) -> Self:
        sums = KnnSums(Gram.of(data.matrix()), neighbours, shrink)
        return cls(weights=sums.weights(), trained=sums.gram.trained, sums=sums if data.growing else None)

    def with_logs(self, before: UserLogs, after: UserLogs) -> Self:
        """The scorer fitted with other logs of some users: only columns that they reach are made anew."""
        old: KnnSums = self._sums()
        gone, come = rows_of(before, after, self.n_items)
        if not gone.shape[0]:
            return self
        gram = old.gram.changed(gone, come)
        sums = replace(old, gram=gram)
        columns = gram.reached(old.gram, np.unique(np.concatenate([gone.indices, come.indices])))
        if 2 * len(columns) > gram.matrix.shape[0]:
            weights = sums.weights()
        else:
            weights = with_columns(sparse.csr_array(self.weights), columns, sums.weights(columns))
        return replace(self, weights=served(weights), trained=gram.trained, sums=sums)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return product(neighbours=settings.itemknn_neighbours, shrink=settings.itemknn_shrink)
