"""The rows that an index was built from: float32 vectors in the order of their numbers, possibly memory-mapped."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langrec.errors import DataError
from langrec.retrieval.indexes.bits import holds
from langrec.retrieval.indexes.changes import Changes
from langrec.retrieval.indexes.files import ROWS, map_vectors, put, put_vectors
from langrec.types import FloatMatrix, IntVector, Mask


@dataclass(frozen=True, eq=False)
class Base:
    """n items.

    Attributes:
        vectors: (n, d) float32.
        nums: (n,) int32, rising; None = 0 to n - 1.
        source: which file the vectors are mapped from; None = none.
    """

    vectors: FloatMatrix
    nums: IntVector | None = None
    source: tuple[int, ...] | None = None

    @classmethod
    def of(cls, vectors: FloatMatrix, nums: IntVector | None) -> Base:
        """The base of vectors as a caller has them.

        Raises:
            DataError: no (n, d) rows of float32, vectors that hold NaN, or numbers that do not rise from 0.
        """
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise DataError(f"index: vectors of shape {vectors.shape}; it takes (n, d)")
        vectors = vectors if vectors.dtype == np.float32 else vectors.astype(np.float32)
        for start in range(0, len(vectors), ROWS):
            wrong = ~np.isfinite(vectors[start : start + ROWS]).all(axis=1)
            if wrong.any():
                raise DataError(f"index: the vector in row {start + int(np.argmax(wrong))} holds NaN or infinity")
        source = _source(vectors)
        if nums is None:
            return cls(vectors, None, source)
        nums = np.asarray(nums, dtype=np.int32)
        if len(nums) != len(vectors) or (len(nums) and (nums[0] < 0 or (np.diff(nums) <= 0).any())):
            raise DataError(f"index: {len(nums)} numbers for {len(vectors)} vectors; they must rise, one for each")
        dense = len(nums) == 0 or nums[-1] == len(nums) - 1
        return cls(vectors, None if dense else nums, source)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def width(self) -> int:
        """One more than the highest number."""
        if self.nums is None:
            return len(self.vectors)
        return int(self.nums[-1]) + 1

    def numbers(self, start: int, stop: int) -> IntVector:
        """The numbers of rows start to stop."""
        return np.arange(start, stop, dtype=np.int32) if self.nums is None else self.nums[start:stop]

    def rows(self, nums: IntVector) -> IntVector:
        """(len(nums),) the row of each number, -1 where the base does not hold it."""
        if self.nums is None:
            return np.where((nums >= 0) & (nums < len(self)), nums, -1).astype(np.int32)
        places = np.minimum(np.searchsorted(self.nums, nums), len(self) - 1).astype(np.int32)
        return np.where(self.nums[places] == nums, places, -1).astype(np.int32)

    def holds(self, nums: IntVector) -> Mask:
        return np.asarray(self.rows(nums) >= 0)

    def kept(self, changes: Changes) -> Iterator[tuple[IntVector, FloatMatrix]]:
        """Numbers and vectors of the rows that still count, block by block."""
        for start in range(0, len(self), ROWS):
            stop = min(start + ROWS, len(self))
            nums, vectors = self.numbers(start, stop), self.vectors[start:stop]
            if changes.n_gone:
                there = ~holds(changes.gone, nums)
                nums, vectors = nums[there], vectors[there]
            yield nums, vectors

    def with_changes(self, changes: Changes) -> Base:
        """A base of the same items, changes worked in; it lies in memory."""
        blocks = [*self.kept(changes), changes.items]
        nums = np.concatenate([nums for nums, _ in blocks])
        order = np.argsort(nums, kind="stable")
        vectors = np.empty((len(nums), self.dim), dtype=np.float32)
        place = np.empty(len(nums), dtype=np.intp)
        place[order] = np.arange(len(nums))
        start = 0
        for some, rows in blocks:
            vectors[place[start : start + len(some)]] = rows
            start += len(some)
        return Base.of(vectors, nums[order])

    def save(self, folder: Path) -> None:
        """Writes vectors.npy, and nums.npy where the numbers have gaps."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "vectors.npy"
        if self.source is None or self.source != _place(file):  # it may be larger than is worth a second copy
            put_vectors(file, self.vectors)
        if self.nums is not None:
            nums = self.nums
            put(folder / "nums.npy", lambda file: np.save(file, nums, allow_pickle=False))

    @classmethod
    def load(cls, folder: Path) -> Base:
        vectors = map_vectors(folder / "vectors.npy")
        if not (folder / "nums.npy").exists():
            return cls(vectors, None, _source(vectors))
        nums = np.load(folder / "nums.npy", allow_pickle=False)
        if nums.dtype != np.int32 or nums.shape != (len(vectors),):
            raise ValueError(f"nums.npy holds {nums.dtype} of shape {nums.shape} for {len(vectors)} vectors")
        return cls(vectors, nums, _source(vectors))


def _source(vectors: FloatMatrix) -> tuple[int, ...] | None:
    """The file that an array is the whole of."""
    owner: Any = vectors.base
    if isinstance(vectors, np.memmap) and isinstance(owner, mmap.mmap) and vectors.filename is not None:
        return _place(Path(vectors.filename))
    return None


def _place(file: Path) -> tuple[int, ...] | None:
    """Tells a file from every other, and from itself after a change."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
