"""What an index finds and what it costs, beside brute force and another library, in one run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from langrec.errors import MissingExtra
from langrec.protocols import Index, Progress
from langrec.retrieval.indexes.best import best
from langrec.retrieval.indexes.build import build_index, load_index
from langrec.retrieval.indexes.exact import ExactIndex
from langrec.retrieval.indexes.ivf import IVFIndex
from langrec.retrieval.indexes.mixture import Mixture
from langrec.settings import IndexSettings
from langrec.types import FloatMatrix, IntMatrix, Mask

Search = Callable[[FloatMatrix], Any]

K = 100
# Filters: shares of the items that they keep.
SHARES = (0.001, 0.01, 0.1)
BLOCK = 65_536
# Above so many items a graph takes too long to build beside the rest.
PEER_AT_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured.

    Attributes:
        found: queries whose answers are compared with the exact ones.
        timed: queries that are timed one after the other.
        brute: queries that brute force answers, which is slow.
    """

    found: int = 200
    timed: int = 2000
    brute: int = 15


def write_vectors(mixture: Mixture, n: int, file: Path, rng: np.random.Generator, told: Progress) -> FloatMatrix:
    """n drawn vectors in a .npy file, memory-mapped."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(n, mixture.dim))
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        rows[start:stop] = mixture.items(stop - start, rng)
        told("draw", stop, n)
    rows.flush()
    del rows
    drawn: FloatMatrix = np.load(file, mmap_mode="r")
    return drawn


def measure(
    vectors: FloatMatrix,
    queries: FloatMatrix,
    settings: IndexSettings,
    folder: Path,
    told: Progress,
    effort: Effort | None = None,
    peer: str = "auto",
) -> dict[str, Any]:
    """Builds an index of the vectors, keeps it in the folder, and measures it as it is loaded from there.

    Every search is one query on one core.

    Args:
        queries: (q, d); those that the recall is measured with are not those that the index was fitted with.
        peer: usearch, hnswlib, none, or auto: the first that is installed, up to a million items.
    """
    effort = effort or Effort()
    fitted, asked = queries[: len(queries) // 4], queries[len(queries) // 4 :]
    start = time.perf_counter()
    built = build_index(vectors, settings, queries=fitted, progress=told)
    seconds = time.perf_counter() - start
    built.save(folder)
    del built
    start = time.perf_counter()
    index = load_index(folder)
    loaded = time.perf_counter() - start
    told("exact", 0, 0)
    with single():
        oracle, _ = ExactIndex.build(vectors).search(asked[: effort.found], K)
        told("search", 0, 0)
        found = _searched(index, asked, effort, oracle)
        brute = _brute(vectors, asked[: effort.brute], told)
        result = {
            "items": len(index),
            "dim": index.dim,
            "kind": type(index).__name__,
            "settings": {
                name: getattr(index, name) for name in ("probes", "refine", "measured") if hasattr(index, name)
            },
            "build_s": round(seconds, 2),
            "load_s": round(loaded, 4),
            "resident_bytes_per_item": resident(folder, asked[:50]),
            "disk_bytes_per_item": round(sum(file.stat().st_size for file in folder.iterdir()) / max(1, len(index)), 1),
            **found,
            "brute_force": brute,
            "times_faster_than_brute_force": round(brute["p50_ms"] / found["p50_ms"], 1),
            "filters": _filtered(index, vectors, asked, effort, found["p50_ms"], told),
            "changes": _changed(index, asked, told),
        }
        other = _peer(peer, len(vectors))
        if other:
            told(other, 0, 0)
            result["peer"] = _PEERS[other](vectors, asked, oracle, settings, effort)
            result["peer"]["name"] = other
            result["peer"]["times_its_p50"] = round(result["peer"]["p50_ms"] / found["p50_ms"], 2)
    return result


def nearest_cosines(rows: FloatMatrix, rng: np.random.Generator) -> list[float]:
    """The mean cosine of an item to its 1st, 10th and 100th neighbour: what drawn vectors must share with real ones."""
    few = rng.permutation(len(rows))[:1000]
    scores = rows[few] @ rows.T
    scores[np.arange(len(few)), few] = -1
    ranked = -np.sort(-scores, axis=1)
    return [round(float(ranked[:, i].mean()), 3) for i in (0, 9, 99) if i < ranked.shape[1]]


def recall_on(
    vectors: FloatMatrix, settings: IndexSettings, rng: np.random.Generator, told: Progress
) -> dict[str, Any]:
    """Recall of inverted lists on these vectors as they are, asked with items and with the middles of up to five."""
    queries = blended(vectors, 600, rng)
    index = build_index(vectors, replace(settings, kind="ivf"), queries=queries[:200], progress=told)
    with single():
        oracle, _ = ExactIndex.build(vectors).search(queries[200:], K)
        found = {f"recall@{k}": recall(index.search(queries[200:], k)[0], oracle[:, :k]) for k in (10, K)}
    return {"items": len(index), "dim": index.dim, **found, "probes": getattr(index, "probes", None)}


def blended(vectors: FloatMatrix, q: int, rng: np.random.Generator) -> FloatMatrix:
    """(q, d) middles of one to five items each."""
    total = np.zeros((q, vectors.shape[1]), dtype=np.float32)
    length = rng.integers(1, 6, size=q)
    for step in range(5):
        rows = np.flatnonzero(length > step)
        total[rows] += vectors[rng.integers(len(vectors), size=len(rows))]
    return np.asarray(total / length[:, None], dtype=np.float32)


def recall(found: IntMatrix, wanted: IntMatrix) -> float:
    """The share of the wanted numbers that was found, on average over the queries; -1 is no number."""
    shares = [
        len(np.intersect1d(some, want[want >= 0])) / max(1, int((want >= 0).sum()))
        for some, want in zip(found, wanted, strict=True)
    ]
    return round(float(np.mean(shares)), 4)


def timed(search: Search, queries: FloatMatrix) -> dict[str, float]:
    """p50 and p99 of one query, and queries a second, one after the other, after a tenth of them as a warm-up.

    `cpu_` is the processor's time of this thread: on a machine with other work it tells what a quiet one would take.
    """
    for query in queries[: max(1, len(queries) // 10)]:
        search(query[None])
    taken, worked = np.empty(len(queries)), np.empty(len(queries))
    for i, query in enumerate(queries):
        start, begun = time.perf_counter(), time.thread_time()
        search(query[None])
        worked[i], taken[i] = time.thread_time() - begun, time.perf_counter() - start
    low, high, own, own_high = (
        round(float(value) * 1e3, 4) for some in (taken, worked) for value in np.percentile(some, [50, 99])
    )
    per_s = round(1 / float(taken.mean()), 1)
    return {"p50_ms": low, "p99_ms": high, "per_s": per_s, "cpu_p50_ms": own, "cpu_p99_ms": own_high}


def resident(folder: Path, queries: FloatMatrix) -> float | None:
    """Resident bytes an item of a process that has asked the saved index all of `queries`, without the mapped vectors.

    Every list is looked into once, so that no code is left on the disk. None where the system does not tell.
    """
    if not sys.platform.startswith("linux"):
        return None
    np.save(folder / "asked.npy", queries, allow_pickle=False)
    try:
        code = f"from langrec.retrieval.indexes.measure import print_resident as p; p({str(folder)!r})"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finally:
        (folder / "asked.npy").unlink()
    return round(float(out.stdout), 1)


def print_resident(folder: str) -> None:
    """What `resident` asks a process of its own."""
    from pathlib import Path

    where = Path(folder)
    queries = np.load(where / "asked.npy", allow_pickle=False)
    few = build_index(np.eye(queries.shape[1], dtype=np.float32).repeat(40, axis=0), IndexSettings(kind="ivf"))
    few.search(queries[:1], 5)  # so that the library's own memory is not counted
    before = _resident_now()
    index = load_index(where)
    if isinstance(index, IVFIndex):
        replace(index, probes=((1, index.lists.count),)).search(queries[:1], 10)
    index.search(queries, K)
    sys.stdout.write(str((_resident_now() - before) / max(1, len(index))))


def _resident_now() -> int:
    """Resident bytes of this process without what it has mapped of vectors.npy."""
    import psutil

    maps = psutil.Process().memory_maps()
    return int(sum(part.rss for part in maps if not part.path.endswith("vectors.npy")))


@contextmanager
def single() -> Iterator[None]:
    """Matrix products on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _searched(index: Index, asked: FloatMatrix, effort: Effort, oracle: IntMatrix) -> dict[str, Any]:
    some = asked[: effort.found]
    out: dict[str, Any] = {f"recall@{k}": recall(index.search(some, k)[0], oracle[:, :k]) for k in (10, K)}
    out |= timed(lambda query: index.search(query, K), _many(asked, effort.timed))
    out["at_10"] = timed(lambda query: index.search(query, 10), _many(asked, effort.timed))
    return out


