"""Both towers as one: their normalised scores summed, which is one inner product of one vector per item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from langrec.data.fitting import FitData
from langrec.errors import UNREADABLE, BundleError
from langrec.settings import Settings
from langrec.towers.filling import FilledIdTower
from langrec.towers.tower import IdTower, TextTower, Tower
from langrec.types import FloatMatrix, FloatVector, IntVector, Mask, QueryBlock


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
        scores[:, ~self._scored] = np.nan
        scores[silent] = np.nan
        return scores

    def queries(self, block: QueryBlock) -> tuple[FloatMatrix, Mask]:
        """(q, 2 d) vectors whose inner products with `vectors` are the scores, and (q,) True where nothing is read."""
        parts, silent = [], np.ones(len(block), dtype=np.bool_)
        for tower, (_, covariance), weight in zip((self.id, self.text), self._halves, (1.0, self.weight), strict=True):
            queries, unread = tower.queries(block)
            deviation = np.sqrt(
                np.maximum(np.einsum("qd,de,qe->q", queries, covariance, queries, optimize=True), 1e-12)
            )
            parts.append(np.where(unread[:, None], 0.0, queries * (weight / deviation)[:, None]))
            silent &= unread
        return np.concatenate(parts, axis=1).astype(np.float32), silent

    @cached_property
    def vectors(self) -> FloatMatrix:
        """(n, 2 d) one vector per item: its id half and its text half."""
        wide = np.zeros((self.n_items, self.id.items.shape[1] + self.text.items.shape[1]), dtype=np.float32)
        (ids, _), (texts, _) = self._halves
        wide[: len(ids), : ids.shape[1]] = ids
        wide[:, ids.shape[1] :] = texts
        return wide

    @cached_property
    def _halves(self) -> tuple[tuple[FloatMatrix, FloatMatrix], tuple[FloatMatrix, FloatMatrix]]:
        return _half(self.id), _half(self.text)

    @cached_property
    def _scored(self) -> Mask:
        scored: Mask = self.text.scored.copy()
        scored[: self.id.n_items] |= self.id.scored
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
        scores[~self._scored] = np.nan
        return scores

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same towers, in which these items have a text half."""
        filled = self.id.with_items(nums, texts, vectors) if isinstance(self.id, FilledIdTower) else self.id
        return replace(self, id=filled, text=self.text.with_items(nums, texts, vectors))

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


def _half(tower: Tower) -> tuple[FloatMatrix, FloatMatrix]:
    """(n, d) the tower's items about their mean, zero for those it cannot score, and their (d, d) covariance."""
    known = tower.items[: len(tower.trained)][tower.trained].astype(np.float64)
    if not len(known):
        return np.zeros_like(tower.items), np.eye(tower.items.shape[1], dtype=np.float32)
    mean = known.mean(axis=0)
    centred = np.where(tower.scored[:, None], tower.items - mean, 0.0).astype(np.float32)
    return centred, np.asarray(np.cov(known.T, bias=True), dtype=np.float32)
