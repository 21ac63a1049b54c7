"""Terms: what queries ask for, and texts as sparse rows of counts over a vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.candidates import Places
from langrec.retrieval.words import is_lone, words
from langrec.types import FloatVector, IntVector, Mask


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What the queries of a block ask for, laid end to end: those of query i are terms[offsets[i]:offsets[i + 1]]."""

    offsets: npt.NDArray[np.int64]
    terms: IntVector
    weights: FloatVector

    @classmethod
    def of(cls, queries: Sequence[tuple[IntVector, FloatVector]]) -> Self:
        """From the terms and weights of each query."""
        offsets = np.concatenate([[0], np.cumsum([len(terms) for terms, _ in queries])]).astype(np.int64)
        terms = np.concatenate([np.zeros(0, np.int32), *(terms for terms, _ in queries)]).astype(np.int32, copy=False)
        weights = np.concatenate([np.zeros(0, np.float32), *(weights for _, weights in queries)])
        return cls(offsets, terms, weights)

    def above_zero(self) -> Self:
        """The same without terms that weigh nothing."""
        some = self.weights > 0
        if some.all():
            return self
        offsets = np.concatenate([[0], np.cumsum(some)])[self.offsets]
        return type(self)(offsets, self.terms[some], self.weights[some])

    def __iter__(self) -> Iterator[tuple[IntVector, FloatVector]]:
        for lo, hi in pairwise(self.offsets):
            yield self.terms[lo:hi], self.weights[lo:hi]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What candidates offer, entry by entry.

    Attributes:
        rows: (e,) place of the entry's item among the candidates, rising.
        terms, gives: (e,) its term, and what the item offers to it.
        bounds: (q + 1,) first entry of each query.
        blank: (m,) True for candidates without a word.
    """

    rows: Places
    terms: IntVector
    gives: FloatVector
    bounds: Places
    blank: Mask


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


class Pairs:
    """Which words of a growing vocabulary are parts of runs without spaces (see `words`) that hold a shorter run."""

    def __init__(self) -> None:
        self._codes = np.zeros((3, 0), dtype=np.uint32)

    def holding(self, vocabulary: dict[str, int], word: str, width: int) -> IntVector:
        """The columns below `width` of the longer parts that hold a lone word, rising; none of any other word."""
        if not is_lone(word):
            return np.zeros(0, dtype=np.int32)
        codes = self._codes
        if codes.shape[1] < len(vocabulary):
            # In one step, as another thread may be adding words.
            words = list(vocabulary)[codes.shape[1] :]
            fresh = "".join(one.ljust(3, "\0") if 1 < len(one) <= 3 else "\0\0\0" for one in words)
            read = np.frombuffer(fresh.encode("utf-32-le", "surrogatepass"), dtype="<u4").reshape(-1, 3).T
            self._codes = codes = np.concatenate([codes, read], axis=1)
        first, second, third = codes[:, :width]
        if len(word) == 1:
            found = (first == ord(word)) | (second == ord(word)) | (third == ord(word))
        else:
            one, two = map(ord, word)
            found = (third != 0) & (((first == one) & (second == two)) | ((second == one) & (third == two)))
        return np.flatnonzero(found).astype(np.int32)


def with_pairs(asked: sparse.csr_array, pairs: Iterable[tuple[int, IntVector]], idf: FloatVector) -> sparse.csr_array:
    """What is asked, and for each (row, columns) the parts that hold one lone word, which says the same in each."""
    found = [(row, columns) for row, columns in pairs if len(columns)]
    if not found:
        return asked
    rows = np.concatenate([np.full(len(columns), row) for row, columns in found])
    columns = np.concatenate([columns for _, columns in found])
    weights = np.concatenate([_rarity(idf[columns]) / idf[columns] for _, columns in found])
    return sparse.csr_array(asked + sparse.csr_array((weights, (rows, columns)), shape=asked.shape))


def _rarity(idf: FloatVector) -> float:
    """The idf of a lone word by those of the parts that hold it; within a run it stands in two of them."""
    shares = np.exp(-idf)
    return -float(np.log(min(max(shares.max(), shares.sum() / 2), 0.9)))


def with_values(matrix: sparse.csr_array, data: npt.NDArray[np.floating]) -> sparse.csr_array:
    """The same entries with other values."""
    return sparse.csr_array((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


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
