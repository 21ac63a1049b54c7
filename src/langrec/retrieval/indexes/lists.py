"""The 8-bit codes of a base in inverted lists (FAISS): grouped, searched, saved, mapped."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from langrec.errors import MissingExtra
from langrec.protocols import Progress
from langrec.retrieval.indexes.base import Base
from langrec.retrieval.indexes.bits import Bits, holds
from langrec.retrieval.indexes.changes import Changes
from langrec.retrieval.indexes.files import ROWS, put_in_place
from langrec.types import FloatMatrix, IntVector

# k-means sees so many rows of each list at most, and takes so many rounds: more of either moves the recall little.
PER_LIST = 40
ROUNDS = 8
# A search reads all middles. More bytes of them than a core holds near take most of its time: such are in bfloat16.
NEAR_BYTES = 4 << 20
LongMatrix = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lists:
    """Item numbers and codes by list.

    Attributes:
        lists: a trained `faiss.IndexIVFScalarQuantizer`; it is not changed.
    """

    lists: Any

    @property
    def count(self) -> int:
        return int(self.lists.nlist)

    def search(self, queries: FloatMatrix, k: int, probe: int, alive: Bits | None) -> LongMatrix:
        """(q, k) item numbers by their codes, in no order; -1 where fewer were found.

        Args:
            queries: (q, d).
            probe: lists to look into.
            alive: numbers that may be found; None = all.
        """
        faiss = library()
        params = faiss.SearchParametersIVF(nprobe=probe)
        if alive is not None:
            selector = faiss.IDSelectorBitmap(alive)
            params.sel = selector
        faiss.omp_set_num_threads(1)  # of this thread alone: a few queries are not worth waking others
        found, scores = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.float32)
        # Past the wrapper in Python, which takes as long as a look into a few lists.
        pointer, read = faiss.swig_ptr, np.ascontiguousarray(queries, dtype=np.float32)
        self.lists.search_c(len(read), pointer(read), k, pointer(scores), pointer(found), params)
        return found

    def with_changes(self, changes: Changes) -> Self:
        """Lists of their own with the changes worked in: codes are copied, not made again."""
        faiss = library()
        old = self.lists
        new = _like(old)
        for number in range(old.nlist):
            size = old.invlists.list_size(number)
            if not size:
                continue
            nums = faiss.rev_swig_ptr(old.invlists.get_ids(number), size)
            codes = faiss.rev_swig_ptr(old.invlists.get_codes(number), size * old.code_size).reshape(size, -1)
            there = ~holds(changes.gone, nums)
            nums, codes = np.ascontiguousarray(nums[there]), np.ascontiguousarray(codes[there])
            if len(nums):
                new.invlists.add_entries(number, len(nums), faiss.swig_ptr(nums), faiss.swig_ptr(codes))
                new.ntotal += len(nums)
        _add(new, *changes.items)
        return type(self)(new)

    def save(self, path: Path) -> int:
        """Writes the file and returns its size in bytes."""
        return put_in_place(path, lambda half: library().write_index(self.lists, str(half)))

    @classmethod
    def load(cls, path: Path, dim: int, size: int) -> Self:
        """The lists of a file, mapped into memory.

        Raises:
            ValueError: the file is not whole, or of another width.
        """
        faiss = library()
        if path.stat().st_size != size:
            raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, not {size:,}")
        lists = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        if not isinstance(lists, faiss.IndexIVFScalarQuantizer) or lists.d != dim:
            raise ValueError(f"{path.name} holds no lists of {dim} numbers")
        return cls(lists)


def library() -> Any:
    """The module `faiss`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra("index", "an index of inverted lists") from error
    return faiss


