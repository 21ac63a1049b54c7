"""How many requests a key may make: a token bucket for each, shared by all workers of a server.

A bucket is one number, the time at which it will be full again (the generic cell rate algorithm, which counts as a
bucket of tokens does): a request moves it by 1/rate, and is refused where that would lie more than burst/rate ahead.
The numbers lie in a memory map; workers share its file, so a key's limit holds for the server however its connections
spread over the workers. Two servers on one store count apart: behind a balancer over two servers a key may
make twice as many.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "LANGREC_LIMITS_FILE"
_SLOT = struct.Struct("<8sd")  # digest of a name, the time in seconds at which its bucket is full again
_PROBES = 16


class Buckets:
    """The buckets of this process, or of all processes that name the same file.

    Args:
        path: the shared file, made where it is absent; None = this process alone.
        slots: names that are counted at once; where they are all in use the one nearest to full gives way.
    """

    def __init__(self, path: Path | None = None, slots: int = 8192) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._file = -1
        size = slots * _SLOT.size
        if path is not None:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if os.fstat(self._file).st_size < size:
                os.ftruncate(self._file, size)
        self._map = mmap.mmap(self._file, size)

    @classmethod
    def of_environment(cls) -> Buckets:
        """Those that `langrec serve` made for its workers, else this process's own."""
        named = os.environ.get(VARIABLE)
        return cls(Path(named) if named else None)

    def wait(self, name: str, rate: float, burst: float, now: float | None = None) -> float:
        """Takes a token: 0 where there was one, else the seconds until there is one again.

        Args:
            name: whose bucket.
            rate: tokens a second.
            burst: tokens in a full bucket.
            now: seconds of a clock that never goes back and that all processes of the machine share.
        """
        now = time.monotonic() if now is None else now
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        with self._locked():
            place, full_at = self._find(digest)
            full_at = max(full_at, now) + 1 / rate
            over = full_at - now - max(burst, 1) / rate
            if over > 1e-9:
                return over
            _SLOT.pack_into(self._map, place, digest, full_at)
            return 0.0

    def close(self) -> None:
        """Lets go of the file."""
        self._map.close()
        if self._file >= 0:
            os.close(self._file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            if self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if self._file >= 0:
                    fcntl.flock(self._file, fcntl.LOCK_UN)

    def _find(self, digest: bytes) -> tuple[int, float]:
        """The place of a name's slot and what it says; a slot that is taken over says that the bucket is full."""
        start = int.from_bytes(digest, "little")
        free, free_at = -1, float("inf")
        for step in range(_PROBES):
            place = (start + step) % self._slots * _SLOT.size
            found, full_at = _SLOT.unpack_from(self._map, place)
            if found == digest:
                return place, full_at
            if full_at < free_at:
                free, free_at = place, full_at
        return free, 0.0
