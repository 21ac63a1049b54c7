"""The rows that a filter keeps, found once for a filter that is asked for again."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.retrieval.indexes.base import Base
from langrec.retrieval.indexes.changes import Changes
from langrec.retrieval.indexes.exact import kept_rows
from langrec.types import Mask

# Filters that are remembered; the one that was not asked for longest gives way.
MOST = 16


class KeptRows:
    """Remembers masks that are read-only and own their data, by identity: they cannot have changed meanwhile.

    Looking for the rows among a million numbers takes as long as scoring them.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[Any, Any, npt.NDArray[np.int64]]] = {}
        self._lock = threading.Lock()

    def of(self, base: Base, allowed: Mask, changes: Changes) -> npt.NDArray[np.int64]:
        """Rows of the base that a filter allows and that are not gone, in order."""
        if allowed.flags.writeable or allowed.base is not None:
            return kept_rows(base, allowed, changes).astype(np.int64)
        with self._lock:
            held = self._held.pop(id(allowed), None)
        if held is None or held[0]() is not allowed or held[1]() is not changes:
            rows = kept_rows(base, allowed, changes).astype(np.int64)
            held = (weakref.ref(allowed), weakref.ref(changes), rows)
        with self._lock:
            self._held[id(allowed)] = held
            while len(self._held) > MOST:
                del self._held[next(iter(self._held))]
        return held[2]
