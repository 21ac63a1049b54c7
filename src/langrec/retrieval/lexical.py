"""BM25 and TF-IDF over item texts, for a query in words or for the decayed history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.fitting import FitData
from langrec.errors import UNREADABLE, BundleError
from langrec.retrieval.history import history_matrix, history_weights
from langrec.retrieval.words import words
from langrec.settings import RetrievalSettings
from langrec.types import FloatMatrix, FloatVector, IntVector, QueryBlock

# Queries of fewer terms than this look their postings up; of more, every item's row is read.
FEW_TERMS = 64
# The dense term weights of one chunk of queries stay within this many bytes.
DENSE_BYTES = 32_000_000


@dataclass(frozen=True, eq=False)
class Lexical:
    """Base of BM25 and TF-IDF: score = query terms . document terms.

    A query with a text is scored by the text, any other by its decayed history; no known word and no known item: NaN.
    An item without any word scores NaN.

    Attributes:
        vocabulary: word -> column; new items' unknown words are added when they come.
        counts: (n, v) float32 term counts.
        queries: (n, v) float32 what an item asks for when it stands in a history.
        documents: (v, n) float32 what an item offers to each term.
        idf: (v,) float32, frozen at the fit.
        decay: a history item j steps back weighs exp(-decay * j).
        params: k1 and b of BM25.
    """

    vocabulary: dict[str, int]
    counts: sparse.csr_array
    queries: sparse.csr_array
    documents: sparse.csr_array
    idf: FloatVector
    mean_length: float
    decay: float = 0.1
    params: tuple[float, float] = (1.2, 0.75)

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, **_: Any) -> Self:
        vocabulary: dict[str, int] = {}
        counts = _count(data.texts, vocabulary, grow=True)
        return cls._build(vocabulary, counts, None, None, 0.1, (settings.bm25_k1, settings.bm25_b))

    @classmethod
    def of_counts(cls, vocabulary: dict[str, int], counts: sparse.csr_array, k1: float = 1.2, b: float = 0.75) -> Self:
        """The scorer of (n, v) float32 term counts that were made elsewhere."""
        return cls._build(vocabulary, counts, None, None, 0.1, (k1, b))

    @classmethod
    def _build(
        cls,
        vocabulary: dict[str, int],
        counts: sparse.csr_array,
        idf: FloatVector | None,
        mean_length: float | None,
        decay: float,
        params: tuple[float, float],
    ) -> Self:
        if idf is None:
            found = np.bincount(counts.indices, minlength=counts.shape[1])
            idf = np.log1p((counts.shape[0] - found + 0.5) / (found + 0.5)).astype(np.float32)
        if mean_length is None:
            mean_length = float(counts.sum() / max(counts.shape[0], 1)) or 1.0
        queries, documents = cls._weigh(counts, idf, mean_length, params)
        return cls(vocabulary, counts, queries, documents, idf, mean_length, decay, params)

    @classmethod
    def _weigh(
        cls, counts: sparse.csr_array, idf: FloatVector, mean_length: float, params: tuple[float, float]
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        """What items ask for (n, v) and offer (v, n)."""
        raise TypeError(f"{cls.__name__} does not say how terms weigh")

    def _ask(self, counts: sparse.csr_array) -> sparse.csr_array:
        """(q, v) term weights of query texts."""
        return counts

    @property
    def n_items(self) -> int:
        return int(self.counts.shape[0])

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) scores by the text where a query has one, else by its history."""
        asked = history_matrix(block, self.n_items, self.decay, normalise=True) @ self.queries
        spoken = [i for i, text in enumerate(block.texts) if text is not None]
        if spoken:
            counts = _count([block.texts[i] or "" for i in spoken], self.vocabulary, grow=False)
            pick = np.ones(len(block), dtype=np.float32)
            pick[spoken] = 0.0
            place = sparse.csr_array(
                (np.ones(len(spoken), np.float32), (spoken, range(len(spoken)))), shape=(len(block), len(spoken))
            )
            asked = sparse.diags_array(pick) @ asked + place @ self._ask(counts)
        asked = sparse.csr_array(asked)
        asked.eliminate_zeros()
        scores = self._products(asked)
        scores[np.diff(asked.indptr) == 0] = np.nan
        scores[:, np.diff(self.counts.indptr) == 0] = np.nan
        return scores

    def _products(self, asked: sparse.csr_array) -> FloatMatrix:
        """(q, n_items) asked @ documents, by the cheaper of two ways."""
        if asked.nnz < FEW_TERMS * asked.shape[0]:
            return np.asarray((asked @ self.documents).toarray(), dtype=np.float32)
        # A long history asks for thousands of terms: one pass over the items' own rows serves a whole chunk of queries
        # and is up to thirty times faster than merging the postings of each.
        out = np.empty((asked.shape[0], self.n_items), dtype=np.float32)
        size = max(1, DENSE_BYTES // (4 * max(asked.shape[1], 1)))
        for start in range(0, asked.shape[0], size):
            out[start : start + size] = (self._offers @ asked[start : start + size].toarray().T).T
        return out

    @cached_property
    def _offers(self) -> sparse.csr_array:
        """(n, v) what each item offers to each term: `documents` by item."""
        return sparse.csr_array(self.documents.T)

    def contributions(self, block: QueryBlock, nums: IntVector) -> FloatMatrix:
        """(h, len(nums)) what each history row adds to the scores of the items; zeros where a text asked."""
        out = np.zeros((len(block.items), len(nums)), dtype=np.float32)
        if block.texts and block.texts[0] is not None:
            return out
        known, scored = block.items < self.n_items, nums < self.n_items
        near = (self.queries[block.items[known]] @ self._offers[nums[scored]].T).toarray()
        weights = history_weights(block, self.n_items, self.decay, normalise=True)
        out[np.ix_(known, scored)] = near * weights[known, None]
        return out

    def matched(self, text: str, num: int) -> tuple[str, ...]:
        """The words of a text that item `num` holds, in the text's order."""
        lo, hi = self.counts.indptr[num], self.counts.indptr[num + 1]
        held = set(self.counts.indices[lo:hi].tolist())
        return tuple(dict.fromkeys(word for word in words(text) if self.vocabulary.get(word, -1) in held))

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same scorer with these items' texts added or replaced; idf and mean length stay as fitted."""
        vocabulary = dict(self.vocabulary)
        fresh = _count(texts, vocabulary, grow=True)
        n = max(self.n_items, int(nums.max(initial=-1)) + 1)
        old = sparse.csr_array(
            (self.counts.data, self.counts.indices, _pad(self.counts.indptr, n)), shape=(n, len(vocabulary))
        )
        keep = np.ones(n, dtype=np.float32)
        keep[nums] = 0.0
        place = sparse.csr_array((np.ones(len(nums), np.float32), (nums, np.arange(len(nums)))), shape=(n, len(nums)))
        counts = sparse.csr_array(sparse.diags_array(keep) @ old + place @ fresh, dtype=np.float32)
        counts.eliminate_zeros()
        # A word that no item held at the fit is as rare as can be.
        rare = np.float32(np.log1p((self.n_items + 0.5) / 0.5))
        idf = np.concatenate([self.idf, np.full(len(vocabulary) - len(self.idf), rare, np.float32)])
        return self._build(vocabulary, counts, idf, self.mean_length, self.decay, self.params)

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"decay": decay} for decay in settings.decay]

    def save(self, folder: Path) -> None:
        """Writes counts.npz, words.json and scorer.json."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "counts.npz",
            data=self.counts.data,
            indices=self.counts.indices.astype(np.int32),
            indptr=self.counts.indptr.astype(np.int64),
            idf=self.idf,
        )
        (folder / "words.json").write_text(json.dumps(list(self.vocabulary), ensure_ascii=False), "utf-8")
        params = {"decay": self.decay, "params": self.params, "mean_length": self.mean_length}
        (folder / "scorer.json").write_text(json.dumps(params))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            names = json.loads((folder / "words.json").read_text("utf-8"))
            params = json.loads((folder / "scorer.json").read_text())
            k1, b = params["params"]
            decay, mean_length = float(params["decay"]), float(params["mean_length"])
            with np.load(folder / "counts.npz", allow_pickle=False) as file:
                idf = file["idf"]
                counts = sparse.csr_array(
                    (file["data"], file["indices"], file["indptr"]), shape=(len(file["indptr"]) - 1, len(names))
                )
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as a word index ({error})") from error
        vocabulary = {word: column for column, word in enumerate(names)}
        return cls._build(vocabulary, counts, idf, mean_length, decay, (k1, b))


class BM25(Lexical):
    """Okapi BM25 (Robertson & Zaragoza 2009); an item in a history asks for each of its words once."""

    __slots__ = ()

    @classmethod
    def _weigh(
        cls, counts: sparse.csr_array, idf: FloatVector, mean_length: float, params: tuple[float, float]
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        k1, b = params
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        norm = k1 * (1 - b + b * lengths / mean_length)
        tf = counts.data
        weight = idf[counts.indices] * tf * (k1 + 1) / (tf + np.repeat(norm, np.diff(counts.indptr)))
        offered = _like(counts, weight)
        return _like(counts, np.ones_like(tf)), sparse.csr_array(offered.T)


class TFIDF(Lexical):
    """Cosine of (1 + log tf) * idf vectors (Salton & Buckley 1988)."""

    __slots__ = ()

    @classmethod
    def _weigh(
        cls,
        counts: sparse.csr_array,
        idf: FloatVector,
        mean_length: float,
        params: tuple[float, float],
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        unit = _unit_tfidf(counts, idf)
        return unit, sparse.csr_array(unit.T)

    def _ask(self, counts: sparse.csr_array) -> sparse.csr_array:
        return _unit_tfidf(counts, self.idf)


def _unit_tfidf(counts: sparse.csr_array, idf: FloatVector) -> sparse.csr_array:
    weight = (1.0 + np.log(counts.data)) * idf[counts.indices]
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    norms = np.sqrt(np.bincount(rows, weight * weight, minlength=counts.shape[0]))
    return _like(counts, weight / np.maximum(norms[rows], 1e-12))


def _like(matrix: sparse.csr_array, data: npt.NDArray[np.floating]) -> sparse.csr_array:
    return sparse.csr_array((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _pad(indptr: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """Row pointers of n rows, the added ones empty."""
    return np.concatenate([indptr, np.full(n + 1 - len(indptr), indptr[-1], dtype=indptr.dtype)])


def _count(texts: Sequence[str], vocabulary: dict[str, int], grow: bool) -> sparse.csr_array:
    """(len(texts), v) term counts; unknown words enter the vocabulary, or are passed over."""
    indices: list[int] = []
    indptr = [0]
    for text in texts:
        for word in words(text):
            column = vocabulary.setdefault(word, len(vocabulary)) if grow else vocabulary.get(word, -1)
            if column >= 0:
                indices.append(column)
        indptr.append(len(indices))
    counts = sparse.csr_array(
        (np.ones(len(indices), dtype=np.float32), np.array(indices, dtype=np.int32), np.array(indptr, dtype=np.int64)),
        shape=(len(texts), len(vocabulary)),
    )
    counts.sum_duplicates()
    return counts
