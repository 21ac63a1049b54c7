"""Vectors of hashed words and character n-grams: no weights, always the same, for tests and as a floor."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from langrec.errors import BundleError
from langrec.lm.exported import CONFIG, FORMAT, read_config
from langrec.lm.reader import listed
from langrec.protocols import Role
from langrec.types import FloatMatrix, FloatVector

_WORD = re.compile(r"\w+")
# A whole word says more than a piece of one.
WORD_WEIGHT, PIECE_WEIGHT = 1.0, 0.3
LONGEST = 20_000


class HashingEncoder:
    """Reads texts by adding up, for each word and each of its character trigrams, a sign in a hashed place.

    Args:
        dim: width of a vector.
    """

    def __init__(self, dim: int = 256) -> None:
        self._dim = dim

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self._dim

    @property
    def identity(self) -> str:
        """Names the space."""
        return f"hashing/1/{self._dim}"

    def encode(self, texts: Sequence[str], role: Role = "item") -> FloatMatrix:
        """(len(texts), dim) float32 unit rows; a text without a word gets a zero row.

        The first 20,000 characters count.
        """
        out = np.zeros((len(texts), self._dim), dtype=np.float32)
        for row, text in zip(out, listed(texts), strict=True):
            for word in _WORD.findall(text[:LONGEST].lower()):
                add_word(row, word)
            length = np.linalg.norm(row)
            if length > 0:
                row /= length
        return out

    def static(self) -> Self:
        """Itself: it is an average of word vectors already."""
        return self

    def save(self, folder: Path) -> None:
        """Writes encoder.json."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, "kind": "hashing", "dim": self._dim, "identity": self.identity}, indent=1)
        (folder / CONFIG).write_text(text + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path, threads: int = 0) -> Self:
        """Loads what `save` wrote.

        Raises:
            BundleError: encoder.json is missing, damaged or of another hashing.
        """
        config = read_config(folder)
        found = cls(int(config.get("dim", 256)))
        if config.get("identity") != found.identity:
            raise BundleError(f"{folder / CONFIG}: identity {config.get('identity')} is not {found.identity}")
        return found


def add_word(row: FloatVector, word: str) -> None:
    """Adds what a word in lower case says to a row, in place."""
    _add(row, word, WORD_WEIGHT)
    padded = f"<{word}>"
    for i in range(len(padded) - 2):
        _add(row, padded[i : i + 3], PIECE_WEIGHT)


def _add(row: FloatVector, piece: str, weight: float) -> None:
    number = zlib.crc32(piece.encode("utf-8", "replace"))
    row[(number >> 1) % len(row)] += weight if number & 1 else -weight
