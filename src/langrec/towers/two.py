"""Both towers as one: their normalised scores summed, which is one inner product of one vector per item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from langrec.data.fitting import FitData
from langrec.errors import UNREADABLE, BundleError
from langrec.settings import Settings
from langrec.towers.filling import FilledIdTower
from langrec.towers.id_tower import IdTower
from langrec.towers.text_tower import TextTower
from langrec.towers.tower import Tower
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Mask, Population, QueryBlock

# Items whose spread is summed at once.
ROWS = 100_000


@dataclass(frozen=True, eq=False)
class TwoTowers:
    """score = z of the id tower + weight * z of the text tower (EnsRec 2025: trained apart, scores summed).

    z is the logit less its mean over the trained items, over its standard deviation there. With the mean taken off
    the items' vectors, and the deviation from their covariance, the sum is an inner product of concatenated halves:
    one index serves both towers. What a tower cannot say of an item is a half of zeros, which is neutral: a new item
    has its text half from its first second, and its id half with the next training.

    Attributes:
        id: the tower that reads ids.
        text: the tower that reads texts.
        weight: of the text tower.
    """

    section: ClassVar[str] = "all"
    space: ClassVar[str] = "vectors"
    # A sum of signals that enter the mix by themselves: it is measured, and learns nothing new.
    measured_only: ClassVar[bool] = True

    id: IdTower
    text: TextTower
    weight: float = 1.0

    @property
    def n_items(self) -> int:
        return self.text.n_items

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) sums of z scores; NaN where neither tower can score the item, or read the history."""
        queries, silent = self.queries(block)
        scores = np.asarray(queries @ self.vectors.T, dtype=np.float32)
        scores[:, ~self._scored(np.arange(self.n_items, dtype=np.int32))] = np.nan
        scores[silent] = np.nan
        return scores

    def queries(self, block: QueryBlock) -> tuple[FloatMatrix, Mask]:
        """(q, 2 d) vectors whose inner products with `vectors` are the scores, and (q,) True where nothing is read."""
        parts, silent = [], np.ones(len(block), dtype=np.bool_)
        for tower, (_, covariance), weight in zip((self.id, self.text), self._halves, (1.0, self.weight), strict=True):
            queries, unread = tower.queries(block)
            deviation = np.sqrt(np.maximum(((queries @ covariance) * queries).sum(axis=1), 1e-12))
            parts.append(np.where(unread[:, None], 0.0, queries * (weight / deviation)[:, None]))
            silent &= unread
        return np.concatenate(parts, axis=1).astype(np.float32), silent

    @property
    def vectors(self) -> FloatMatrix:
        """(n, 2 d) one vector per item: its id half and its text half."""
        kept = self._made
        if "vectors" not in kept:
            kept["vectors"] = self.index_rows(np.arange(self.n_items, dtype=np.int32))
        vectors: FloatMatrix = kept["vectors"]
        return vectors

    def index_rows(self, nums: IntVector) -> FloatMatrix:
        """(len(nums), 2 d) the vectors of items."""
        parts = []
        for tower, (mean, _) in zip((self.id, self.text), self._halves, strict=True):
            inside = nums < tower.n_items
            places = np.where(inside, nums, 0)
            known = np.asarray(tower.scored[places]) & inside if tower.n_items else inside
            known &= bool(tower.trained.any())  # without a training nothing can be told apart
            rows = tower.items[places] if tower.n_items else np.zeros((len(nums), len(mean)), np.float32)
            parts.append(np.where(known[:, None], rows - mean, 0.0))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def index_queries(self, block: QueryBlock) -> FloatMatrix:
        """(q, 2 d) what the rows are multiplied by; NaN where nothing is read."""
        queries, silent = self.queries(block)
        return np.where(silent[:, None], np.float32(np.nan), queries)

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the same of each query's candidates."""
        queries, silent = self.queries(block)
        inside = asked.nums < self.n_items
        nums = np.where(inside, asked.nums, 0)
        rows = self.index_rows(nums)
        out = np.empty(len(nums), dtype=np.float32)
        for i, (lo, hi) in enumerate(pairwise(asked.offsets)):
            np.matmul(rows[lo:hi], queries[i], out=out[lo:hi])
        out[~(inside & self._scored(nums)) | silent[asked.rows()]] = np.nan
        return out

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) from the sample."""
        queries, silent = self.queries(block)
        nums = among.sample[among.sample < self.n_items]
        scores = queries @ (self.index_rows(nums) * self._scored(nums)[:, None]).T
        scores[silent] = 0.0
        return among.mean(scores)

    @cached_property
    def _made(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _halves(self) -> tuple[tuple[FloatVector, FloatMatrix], tuple[FloatVector, FloatMatrix]]:
        return _half(self.id), _half(self.text)

    def _scored(self, nums: IntVector) -> Mask:
        """(len(nums),) True for items that a tower can score."""
        scored = np.asarray(self.text.scored[nums])
        inside = nums < self.id.n_items
        scored[inside] |= np.asarray(self.id.scored[nums[inside]])
        return scored

    @property
    def seconds(self) -> float:
        """Of both trainings; 0 where one is not known."""
        both = (self.id.seconds, self.text.seconds)
        return sum(both) if all(both) else 0.0

    def neighbours(self, num: int) -> FloatVector:
        """(n,) cosine of each item's vector to that of item `num`; NaN for items without one."""
        lengths = np.linalg.norm(self.vectors, axis=1)
        scores: FloatVector = self.vectors @ self.vectors[num] / np.maximum(lengths * lengths[num], 1e-12)
        scores[~self._scored(np.arange(self.n_items, dtype=np.int32))] = np.nan
        return scores

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same towers, in which these items have a text half."""
        filled = self.id.with_items(nums, texts, vectors) if isinstance(self.id, FilledIdTower) else self.id
        grown = replace(self, id=filled, text=self.text.with_items(nums, texts, vectors))
        # What scales both halves is of the training's items, which stay as they are unless their texts change.
        if not (nums < len(self.text.trained)).any():
            grown.__dict__["_halves"] = self._halves
        return grown

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    @classmethod
    def fit(cls, data: FitData, settings: Settings, **params: Any) -> Self:
        """Fits both towers, or takes over those that were fitted on the same data before.

        Args:
            params: `id_tower` and `text_tower`: what an earlier fit of each settled.
        """
        ids = IdTower.fit(data, settings.id_tower, **params.get("id_tower", {}))
        return cls(ids, TextTower.fit(data, settings.text_tower, **params.get("text_tower", {})))

    @property
    def settled(self) -> dict[str, Any]:
        """What a fit on more events takes over."""
        return {"id_tower": self.id.settled, "text_tower": self.text.settled}

    @classmethod
    def fit_grid(cls, settings: Settings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: Settings) -> list[dict[str, Any]]:
        return [{"weight": weight} for weight in (0.5, 0.7, 1.0, 1.4, 2.0)]

    def save(self, folder: Path) -> None:
        """Writes both towers in folders of their own, and scorer.json."""
        self.id.save(folder / "id")
        self.text.save(folder / "text")
        (folder / "scorer.json").write_text(json.dumps({"weight": self.weight}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            params = json.loads((folder / "scorer.json").read_text("utf-8"))
            return cls(IdTower.load(folder / "id"), TextTower.load(folder / "text"), **params)
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as two towers ({error})") from error


def _half(tower: Tower) -> tuple[FloatVector, FloatMatrix]:
    """(d,) the mean of the tower's trained items, and their (d, d) covariance."""
    d, n = tower.items.shape[1], int(tower.trained.sum())
    if not n:
        return np.zeros(d, dtype=np.float32), np.eye(d, dtype=np.float32)
    nums = np.flatnonzero(tower.trained)
    total, squares = np.zeros(d), np.zeros((d, d))
    for start in range(0, n, ROWS):
        mean = tower.items[nums[start : start + ROWS]].astype(np.float64)
        total += mean.sum(axis=0)
    mean = total / n
    for start in range(0, n, ROWS):
        rows = tower.items[nums[start : start + ROWS]].astype(np.float64) - mean
        squares += rows.T @ rows
    return mean.astype(np.float32), (squares / n).astype(np.float32)
