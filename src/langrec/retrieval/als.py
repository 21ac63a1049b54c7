"""Implicit ALS: users and items as factors; a user's factors are solved from the history at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.fitting import FitData, product
from langrec.data.mapped import array_at, put_array
from langrec.errors import UNREADABLE, BundleError
from langrec.retrieval.history import has_known_history, history_matrix
from langrec.settings import RetrievalSettings
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Population, QueryBlock

# Rows solved at once: their (rows, d, d) normal matrices stay within some tens of megabytes.
CHUNK = 512


@dataclass(frozen=True, eq=False)
class ALS:
    """iALS with the frequency-scaled ridge of Rendle et al. 2022 ("iALS revisited", equations 1-4).

    score(u, i) = <p_u, q_i>, with p_u = argmin sum_history w (1 - <p, q_j>)^2 + alpha sum_all <p, q_j>^2
    + reg (|history| + alpha n) |p|^2, solved in closed form for any history, known user or not.

    Attributes:
        factors: (n, d) float32 item factors; zero rows for items without training.
        alpha: weight of the unobserved.
        reg: ridge.
        decay: a history item j steps back weighs exp(-decay * j).
    """

    factors: FloatMatrix
    alpha: float
    reg: float
    decay: float = 0.1

    @classmethod
    def fit(
        cls,
        data: FitData,
        settings: RetrievalSettings,
        dim: int = 64,
        alpha: float = 0.1,
        reg: float = 0.02,
        iterations: int = 10,
        seed: int = 0,
    ) -> Self:
        matrix = sparse.csr_array(data.matrix())
        transposed = sparse.csr_array(matrix.T)
        rng = np.random.default_rng(seed)
        items = rng.normal(0, 0.1, (data.n_items, dim)).astype(np.float32)
        items[np.diff(transposed.indptr) == 0] = 0.0
        for _ in range(iterations):
            users = _half_step(matrix, items, alpha, reg)
            items = _half_step(transposed, users, alpha, reg)
        return cls(items, alpha, reg)

    @property
    def n_items(self) -> int:
        return len(self.factors)

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) inner products; NaN for items without training and for queries without known items."""
        users = self.index_queries(block)
        silent = np.isnan(users[:, 0])
        scores = np.asarray(np.nan_to_num(users) @ self.factors.T)
        scores[:, self._untrained] = np.nan
        scores[silent] = np.nan
        return scores.astype(np.float32)

    def index_queries(self, block: QueryBlock) -> FloatMatrix:
        """(q, d) factors of the histories; NaN for queries without known items."""
        users: FloatMatrix = block.keep((id(self.factors), self.decay), lambda: self._users(block))
        return users

    def _users(self, block: QueryBlock) -> FloatMatrix:
        history = history_matrix(block, self.n_items, self.decay)
        # The ridge counts what has faded too.
        lengths = np.bincount(block.rows()[block.items < self.n_items], minlength=len(block))
        users = _half_step(history, self.factors, self.alpha, self.reg, self._gram, lengths)
        users[~has_known_history(block, self.n_items)] = np.nan
        return users

    def index_rows(self, nums: IntVector) -> FloatMatrix:
        """(len(nums), d) factors."""
        return self.factors[nums]

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the same of each query's candidates."""
        users = self.index_queries(block)
        inside = asked.nums < self.n_items
        nums = np.where(inside, asked.nums, 0)
        rows = self.factors[nums]
        out = np.empty(len(nums), dtype=np.float32)
        for i, (lo, hi) in enumerate(pairwise(asked.offsets)):
            np.matmul(rows[lo:hi], users[i], out=out[lo:hi])
        out[~inside | self._untrained[nums]] = np.nan
        return out

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) from the sample."""
        nums = among.sample[among.sample < self.n_items]
        return among.mean(np.nan_to_num(self.index_queries(block)) @ self.factors[nums].T)

    @cached_property
    def _gram(self) -> FloatMatrix:
        """(d, d) what all items together say; the same for every query."""
        return np.asarray(self.factors.T @ self.factors)

    @cached_property
    def _untrained(self) -> npt.NDArray[np.bool_]:
        untrained: npt.NDArray[np.bool_] = np.all(self.factors == 0, axis=1)
        return untrained

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return product(reg=settings.als_reg, dim=(settings.als_dim,))

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"decay": decay} for decay in settings.decay]

    def save(self, folder: Path) -> None:
        """Writes factors.npy and scorer.json."""
        folder.mkdir(parents=True, exist_ok=True)
        put_array(folder / "factors.npy", self.factors)
        params = {"alpha": self.alpha, "reg": self.reg, "decay": self.decay}
        (folder / "scorer.json").write_text(json.dumps(params))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            params = json.loads((folder / "scorer.json").read_text())
            return cls(array_at(folder / "factors.npy"), **params)
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as item factors ({error})") from error


def _half_step(
    matrix: sparse.csr_array,
    other: FloatMatrix,
    alpha: float,
    reg: float,
    gram: FloatMatrix | None = None,
    lengths: npt.NDArray[np.integer] | None = None,
) -> FloatMatrix:
    """(rows, d) factors of the matrix's rows, given those of its columns; rows without entries get zero.

    Args:
        gram: other' other, where it is at hand.
        lengths: (rows,) entries that the ridge counts; None = those of the matrix.
    """
    d = other.shape[1]
    shared = alpha * (other.T @ other if gram is None else gram)
    out = np.zeros((matrix.shape[0], d), dtype=np.float32)
    for rows, columns, weights in _padded(matrix):
        near = other[columns]
        normal = np.einsum("rld,rl,rle->rde", near, weights, near, optimize=True) + shared
        counted = (weights > 0).sum(axis=1) if lengths is None else lengths[rows]
        ridge = reg * (counted + alpha * len(other))
        normal[:, np.arange(d), np.arange(d)] += ridge[:, None]
        right = np.einsum("rld,rl->rd", near, weights)
        out[rows] = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    return out


def _padded(matrix: sparse.csr_array) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any], FloatMatrix]]:
    """Chunks of rows of similar length: row numbers, (rows, longest) columns, and weights that are zero at padding."""
    lengths = np.diff(matrix.indptr)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):
        # Long rows come in smaller chunks, so that the gathered factors stay in bounds too.
        size = max(1, min(CHUNK, 200_000 // max(int(lengths[order[min(start + CHUNK, len(order)) - 1]]), 1)))
        rows = order[start : start + size]
        longest = int(lengths[rows[-1]])
        places = matrix.indptr[rows][:, None] + np.arange(longest)
        inside = np.arange(longest) < lengths[rows][:, None]
        places = np.where(inside, places, 0)
        yield (
            rows,
            np.where(inside, matrix.indices[places], 0),
            np.where(inside, matrix.data[places], 0.0).astype(np.float32),
        )
        start += size
