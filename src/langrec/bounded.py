"""A cache that is bounded in bytes and counts what it does: the one kind that a server keeps."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# What an entry costs beside its key and its value: the row of the table, its order, the tuple around it.
ENTRY_BYTES = 200


@dataclass(frozen=True, slots=True)
class Counts:
    """What a cache has done so far, and how much it holds.

    Attributes:
        hits: look-ups that found something.
        misses: look-ups that found nothing, or something too old.
        evictions: entries that had to go to keep the bound.
        entries: how many it holds now.
        bytes: how much it holds now, by the sizes it was told.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    entries: int = 0
    bytes: int = 0


class Bounded(Generic[K, V]):
    """Keeps the entries used last within a number of bytes; any thread may call it.

    Args:
        most_bytes: bound on the sum of all entries; 0 keeps nothing.
        seconds: how long an entry is good for; None = for ever.
    """

    def __init__(self, most_bytes: int, seconds: float | None = None) -> None:
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._held: OrderedDict[K, tuple[V, int, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = 0
        self._hits = self._misses = self._evictions = 0

    @property
    def most_bytes(self) -> int:
        """The bound."""
        return self._most_bytes

    def get(self, key: K) -> V | None:
        """What is held under a key; None where there is nothing, or only something too old."""
        with self._lock:
            found = self._held.get(key)
            if found is not None and self._seconds is not None and time.monotonic() - found[2] > self._seconds:
                self._drop(key)
                found = None
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            self._held.move_to_end(key)
            return found[0]

    def peek(self, key: K) -> V | None:
        """What is held under a key, without counting the look or making the entry one used lately."""
        with self._lock:
            found = self._held.get(key)
            return None if found is None else found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Holds a value; what was used longest ago makes room. A value over the whole bound is not held.

        Args:
            size: bytes of key and value together.
        """
        size += ENTRY_BYTES
        with self._lock:
            self._drop(key)
            if size > self._most_bytes:
                return
            self._held[key] = (value, size, time.monotonic())
            self._bytes += size
            while self._bytes > self._most_bytes:
                _, (_, gone, _) = self._held.popitem(last=False)
                self._bytes -= gone
                self._evictions += 1

    def drop(self, key: K) -> None:
        """Forgets an entry, if there is one."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forgets every entry; what was counted stays."""
        with self._lock:
            self._held.clear()
            self._bytes = 0

    def counts(self) -> Counts:
        """What it has done and holds."""
        with self._lock:
            return Counts(self._hits, self._misses, self._evictions, len(self._held), self._bytes)

    def _drop(self, key: K) -> None:
        gone = self._held.pop(key, None)
        if gone is not None:
            self._bytes -= gone[1]
