"""An encoder that remembers the vectors of the texts asked last: popular wishes are read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from langrec.bounded import Bounded
from langrec.protocols import Encoder, Role
from langrec.types import FloatMatrix, FloatVector

Held = Bounded[tuple[str, str], FloatVector]


class Remembered:
    """The same vectors as the encoder's own; those of queries are held within the cache's bytes.

    Texts of items are read once each and stored elsewhere, so they are passed through.

    Args:
        encoder: who reads.
        held: may be shared by several encoders: an entry is of one space.
    """

    def __init__(self, encoder: Encoder, held: Held) -> None:
        self.encoder = encoder
        self._held = held

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.encoder.dim

    @property
    def identity(self) -> str:
        """The encoder's own: it names the space of the vectors."""
        return self.encoder.identity

    def encode(self, texts: Sequence[str], role: Role = "item") -> FloatMatrix:
        """(len(texts), dim) float32, as the encoder gives them."""
        if role != "query":
            return self.encoder.encode(texts, role=role)
        space = self.identity
        found = [self._held.get((space, text)) for text in texts]
        missing = list(dict.fromkeys(text for text, row in zip(texts, found, strict=True) if row is None))
        if not missing:
            return np.stack([row for row in found if row is not None]) if found else self.encoder.encode([], role=role)
        read: dict[str, Any] = dict(zip(missing, self.encoder.encode(missing, role=role), strict=True))
        for text, row in read.items():
            # A row of the block would keep the whole block alive.
            self._held.put((space, text), row.copy(), row.nbytes + 2 * len(text) + 250)
        return np.stack([read[text] if row is None else row for text, row in zip(texts, found, strict=True)])
