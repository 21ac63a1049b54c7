"""What item-to-item models share: a matrix W, a decayed history, and score = history @ W."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.candidates import best_of, places_in, ragged
from langrec.data.mapped import array_at, put_array, rows_over
from langrec.errors import UNREADABLE, BundleError, NotTrained
from langrec.retrieval.history import has_known_history, history_matrix, history_weights
from langrec.retrieval.reached import Sums, permitted, reached
from langrec.settings import RetrievalSettings
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Mask, Population, QueryBlock

# Up to so many entries, and from this share of them on, a matrix that is served is dense: some 16 MB that make its
# products twice as fast, because a sparse product looks up where each of its sums belongs.
SMALL = 2_000 * 2_000
WORTH_DENSE = 0.05

Weights: TypeAlias = npt.NDArray[np.float32] | sparse.csr_array


@dataclass(frozen=True, slots=True, eq=False)
class ItemItem:
    """Base of EASE, ItemKNN and Transitions.

    An item without training, as candidate, scores NaN; in a history it is passed over. A query whose history holds no
    known item scores NaN everywhere.

    Attributes:
        weights: (n, n) what a history item (row) says for a candidate (column); dense, or CSR where sparse.
        trained: (n,) True for items with training events.
        decay: a history item j steps back weighs exp(-decay * j).
        sums: what `with_logs` needs, where it was kept; never saved.
    """

    weights: Weights
    trained: npt.NDArray[np.bool_]
    decay: float = 0.0
    sums: Any = None

    @property
    def n_items(self) -> int:
        return len(self.trained)

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) decayed sums of W over the history."""
        history = history_matrix(block, self.n_items, self.decay)
        scores = history @ self.weights
        scores = as_dense(scores)
        scores[:, ~self.trained] = np.nan
        scores[~has_known_history(block, self.n_items)] = np.nan
        return scores

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the same of each query's candidates."""
        n = self.n_items
        known = has_known_history(block, n)
        if not isinstance(self.weights, np.ndarray):
            return self._reaching(block).items(block, asked, known, self.trained)
        inside = asked.nums < n
        nums = np.where(inside, asked.nums, 0)
        scores = self._dense(block)[asked.rows(), nums]
        scores[~(inside & known[asked.rows()])] = np.nan
        scores[inside & ~self.trained[nums]] = np.nan
        return scores

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) exact."""
        if isinstance(self.weights, np.ndarray):
            scores = np.nan_to_num(self._dense(block))
            members = among.holds(np.arange(self.n_items, dtype=np.int32))
            return np.asarray(np.maximum(scores[:, members], 0.0).sum(axis=1) / max(among.n, 1), dtype=np.float32)
        return self._reaching(block).means(among)

    def retrieve(self, block: QueryBlock, k: int, allowed: Mask | None = None) -> Candidates:
        """The k items of the highest sums."""
        if isinstance(self.weights, np.ndarray):
            return best_rows_of(self._dense(block), k, allowed)
        return self._reaching(block).best(k, allowed)

    def _dense(self, block: QueryBlock) -> FloatMatrix:
        scores: FloatMatrix = block.keep((id(self.weights), self.decay), lambda: self.score_block(block))
        return scores

    def _reaching(self, block: QueryBlock) -> Sums:
        """What each query's history reaches, summed; kept with the block."""

        def made() -> Sums:
            own = reached(block, self.n_items, self.weights)
            return Sums(own.offsets, own.columns, own.sums(history_weights(block, self.n_items, self.decay)))

        sums: Sums = block.keep((id(self.weights), self.decay), made)
        return sums

    def contributions(self, block: QueryBlock, nums: IntVector) -> FloatMatrix:
        """(h, len(nums)) what each history row adds to the scores of the items; columns sum to the scores."""
        out = np.zeros((len(block.items), len(nums)), dtype=np.float32)
        known, scored = block.items < self.n_items, nums < self.n_items
        rows, columns = block.items[known], nums[scored]
        # The history's rows first: a column of a sparse matrix in rows would be looked for in all of it.
        near: FloatMatrix = block.keep(
            ("near", id(self.weights), id(nums)), lambda: entries(self.weights, rows, columns)
        )
        out[np.ix_(known, scored)] = near * history_weights(block, self.n_items, self.decay)[known, None]
        return out

    def neighbours(self, num: int) -> FloatVector:
        """(n,) what item `num` says for each other item."""
        return as_dense(self.weights[[num]]).ravel()

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    def _sums(self) -> Any:
        """What `with_logs` needs.

        Raises:
            NotTrained: it was not kept.
        """
        if self.sums is None:
            raise NotTrained(f"{type(self).__name__}: holds no sums to change; fit it with FitData(growing=True)")
        return self.sums

    @classmethod
    def grows(cls, n_items: int, settings: RetrievalSettings) -> bool:
        """True where a change costs less than a fit at this size of the catalogue."""
        return True

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"decay": decay} for decay in settings.decay]

    def save(self, folder: Path) -> None:
        """Writes trained.npy, the weights as one .npy or as three of a sparse matrix, and scorer.json."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {"decay": self.decay, "sparse": bool(sparse.issparse(self.weights))}
        (folder / "scorer.json").write_text(json.dumps(kept))
        if sparse.issparse(self.weights):
            csr = sparse.csr_array(self.weights)
            put_array(folder / "data.npy", csr.data)
            put_array(folder / "indices.npy", csr.indices.astype(np.int32))
            put_array(folder / "indptr.npy", csr.indptr.astype(np.int64))
        else:
            put_array(folder / "weights.npy", self.weights)
        put_array(folder / "trained.npy", self.trained)

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            kept = json.loads((folder / "scorer.json").read_text())
            decay, trained = float(kept["decay"]), array_at(folder / "trained.npy")
            n = len(trained)
            if kept["sparse"]:
                data, indices, indptr = (array_at(folder / f"{name}.npy") for name in ("data", "indices", "indptr"))
                weights: Weights = served(rows_over(data, indices, indptr, (n, n)))
            else:
                weights = array_at(folder / "weights.npy")
            if weights.shape != (n, n):
                raise ValueError("its arrays do not belong together")
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as an item-to-item model ({error})") from error
        return cls(weights=weights, trained=trained, decay=decay)


def entries(weights: Weights, rows: IntVector, columns: IntVector) -> FloatMatrix:
    """(len(rows), len(columns)) entries of the matrix at rows and distinct columns."""
    if isinstance(weights, np.ndarray):
        return weights[np.ix_(rows, columns)]
    starts = weights.indptr[rows]
    lengths = weights.indptr[rows + 1] - starts
    held = ragged(starts, lengths)
    places, there = places_in(columns, weights.indices[held])
    out = np.zeros((len(rows), len(columns)), dtype=np.float32)
    out[np.repeat(np.arange(len(rows)), lengths)[there], places[there]] = weights.data[held][there]
    return out


def best_rows_of(scores: FloatMatrix, k: int, allowed: Mask | None) -> Candidates:
    """Of each row of (q, n) scores the k highest above 0; NaN is none."""
    nums = np.arange(scores.shape[1], dtype=np.int32)
    if allowed is not None:
        nums = nums[permitted(allowed, nums)]
    return Candidates.of([best_of(nums, np.nan_to_num(row[nums], nan=0.0), k) for row in scores])


def as_dense(matrix: Any) -> FloatMatrix:
    """The matrix as a float32 array, whether it is sparse or dense."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float32)


def served(matrix: sparse.csr_array) -> Weights:
    """The matrix as it multiplies fastest: dense where it is small and full enough."""
    size = matrix.shape[0] * matrix.shape[1]
    return as_dense(matrix) if size <= SMALL and matrix.nnz > size * WORTH_DENSE else matrix


def keep_largest(weights: Weights | sparse.csc_array, k: int) -> sparse.csr_array:
    """The k entries of greatest size in each column, equal ones by row number; the rest become zero."""
    columns = sparse.csc_array(weights, copy=True)
    columns.sort_indices()
    if columns.nnz and np.diff(columns.indptr).max() > k:
        for j in range(columns.shape[1]):
            lo, hi = columns.indptr[j], columns.indptr[j + 1]
            if hi - lo > k:
                size = np.abs(columns.data[lo:hi])
                bar = np.partition(size, -k)[-k]
                tied = np.flatnonzero(size == bar)
                columns.data[lo:hi][size < bar] = 0.0
                columns.data[lo:hi][tied[k - int((size > bar).sum()) :]] = 0.0
        columns.eliminate_zeros()
    return sparse.csr_array(columns, dtype=np.float32)
