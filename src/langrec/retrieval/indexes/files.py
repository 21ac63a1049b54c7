"""Files of an index: written whole and put in place in one motion, so that a mapped one can be replaced by its heir."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from langrec.data.mapped import map_array
from langrec.types import FloatMatrix

# Rows that are copied at once from one mapped file to another.
ROWS = 65_536


def put(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file beside `path` and moves it there; who has the old one mapped keeps it."""

    def whole(half: Path) -> None:
        with half.open("wb") as file:
            write(file)

    put_in_place(path, whole)


def put_in_place(path: Path, write: Callable[[Path], Any]) -> int:
    """The same where the writer wants a name; the size of what was written."""
    half = path.with_name(f"{path.name}.{os.getpid()}.half")
    write(half)
    half.replace(path)
    return path.stat().st_size


def put_json(path: Path, value: Any) -> None:
    """Writes a small JSON file."""
    put(path, lambda file: file.write(json.dumps(value, indent=1).encode("utf-8")))


def put_vectors(path: Path, vectors: FloatMatrix) -> None:
    """Writes (n, d) rows as .npy, block by block: they may be larger than memory."""

    def write(file: IO[bytes]) -> None:
        # As `np.save` writes it, so that the same vectors are the same bytes wherever a release holds them.
        header = {"descr": "<f4", "fortran_order": False, "shape": vectors.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(vectors), ROWS):
            file.write(np.ascontiguousarray(vectors[start : start + ROWS], dtype=np.float32).tobytes())

    put(path, write)


def map_vectors(path: Path) -> FloatMatrix:
    """The rows of `put_vectors`, memory-mapped.

    Raises:
        ValueError: not float32 rows.
    """
    vectors: FloatMatrix = map_array(path)
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise ValueError(f"{path.name} holds {vectors.dtype} of shape {vectors.shape}, not rows of float32")
    return vectors
