"""The id tower: it reads which items a history holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from langrec.towers.forward import Arrays, unit
from langrec.towers.tower import Tower
from langrec.types import FloatMatrix, IntVector, Mask


@dataclass(frozen=True, eq=False)
class IdTower(Tower):
    """Reads which items a history holds. An item without training is passed over, and cannot be scored."""

    section: ClassVar[str] = "id_tower"
    name: ClassVar[str] = "id_tower"

    def _inputs(self, nums: IntVector) -> FloatMatrix:
        return np.asarray(self.arrays["table"][nums] * np.float32(np.sqrt(self.items.shape[1])))

    def _check(self) -> None:
        if self.arrays["table"].shape != self.items.shape:
            raise ValueError("its arrays do not belong together")

    @classmethod
    def reads_texts(cls, settings: Any) -> bool:
        return bool(settings.fill == "text")

    @classmethod
    def of(cls, arrays: Arrays, trained: Mask, **rest: Any) -> IdTower:
        items = arrays["table"]
        return cls(arrays, unit(items) if rest["temperature"] > 0 else items, trained, trained, **rest)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The tower of a folder; one that fills ids from texts where it was saved as such."""
        from langrec.towers.filling import FILE, FilledIdTower

        kind: Any = FilledIdTower if cls is IdTower and (folder / FILE).is_file() else super()
        tower: Self = kind.load(folder)
        return tower
