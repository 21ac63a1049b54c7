"""Arrays on disk: written plainly, read by mapping, so that processes share the pages and loading copies nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

# Smaller arrays are read: a mapped file costs an open file for as long as it is used.
MAPPED_FROM = 1_000_000


def put_array(path: Path, values: npt.NDArray[Any]) -> None:
    """Writes one .npy file."""
    np.save(path, values, allow_pickle=False)


def array_at(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy file, mapped read-only where it is large.

    Raises:
        OSError, ValueError, EOFError: it cannot be read as an array.
    """
    if path.stat().st_size < MAPPED_FROM:
        found: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        return found
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def rows_over(
    data: npt.NDArray[Any], indices: npt.NDArray[Any], indptr: npt.NDArray[Any], shape: tuple[int, int]
) -> sparse.csr_array:
    """The sparse matrix over these arrays, which stay where they are.

    SciPy copies indices that are narrower than the row pointers: these are narrowed where they can be.
    """
    if len(data) <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    return sparse.csr_array((data, indices, indptr), shape=shape)
