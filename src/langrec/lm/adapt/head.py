"""A fitted linear head over unit vectors: its file, and its probabilities in NumPy, for those who have no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langrec.errors import UNREADABLE, BundleError
from langrec.types import FloatMatrix

FILE, CONFIG = "head.safetensors", "head.json"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A fitted head.

    Attributes:
        weight: (c, d) float32, for unit rows.
        bias: (c,) float32.
        labels: name of each class.
        loss: softmax, or sigmoid where it has one row that says how likely the second label is.
    """

    weight: FloatMatrix
    bias: Any
    labels: tuple[str, ...]
    loss: str = "softmax"

    def probabilities(self, vectors: FloatMatrix) -> FloatMatrix:
        """(n, labels) float32 of (n, d) unit rows."""
        logits = vectors @ self.weight.T + self.bias
        if self.loss == "sigmoid":
            yes = 1 / (1 + np.exp(-logits[:, 0]))
            return np.stack([1 - yes, yes], axis=1).astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
        found = np.exp(logits)
        shares: FloatMatrix = (found / found.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares

    def save(self, folder: Path) -> None:
        """Writes head.safetensors and head.json."""
        from safetensors.numpy import save_file

        save_file({"weight": self.weight.astype(np.float32), "bias": self.bias.astype(np.float32)}, folder / FILE)
        told = {"labels": list(self.labels), "loss": self.loss, "reads": "unit vectors of the model in this folder"}
        (folder / CONFIG).write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Reads what `save` wrote.

        Raises:
            BundleError: it is missing or damaged.
        """
        from safetensors.numpy import load_file

        try:
            tensors, told = load_file(folder / FILE), json.loads((folder / CONFIG).read_text("utf-8"))
            return cls(tensors["weight"], tensors["bias"], tuple(told["labels"]), str(told["loss"]))
        except UNREADABLE as error:
            raise BundleError(f"{folder}: holds no readable head ({error}); adapt the model again") from error
