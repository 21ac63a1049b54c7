"""Scoring by shared words, what BM25 and TF-IDF have in common: for a query in words or for the decayed history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.candidates import Places, best_of, distinct, ragged, union, zeros
from langrec.data.fitting import FitData
from langrec.data.mapped import array_at, narrowed, put_array, rows_over
from langrec.errors import UNREADABLE, BundleError
from langrec.loops import compiled
from langrec.retrieval.history import history_matrix, history_weights
from langrec.retrieval.newer import Newer
from langrec.retrieval.postings import Postings
from langrec.retrieval.reached import Laid, ReachedBlock, ReachedRows, is_narrow, permitted
from langrec.retrieval.terms import Held, Pairs, Terms, count_terms, padded, replaced, with_pairs, with_values
from langrec.retrieval.words import words
from langrec.settings import RetrievalSettings
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Mask, Population, QueryBlock

# Queries of fewer terms than this look their postings up; of more, every item's row is read.
FEW_TERMS = 64
# What a text asks for is looked for in so many entries of postings at most; what a history asks for in fewer: it has
# many rare terms, which come first.
POSTINGS, HISTORY_POSTINGS = 20_000, 8_000
# So many changed items at least are kept beside the others before they are worked in.
FEW_NEWER = 1_000
_ARRAYS = ("counts", "indices", "indptr", "gives", "idf", "postings", "postings_indices", "postings_indptr")
# The dense term weights of one chunk of queries stay within this many bytes.
DENSE_BYTES = 32_000_000


@dataclass(frozen=True, eq=False)
class Lexical:
    """Base of BM25 and TF-IDF: score = query terms . document terms.

    A query with a text is scored by the text, any other by its decayed history; no known word and no known item: NaN.
    An item without any word scores NaN.

    Attributes:
        vocabulary: word -> column. New words are added when they come: states of one scorer share the table, and a
            column at or past the end of a state's `idf` is no word of it.
        counts: (n, v) float32 term counts.
        asks: (e,) float32, for each entry of `counts` what the item asks for when it stands in a history.
        gives: (e,) float32, for each entry of `counts` what the item offers to the term.
        idf: (v,) float32, frozen at the fit.
        mean_length: words of a text, frozen at the fit.
        decay: a history item j steps back weighs exp(-decay * j).
        params: k1 and b of BM25.
        newer: items that came or changed since, in place of what `counts` says of them.
        pairs: of the vocabulary, which a lone Chinese, Japanese or Korean character (or two of Thai) asks for.
    """

    # Postings of a long history cost more than what another decay of it would find.
    retrieves_once: ClassVar[bool] = True
    # It learns nothing from events: what it keeps holds no user.
    texts_alone: ClassVar[bool] = True

    vocabulary: dict[str, int]
    counts: sparse.csr_array
    asks: FloatVector
    gives: FloatVector
    idf: FloatVector
    mean_length: float
    decay: float = 0.1
    params: tuple[float, float] = (1.2, 0.75)
    newer: Newer | None = None
    pairs: Pairs = field(default_factory=Pairs, repr=False)
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, **_: Any) -> Self:
        vocabulary: dict[str, int] = {}
        counts = count_terms(data.texts, vocabulary, grow=True)
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
        counts = narrowed(counts)
        asks, gives = cls._weigh(counts, idf, mean_length, params)
        return cls(vocabulary, counts, asks, gives, idf, mean_length, decay, params)

    @classmethod
    def _weigh(
        cls, counts: sparse.csr_array, idf: FloatVector, mean_length: float, params: tuple[float, float]
    ) -> tuple[FloatVector, FloatVector]:
        """What items ask for and what they offer, for each entry of the counts."""
        raise TypeError(f"{cls.__name__} does not say how terms weigh")

    def _ask(self, counts: sparse.csr_array) -> sparse.csr_array:
        """(q, v) term weights of query texts."""
        return counts

    @property
    def n_items(self) -> int:
        base = int(self.counts.shape[0])
        return base if self.newer is None else max(base, int(self.newer.nums[-1]) + 1)

    # ---- the whole catalogue ---------------------------------------------------------------------------------------

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) scores by the text where a query has one, else by its history."""
        if self.newer is not None:
            return self._settled.score_block(block)
        asked = history_matrix(block, self.n_items, self.decay, normalise=True) @ self._queries
        spoken = [i for i, text in enumerate(block.texts) if text is not None]
        if spoken:
            pick = np.ones(len(block), dtype=np.float32)
            pick[spoken] = 0.0
            place = sparse.csr_array(
                (np.ones(len(spoken), np.float32), (spoken, range(len(spoken)))), shape=(len(block), len(spoken))
            )
            asked = sparse.diags_array(pick) @ asked + place @ self._read([block.texts[i] or "" for i in spoken])
        asked = sparse.csr_array(asked)
        asked.eliminate_zeros()
        scores = self._products(asked)
        scores[np.diff(asked.indptr) == 0] = np.nan
        scores[:, np.diff(self.counts.indptr) == 0] = np.nan
        return scores

    def _read(self, texts: Sequence[str]) -> sparse.csr_array:
        """(len(texts), v) what texts ask for; a lone character asks for all parts of runs that hold it."""
        asked = self._ask(count_terms(texts, self.vocabulary, grow=False, width=len(self.idf)))
        return with_pairs(
            asked, ((i, self._pairs_of(w)) for i, text in enumerate(texts) for w in words(text)), self.idf
        )

    def _pairs_of(self, word: str) -> IntVector:
        return self.pairs.holding(self.vocabulary, word, len(self.idf))

    def _products(self, asked: sparse.csr_array) -> FloatMatrix:
        """(q, n_items) asked @ documents, by the cheaper of two ways."""
        if asked.nnz < FEW_TERMS * asked.shape[0]:
            return np.asarray((asked @ self._documents).toarray(), dtype=np.float32)
        # A long history asks for thousands of terms: one pass over the items' own rows serves a whole chunk of queries
        # and is up to thirty times faster than merging the postings of each.
        out = np.empty((asked.shape[0], self.n_items), dtype=np.float32)
        size = max(1, DENSE_BYTES // (4 * max(asked.shape[1], 1)))
        for start in range(0, asked.shape[0], size):
            out[start : start + size] = (self._offers @ asked[start : start + size].toarray().T).T
        return out

    @cached_property
    def _queries(self) -> sparse.csr_array:
        """(n, v) what an item asks for when it stands in a history."""
        return with_values(self.counts, self.asks)

    @cached_property
    def _offers(self) -> sparse.csr_array:
        """(n, v) what each item offers to each term."""
        return with_values(self.counts, self.gives)

    @property
    def _documents(self) -> sparse.csr_array:
        """(v, n) the same by term."""
        if "documents" not in self._kept:
            self._kept["documents"] = narrowed(sparse.csr_array(self._offers.T))
        documents: sparse.csr_array = self._kept["documents"]
        return documents

    @cached_property
    def _settled(self) -> Self:
        """The same scorer with what is newer worked into its counts."""
        if self.newer is None:
            return self
        n, width, nums = self.n_items, len(self.idf), self.newer.nums
        old = sparse.csr_array(
            (self.counts.data, self.counts.indices, padded(self.counts.indptr, n)), shape=(n, width), dtype=np.float32
        )
        fresh = self.newer.part.counts
        fresh = sparse.csr_array((fresh.data, fresh.indices, fresh.indptr), shape=(len(nums), width))
        keep = np.ones(n, dtype=np.float32)
        keep[nums] = 0.0
        place = sparse.csr_array((np.ones(len(nums), np.float32), (nums, np.arange(len(nums)))), shape=(n, len(nums)))
        counts = sparse.csr_array(sparse.diags_array(keep) @ old + place @ fresh, dtype=np.float32)
        counts.eliminate_zeros()
        return self._build(self.vocabulary, counts, self.idf, self.mean_length, self.decay, self.params)

    # ---- candidates ------------------------------------------------------------------------------------------------

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the same of each query's candidates."""
        terms_of = self._asked(block)
        if (loops := self._loops) is not None:
            rows, room = self._rows_of("gives"), zeros(len(self.idf))
            read = (rows.indptr, rows.indices, rows.data, rows.nums, rows.new_indptr, rows.new_indices, rows.new_data)
            wanted = (terms_of.offsets, terms_of.terms, terms_of.weights)
            scores: FloatVector = loops.said(*read, asked.nums, asked.offsets, *wanted, self.counts.shape[0], room)
            return scores
        held = self._held_by(block, asked)
        values = np.empty(len(held.terms), dtype=np.float32)
        table = zeros(len(self.idf))
        for (terms, weights), (lo, hi) in zip(terms_of, pairwise(held.bounds), strict=True):
            table[terms] = weights
            table.take(held.terms[lo:hi], out=values[lo:hi], mode="clip")
            table[terms] = 0.0
        values *= held.gives
        out = np.bincount(held.rows, values, minlength=len(asked.nums)).astype(np.float32)
        silent = np.diff(terms_of.offsets) == 0
        out[held.blank | silent[asked.rows()]] = np.nan
        return out

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) exact."""
        sums, asked = self._term_sums(among), self._asked(block)
        if (loops := self._loops) is not None:
            means: FloatVector = loops.means(asked.offsets, asked.terms, asked.weights, sums, among.n)
            return means
        return np.array([float(weights @ sums[terms]) / max(among.n, 1) for terms, weights in asked], dtype=np.float32)

    def retrieve(self, block: QueryBlock, k: int, allowed: Mask | None = None) -> Candidates:
        """The k highest by the terms that matter most: so many that their postings stay within a limit.

        Of a term that very many items hold only those are looked at to which it says most.
        """
        limits = [HISTORY_POSTINGS if text is None else POSTINGS for text in block.texts or (None,) * len(block)]
        if self._loops is not None:
            return self._best_by(self._asked(block), k, allowed, np.array(limits, dtype=np.int64))
        found = [self._found(*own, k, allowed, most) for own, most in zip(self._asked(block), limits, strict=True)]
        return Candidates.of(found)

    @property
    def _loops(self) -> Any:
        """Compiled loops that read this scorer's matrices; None where there are none."""
        return compiled("words") if is_narrow(self.counts, self._documents) else None

    def _best_by(self, asked: Terms, k: int, allowed: Mask | None, most: npt.NDArray[np.int64]) -> Candidates:
        """The k highest of each query by its foremost terms."""
        left_out = None if self.newer is None else self.newer.nums
        best = self._postings.best_by(self._loops, asked, self.idf, k, allowed, most, left_out, self.n_items)
        if self.newer is None:
            return best
        own = self.newer.part._best_by(asked, len(self.newer.nums), None, most)
        fresh = [self.newer.nums[own[i]] for i in range(len(own))]
        if allowed is not None:
            fresh = [nums[permitted(allowed, nums)] for nums in fresh]
        return union([best, Candidates.of([nums[:k] for nums in fresh])])

    def _found(self, terms: IntVector, weights: FloatVector, k: int, allowed: Mask | None, most: int) -> IntVector:
        nums, values = self._postings.sums(terms, weights, self.idf, most)
        if self.newer is not None:
            values[self.newer.holds(nums)] = 0.0
        if allowed is not None:
            values = np.where(permitted(allowed, nums), values, 0.0)
        best = best_of(nums, values, k)
        if self.newer is None:
            return best
        part = self.newer.part
        own = part._found(terms[terms < len(part.idf)], weights[terms < len(part.idf)], len(part.idf), None, most)
        fresh = self.newer.nums[own]
        if allowed is not None:
            fresh = fresh[permitted(allowed, fresh)]
        return np.union1d(best, fresh[:k]).astype(np.int32)

    @property
    def _postings(self) -> Postings:
        """The postings; states of one fit share them, and what was looked up in them."""
        if "postings" not in self._kept:
            self._kept["postings"] = Postings(self._documents)
        found: Postings = self._kept["postings"]
        return found

    def _asked(self, block: QueryBlock) -> Terms:
        """Of each query the terms that it asks for, and their weights above 0."""
        found: Terms = block.keep(("asked", id(self), self.decay), lambda: self._asking(block))
        return found

    def _asking(self, block: QueryBlock) -> Terms:
        # What the histories ask for; items that the scorer does not know ask for nothing.
        reached = block.keep(
            ("terms", id(self.counts), id(self.newer)),
            lambda: self._reached(block),
        )
        weights = reached.sums(history_weights(block, self.n_items, self.decay, normalise=True))
        asked = Terms(reached.offsets, reached.columns, weights)
        spoken = [i for i, text in enumerate(block.texts) if text is not None]
        if spoken:
            found = list(asked)
            read = self._read([block.texts[i] or "" for i in spoken])
            for i, (lo, hi) in zip(spoken, pairwise(read.indptr), strict=True):
                found[i] = (read.indices[lo:hi], read.data[lo:hi].astype(np.float32))
            asked = Terms.of(found)
        return asked.above_zero()

    def _reached(self, block: QueryBlock) -> ReachedBlock | ReachedRows:
        """The terms that the items of histories ask for."""
        if self._loops is not None:
            return ReachedRows.of(block, self._rows_of("asks"), len(self.idf))
        return ReachedBlock.of(block, *self._entries(block.items, self.asks, "asks"))

    def _rows_of(self, name: str) -> Laid:
        """What items ask or give, as the loops read it."""
        rows = Laid.of(self.counts, getattr(self, name), self.counts.shape[0])
        if self.newer is None:
            return rows
        part = self.newer.part
        return rows.under(self.newer.nums, part.counts, getattr(part, name))

    def _entries(self, nums: IntVector, values: FloatVector, name: str) -> tuple[Places, IntVector, FloatVector]:
        """Entries of items: the place of each's item in `nums`, rising, its term, and its value."""
        base = nums < self.counts.shape[0]
        if self.newer is not None:
            base &= ~self.newer.holds(nums)
        places = np.flatnonzero(base)
        starts = self.counts.indptr[nums[places]]
        lengths = self.counts.indptr[nums[places] + 1] - starts
        entries = ragged(starts, lengths)
        found = (np.repeat(places, lengths), self.counts.indices[entries], values[entries])
        if self.newer is None:
            return found
        part, there = self.newer.part, np.flatnonzero(self.newer.holds(nums))
        if not len(there):
            return found
        rows, terms, own = part._entries(np.searchsorted(self.newer.nums, nums[there]), getattr(part, name), name)
        order = np.argsort(np.concatenate([found[0], there[rows]]), kind="stable")
        return (
            np.concatenate([found[0], there[rows]])[order],
            np.concatenate([found[1], terms])[order],
            np.concatenate([found[2], own])[order],
        )

    def _held_by(self, block: QueryBlock, asked: Candidates) -> Held:
        """What the candidates of a block offer; kept with the block."""

        def made() -> Held:
            rows, terms, gives = self._entries(asked.nums, self.gives, "gives")
            blank = np.ones(len(asked.nums), dtype=np.bool_)
            blank[rows] = False
            return Held(rows, terms, gives, np.searchsorted(rows, asked.offsets), blank)

        held: Held = block.keep(("held", id(self.counts), id(self.newer), id(asked)), made)
        return held

    def _term_sums(self, among: Population) -> npt.NDArray[np.float64]:
        """(v,) what all items of the population together offer to each term."""
        key = ("sums", id(among.members))
        if key not in self._kept:
            rows = np.repeat(np.arange(self.counts.shape[0], dtype=np.int32), np.diff(self.counts.indptr))
            told = self.gives if among.members is None else self.gives * among.holds(rows)
            # What the key names stays alive, so that no other object gets its name.
            self._kept[key] = (among.members, np.bincount(self.counts.indices, told, minlength=self.counts.shape[1]))
        sums: npt.NDArray[np.float64] = self._kept[key][1]
        return sums if self.newer is None else self.newer.sums(self.counts, self.gives, sums, among)

    # ---- changes and accounts --------------------------------------------------------------------------------------

    def contributions(self, block: QueryBlock, nums: IntVector) -> FloatMatrix:
        """(h, len(nums)) what each history row adds to the scores of the items; zeros where a text asked."""
        out = np.zeros((len(block.items), len(nums)), dtype=np.float32)
        if block.texts and block.texts[0] is not None:
            return out
        near: FloatMatrix = block.keep(
            ("near", id(self.counts), id(self.newer), id(nums)), lambda: self._near(block.items, nums)
        )
        np.multiply(near, history_weights(block, self.n_items, self.decay, normalise=True)[:, None], out=out)
        return out

    def _near(self, asking: IntVector, offering: IntVector) -> FloatMatrix:
        """(len(asking), len(offering)) what an item alone as the history says of another."""
        rows, terms, asks = self._entries(asking, self.asks, "asks")
        mine, offered, gives = self._entries(offering, self.gives, "gives")
        columns, places = distinct(np.concatenate([terms, offered]))
        first = sparse.csr_array((asks, (rows, places[: len(terms)])), shape=(len(asking), len(columns)))
        second = sparse.csr_array((gives, (places[len(terms) :], mine)), shape=(len(columns), len(offering)))
        return np.asarray((first @ second).toarray(), dtype=np.float32)

    def matched(self, text: str, num: int) -> tuple[str, ...]:
        """The words of a text that item `num` holds, in the text's order."""
        held = set(self._entries(np.array([num]), self.gives, "gives")[1].tolist())
        own = {word: {self.vocabulary.get(word, -1), *self._pairs_of(word)} for word in words(text)}
        return tuple(word for word, columns in own.items() if not held.isdisjoint(columns))

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same scorer with these items' texts added or replaced; idf and mean length stay as fitted.

        It takes time by what has changed since the fit, until that is a tenth of all: then it is worked in.
        """
        if not len(nums):
            return self
        order = np.argsort(nums, kind="stable")
        own = np.asarray(nums, dtype=np.int32)[order]
        fresh = count_terms([texts[place] for place in order], self.vocabulary, grow=True)
        if self.newer is not None:
            own, fresh = replaced(self.newer.nums, self.newer.part.counts, own, fresh)
        width = max(len(self.idf), int(fresh.indices.max(initial=-1)) + 1)
        fresh = sparse.csr_array((fresh.data, fresh.indices, fresh.indptr), shape=(len(own), width))
        # A word that no item held at the fit is as rare as can be.
        rare = np.float32(np.log1p((self.counts.shape[0] + 0.5) / 0.5))
        idf = np.concatenate([self.idf, np.full(width - len(self.idf), rare, np.float32)])
        part = self._build(self.vocabulary, fresh, idf, self.mean_length, self.decay, self.params)
        grown = replace(self, idf=idf, newer=Newer(own, part))
        return grown if len(own) <= max(FEW_NEWER, self.counts.shape[0] // 10) else grown._settled

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"decay": decay} for decay in settings.decay]

    def save(self, folder: Path) -> None:
        """Writes counts, what entries ask and give, and the postings as .npy; words.json and scorer.json."""
        if self.newer is not None:
            self._settled.save(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        documents = self._documents
        arrays = {
            "counts": self.counts.data,
            "indices": self.counts.indices.astype(np.int32),
            "indptr": self.counts.indptr.astype(np.int64),
            "gives": self.gives,
            "idf": self.idf,
            "postings": documents.data,
            "postings_indices": documents.indices.astype(np.int32),
            "postings_indptr": documents.indptr.astype(np.int64),
        }
        for name, values in arrays.items():
            put_array(folder / f"{name}.npy", values)
        known = list(self.vocabulary)[: len(self.idf)]
        (folder / "words.json").write_text(json.dumps(known, ensure_ascii=False), "utf-8")
        params = {"decay": self.decay, "params": self.params, "mean_length": self.mean_length}
        (folder / "scorer.json").write_text(json.dumps(params))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            names = json.loads((folder / "words.json").read_text("utf-8"))
            params = json.loads((folder / "scorer.json").read_text())
            k1, b = params["params"]
            decay, mean_length = float(params["decay"]), float(params["mean_length"])
            arrays = {name: array_at(folder / f"{name}.npy") for name in _ARRAYS}
            shape = (len(arrays["indptr"]) - 1, len(names))
            counts = rows_over(arrays["counts"], arrays["indices"], arrays["indptr"], shape)
            documents = rows_over(
                arrays["postings"], arrays["postings_indices"], arrays["postings_indptr"], shape[::-1]
            )
            if len(arrays["idf"]) != len(names) or not len(arrays["gives"]) == counts.nnz == documents.nnz:
                raise ValueError("its arrays do not belong together")
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as a word index ({error})") from error
        vocabulary = {word: column for column, word in enumerate(names)}
        asks = cls._asks(counts, arrays["gives"])
        found = cls(vocabulary, counts, asks, arrays["gives"], arrays["idf"], mean_length, decay, (k1, b))
        found._kept["documents"] = documents
        return found

    @classmethod
    def _asks(cls, counts: sparse.csr_array, gives: FloatVector) -> FloatVector:
        """What the entries ask for, from what they give."""
        raise TypeError(f"{cls.__name__} does not say what items ask for")
