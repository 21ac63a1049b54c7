"""Term counts: texts as sparse rows over a vocabulary, and such rows put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.mapped import rows_over
from langrec.retrieval.words import words
from langrec.types import IntVector


def count_terms(
    texts: Sequence[str], vocabulary: dict[str, int], grow: bool, width: int | None = None
) -> sparse.csr_array:
    """(len(texts), v) term counts; unknown words enter the vocabulary, or are passed over.

    Args:
        width: columns; words past them are unknown. None = as many as the vocabulary then has.
    """
    indices: list[int] = []
    indptr = [0]
    for text in texts:
        for word in words(text):
            column = vocabulary.setdefault(word, len(vocabulary)) if grow else vocabulary.get(word, -1)
            if column >= 0 and (width is None or column < width):
                indices.append(column)
        indptr.append(len(indices))
    counts = sparse.csr_array(
        (np.ones(len(indices), dtype=np.float32), np.array(indices, dtype=np.int32), np.array(indptr, dtype=np.int64)),
        shape=(len(texts), len(vocabulary) if width is None else width),
    )
    counts.sum_duplicates()
    return counts


def with_values(matrix: sparse.csr_array, data: npt.NDArray[np.floating]) -> sparse.csr_array:
    """The same entries with other values."""
    return sparse.csr_array((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def narrowed(matrix: sparse.csr_array) -> sparse.csr_array:
    """The matrix with indices of 32 bits, where they can be."""
    if matrix.indptr.dtype == matrix.indices.dtype == np.int32 or matrix.nnz > np.iinfo(np.int32).max:
        return matrix
    return rows_over(matrix.data, matrix.indices.astype(np.int32), matrix.indptr, matrix.shape)


def padded(indptr: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """Row pointers of n rows, the added ones empty."""
    return np.concatenate([indptr, np.full(n + 1 - len(indptr), indptr[-1], dtype=indptr.dtype)])


def replaced(
    old: IntVector, before: sparse.csr_array, new: IntVector, fresh: sparse.csr_array
) -> tuple[IntVector, sparse.csr_array]:
    """Rows by rising number of two sets of items; what both hold is as the second has it."""
    kept = np.flatnonzero(~np.isin(old, new))
    width = max(before.shape[1], fresh.shape[1])
    rows = [
        sparse.csr_array((part.data, part.indices, part.indptr), shape=(part.shape[0], width))
        for part in (before[kept], fresh)
    ]
    nums = np.concatenate([old[kept], new])
    order = np.argsort(nums, kind="stable")
    return nums[order], sparse.csr_array(sparse.vstack(rows, format="csr")[order])