def group(base: Base, count: int, threads: int, rng: np.random.Generator, told: Progress) -> Lists:
    """The codes of a base in `count` lists, each around a middle that k-means found on a sample."""
    faiss = library()
    faiss.omp_set_num_threads(threads or os.cpu_count() or 1)
    try:
        told("index: group", 0, 0)
        if not len(base):
            return Lists(_empty(np.zeros((1, base.dim), np.float32)))
        sample = _rows(base, PER_LIST * count, rng)
        means = faiss.Kmeans(
            base.dim,
            count,
            niter=ROUNDS,
            seed=int(rng.integers(2**31)),
            min_points_per_centroid=1,
            max_points_per_centroid=2 * PER_LIST,
        )
        means.train(sample)
        lists = _empty(means.centroids)
        left = sample - means.centroids[_nearest(means.centroids, sample)]
        lists.sq.train(left)
        lists.is_trained = True
        for start in range(0, len(base), ROWS):
            stop = min(start + ROWS, len(base))
            _add(lists, base.numbers(start, stop), base.vectors[start:stop])
            told("index: encode", stop, len(base))
        return Lists(lists)
    finally:
        faiss.omp_set_num_threads(1)


def products(queries: FloatMatrix, vectors: FloatMatrix, rows: LongMatrix) -> FloatMatrix:
    """(q, m) inner products of queries (q, d) with rows (q, m), which are read where they lie; -inf for row -1."""
    faiss = library()
    scores = np.empty(rows.shape, dtype=np.float32)
    if scores.size:
        table, places = np.asarray(vectors), np.ascontiguousarray(rows, dtype=np.int64)
        faiss.fvec_inner_products_by_idx(
            *(faiss.swig_ptr(array) for array in (scores, queries, table, places)), table.shape[1], *rows.shape
        )
    return scores


def all_products(queries: FloatMatrix, rows: FloatMatrix) -> FloatMatrix:
    """(q, m) inner products on this thread alone; NumPy would wake every core for one query."""
    faiss = library()
    scores = np.empty((len(queries), len(rows)), dtype=np.float32)
    if scores.size:
        for query, out in zip(queries, scores, strict=True):
            faiss.fvec_inner_products_ny(*(faiss.swig_ptr(array) for array in (out, query, rows)), *rows.shape[::-1])
    return scores


def _rows(base: Base, most: int, rng: np.random.Generator) -> FloatMatrix:
    """At most so many rows of a base, drawn without looking twice at one."""
    if len(base) <= most:
        return np.ascontiguousarray(base.vectors)
    return np.asarray(base.vectors[np.sort(rng.choice(len(base), size=most, replace=False))])


def _nearest(means: FloatMatrix, rows: FloatMatrix) -> npt.NDArray[np.int64]:
    """(m,) the list of each row: that of the nearest middle.

    By distance, not by product: of vectors of uneven length a product would send the short ones to wherever the long
    ones are. A query, though, asks the middles by product, as it asks the items.
    """
    middles = library().IndexFlatL2(means.shape[1])
    middles.add(means)
    found: npt.NDArray[np.int64] = middles.search(rows, 1)[1].ravel()
    return found


def _add(lists: Any, nums: IntVector, vectors: FloatMatrix) -> None:
    """Encodes rows into lists that are not shared yet."""
    if not len(nums):
        return
    pointer = library().swig_ptr
    # Each array is held by a name: a pointer alone does not keep it.
    rows, ids = np.ascontiguousarray(vectors), nums.astype(np.int64)
    places = _nearest(_means(lists), rows)
    lists.add_core(len(rows), pointer(rows), pointer(ids), pointer(places))


def _means(lists: Any) -> FloatMatrix:
    """(nlist, d) the middles of lists."""
    means: FloatMatrix = library().downcast_index(lists.quantizer).reconstruct_n(0, lists.nlist)
    return means


def _empty(means: FloatMatrix) -> Any:
    """Untrained lists around these middles."""
    faiss = library()
    count, dim = means.shape
    middles = faiss.IndexFlatIP(dim)
    if means.nbytes > NEAR_BYTES:
        middles = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_bf16, faiss.METRIC_INNER_PRODUCT)
        middles.train(means)
    middles.add(means)
    lists = faiss.IndexIVFScalarQuantizer(
        middles, dim, count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    lists.own_fields = True
    middles.this.disown()
    return lists


def _like(old: Any) -> Any:
    """Lists without items around the middles of others, whose codes mean the same."""
    new = _empty(_means(old))
    new.sq = old.sq
    new.is_trained = True
    return new
