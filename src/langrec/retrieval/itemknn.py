"""ItemKNN: items are near when the same users chose them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.fitting import FitData, product
from langrec.data.mapped import narrowed
from langrec.retrieval.item_item import ItemItem, keep_largest, served
from langrec.retrieval.sums import Gram, rows_of, with_columns
from langrec.settings import RetrievalSettings
from langrec.types import IntVector, UserLogs

# Entries of the Gram matrix that are looked at together.
STRETCH = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class KnnSums:
    """What ItemKNN is made of: the Gram matrix, and the settings of the fit."""

    gram: Gram
    neighbours: int
    shrink: float

    def weights(self, columns: IntVector | None = None) -> sparse.csr_array:
        """(n, n) cosines, the nearest of each column kept; of some columns (n, len(columns))."""
        gram = self.gram.matrix
        norms = np.sqrt(gram.diagonal())
        if columns is not None:
            return self._nearest(gram[columns], columns, norms)
        # In stretches of so many entries, so that what is made on the way stays small beside the Gram matrix.
        bounds = np.searchsorted(gram.indptr, np.arange(0, gram.nnz, STRETCH))
        bounds = np.unique(np.concatenate([bounds, [gram.shape[0]]]))
        parts = [
            self._nearest(gram[start:stop], np.arange(start, stop, dtype=np.int32), norms)
            for start, stop in pairwise(np.concatenate([[0], bounds[bounds > 0]]).tolist())
        ]
        return narrowed(parts[0] if len(parts) == 1 else sparse.csr_array(sparse.hstack(parts, format="csr")))

    def _nearest(self, near: sparse.csr_array, columns: IntVector, norms: npt.NDArray[np.float64]) -> sparse.csr_array:
        # The matrix is symmetric: its rows are its columns, and need not be turned.
        of = np.repeat(columns, np.diff(near.indptr))
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
        sums = KnnSums(Gram.fitting(data), neighbours, shrink)
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
