"""What a filter keeps, as rows and as bits, found once for a filter that is asked for again."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.bounded import Bounded, Counts
from langrec.retrieval.indexes.base import Base
from langrec.retrieval.indexes.bits import Bits, packed
from langrec.retrieval.indexes.changes import Changes
from langrec.retrieval.indexes.exact import kept_rows
from langrec.types import Mask

# Memory for what is remembered of filters, of one index.
MOST_BYTES = 16_000_000


class KeptRows:
    """Remembers masks that are read-only and own their data, by identity: they cannot have changed meanwhile.

    Looking for the rows among a million numbers takes as long as scoring them, and counting and packing a million
    numbers a good part of a search.
    """

    def __init__(self) -> None:
        self._held: Bounded[tuple[str, int], tuple[Any, Any, npt.NDArray[Any]]] = Bounded(MOST_BYTES)

    def of(self, base: Base, allowed: Mask, changes: Changes) -> npt.NDArray[np.int64]:
        """Rows of the base that a filter allows and that are not gone, in order."""
        rows: npt.NDArray[np.int64] = self._once(
            "rows", allowed, changes, lambda: kept_rows(base, allowed, changes).astype(np.int64)
        )
        return rows

    def bits(self, base: Base, allowed: Mask, changes: Changes) -> Bits:
        """The base's numbers that a filter allows and that are not gone, as bits."""

        def made() -> Bits:
            bits = packed(allowed[: base.width])
            return bits & ~changes.gone[: len(bits)] if changes.n_gone else bits

        bits: Bits = self._once("bits", allowed, changes, made)
        return bits

    def n(self, base: Base, allowed: Mask, changes: Changes) -> int:
        """How many numbers of the base a filter allows, gone ones included."""
        return int(self._once("n", allowed, changes, lambda: np.count_nonzero(allowed[: base.width], keepdims=True))[0])

    def _once(self, what: str, allowed: Mask, changes: Changes, made: Callable[[], npt.NDArray[Any]]) -> Any:
        if allowed.flags.writeable or allowed.base is not None:
            return made()
        held = self._held.get((what, id(allowed)))
        if held is None or held[0]() is not allowed or held[1]() is not changes:
            held = (weakref.ref(allowed), weakref.ref(changes), made())
            self._held.put((what, id(allowed)), held, held[2].nbytes)
        return held[2]

    def counts(self) -> Counts:
        """What was remembered and found again."""
        return self._held.counts()
