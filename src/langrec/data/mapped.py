"""Arrays on disk: written plainly, read by mapping, so that processes share the pages and loading copies nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from scipy import sparse

# Linux's MADV_POPULATE_READ (5.14), which Python has no name for before 3.13.
_POPULATE = 22
# Files larger than this share of the memory that is free are not read ahead of requests.
SHARE_OF_MEMORY = 0.3
_AT_ONCE: ContextVar[bool] = ContextVar("_AT_ONCE", default=False)
# Smaller arrays are read: a mapped file costs an open file for as long as it is used.
MAPPED_FROM = 1_000_000


def put_array(path: Path, values: npt.NDArray[Any]) -> None:
    """Writes one .npy file."""
    np.save(path, values, allow_pickle=False)


def new_memmap(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Any:
    """A new .npy file to write in through memory, whose room on the disk is taken at once.

    Raises:
        OSError: the disk is full. Found out in the middle, it would end the process by SIGBUS, without a word.
    """
    made: Any = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return made


def array_at(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy file, mapped read-only where it is large.

    Raises:
        OSError, ValueError, EOFError: it cannot be read as an array.
    """
    if path.stat().st_size < MAPPED_FROM:
        found: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        return found
    return np.asarray(map_array(path))


def map_array(path: Path) -> Any:
    """The array of a .npy file as a read-only `np.memmap`.

    Raises:
        OSError, ValueError, EOFError: it cannot be read as an array.
    """
    mapped: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    if _AT_ONCE.get() and mapped.nbytes < SHARE_OF_MEMORY * psutil.virtual_memory().available:
        with contextlib.suppress(OSError, AttributeError):  # an older kernel, or another system
            mapped._mmap.madvise(_POPULATE)
    return mapped


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Has what is mapped in this time read and entered into the process's pages now, and not by the first requests.

    A server that has just started would else spend its first seconds on page faults, while requests pile up.
    """
    token = _AT_ONCE.set(True)
    try:
        yield
    finally:
        _AT_ONCE.reset(token)


def rows_over(
    data: npt.NDArray[Any], indices: npt.NDArray[Any], indptr: npt.NDArray[Any], shape: tuple[int, int]
) -> sparse.csr_array:
    """The sparse matrix over these arrays, which stay where they are.

    SciPy copies indices that are narrower than the row pointers: these are narrowed where they can be.
    """
    if len(data) <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    return sparse.csr_array((data, indices, indptr), shape=shape)


def narrowed(matrix: sparse.csr_array) -> sparse.csr_array:
    """The matrix with indices of 32 bits, where they can be."""
    if matrix.indptr.dtype == matrix.indices.dtype == np.int32 or matrix.nnz > np.iinfo(np.int32).max:
        return matrix
    return rows_over(matrix.data, matrix.indices.astype(np.int32), matrix.indptr, matrix.shape)
