"""Inverted lists with 8-bit codes: a search looks into the few lists near the query, then at the vectors themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from langrec.errors import UNREADABLE, BundleError, MissingExtra
from langrec.protocols import Progress, untold
from langrec.retrieval.indexes import lists
from langrec.retrieval.indexes.base import Base
from langrec.retrieval.indexes.best import NONE, best, blank, finished, joined
from langrec.retrieval.indexes.bits import Bits
from langrec.retrieval.indexes.changes import Changes, asked, checked
from langrec.retrieval.indexes.exact import scan
from langrec.retrieval.indexes.files import put_json
from langrec.retrieval.indexes.kept import KeptRows
from langrec.retrieval.indexes.lists import Lists
from langrec.settings import IndexSettings
from langrec.types import FloatMatrix, FloatVector, IntMatrix, IntVector, Mask

# List lengths whose recall is measured; of others the lists to look into follow by interpolation.
MEASURED = (10, 100, 1000)
QUERIES = 200
# Asked for beyond the recall that was wanted, since the queries that it is measured with are only a sample.
MARGIN = 0.005
# The length that a glance is measured at.
GLANCED = 100
# A filter that keeps at most this share is answered exactly, from the kept rows themselves; so is one that keeps more,
# where that is cheaper: scoring a row in place takes as long as passing over so many codes (docs/decisions).
EXACT_SHARE = 0.01
ROW_COST = 5.0
# Where the lists nearby hold too few, so many times as many are looked into, again and again.
WIDER = 4


@dataclass(frozen=True, eq=False)
class IVFIndex:
    """Approximate search in lists; scores are those of the float32 vectors.

    Attributes:
        base: the vectors that it was built from; they may stay on the disk.
        lists: their 8-bit codes, grouped.
        changes: what came since; it is searched exactly.
        probes: (k, lists to look into) for lengths of the answer, rising.
        refine: so many times k codes are looked at again with their vectors.
        recall: what was wanted of it.
        measured: recall at each k against the exact index, on sampled queries, when it was built.
        glanced: lists that a glance looks into, whatever its k; 0 = as many as a search.
        kept: what filters that were asked for before keep.
    """

    base: Base
    lists: Lists
    changes: Changes
    probes: Sequence[tuple[int, int]]
    refine: float
    recall: float
    measured: Mapping[str, float]
    glanced: int = 0
    kept: KeptRows = field(default_factory=KeptRows)

    @classmethod
    def build(
        cls,
        vectors: FloatMatrix,
        settings: IndexSettings | None = None,
        nums: IntVector | None = None,
        queries: FloatMatrix | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """An index of these (n, d) rows; the array is kept, not copied, and may be memory-mapped.

        Args:
            nums: (n,) rising item numbers; None = 0 to n - 1.
            queries: vectors as they will be asked for, to measure the recall with; None makes some of the items.
            progress: told what is being done.

        Raises:
            DataError: vectors or numbers that cannot be used.
            MissingExtra: faiss is not installed.
        """
        settings = settings or IndexSettings()
        base = Base.of(vectors, nums)
        rng = np.random.default_rng(settings.seed)
        told = progress or untold
        made = lists.group(base, settings.nlist or _usual_lists(len(base)), settings.threads, rng, told)
        none = Changes.none(base.dim, base.width)
        index = cls(base, made, none, ((1, made.count),), max(1.0, settings.refine), settings.recall, {})
        if not len(base):
            return index
        sample = _sampled(base, rng) if queries is None else queries[:QUERIES]
        return index._measured(sample, settings, told)

    def _measured(self, queries: FloatMatrix, settings: IndexSettings, told: Progress) -> Self:
        """The index with as many lists looked into as the wanted recall takes, and no more."""
        most = min(MEASURED[-1], len(self))
        told("index: measure", 0, 0)
        oracle, _ = scan(self.base, asked(queries, most, self.dim), most, None, self.changes)
        probes, recalls, least = [], {}, 1

        def enough(k: int, least: int, wanted: float) -> tuple[int, float]:
            """As few lists as find the wanted share of the k nearest, and the share that they find."""
            for probe in [settings.nprobe] if settings.nprobe else _steps(least, self.lists.count):
                found, _ = self._near(queries, k, probe, None)
                hit = float(np.mean([len(np.intersect1d(f, w)) / k for f, w in zip(found, oracle[:, :k], strict=True)]))
                if hit >= wanted + MARGIN:
                    break
            return probe, hit

        for k in sorted({min(k, most) for k in MEASURED}):
            least, hit = enough(k, least, settings.recall)
            probes.append((k, least))
            recalls[str(k)] = round(hit, 4)
        glanced, hit = enough(min(GLANCED, most), 1, min(settings.glance, settings.recall))
        recalls["glance"] = round(hit, 4)
        return replace(self, probes=tuple(probes), measured=recalls, glanced=glanced)

    @property
    def dim(self) -> int:
        return self.base.dim

    def __len__(self) -> int:
        return len(self.base) - self.changes.n_gone + self.changes.n_live

    def search(self, vectors: FloatMatrix, k: int, allowed: Mask | None = None) -> tuple[IntMatrix, FloatMatrix]:
        """As `Index.search`: exact where a filter keeps few items, else as near as `measured` says.

        One query is answered by one thread.
        """
        vectors = asked(vectors, k, self.dim)
        spoken = ~np.isnan(vectors).any(axis=1)
        nums, scores = finished(blank(len(vectors), 0), k)
        if k and spoken.any():
            nums[spoken], scores[spoken] = self._search(vectors[spoken], k, allowed)
        return nums, scores

    def glance(self, vectors: FloatMatrix, k: int, allowed: Mask | None = None) -> tuple[IntMatrix, FloatMatrix]:
        """As `search`, in fewer lists: those that find `index.glance` of the nearest.

        For candidates, which others find too and whose order others settle. The last few of a hundred that an index
        is sure of take most of its time: they are the questions whose nearest lie in many lists.
        """
        return self._glancing.search(vectors, k, allowed)

    @cached_property
    def _glancing(self) -> Self:
        # Up to GLANCED as many; beyond, as under a filter, in proportion.
        return replace(self, probes=((1, self.glanced), (GLANCED, self.glanced))) if self.glanced else self

    def _search(self, vectors: FloatMatrix, k: int, allowed: Mask | None) -> tuple[IntMatrix, FloatMatrix]:
        found = self._in_base(vectors, min(k, len(self)), allowed)
        if self.changes.n_live:
            found = joined(found, self.changes.search(vectors, k, allowed, lists.all_products), k)
        return finished(found, k)

    def _in_base(self, vectors: FloatMatrix, k: int, allowed: Mask | None) -> tuple[IntMatrix, FloatMatrix]:
        """(q, k) of the base's own items: exact or approximate, whichever is cheaper."""
        n_kept = len(self.base) if allowed is None else self.kept.n(self.base, allowed, self.changes)
        if not n_kept:
            return blank(len(vectors), 0)
        wide = k * max(1.0, len(self.base) / n_kept)  # the k best of the kept are about so many of all
        codes = self._probe(wide) * len(self.base) / self.lists.count
        if n_kept <= EXACT_SHARE * len(self.base) or ROW_COST * n_kept <= codes:
            return self._gathered(vectors, k, allowed)
        alive, probe = self._alive(allowed), self._probe(wide)
        found = _padded(self._near(vectors, k, probe, alive), k)
        short = np.flatnonzero((found[0] != NONE).sum(axis=1) < min(k, n_kept))
        while len(short) and probe < self.lists.count:  # the lists nearby held too few: further ones are looked into
            probe = min(WIDER * probe, self.lists.count)
            found[0][short], found[1][short] = _padded(self._near(vectors[short], k, probe, alive), k)
            short = short[(found[0][short] != NONE).sum(axis=1) < min(k, n_kept)]
        return found

    def _near(self, queries: FloatMatrix, k: int, probe: int, alive: Bits | None) -> tuple[IntMatrix, FloatMatrix]:
        """(q, at most k) numbers and scores of items in the lists near each query, best first, ties by number."""
        found = self.lists.search(queries, math.ceil(k * self.refine), probe, alive)
        found.sort(axis=1)  # by number: rows are read in the order they lie, and a stable sort keeps it among equals
        nums, there = found.astype(np.int32), found >= 0
        rows = found if self.base.nums is None else self.base.rows(nums.ravel()).reshape(nums.shape).astype(np.int64)
        scores = lists.products(queries, self.base.vectors, rows)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        nums[~there] = NONE
        own = np.arange(len(nums))[:, None]
        return nums[own, order], scores[own, order]

    def _gathered(self, vectors: FloatMatrix, k: int, allowed: Mask | None) -> tuple[IntMatrix, FloatMatrix]:
        """(q, k) exactly, from the rows that are allowed."""
        if allowed is None:
            return scan(self.base, vectors, k, None, self.changes)
        rows = self.kept.of(self.base, allowed, self.changes)
        nums = rows if self.base.nums is None else self.base.nums[rows]
        found = blank(len(vectors), min(k, len(rows)))
        for i in range(len(vectors)):
            scores = lists.products(vectors[i : i + 1], self.base.vectors, rows[None])[0]
            which, scores = best(scores, nums, found[0].shape[1])
            found[0][i, : len(which)], found[1][i, : len(which)] = which, scores
        return found

    def _alive(self, allowed: Mask | None) -> Bits | None:
        """The base's numbers that may be found, as bits; None = all."""
        if allowed is None:
            return ~self.changes.gone if self.changes.n_gone else None
        return self.kept.bits(self.base, allowed, self.changes)

    def _probe(self, k: float) -> int:
        """Lists to look into for the k nearest: on a straight line between what was measured, in logarithms."""
        lengths, counts = self._tried
        at = math.log(max(k, 1.0))
        count = float(np.interp(at, lengths, counts))
        if len(lengths) > 1 and at > lengths[-1]:
            count += at - lengths[-1]  # beyond, lists in proportion to the length
        return min(self.lists.count, max(1, math.ceil(math.exp(count) - 1e-6)))

    @cached_property
    def _tried(self) -> tuple[FloatVector, FloatVector]:
        """Logarithms of the lengths that were measured, and of the lists that they take."""
        lengths, counts = (np.log([pair[i] for pair in self.probes]) for i in (0, 1))
        return lengths, counts

    def with_items(self, nums: IntVector, vectors: FloatMatrix) -> Self:
        nums, vectors = checked(nums, vectors, self.dim)
        return replace(self, changes=self.changes.with_items(nums, vectors, self.base.holds(nums)))

    def without(self, nums: IntVector) -> Self:
        nums = np.asarray(nums, dtype=np.int32)
        return replace(self, changes=self.changes.without(nums, self.base.holds(nums)))

    def compacted(self) -> Self:
        """The changes worked into the lists, which stay where they are unless more came than there was."""
        base = self.base.with_changes(self.changes)
        if self.changes.n_live > len(self.base):
            return type(self).build(base.vectors, IndexSettings(refine=self.refine, recall=self.recall), base.nums)
        made = self.lists.with_changes(self.changes)
        return replace(self, base=base, lists=made, changes=Changes.none(base.dim, base.width))

    def save(self, folder: Path) -> None:
        """Writes index.json, vectors.npy, lists.faiss and, where there are any, nums.npy, gone.npy and overlay.npz."""
        self.base.save(folder)
        self.changes.save(folder)
        size = self.lists.save(folder / "lists.faiss")
        put_json(
            folder / "index.json",
            {
                "kind": "ivf",
                "items": len(self.base),
                "nlist": self.lists.count,
                "probes": [list(pair) for pair in self.probes],
                "refine": self.refine,
                "wanted": self.recall,
                "recall": dict(self.measured),
                "glanced": self.glanced,
                "lists_bytes": size,
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index of a folder; vectors and codes are memory-mapped, so that processes share them.

        Raises:
            BundleError: a file is missing, damaged or of another index.
            MissingExtra: faiss is not installed.
        """
        try:
            said = json.loads((folder / "index.json").read_text("utf-8"))
            base = Base.load(folder)
            if said["items"] != len(base):
                raise ValueError(f"{said['items']} items, but {len(base)} vectors")
            made = Lists.load(folder / "lists.faiss", base.dim, int(said["lists_bytes"]))
            probes = tuple((int(k), int(count)) for k, count in said["probes"])
            changes = Changes.load(folder, base.dim, base.width)
            wanted, glanced = float(said["wanted"]), int(said.get("glanced", 0))
            return cls(base, made, changes, probes, float(said["refine"]), wanted, dict(said["recall"]), glanced)
        except MissingExtra:
            raise
        except (*UNREADABLE, RuntimeError) as error:
            raise BundleError(f"{folder}: cannot be read as an index of lists ({error})") from error


def _usual_lists(n: int) -> int:
    """4 sqrt(n) lists, fewer of few items: so each list, and the list of lists, is short."""
    return max(1, min(round(4 * math.sqrt(n)), n // 8))


def _steps(least: int, most: int) -> list[int]:
    """Numbers of lists to try: each a quarter more than the one before."""
    steps = [min(least, most)]
    while steps[-1] < most:
        steps.append(min(most, max(steps[-1] + 1, round(steps[-1] * 1.25))))
    return steps


def _sampled(base: Base, rng: np.random.Generator) -> FloatMatrix:
    """Queries as histories make them: items, and, harder, the middles of two items that have nothing in common."""
    rows = np.sort(rng.integers(len(base), size=(2, QUERIES)))
    first, second = np.asarray(base.vectors[rows[0]]), np.asarray(base.vectors[rows[1]])
    share = np.where(np.arange(QUERIES) % 2, 0.5, 0.0)[:, None]
    return np.asarray((1 - share) * first + share * second[rng.permutation(QUERIES)], dtype=np.float32)


def _padded(found: tuple[IntMatrix, FloatMatrix], k: int) -> tuple[IntMatrix, FloatMatrix]:
    nums, scores = blank(len(found[0]), k)
    nums[:, : found[0].shape[1]], scores[:, : found[0].shape[1]] = found
    return nums, scores