def _brute(vectors: FloatMatrix, asked: FloatMatrix, told: Progress) -> dict[str, float]:
    told("brute force", 0, 0)
    nums = np.arange(len(vectors), dtype=np.int32)
    return timed(lambda query: best(vectors @ query[0], nums, K), asked)


def _filtered(
    index: Index, vectors: FloatMatrix, asked: FloatMatrix, effort: Effort, usual_ms: float, told: Progress
) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    exact = ExactIndex.build(vectors)
    out = {}
    for share in SHARES:
        told(f"filter {share:.1%}", 0, 0)
        allowed: Mask = rng.random(len(vectors)) < share
        fresh = timed(partial(_unremembered, index, allowed), asked[:50])
        allowed.flags.writeable = False  # from here on a filter that is asked for again
        some = asked[: max(10, effort.found // 4)]
        found = index.search(some, K, allowed)[0]
        wanted = exact.search(some, K, allowed)[0]
        one = timed(partial(index.search, k=K, allowed=allowed), _many(asked, max(20, effort.timed // 5)))
        out[f"{share:.1%}"] = {
            "recall@100": recall(found, wanted),
            "filled": round(float((found >= 0).sum() / max(1, (wanted >= 0).sum())), 4),
            **one,
            "times_unfiltered": round(one["p50_ms"] / usual_ms, 2),
            "never_asked_before_p50_ms": fresh["p50_ms"],
        }
    return out


def _unremembered(index: Index, allowed: Mask, query: FloatMatrix) -> Any:
    """A search under a mask that may be written to, of which nothing is remembered."""
    return index.search(query, K, allowed)


def _changed(index: Index, asked: FloatMatrix, told: Progress) -> dict[str, float]:
    """Milliseconds to add and to remove, and of a search afterwards."""
    told("add and remove", 0, 0)
    rng = np.random.default_rng(6)
    rows = asked[rng.integers(len(asked), size=1000)]
    nums = np.arange(len(index), len(index) + 1000, dtype=np.int32)
    out = {}
    grown = index
    for name, count in (("add_1_ms", 1), ("add_1000_ms", 1000)):
        start = time.perf_counter()
        grown = index.with_items(nums[:count], rows[:count])
        out[name] = round((time.perf_counter() - start) * 1e3, 4)
    start = time.perf_counter()
    for num, row in zip(nums[:100], rows[:100], strict=True):
        grown = grown.with_items(np.array([num + 1000], np.int32), row[None])
    out["add_1_after_1000_ms"] = round((time.perf_counter() - start) * 10, 4)
    gone = rng.choice(len(index), size=1000, replace=False).astype(np.int32)
    for name, count in (("remove_1_ms", 1), ("remove_1000_ms", 1000)):
        start = time.perf_counter()
        less = grown.without(gone[:count])
        out[name] = round((time.perf_counter() - start) * 1e3, 4)
    after = timed(lambda query: less.search(query, K), asked[:300])
    return {**out, "search_after_p50_ms": after["p50_ms"], "search_after_p99_ms": after["p99_ms"]}


def _many(rows: FloatMatrix, count: int) -> FloatMatrix:
    """So many of the rows, from the first again after the last."""
    return rows[np.arange(count) % len(rows)]


def _peer(name: str, n: int) -> str | None:
    if name == "none" or (name == "auto" and n > PEER_AT_MOST):
        return None
    if name == "auto":
        return next((kind for kind in _PEERS if find_spec(kind)), None)
    if find_spec(name) is None:
        raise MissingExtra(name, f"--peer {name}")
    return name


def _usearch(
    vectors: FloatMatrix, asked: FloatMatrix, oracle: IntMatrix, settings: IndexSettings, effort: Effort
) -> dict[str, Any]:
    """A graph of 8-bit vectors, its best 200 looked at again with the float32 vectors, as ours are."""
    from usearch.index import Index as Graph

    graph = Graph(ndim=vectors.shape[1], metric="ip", dtype="i8", connectivity=16, expansion_add=128)
    start = time.perf_counter()
    for first in range(0, len(vectors), BLOCK):
        rows = np.ascontiguousarray(vectors[first : first + BLOCK])
        graph.add(np.arange(first, first + len(rows)), rows, threads=settings.threads)
    seconds = time.perf_counter() - start

    def search(query: FloatMatrix) -> IntMatrix:
        near = graph.search(query[0], 2 * K, threads=1).keys.astype(np.int64)
        return best(vectors[near] @ query[0], near.astype(np.int32), K)[0][None]

    return {
        "bytes_per_item": round(graph.memory_usage / len(vectors), 1),
        **_fitted(lambda width: setattr(graph, "expansion_search", width), search, asked, oracle, settings, effort),
        "build_s": round(seconds, 2),
    }


def _hnswlib(
    vectors: FloatMatrix, asked: FloatMatrix, oracle: IntMatrix, settings: IndexSettings, effort: Effort
) -> dict[str, Any]:
    """A graph of float32 vectors."""
    import hnswlib

    graph = hnswlib.Index("ip", vectors.shape[1])
    graph.init_index(len(vectors), M=16, ef_construction=128)
    start = time.perf_counter()
    for first in range(0, len(vectors), BLOCK):
        rows = np.ascontiguousarray(vectors[first : first + BLOCK])
        graph.add_items(rows, np.arange(first, first + len(rows)), num_threads=settings.threads or -1)
    seconds = time.perf_counter() - start
    graph.set_num_threads(1)

    def search(query: FloatMatrix) -> IntMatrix:
        return np.asarray(graph.knn_query(query, K)[0], dtype=np.int32)

    return {
        "bytes_per_item": round(graph.index_file_size() / len(vectors), 1),
        **_fitted(lambda width: graph.set_ef(max(K, width)), search, asked, oracle, settings, effort),
        "build_s": round(seconds, 2),
    }


def _fitted(
    widen: Callable[[int], None],
    search: Callable[[FloatMatrix], IntMatrix],
    asked: FloatMatrix,
    oracle: IntMatrix,
    settings: IndexSettings,
    effort: Effort,
) -> dict[str, Any]:
    """The peer searched as widely as the wanted recall takes, like ours."""
    some = asked[: effort.found]
    for width in (128, 192, 256, 384, 512, 768, 1024):
        widen(width)
        found = recall(np.concatenate([search(query[None]) for query in some]), oracle)
        if found >= settings.recall:
            break
    return {"expansion": width, "recall@100": found, **timed(search, _many(asked, effort.timed // 2))}


_PEERS = {"usearch": _usearch, "hnswlib": _hnswlib}
