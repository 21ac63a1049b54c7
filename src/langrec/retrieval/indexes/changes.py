"""What was added to, replaced in and removed from an index since its base was built: small, exact, never changing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langrec.errors import DataError
from langrec.retrieval.indexes.best import NOTHING, best, blank
from langrec.retrieval.indexes.bits import Bits, holds, with_numbers
from langrec.retrieval.indexes.files import put
from langrec.types import FloatMatrix, IntMatrix, IntVector, Mask

Products = Callable[[FloatMatrix, FloatMatrix], FloatMatrix]


class _Log:
    """Rows that several states of an index read, each up to its own count; only the newest state appends."""

    def __init__(self, dim: int, room: int) -> None:
        self.nums = np.empty(room, dtype=np.int32)
        self.vectors = np.empty((room, dim), dtype=np.float32)
        self.used = 0
        self.lock = threading.Lock()


def _matrix_product(queries: FloatMatrix, rows: FloatMatrix) -> FloatMatrix:
    return queries @ rows.T


@dataclass(frozen=True, eq=False)
class Changes:
    """The overlay of an index.

    Attributes:
        gone: numbers whose row of the base no longer counts, as bits over the base's numbers.
        n_gone: how many they are.
        live: (count,) which rows of the log still count: a later row, or a removal, ends an earlier one.
    """

    gone: Bits
    n_gone: int
    live: Mask
    _log: _Log

    @classmethod
    def none(cls, dim: int, width: int) -> Changes:
        """Nothing changed, over a base whose numbers lie below `width`."""
        return cls(np.zeros((width + 7) // 8, np.uint8), 0, np.zeros(0, np.bool_), _Log(dim, 0))

    @property
    def n_live(self) -> int:
        return int(np.count_nonzero(self.live))

    @property
    def items(self) -> tuple[IntVector, FloatMatrix]:
        """Numbers and vectors of the overlay, in the order of arrival."""
        count = len(self.live)
        return self._log.nums[:count][self.live], self._log.vectors[:count][self.live]

    def with_items(self, nums: IntVector, vectors: FloatMatrix, based: Mask) -> Changes:
        """The changes with these items added or replaced; of a number that stands twice the last row counts.

        Args:
            based: (m,) which of the numbers the base holds.
        """
        _, last = np.unique(nums[::-1], return_index=True)
        rows = np.sort(len(nums) - 1 - last)
        nums, vectors = nums[rows], vectors[rows]
        before = self.without(nums, based[rows])
        log, live = before._with_room(len(nums))
        return Changes(before.gone, before.n_gone, *_appended(log, live, nums, vectors))

    def without(self, nums: IntVector, based: Mask) -> Changes:
        """The changes with these numbers gone from overlay and base."""
        live = self.live & ~np.isin(self._log.nums[: len(self.live)], nums)
        fresh = np.unique(nums[based])
        fresh = fresh[~holds(self.gone, fresh)]
        gone = with_numbers(self.gone, fresh) if len(fresh) else self.gone
        return Changes(gone, self.n_gone + len(fresh), live, self._log)

    def _with_room(self, m: int) -> tuple[_Log, Mask]:
        """A log that this state may append m rows to, and the live rows of it."""
        log, count = self._log, len(self.live)
        with log.lock:
            if log.used == count and count + m <= len(log.nums):
                log.used += m
                return log, self.live
        nums, vectors = self.items
        own = _Log(vectors.shape[1], max(64, 2 * (len(nums) + m)))
        own.nums[: len(nums)], own.vectors[: len(nums)] = nums, vectors
        own.used = len(nums) + m
        return own, np.ones(len(nums), dtype=np.bool_)

    def search(
        self, vectors: FloatMatrix, k: int, allowed: Mask | None, products: Products = _matrix_product
    ) -> tuple[IntMatrix, FloatMatrix]:
        """(q, k) numbers and scores of the overlay alone, as lists to be joined.

        Args:
            products: (q, m) of the queries with the overlay's rows; NumPy's takes as many threads as it likes.
        """
        count = len(self.live)
        found = blank(len(vectors), min(k, self.n_live))
        if not found[0].size:
            return found
        nums = self._log.nums[:count]
        dead = ~self.live if allowed is None else ~(self.live & chosen(allowed, nums))
        scores = products(vectors, self._log.vectors[:count])
        scores[:, dead] = NOTHING
        for i, row in enumerate(scores):
            which, values = best(row, nums, found[0].shape[1])
            found[0][i, : len(which)], found[1][i, : len(which)] = which, values
        return found

    def save(self, folder: Path) -> None:
        """Writes gone.npy and overlay.npz where there is anything to keep."""
        for name in ("gone.npy", "overlay.npz"):
            (folder / name).unlink(missing_ok=True)
        if self.n_gone:
            put(folder / "gone.npy", lambda file: np.save(file, self.gone, allow_pickle=False))
        if self.n_live:
            nums, vectors = self.items
            put(folder / "overlay.npz", lambda file: np.savez(file, nums=nums, vectors=vectors))

    @classmethod
    def load(cls, folder: Path, dim: int, width: int) -> Changes:
        changes = cls.none(dim, width)
        if (folder / "gone.npy").exists():
            gone = np.load(folder / "gone.npy", allow_pickle=False)
            if gone.shape != changes.gone.shape or gone.dtype != np.uint8:
                raise ValueError("gone.npy is of another index")
            changes = cls(gone, int(np.bitwise_count(gone).sum()), changes.live, changes._log)
        if (folder / "overlay.npz").exists():
            with np.load(folder / "overlay.npz", allow_pickle=False) as held:
                nums, vectors = checked(held["nums"], held["vectors"], dim)
            changes = changes.with_items(nums, vectors, np.zeros(len(nums), dtype=np.bool_))
        return changes


def _appended(log: _Log, live: Mask, nums: IntVector, vectors: FloatMatrix) -> tuple[Mask, _Log]:
    start, stop = len(live), len(live) + len(nums)
    log.nums[start:stop], log.vectors[start:stop] = nums, vectors
    return np.concatenate([live, np.ones(len(nums), dtype=np.bool_)]), log


def chosen(allowed: Mask, nums: IntVector) -> Mask:
    """(len(nums),) which numbers a mask allows; those beyond its end it does not."""
    if not len(allowed):
        return np.zeros(len(nums), dtype=np.bool_)
    within = nums < len(allowed)
    return np.asarray(allowed[np.where(within, nums, 0)] & within)


def checked(nums: IntVector, vectors: FloatMatrix, dim: int) -> tuple[IntVector, FloatMatrix]:
    """Items as an index takes them in.

    Raises:
        DataError: another width, as many numbers as rows they are not, a negative number, or a vector with NaN.
    """
    nums, vectors = np.asarray(nums, dtype=np.int32), np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim or len(nums) != len(vectors):
        raise DataError(
            f"index: {len(nums)} numbers with vectors of shape {vectors.shape}; it takes ({len(nums)}, {dim})"
        )
    if len(nums) and nums.min() < 0:
        raise DataError(f"index: item number {nums.min()} is negative")
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DataError(f"index: the vector of item {nums[row]} holds NaN or infinity")
    return nums, vectors


def asked(vectors: FloatMatrix, k: int, dim: int) -> FloatMatrix:
    """The queries of a search.

    Raises:
        DataError: another width, or a negative k.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise DataError(f"index: queries of shape {vectors.shape}; it takes (q, {dim})")
    if k < 0:
        raise DataError(f"index: k is {k}; it must be at least 0")
    return vectors
