"""The index of a catalogue past one machine: vectors in Milvus, changes here until they are compacted."""

from __future__ import annotations

import functools
import json
import logging
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from langrec.errors import UNREADABLE, BundleError, MissingExtra, SettingsError, StoreError
from langrec.protocols import Progress
from langrec.retrieval.indexes.base import Base
from langrec.retrieval.indexes.best import best, blank, finished, joined
from langrec.retrieval.indexes.bits import holds, unpacked
from langrec.retrieval.indexes.changes import Changes, asked, checked
from langrec.retrieval.indexes.exact import kept_rows
from langrec.retrieval.indexes.files import put, put_json
from langrec.settings import IndexSettings
from langrec.types import FloatMatrix, IntMatrix, IntVector, Mask

# Rows of one message to the server, and the longest answer that it gives.
ROWS, MOST = 2000, 16_384
# A server with keys is told them by this variable: user:password or a token. It stands in no setting and no release.
TOKEN = "MILVUS_TOKEN"


@dataclass(frozen=True, eq=False)
class MilvusIndex:
    """A collection that is written once; what changes afterwards is searched here, exactly, beside it.

    Servers that share a collection each hold their own changes, as they hold their own fresh items.

    Attributes:
        url: of a Milvus server or cluster; or a file of Milvus Lite, which is the same engine in this process.
        collection: its name there.
        members: which numbers it holds; the vectors themselves are on the server.
        dim: numbers of a vector.
        changes: what came since it was written.
    """

    url: str
    collection: str
    members: Base
    dim: int
    changes: Changes

    @classmethod
    def build(
        cls,
        vectors: FloatMatrix,
        settings: IndexSettings | None = None,
        nums: IntVector | None = None,
        queries: FloatMatrix | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Writes these (n, d) rows to a new collection of the server `index.url`.

        Raises:
            SettingsError: no server is named.
            DataError: vectors or numbers that cannot be used.
            MissingExtra: pymilvus is not installed.
            StoreError: the server does not answer, or refuses.
        """
        url = (settings or IndexSettings()).url
        if not url:
            raise SettingsError(
                "index.url: name a Milvus server such as http://localhost:19530, or a file such as vectors.db",
                field="index.url",
            )
        base = Base.of(vectors, nums)
        ends = ((start, min(start + ROWS, len(base))) for start in range(0, len(base), ROWS))
        rows = ((base.numbers(*some), base.vectors[slice(*some)]) for some in ends)
        name = _written(url, base.dim, rows, len(base), progress)
        return cls(url, name, _members(base.nums, len(base)), base.dim, Changes.none(base.dim, base.width))

    def __len__(self) -> int:
        return len(self.members) - self.changes.n_gone + self.changes.n_live

    def search(self, vectors: FloatMatrix, k: int, allowed: Mask | None = None) -> tuple[IntMatrix, FloatMatrix]:
        """As `Index.search`; how near to exact is the server's own matter.

        Raises:
            StoreError: the server does not answer, or refuses.
        """
        vectors = asked(vectors, k, self.dim)
        spoken = ~np.isnan(vectors).any(axis=1)
        nums, scores = finished(blank(len(vectors), 0), k)
        if k and spoken.any():
            some = vectors[spoken]
            found = joined(self._there(some, k, allowed), self.changes.search(some, k, allowed), k)
            nums[spoken], scores[spoken] = finished(found, k)
        return nums, scores

    def _there(self, vectors: FloatMatrix, k: int, allowed: Mask | None) -> tuple[IntMatrix, FloatMatrix]:
        """(q, k) of the collection's own items, as lists to be joined."""
        most = min(k, len(self.members) - self.changes.n_gone, MOST)
        expression = self._expression(allowed)
        if most <= 0 or expression is None:
            return blank(len(vectors), 0)
        found = blank(len(vectors), most)
        with _told(self.url):
            answers = _client(self.url).search(
                self.collection,
                data=list(vectors),
                anns_field="vector",
                limit=most,
                filter=expression,
                output_fields=["num"],
                search_params={"metric_type": "IP"},
            )
        for i, answer in enumerate(answers):
            hits = [(hit["num"], hit["distance"]) for hit in answer]
            if hits:
                which, scores = (np.array(part, kind) for part, kind in zip(zip(*hits, strict=True), "if", strict=True))
                ordered = best(scores.astype(np.float32), which.astype(np.int32), most)
                found[0][i, : len(ordered[0])], found[1][i, : len(ordered[0])] = ordered
        return found

    def _expression(self, allowed: Mask | None) -> str | None:
        """What the server filters by while it searches: the shorter of what may and what may not be found.

        "" is no filter; None says that nothing may be found.
        """
        if allowed is None:
            gone = np.flatnonzero(unpacked(self.changes.gone, 0, self.members.width))
            return _in(gone, "not in") if len(gone) else ""
        kept = kept_rows(self.members, allowed, self.changes)
        if not len(kept):
            return None
        nums = kept if self.members.nums is None else self.members.nums[kept]
        if 2 * len(kept) <= len(self.members):
            return _in(nums, "in")
        every = self.members.numbers(0, len(self.members))
        return _in(np.setdiff1d(every, nums, assume_unique=True), "not in")

    def with_items(self, nums: IntVector, vectors: FloatMatrix) -> Self:
        nums, vectors = checked(nums, vectors, self.dim)
        return replace(self, changes=self.changes.with_items(nums, vectors, self.members.holds(nums)))

    def without(self, nums: IntVector) -> Self:
        nums = np.asarray(nums, dtype=np.int32)
        return replace(self, changes=self.changes.without(nums, self.members.holds(nums)))

    def compacted(self) -> Self:
        """The same items in a new collection. The old one stays until `drop`: others may be searching it."""
        nums, vectors = self.changes.items
        every = self.members.numbers(0, len(self.members))
        kept = np.sort(np.concatenate([every[~holds(self.changes.gone, every)], nums])).astype(np.int32)
        rows = _chain(self._kept(), nums, vectors)
        name = _written(self.url, self.dim, rows, len(kept), None)
        dense = len(kept) == 0 or int(kept[-1]) == len(kept) - 1
        members = _members(None if dense else kept, len(kept))
        return replace(self, collection=name, members=members, changes=Changes.none(self.dim, members.width))

    def _kept(self) -> Iterator[tuple[IntVector, FloatMatrix]]:
        """What the collection holds and still counts, block by block."""
        every = self.members.numbers(0, len(self.members))
        every = every[~holds(self.changes.gone, every)]
        for start in range(0, len(every), ROWS):
            with _told(self.url):
                rows = _client(self.url).query(
                    self.collection, ids=every[start : start + ROWS].tolist(), output_fields=["num", "vector"]
                )
            nums = np.array([row["num"] for row in rows], dtype=np.int32)
            yield nums, np.array([row["vector"] for row in rows], dtype=np.float32).reshape(len(nums), self.dim)

    def drop(self) -> None:
        """Removes the collection from the server."""
        with _told(self.url):
            _client(self.url).drop_collection(self.collection)

    def save(self, folder: Path) -> None:
        """Writes index.json and, where there are any, nums.npy, gone.npy and overlay.npz; the vectors stay there."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nums.npy").unlink(missing_ok=True)
        if self.members.nums is not None:
            nums = self.members.nums
            put(folder / "nums.npy", lambda file: np.save(file, nums, allow_pickle=False))
        self.changes.save(folder)
        said = {"kind": "milvus", "url": self.url, "collection": self.collection}
        put_json(folder / "index.json", {**said, "items": len(self.members), "dim": self.dim})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index of a folder, whose collection is asked for.

        Raises:
            BundleError: a file is missing or damaged, or the server does not hold the collection.
            StoreError: the server does not answer.
        """
        try:
            said = json.loads((folder / "index.json").read_text("utf-8"))
            url, name, count, dim = str(said["url"]), str(said["collection"]), int(said["items"]), int(said["dim"])
            path = folder / "nums.npy"
            members = _members(np.load(path, allow_pickle=False) if path.exists() else None, count)
            loaded = cls(url, name, members, dim, Changes.load(folder, dim, members.width))
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as an index in Milvus ({error})") from error
        with _told(url):
            there = _client(url).has_collection(name)
        if not there:
            raise BundleError(f"{folder}: the index needs the collection {name}, which {url} does not hold; train anew")
        return loaded


def _written(
    url: str, dim: int, rows: Iterator[tuple[IntVector, FloatMatrix]], total: int, progress: Progress | None
) -> str:
    """A new collection with these rows; its name."""
    library, client = _library(), _client(url)
    name = f"langrec_{uuid.uuid4().hex}"
    with _told(url):
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("num", library.DataType.INT64, is_primary=True)
        schema.add_field("vector", library.DataType.FLOAT_VECTOR, dim=dim)
        params = client.prepare_index_params()
        params.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
        client.create_collection(name, schema=schema, index_params=params, consistency_level="Strong")
        done = 0
        for nums, vectors in rows:
            if len(nums):
                pairs = zip(nums.tolist(), vectors, strict=True)
                client.insert(name, [{"num": num, "vector": np.asarray(row)} for num, row in pairs])
            done += len(nums)
            if progress:
                progress("index: write to Milvus", done, total)
        client.load_collection(name)
    return name


def _members(nums: IntVector | None, count: int) -> Base:
    """The numbers of a collection: a base whose vectors are elsewhere."""
    if nums is not None and (nums.dtype != np.int32 or nums.shape != (count,)):
        raise ValueError(f"nums.npy holds {nums.dtype} of shape {nums.shape} for {count} items")
    return Base(np.empty((count, 0), dtype=np.float32), nums)


def _chain(
    blocks: Iterator[tuple[IntVector, FloatMatrix]], nums: IntVector, vectors: FloatMatrix
) -> Iterator[tuple[IntVector, FloatMatrix]]:
    yield from blocks
    for start in range(0, len(nums), ROWS):
        yield nums[start : start + ROWS], vectors[start : start + ROWS]


def _in(nums: Any, operator: str) -> str:
    """An expression over whole numbers: nothing that a user wrote comes into it."""
    listed = ",".join(map(str, np.asarray(nums).tolist()))
    return f"num {operator} [{listed}]"


@functools.cache
def _client(url: str) -> Any:
    """One connection a server and process.

    Raises:
        StoreError: the server does not answer.
    """
    library = _library()
    # What goes wrong is raised here as one line; the library's own log would say it again with its whole stack.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    with _told(url):
        return library.MilvusClient(url, token=os.environ.get(TOKEN, ""))


class _told:  # noqa: N801 - reads as a sentence where it is used
    """What the library raises, as a StoreError that names the server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (_library().MilvusException, ConnectionError)):
            raise StoreError(f"index: Milvus at {self._url}: {getattr(error, 'message', error)}") from error


def _library() -> Any:
    try:
        import pymilvus
    except ImportError as error:
        raise MissingExtra("milvus", "an index in Milvus") from error
    return pymilvus
