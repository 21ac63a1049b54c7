"""Vectors kept on disk: each text is read once, by content hash and encoder identity."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import numpy.typing as npt

from langrec.lm.reader import listed
from langrec.protocols import Encoder, Progress, Role
from langrec.types import FloatMatrix

# Texts between two writes: what an interruption can lose.
BLOCK = 2_048
KEY_BYTES = 16
# Who reads in place of this process while a run lasts: from an encoder and a number of texts to what reads them, and
# how many processes that is. None reads here.
READ_BY: ContextVar[Callable[[Encoder, int], AbstractContextManager[tuple[Encoder, int]]] | None] = ContextVar(
    "READ_BY", default=None
)


def encode_cached(
    encoder: Encoder,
    texts: Sequence[str],
    folder: Path,
    progress: Progress | None = None,
    *,
    role: Role = "item",
    block: int = BLOCK,
) -> FloatMatrix:
    """Vectors of the texts, reading only those that the cache does not hold; equal texts are read once.

    An interrupted run goes on where it stopped: vectors are appended in blocks. Two files per encoder grow together,
    `keys` (16 bytes a text) and `vectors` (float32 rows); a row counts when both halves are whole.

    Args:
        encoder: whose vectors; another identity has files of its own.
        texts: may hold equal and blank ones.
        folder: the cache's folder.
        progress: called with ("encode", done, total), counting distinct texts.
        role: as in `Encoder.encode`.
        block: texts between two writes.

    Returns:
        (len(texts), dim) float32 unit rows.
    """
    name = hashlib.sha256(f"{encoder.identity}\n{role}".encode()).hexdigest()[:24]
    folder = folder / "vectors" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "identity.txt").write_text(f"{encoder.identity}\n{role}\n", "utf-8")
    keys = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=KEY_BYTES).digest() for text in listed(texts)]
    with _Lock(folder / "lock"):
        held = _repair(folder, encoder.dim)
        missing = {key: i for i, key in enumerate(keys) if key not in held}
        wanted = list(missing.items())
        done, total = len(set(keys)) - len(wanted), len(set(keys))
        if progress and total:
            progress("encode", done, total)
        # Longest texts last within a block would starve the batches of like lengths; sorting all by length first
        # keeps every block homogeneous, and the order of the file means nothing.
        wanted.sort(key=lambda pair: len(texts[pair[1]]))
        with (READ_BY.get() or _here)(encoder, len(wanted)) as (reader, readers):
            for start in range(0, len(wanted), block * readers):
                part = wanted[start : start + block * readers]
                vectors = reader.encode([texts[i] for _, i in part], role)
                _append(folder / "vectors", np.ascontiguousarray(vectors, dtype=np.float32).tobytes())
                _append(folder / "keys", b"".join(key for key, _ in part))
                for key, _ in part:
                    held[key] = len(held)
                done += len(part)
                if progress:
                    progress("encode", done, total)
        if not keys:
            return np.zeros((0, encoder.dim), dtype=np.float32)
        table = np.memmap(folder / "vectors", dtype=np.float32, mode="r", shape=(len(held), encoder.dim))
        rows: npt.NDArray[np.int64] = np.array([held[key] for key in keys])
        return np.array(table[rows])


@contextmanager
def _here(encoder: Encoder, _: int) -> Iterator[tuple[Encoder, int]]:
    yield encoder, 1


def _repair(folder: Path, dim: int) -> dict[bytes, int]:
    """Row by key; what an interrupted write left half done is cut off."""
    keys, vectors = folder / "keys", folder / "vectors"
    for file in (keys, vectors):
        file.touch()
    n = min(keys.stat().st_size // KEY_BYTES, vectors.stat().st_size // (4 * dim))
    for file, width in ((keys, KEY_BYTES), (vectors, 4 * dim)):
        if file.stat().st_size != n * width:
            os.truncate(file, n * width)
    data = keys.read_bytes()
    return {data[i * KEY_BYTES : (i + 1) * KEY_BYTES]: i for i in range(n)}


def _append(file: Path, data: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


class _Lock:
    """Keeps a second process from appending at the same time; it waits."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        self._stream = self._file.open("a")
        try:
            import fcntl
        except ImportError:  # no file locks on this system: one process at a time is the user's part
            return
        fcntl.flock(self._stream, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._stream.close()
