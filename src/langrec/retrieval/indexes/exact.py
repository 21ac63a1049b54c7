"""The exact index: every item is looked at. It is the oracle that the others are measured against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from langrec.errors import UNREADABLE, BundleError
from langrec.retrieval.indexes.base import Base
from langrec.retrieval.indexes.best import NOTHING, best, blank, finished, joined
from langrec.retrieval.indexes.bits import holds
from langrec.retrieval.indexes.changes import Changes, asked, checked, chosen
from langrec.retrieval.indexes.files import put_json
from langrec.settings import IndexSettings
from langrec.types import FloatMatrix, IntMatrix, IntVector, Mask

# Scores that are held at once: a block of rows of the base against a block of queries.
QUERIES, SCORES = 256, 4_000_000
# A filter that keeps less than this share is answered by gathering its rows; of more, all rows are scored in order.
GATHER = 0.2


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """All inner products, in blocks of fixed memory.

    Attributes:
        base: what it was built from.
        changes: what came since.
    """

    base: Base
    changes: Changes

    @classmethod
    def build(
        cls, vectors: FloatMatrix, settings: IndexSettings | None = None, nums: IntVector | None = None, **_: Any
    ) -> Self:
        """An index of these (n, d) rows; the array is kept, not copied.

        Args:
            nums: (n,) rising item numbers; None = 0 to n - 1.

        Raises:
            DataError: vectors or numbers that cannot be used.
        """
        base = Base.of(vectors, nums)
        return cls(base, Changes.none(base.dim, base.width))

    @property
    def dim(self) -> int:
        return self.base.dim

    def __len__(self) -> int:
        return len(self.base) - self.changes.n_gone + self.changes.n_live

    def search(self, vectors: FloatMatrix, k: int, allowed: Mask | None = None) -> tuple[IntMatrix, FloatMatrix]:
        """As `Index.search`; exact but for the rounding of float32."""
        vectors = asked(vectors, k, self.dim)
        spoken = ~np.isnan(vectors).any(axis=1)
        nums, scores = finished(blank(len(vectors), 0), k)
        if k and spoken.any():
            nums[spoken], scores[spoken] = self._search(vectors[spoken], k, allowed)
        return nums, scores

    def _search(self, vectors: FloatMatrix, k: int, allowed: Mask | None) -> tuple[IntMatrix, FloatMatrix]:
        most = min(k, len(self))
        found = scan(self.base, vectors, most, allowed, self.changes)
        return finished(joined(found, self.changes.search(vectors, most, allowed), most), k)

    def with_items(self, nums: IntVector, vectors: FloatMatrix) -> Self:
        nums, vectors = checked(nums, vectors, self.dim)
        return replace(self, changes=self.changes.with_items(nums, vectors, self.base.holds(nums)))

    def without(self, nums: IntVector) -> Self:
        nums = np.asarray(nums, dtype=np.int32)
        return replace(self, changes=self.changes.without(nums, self.base.holds(nums)))

    def compacted(self) -> Self:
        base = self.base.with_changes(self.changes)
        return replace(self, base=base, changes=Changes.none(base.dim, base.width))

    def save(self, folder: Path) -> None:
        """Writes index.json, vectors.npy and, where there are any, nums.npy, gone.npy and overlay.npz."""
        self.base.save(folder)
        self.changes.save(folder)
        put_json(folder / "index.json", {"kind": "exact"})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index of a folder, its vectors memory-mapped.

        Raises:
            BundleError: a file is missing, damaged or of another index.
        """
        try:
            base = Base.load(folder)
            return cls(base, Changes.load(folder, base.dim, base.width))
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as an exact index ({error})") from error


def scan(
    base: Base, vectors: FloatMatrix, k: int, allowed: Mask | None, changes: Changes
) -> tuple[IntMatrix, FloatMatrix]:
    """(q, k) numbers and scores of the base's own rows, as lists to be joined."""
    if not k or not len(base):
        return blank(len(vectors), 0)
    if allowed is not None:
        kept = kept_rows(base, allowed, changes)
        if len(kept) <= GATHER * len(base):
            return gather(base, kept, vectors, k)
    found = blank(len(vectors), k)
    for first in range(0, len(vectors), QUERIES):
        some = vectors[first : first + QUERIES]
        block = max(1, SCORES // len(some))
        for start in range(0, len(base), block):
            stop = min(start + block, len(base))
            nums = base.numbers(start, stop)
            scores = some @ base.vectors[start:stop].T
            if allowed is not None:
                scores[:, ~chosen(allowed, nums)] = NOTHING
            if changes.n_gone:
                scores[:, holds(changes.gone, nums)] = NOTHING
            _keep_best(found, first, scores, nums)
    return found


def gather(base: Base, rows: IntVector, vectors: FloatMatrix, k: int) -> tuple[IntMatrix, FloatMatrix]:
    """(q, k) the same among these rows alone."""
    found = blank(len(vectors), k)
    for first in range(0, len(vectors), QUERIES):
        some = vectors[first : first + QUERIES]
        block = max(1, SCORES // max(len(some), base.dim))
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            nums = part if base.nums is None else base.nums[part]
            _keep_best(found, first, some @ base.vectors[part].T, nums)
    return found


def kept_rows(base: Base, allowed: Mask, changes: Changes) -> IntVector:
    """Rows of the base that a filter allows and that are not gone, in order."""
    if base.nums is None:
        rows = np.flatnonzero(allowed[: len(base)]).astype(np.int32)
        nums = rows
    else:
        rows = np.flatnonzero(chosen(allowed, base.nums)).astype(np.int32)
        nums = base.nums[rows]
    return rows[~holds(changes.gone, nums)] if changes.n_gone else rows


def _keep_best(found: tuple[IntMatrix, FloatMatrix], first: int, scores: FloatMatrix, nums: IntVector) -> None:
    """Takes a block's scores into the lists from query `first` on; the numbers lie above those of earlier blocks."""
    k = found[0].shape[1]
    for i, row in enumerate(scores, first):
        # An equal score of a higher number does not displace.
        better = np.flatnonzero(row > found[1][i, -1])
        if not len(better):
            continue
        which, values = best(row[better], nums[better], k)
        which = np.concatenate([found[0][i], which])
        values = np.concatenate([found[1][i], values])
        order = np.lexsort((which, -values))[:k]
        found[0][i], found[1][i] = which[order], values[order]
