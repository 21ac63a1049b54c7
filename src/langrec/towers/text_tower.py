"""The text tower: it reads what the items of a history are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from langrec.data.mapped import array_at
from langrec.data.rows import Growing, with_rows
from langrec.towers.forward import Arrays, head_vectors, layer_norm, unit
from langrec.towers.shaping import Shaping
from langrec.towers.tower import Tower
from langrec.types import FloatMatrix, IntVector, Mask

# Texts that the head reads at once.
ROWS_READ = 50_000


@dataclass(frozen=True, eq=False)
class TextTower(Tower):
    """Reads what the items of a history are about; an item with a text is scored and read from its first second.

    Attributes:
        shaping: of the encoder's vectors.
        raw: (n, d) what the head makes of the shaped vectors, before it is scaled.
    """

    section: ClassVar[str] = "text_tower"
    name: ClassVar[str] = "text_tower"
    space: ClassVar[str] = "vectors"

    shaping: Shaping
    raw: Growing

    def _inputs(self, nums: IntVector) -> FloatMatrix:
        return layer_norm(self.raw[nums], self.arrays["input_norm.weight"], self.arrays["input_norm.bias"])

    def _check(self) -> None:
        if self.raw.shape != self.items.shape:
            raise ValueError("its arrays do not belong together")

    @classmethod
    def reads_texts(cls, settings: Any) -> bool:
        return True

    @classmethod
    def of(cls, arrays: Arrays, trained: Mask, shaping: Shaping, vectors: FloatMatrix, **rest: Any) -> TextTower:
        """The tower of these parameters over (n, e) vectors of the encoder."""
        raw = np.empty((len(vectors), arrays["input_norm.weight"].shape[0]), dtype=np.float32)
        for start in range(0, len(vectors), ROWS_READ):  # the head is wider than what it makes
            part = slice(start, start + ROWS_READ)
            raw[part] = head_vectors(arrays, shaping.apply(vectors[part]))
        items = unit(raw) if rest["temperature"] > 0 else raw
        written = np.asarray(vectors.any(axis=1))
        return cls(arrays, items, written, trained & written, **rest, shaping=shaping, raw=raw)

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same tower with these items' texts added or replaced; None leaves them without a vector."""
        read = np.zeros((len(nums), len(self.shaping.mean)), dtype=np.float32) if vectors is None else vectors
        raw = head_vectors(self.arrays, self.shaping.apply(read))
        return replace(
            self,
            raw=with_rows(self.raw, nums, raw),
            items=with_rows(self.items, nums, unit(raw) if self.temperature > 0 else raw),
            scored=with_rows(self.scored, nums, read.any(axis=1)),
        )

    def _kept(self) -> dict[str, npt.NDArray[Any]]:
        return {"shaping.mean": self.shaping.mean, "shaping.turn": self.shaping.turn}

    def _also_by_item(self) -> dict[str, Growing]:
        return {"raw": self.raw}

    @classmethod
    def _beside(cls, folder: Path) -> dict[str, Any]:
        return {"raw": array_at(folder / "raw.npy")}

    @classmethod
    def _loaded(cls, tensors: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        return {"shaping": Shaping(tensors["shaping.mean"], tensors["shaping.turn"])}
