"""Text vectors: the query's own, or the decayed mean of the history's, against every item's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from langrec.data.fitting import FitData
from langrec.errors import UNREADABLE, BundleError
from langrec.retrieval.history import has_known_history, history_matrix, history_weights
from langrec.settings import RetrievalSettings
from langrec.types import FloatMatrix, FloatVector, IntVector, QueryBlock


@dataclass(frozen=True, eq=False)
class Vectors:
    """Cosine of the encoder's vectors after their common mean is taken off.

    All texts of one catalogue share a large component ("it is a film"); without the mean removed, the mean of a
    history points there (Mu & Viswanath 2018, "all but the top"). An item without text has a zero vector and scores
    NaN; so does every item for a query without a vector.

    Attributes:
        vectors: (n, d) float32 centred unit rows.
        mean: (d,) float32 what was taken off.
        decay: a history item j steps back weighs exp(-decay * j).
    """

    space: ClassVar[str] = "vectors"

    vectors: FloatMatrix
    mean: FloatVector
    decay: float = 0.1

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, **_: Any) -> Self:
        raw = data.vectors[cls.space]
        written = raw.any(axis=1)
        mean = raw[written].mean(axis=0) if written.any() else np.zeros(raw.shape[1])
        return cls(_centred(raw, mean.astype(np.float32)), mean.astype(np.float32))

    @property
    def n_items(self) -> int:
        return len(self.vectors)

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) cosines; of a history, the decayed mean of its items' cosines."""
        asked = np.asarray(history_matrix(block, self.n_items, self.decay, normalise=True) @ self.vectors)
        silent = ~has_known_history(block, self.n_items)
        given = block.vectors.get(self.space)
        if given is not None:
            spoken = ~np.isnan(given[:, 0])
            asked[spoken] = _centred(given[spoken], self.mean)
            silent &= ~spoken
        silent |= ~asked.any(axis=1)
        scores = np.asarray(asked @ self.vectors.T, dtype=np.float32)
        scores[silent] = np.nan
        scores[:, self._blank] = np.nan
        return scores

    @cached_property
    def _blank(self) -> npt.NDArray[np.bool_]:
        blank: npt.NDArray[np.bool_] = np.all(self.vectors == 0, axis=1)
        return blank

    def contributions(self, block: QueryBlock, nums: IntVector) -> FloatMatrix:
        """(h, len(nums)) what each history row adds to the scores of the items; zeros where a query vector asked."""
        out = np.zeros((len(block.items), len(nums)), dtype=np.float32)
        given = block.vectors.get(self.space)
        if given is not None and not np.isnan(given[0, 0]):
            return out
        known, scored = block.items < self.n_items, nums < self.n_items
        weights = history_weights(block, self.n_items, self.decay, normalise=True)
        near = self.vectors[block.items[known]] @ self.vectors[nums[scored]].T
        out[np.ix_(known, scored)] = near * weights[known, None]
        return out

    def neighbours(self, num: int) -> FloatVector:
        """(n,) cosine of each item to item `num`; NaN for items without text."""
        scores: FloatVector = self.vectors @ self.vectors[num]
        scores[self._blank] = np.nan
        return scores

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same scorer with these items' vectors added or replaced; None leaves them without a vector."""
        n = max(self.n_items, int(nums.max(initial=-1)) + 1)
        grown = np.zeros((n, self.vectors.shape[1]), dtype=np.float32)
        grown[: self.n_items] = self.vectors
        grown[nums] = 0.0 if vectors is None else _centred(vectors, self.mean)
        return replace(self, vectors=grown)

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"decay": decay} for decay in settings.decay]

    def save(self, folder: Path) -> None:
        """Writes vectors.npy, mean.npy and scorer.json."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "vectors.npy", self.vectors, allow_pickle=False)
        np.save(folder / "mean.npy", self.mean, allow_pickle=False)
        (folder / "scorer.json").write_text(json.dumps({"decay": self.decay}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            params = json.loads((folder / "scorer.json").read_text())
            vectors = np.load(folder / "vectors.npy", allow_pickle=False)
            return cls(vectors, np.load(folder / "mean.npy", allow_pickle=False), **params)
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as vectors ({error})") from error


def _centred(vectors: FloatMatrix, mean: FloatVector) -> FloatMatrix:
    """Unit rows without the mean; zero rows stay zero."""
    written = np.asarray(vectors.any(axis=1))
    rows = np.where(written[:, None], vectors - mean, 0.0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-9), dtype=np.float32)


class Tokens(Vectors):
    """Cosine of averaged word vectors from the encoder's own token table: the cheapest reader of text."""

    space: ClassVar[str] = "tokens"
