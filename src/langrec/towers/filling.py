"""An id for what has none: a linear map from texts to the id tower's vectors, learned on items with enough events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from langrec.data.rows import longer, whole, with_rows
from langrec.towers.forward import unit
from langrec.towers.id_tower import IdTower
from langrec.towers.shaping import Shaping
from langrec.types import FloatMatrix, FloatVector, IntVector

# An item with so many training events has an id vector that is worth learning from; with fewer it is mostly noise.
ENOUGH = 5
RIDGES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
# One in so many of the items is held out to choose the ridge by.
HELD_OUT = 5
FILE = "filling.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """text vector -> id vector: shaped @ weight + bias, at the length that id vectors have.

    The map of DropoutNet and its followers (Volkovs et al. 2017) in closed form: what a text says of an item's place
    among the ids, from items of which both are known.

    Attributes:
        shaping: of the encoder's vectors.
        weight: (e, d).
        bias: (d,).
        length: of a filled vector: the median of those learned from.
    """

    shaping: Shaping
    weight: FloatMatrix
    bias: FloatVector
    length: float

    @classmethod
    def fit(cls, vectors: FloatMatrix, table: FloatMatrix, counts: IntVector, shrink: float = 0.0) -> Filling | None:
        """The ridge regression whose ridge gives held-out items the nearest direction; None with too few items.

        Args:
            vectors: (n, e) of the encoder; rows of zeros have no text.
            table: (n, d) id vectors.
            counts: (n,) training events.
        """
        known = np.flatnonzero((counts >= ENOUGH) & vectors.any(axis=1))
        if len(known) < 2 * HELD_OUT:
            return None
        shaping = Shaping.fit(vectors[known], shrink)
        x, y = shaping.apply(vectors[known]).astype(np.float64), table[known].astype(np.float64)
        held = np.arange(len(known)) % HELD_OUT == 0
        near = [float((unit(_ridge(x[~held], y[~held], lam, x[held])) * unit(y[held])).sum()) for lam in RIDGES]
        weight, bias = _solved(x, y, RIDGES[int(np.argmax(near))])
        length = float(np.median(np.linalg.norm(y, axis=1)))
        return cls(shaping, weight.astype(np.float32), bias.astype(np.float32), length)

    def apply(self, vectors: FloatMatrix) -> FloatMatrix:
        """(m, d) id vectors of the encoder's; zero rows stay zero."""
        found = unit(self.shaping.apply(vectors) @ self.weight + self.bias) * np.float32(self.length)
        written = np.asarray(vectors.any(axis=1))
        return np.asarray(np.where(written[:, None], found, 0.0), dtype=np.float32)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        length = np.array([self.length], dtype=np.float32)
        own = {"weight": self.weight, "bias": self.bias, "length": length}
        return own | {"mean": self.shaping.mean, "turn": self.shaping.turn}

    @classmethod
    def of(cls, arrays: dict[str, npt.NDArray[Any]]) -> Filling:
        shaping = Shaping(arrays["mean"], arrays["turn"])
        return cls(shaping, arrays["weight"], arrays["bias"], float(arrays["length"][0]))


def _solved(x: npt.NDArray[Any], y: npt.NDArray[Any], lam: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Weight and bias; the bias is not shrunk."""
    mean, level = x.mean(axis=0), y.mean(axis=0)
    weight = np.linalg.solve((x - mean).T @ (x - mean) + lam * np.eye(x.shape[1]), (x - mean).T @ (y - level))
    return weight, level - mean @ weight


def _ridge(x: npt.NDArray[Any], y: npt.NDArray[Any], lam: float, asked: npt.NDArray[Any]) -> Any:
    weight, bias = _solved(x, y, lam)
    return asked @ weight + bias


@dataclass(frozen=True, eq=False)
class FilledIdTower(IdTower):
    """An id tower that scores and reads items without training too, by the id vectors that their texts give them.

    Attributes:
        filling: from texts to id vectors.
    """

    space: ClassVar[str] = "vectors"

    filling: Filling

    @classmethod
    def over(cls, tower: IdTower, filling: Filling, vectors: FloatMatrix) -> FilledIdTower:
        """The tower, in which items with a text and without training have a vector."""
        own = {one.name: getattr(tower, one.name) for one in fields(tower)}
        filled = cls(**own, filling=filling)
        nums = np.flatnonzero(~tower.trained & vectors.any(axis=1)).astype(np.int32)
        grown = filled.with_items(nums, (), vectors[nums])
        arrays = {**grown.arrays, "table": whole(grown.arrays["table"])}
        return replace(grown, arrays=arrays, items=whole(grown.items), scored=whole(grown.scored))

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same tower with these items' texts read; a trained item keeps its id vector."""
        new = nums >= len(self.trained)
        new[~new] = ~self.trained[nums[~new]]
        fresh = nums[new]
        if vectors is None:
            rows, scored = np.zeros((len(fresh), self.items.shape[1]), dtype=np.float32), np.zeros(len(fresh), np.bool_)
        else:
            rows, scored = self.filling.apply(vectors[new]), np.asarray(vectors[new].any(axis=1))
        n = max(self.n_items, int(nums.max(initial=-1)) + 1)
        table = longer(with_rows(self.arrays["table"], fresh, rows), n)
        items = longer(with_rows(self.items, fresh, unit(rows) if self.temperature > 0 else rows), n)
        grown: Any = {**self.arrays, "table": table}
        return replace(self, arrays=grown, items=items, scored=longer(with_rows(self.scored, fresh, scored), n))

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: np.ascontiguousarray(v) for k, v in self.filling.arrays().items()}, folder / FILE)
        super().save(folder)

    @classmethod
    def _beside(cls, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import load_file

        return {**super()._beside(folder), "filling": Filling.of(load_file(folder / FILE))}
