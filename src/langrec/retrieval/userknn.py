"""UserKNN: what people with a similar recent history chose."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.fitting import FitData
from langrec.data.mapped import narrowed, rows_over
from langrec.errors import UNREADABLE, BundleError
from langrec.retrieval.history import has_known_history, history_matrix, history_weights
from langrec.retrieval.item_item import Weights, as_dense, served
from langrec.retrieval.reached import Reached, Sums
from langrec.settings import RetrievalSettings
from langrec.types import Candidates, FloatMatrix, FloatVector, Mask, Population, QueryBlock


@dataclass(frozen=True, eq=False)
class UserKNN:
    """Vector neighbours: sim(query, u) = <decayed history * idf, x_u> / |x_u|, the nearest users vote.

    The history-based kNN of Ludewig & Jannach 2018 (V-SKNN) with whole users as sessions.

    Attributes:
        matrix: (n_users, n) CSR of training gains.
        idf: (n,) float32 log(1 + users / (1 + users of the item)).
        neighbours: users that vote.
        decay: a history item j steps back weighs exp(-decay * j).
    """

    matrix: sparse.csr_array
    idf: FloatVector
    neighbours: int = 100
    decay: float = 0.2

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, **_: Any) -> Self:
        matrix = narrowed(sparse.csr_array(data.matrix()))
        counts = np.bincount(matrix.indices, minlength=data.n_items)
        idf = np.log1p(data.n_users / (1.0 + counts)).astype(np.float32)
        return cls(matrix, idf, settings.userknn_neighbours)

    @property
    def n_items(self) -> int:
        return len(self.idf)

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) sums of the neighbours' gains; NaN for items without training, queries without known items."""
        history = history_matrix(block, self.n_items, self.decay)
        weighed = history.data * self.idf[history.indices]
        asked = sparse.csr_array((weighed, history.indices, history.indptr), shape=history.shape)
        scores = as_dense(self._near(asked) @ self._votes)
        scores[:, self._untrained] = np.nan
        scores[~has_known_history(block, self.n_items)] = np.nan
        return scores

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the same of each query's candidates."""
        return self._sums(block).items(block, asked, has_known_history(block, self.n_items), ~self._untrained)

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) exact."""
        return self._sums(block).means(among)

    def retrieve(self, block: QueryBlock, k: int, allowed: Mask | None = None) -> Candidates:
        """The k items of the highest sums."""
        return self._sums(block).best(k, allowed)

    def _sums(self, block: QueryBlock) -> Sums:
        """What the neighbours of each query chose, summed; kept with the block."""

        def made() -> Sums:
            weights = history_weights(block, self.n_items, self.decay)
            known, offsets = weights > 0, block.offsets
            mine = [block.items[lo:hi][known[lo:hi]] for lo, hi in pairwise(offsets)]
            reached_users = [Reached.of(self._users_of, items) for items in mine]
            columns, values = [], []
            for i, (one, items) in enumerate(zip(reached_users, mine, strict=True)):
                lo, hi = offsets[i], offsets[i + 1]
                similar = one.sums((weights[lo:hi][known[lo:hi]] * self.idf[items]).astype(np.float32))
                near = np.asarray(similar / self._norms[one.columns], dtype=np.float32)
                k = min(self.neighbours, len(near))
                bar = max(float(np.partition(near, len(near) - k)[len(near) - k]) if k else 0.0, 1e-12)
                nearest = near >= bar
                votes = Reached.of(self.matrix, one.columns[nearest])
                columns.append(votes.columns)
                values.append(votes.sums(near[nearest]))
            return Sums.of(columns, values)

        sums: Sums = block.keep((id(self.matrix), self.decay, self.neighbours), made)
        return sums

    @cached_property
    def _users_of(self) -> sparse.csr_array:
        """(n, n_users) who chose each item."""
        return sparse.csr_array(self.matrix.T)

    def _near(self, asked: sparse.csr_array) -> sparse.csr_array:
        """(q, n_users) similarities of the nearest users alone."""
        near = as_dense(asked @ self._by_item)
        near /= self._norms
        k = min(self.neighbours, near.shape[1])
        bar = -np.partition(-near, k - 1, axis=1)[:, k - 1 : k]
        near[near < np.maximum(bar, 1e-12)] = 0.0
        return sparse.csr_array(near)

    @cached_property
    def _by_item(self) -> Weights:
        """(n, n_users): turned once, so that few items are looked up without a pass over all users."""
        return served(sparse.csr_array(self.matrix.T))

    @cached_property
    def _votes(self) -> Weights:
        return served(self.matrix)

    @cached_property
    def _norms(self) -> FloatVector:
        rows = np.repeat(np.arange(self.matrix.shape[0]), np.diff(self.matrix.indptr))
        squares = np.bincount(rows, self.matrix.data**2, self.matrix.shape[0])
        return np.sqrt(np.maximum(squares, 1e-9)).astype(np.float32)

    @cached_property
    def _untrained(self) -> npt.NDArray[np.bool_]:
        untrained: npt.NDArray[np.bool_] = np.bincount(self.matrix.indices, minlength=self.n_items) == 0
        return untrained

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"decay": decay} for decay in settings.decay]

    def save(self, folder: Path) -> None:
        """Writes matrix.npz and scorer.json."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "matrix.npz",
            data=self.matrix.data,
            indices=self.matrix.indices.astype(np.int32),
            indptr=self.matrix.indptr.astype(np.int64),
            idf=self.idf,
        )
        (folder / "scorer.json").write_text(json.dumps({"neighbours": self.neighbours, "decay": self.decay}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            params = json.loads((folder / "scorer.json").read_text())
            with np.load(folder / "matrix.npz", allow_pickle=False) as file:
                idf = file["idf"]
                shape = (len(file["indptr"]) - 1, len(idf))
                matrix = rows_over(file["data"], file["indices"], file["indptr"], shape)
            return cls(matrix, idf, **params)
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as user neighbours ({error})") from error
