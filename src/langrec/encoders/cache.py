"""Vectors kept on disk: each text is read once, by content hash and encoder identity."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import numpy.typing as npt

from langrec.lm.reader import listed
from langrec.protocols import Encoder, Progress, Role
from langrec.types import FloatMatrix

# Texts between two writes: what an interruption can lose.
BLOCK = 2_048
KEY_BYTES, SUM_BYTES = 16, 4
# Blocks of texts by their name, and who reads them: the vectors of each block come back in any order.
Blocks = Sequence[tuple[str, Sequence[str]]]
ReadBlocks = Callable[[Encoder, Blocks, Role], Iterator[tuple[str, FloatMatrix]]]


def read_here(encoder: Encoder, asked: Blocks, role: Role) -> Iterator[tuple[str, FloatMatrix]]:
    """Name and (n, dim) vectors of each block, read by this process one after the other."""
    for name, texts in asked:
        yield name, encoder.encode(texts, role)


# Who reads while a run lasts; a run on several workers sets it.
READ_BY: ContextVar[ReadBlocks] = ContextVar("READ_BY", default=read_here)


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

    An interrupted run goes on where it stopped: vectors are appended in blocks. Three files per encoder grow together:
    `vectors` (float32 rows), `sums` (a CRC-32 of each key and its row) and `keys` (16 bytes a text). A row counts when
    all three are whole; one that its sum does not belong to is read again.

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
        held, n_rows = _repair(folder, encoder.dim)
        held = _sound(folder, held, n_rows, keys, encoder.dim)
        missing = {key: i for i, key in enumerate(keys) if key not in held}
        wanted = list(missing.items())
        done, total = len(set(keys)) - len(wanted), len(set(keys))
        if progress and total:
            progress("encode", done, total)
        # Longest texts last within a block would starve the batches of like lengths; sorting all by length first
        # keeps every block homogeneous, and the order of the file means nothing.
        wanted.sort(key=lambda pair: len(texts[pair[1]]))
        parts = {str(start): wanted[start : start + block] for start in range(0, len(wanted), block)}
        asked = [(name, [texts[i] for _, i in part]) for name, part in parts.items()]
        for name, read in READ_BY.get()(encoder, asked, role):
            part, vectors = parts[name], np.ascontiguousarray(read, dtype=np.float32)
            _append(folder / "vectors", vectors.tobytes())
            _append(folder / "sums", b"".join(_sum(key, row) for (key, _), row in zip(part, vectors, strict=True)))
            _append(folder / "keys", b"".join(key for key, _ in part))
            held |= {key: n_rows + place for place, (key, _) in enumerate(part)}
            n_rows += len(part)
            done += len(part)
            if progress:
                progress("encode", done, total)
        if not keys:
            return np.zeros((0, encoder.dim), dtype=np.float32)
        table = _table(folder, n_rows, encoder.dim)
        rows: npt.NDArray[np.int64] = np.array([held[key] for key in keys])
        return np.array(table[rows])


def _repair(folder: Path, dim: int) -> tuple[dict[bytes, int], int]:
    """Row by key, and the number of rows; what an interrupted write left half done is cut off."""
    widths = {folder / "vectors": 4 * dim, folder / "sums": SUM_BYTES, folder / "keys": KEY_BYTES}
    for file in widths:
        file.touch()
    n = min(file.stat().st_size // width for file, width in widths.items())
    for file, width in widths.items():
        if file.stat().st_size != n * width:
            os.truncate(file, n * width)
    data = (folder / "keys").read_bytes()
    return {data[i * KEY_BYTES : (i + 1) * KEY_BYTES]: i for i in range(n)}, n


def _sound(folder: Path, held: dict[bytes, int], n_rows: int, keys: Sequence[bytes], dim: int) -> dict[bytes, int]:
    """What is held without the rows of these keys that are not what was written: a crash may leave anything."""
    asked = {key: held[key] for key in keys if key in held}
    if not asked:
        return held
    table, sums = _table(folder, n_rows, dim), (folder / "sums").read_bytes()
    damaged = {
        key for key, row in asked.items() if _sum(key, table[row]) != sums[row * SUM_BYTES : (row + 1) * SUM_BYTES]
    }
    return {key: row for key, row in held.items() if key not in damaged}


def _sum(key: bytes, row: npt.NDArray[np.float32]) -> bytes:
    return zlib.crc32(row.tobytes(), zlib.crc32(key)).to_bytes(SUM_BYTES, "little")


def _table(folder: Path, n_rows: int, dim: int) -> FloatMatrix:
    return np.memmap(folder / "vectors", dtype=np.float32, mode="r", shape=(n_rows, dim))


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
