"""Text vectors: the query's own, or the decayed mean of the history's, against every item's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from langrec.data.fitting import FitData
from langrec.data.mapped import array_at, put_array
from langrec.data.rows import Growing, laid, whole, with_rows
from langrec.errors import UNREADABLE, BundleError
from langrec.loops import compiled
from langrec.retrieval.history import has_known_history, history_weights
from langrec.settings import RetrievalSettings
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Population, QueryBlock

# Blocks of so few queries take longer to read the rows than to multiply them.
FEW = 8


@dataclass(frozen=True, eq=False)
class Vectors:
    """Cosine of the encoder's vectors after their common mean is taken off.

    All texts of one catalogue share a large component ("it is a film"); without the mean removed, the mean of a
    history points there (Mu & Viswanath 2018, "all but the top"). An item without text has a zero vector and scores
    NaN; so does every item for a query without a vector.

    Attributes:
        vectors: (n, d) float32 centred unit rows.
        mean: (d,) float32 what was taken off.
        decay: a history item j steps back weighs exp(-decay * j).
        written: (n,) True for items with a text; None = those whose row is not zero.
    """

    space: ClassVar[str] = "vectors"
    # It learns nothing from events: what it keeps holds no user.
    texts_alone: ClassVar[bool] = True

    vectors: Growing
    mean: FloatVector
    decay: float = 0.1
    written: Growing = None
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, **_: Any) -> Self:
        raw = data.vectors[cls.space]
        written = np.asarray(raw.any(axis=1))
        mean = raw[written].mean(axis=0) if written.any() else np.zeros(raw.shape[1])
        return cls(_centred(raw, mean.astype(np.float32)), mean.astype(np.float32), written=written)

    def __post_init__(self) -> None:
        if self.written is None:
            object.__setattr__(self, "written", np.asarray(whole(self.vectors).any(axis=1)))
        # States of one scorer at several decays share this: what one reads for a block answers for all.
        self._kept.setdefault("decays", {})[self.decay] = None

    @property
    def n_items(self) -> int:
        return len(self.vectors)

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) cosines; of a history, the decayed mean of its items' cosines."""
        asked = self.index_queries(block)
        silent = np.isnan(asked[:, 0]) if asked.shape[1] else np.ones(len(block), dtype=np.bool_)
        if len(block) <= FEW and block.kept is not None:
            # Most of the time goes into reading the rows: once for all decays.
            products: dict[float, FloatMatrix] = block.keep(
                ("products", id(self.vectors)), lambda: self._whole_products(block)
            )
            scores = products[self.decay].copy()
        else:
            scores = np.asarray(np.nan_to_num(asked) @ whole(self.vectors).T, dtype=np.float32)
        scores[silent] = np.nan
        scores[:, ~whole(self.written)] = np.nan
        return scores

    def _whole_products(self, block: QueryBlock) -> dict[float, FloatMatrix]:
        """By decay, (q, n_items) products with all rows."""
        decays, queries = self._at_all_decays(block)
        products = np.nan_to_num(queries) @ whole(self.vectors).T
        return dict(zip(decays, products.reshape(len(decays), len(block), -1), strict=True))

    def index_queries(self, block: QueryBlock) -> FloatMatrix:
        """(q, d) what the rows are multiplied by; NaN for queries without a vector."""
        return self._asked(block, self.decay)

    def _asked(self, block: QueryBlock, decay: float) -> FloatMatrix:
        queries: FloatMatrix = block.keep((id(self.vectors), decay), lambda: self._queries(block, decay))
        return queries

    def _at_all_decays(self, block: QueryBlock) -> tuple[list[float], FloatMatrix]:
        """The decays at which this scorer is asked, and (c * q, d) the queries at each of them, end to end."""
        decays = list(self._kept["decays"])
        return decays, np.concatenate([self._asked(block, decay) for decay in decays])

    def _queries(self, block: QueryBlock, decay: float) -> FloatMatrix:
        if not self.n_items:
            return np.full((len(block), self.vectors.shape[1]), np.nan, dtype=np.float32)
        known = block.items < self.n_items
        weights = history_weights(block, self.n_items, decay, normalise=True)
        if (loops := compiled("rows")) is not None:
            asked: FloatMatrix = loops.means(*laid(self.vectors), block.items, block.offsets, weights, self.n_items)
        else:
            rows = block.keep(("history", id(self.vectors)), lambda: self.vectors[np.where(known, block.items, 0)])
            asked = np.zeros((len(block), rows.shape[1]), dtype=np.float32)
            for i, (lo, hi) in enumerate(pairwise(block.offsets)):
                if hi > lo:
                    asked[i] = weights[lo:hi] @ rows[lo:hi]
        silent = ~has_known_history(block, self.n_items)
        given = block.vectors.get(self.space)
        if given is not None:
            spoken = ~np.isnan(given[:, 0])
            asked[spoken] = _centred(given[spoken], self.mean)
            silent &= ~spoken
        silent |= ~asked.any(axis=1)
        asked[silent] = np.nan
        return asked

    def index_rows(self, nums: IntVector) -> FloatMatrix:
        """(len(nums), d) what an index holds of items."""
        return np.asarray(self.vectors[nums])

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the same of each query's candidates."""
        if compiled("rows") is not None:
            made: dict[float, FloatVector] = block.keep(
                ("products", id(self.vectors), id(asked)), lambda: self._products(block, asked)
            )
            return made[self.decay]
        queries = self.index_queries(block)
        inside = asked.nums < self.n_items
        nums = asked.nums if inside.all() else np.where(inside, asked.nums, 0)
        rows, written = block.keep(
            ("rows", id(self.vectors), id(asked)), lambda: (self.vectors[nums], self.written[nums])
        )
        out = np.empty(len(nums), dtype=np.float32)
        for i, (lo, hi) in enumerate(pairwise(asked.offsets)):
            np.matmul(rows[lo:hi], queries[i], out=out[lo:hi])
        out[~(inside & written)] = np.nan
        return out

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) from the sample."""
        key = id(among.sample)
        if key not in self._kept:
            # What the key names stays alive, so that no other object gets its name.
            nums = among.sample[among.sample < self.n_items]
            # By columns: of a lone query's product with rows most of the time would go into turning them.
            rows = self.vectors[nums] * self.written[nums][:, None]
            self._kept[key] = (among.sample, np.ascontiguousarray(rows.T))
        means: dict[float, FloatVector] = block.keep(
            ("means", id(self.vectors), key), lambda: self._means(block, among, self._kept[key][1])
        )
        return means[self.decay]

    def _products(self, block: QueryBlock, asked: Candidates) -> dict[float, FloatVector]:
        """By decay, (m,) what it says of candidates."""
        decays, queries = self._at_all_decays(block)
        if np.isnan(queries).all():
            return dict.fromkeys(decays, np.full(len(asked.nums), np.nan, dtype=np.float32))
        rows, written = laid(self.vectors), laid(self.written)
        found = compiled("rows").products(*rows, *written, self.n_items, asked.nums, asked.offsets, queries)
        return dict(zip(decays, found, strict=True))

    def _means(self, block: QueryBlock, among: Population, sample: FloatMatrix) -> dict[float, FloatVector]:
        """By decay, (q,) means over the columns of a sample (d, c)."""
        decays, queries = self._at_all_decays(block)
        if np.isnan(queries).all():
            return dict.fromkeys(decays, np.zeros(len(block), dtype=np.float32))
        means = among.mean(np.nan_to_num(queries) @ sample)
        return dict(zip(decays, means.reshape(len(decays), -1), strict=True))

    def contributions(self, block: QueryBlock, nums: IntVector) -> FloatMatrix:
        """(h, len(nums)) what each history row adds to the scores of the items; zeros where a query vector asked."""
        out = np.zeros((len(block.items), len(nums)), dtype=np.float32)
        given = block.vectors.get(self.space)
        if given is not None and not np.isnan(given[0, 0]):
            return out
        known, scored = block.items < self.n_items, nums < self.n_items
        weights = history_weights(block, self.n_items, self.decay, normalise=True)
        near: FloatMatrix = block.keep(
            ("near", id(self.vectors), id(nums)),
            lambda: self.vectors[block.items[known]] @ self.vectors[nums[scored]].T,
        )
        out[np.ix_(known, scored)] = near * weights[known, None]
        return out

    def neighbours(self, num: int) -> FloatVector:
        """(n,) cosine of each item to item `num`; NaN for items without text."""
        scores: FloatVector = whole(self.vectors) @ self.vectors[num]
        scores[~whole(self.written)] = np.nan
        return scores

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same scorer with these items' vectors added or replaced; None leaves them without a vector."""
        width = self.vectors.shape[1]
        rows = np.zeros((len(nums), width), dtype=np.float32) if vectors is None else _centred(vectors, self.mean)
        written = np.zeros(len(nums), dtype=np.bool_) if vectors is None else np.asarray(vectors.any(axis=1))
        return replace(
            self,
            vectors=with_rows(self.vectors, nums, rows),
            written=with_rows(self.written, nums, written),
            _kept={},
        )

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"decay": decay} for decay in settings.decay]

    def save(self, folder: Path) -> None:
        """Writes vectors.npy, written.npy, mean.npy and scorer.json."""
        folder.mkdir(parents=True, exist_ok=True)
        put_array(folder / "vectors.npy", whole(self.vectors))
        put_array(folder / "written.npy", whole(self.written))
        put_array(folder / "mean.npy", self.mean)
        (folder / "scorer.json").write_text(json.dumps({"decay": self.decay}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            params = json.loads((folder / "scorer.json").read_text())
            vectors, written = array_at(folder / "vectors.npy"), array_at(folder / "written.npy")
            if written.shape != (len(vectors),):
                raise ValueError("its arrays do not belong together")
            return cls(vectors, array_at(folder / "mean.npy"), written=written, **params)
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as vectors ({error})") from error


def _centred(vectors: FloatMatrix, mean: FloatVector) -> FloatMatrix:
    """Unit rows without the mean; zero rows stay zero."""
    written = np.asarray(vectors.any(axis=1))
    rows = np.where(written[:, None], vectors - mean, 0.0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-9), dtype=np.float32)


class Tokens(Vectors):
    """Cosine of averaged word vectors from the encoder's own token table: the cheapest reader of text."""

    space: ClassVar[str] = "tokens"
