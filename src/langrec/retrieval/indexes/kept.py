"""The rows that a filter keeps, found once for a filter that is asked for again."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.bounded import Bounded, Counts
from langrec.retrieval.indexes.base import Base
from langrec.retrieval.indexes.changes import Changes
from langrec.retrieval.indexes.exact import kept_rows
from langrec.types import Mask

# Memory for the rows of filters that are remembered, of one index.
MOST_BYTES = 16_000_000


class KeptRows:
    """Remembers masks that are read-only and own their data, by identity: they cannot have changed meanwhile.

    Looking for the rows among a million numbers takes as long as scoring them.
    """

    def __init__(self) -> None:
        self._held: Bounded[int, tuple[Any, Any, npt.NDArray[np.int64]]] = Bounded(MOST_BYTES)

    def of(self, base: Base, allowed: Mask, changes: Changes) -> npt.NDArray[np.int64]:
        """Rows of the base that a filter allows and that are not gone, in order."""
        if allowed.flags.writeable or allowed.base is not None:
            return kept_rows(base, allowed, changes).astype(np.int64)
        held = self._held.get(id(allowed))
        if held is None or held[0]() is not allowed or held[1]() is not changes:
            rows = kept_rows(base, allowed, changes).astype(np.int64)
            held = (weakref.ref(allowed), weakref.ref(changes), rows)
            self._held.put(id(allowed), held, rows.nbytes)
        return held[2]

    def counts(self) -> Counts:
        """What was remembered and found again."""
        return self._held.counts()
