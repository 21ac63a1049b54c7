"""What models say of a large catalogue when they are measured: their best items, and the scores of named others.

A row of scores as long as the catalogue for each question takes most of a training's time there. A list of ten and the
place of the right answer need the best few alone, which each model finds by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from langrec.data.candidates import distinct, places_in, union, within
from langrec.protocols import ItemScorer, Retriever, Searched
from langrec.ranking.near import find, pointwise, weigh
from langrec.ranking.select import top_k
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Mask, QueryBlock

# Rows of vectors that are compared with the queries at once.
ROWS = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What a model says of some items of each query.

    Attributes:
        asked: what it found, and what else it was asked about.
        scores: (m,) NaN = cannot score.
        found: (m,) True for what it found: only that is ever listed.
    """

    asked: Candidates
    scores: FloatVector
    found: Mask


class Answering(Protocol):
    """A model that answers from candidates."""

    def answer(self, block: QueryBlock, k: int, also: Candidates) -> Answered:
        """Its best items, so many that k are left when the history is taken out, and what it says of others.

        Args:
            also: of each query the further items to score.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Alone:
    """A single scorer, with another that answers where it can say nothing about a query.

    Attributes:
        scorer: any.
        fallback: None leaves such queries unanswered.
    """

    scorer: Any
    fallback: Any = None

    @property
    def by_vectors(self) -> bool:
        """True where a question becomes a vector: then many are answered at once for little more."""
        return isinstance(self.scorer, Searched)

    def answer(self, block: QueryBlock, k: int, also: Candidates) -> Answered:
        """As `Answering.answer`; what it finds are its highest scores, but for lexical scorers nearly so."""
        own = replace(block, kept={})
        found = best_alone(self.scorer, own, k)
        asked = union([found, also])
        scores = np.array(pointwise(self.scorer).score_items(own, asked), dtype=np.float32)
        answered = Answered(asked, scores, found_in(found, asked))
        if self.fallback is None or self.fallback is self.scorer:
            return answered
        told = np.bincount(asked.rows(), ~np.isnan(scores), minlength=len(block)) > 0
        quiet = np.flatnonzero(~told)
        if not len(quiet):
            return answered
        filled = Alone(self.fallback).answer(block.take(quiet), k, Candidates.of([also[int(i)] for i in quiet]))
        return _replaced(answered, quiet, filled)


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """A mix that finds candidates as it does when it serves.

    Attributes:
        fusion: with what finds candidates.
        retrieved: candidates of each retriever.
    """

    fusion: Any
    retrieved: int

    def answer(self, block: QueryBlock, k: int, also: Candidates) -> Answered:
        """As `Answering.answer`; what is found is what all retrievers find."""
        block = replace(block, kept={})
        found = find(self.fusion, block, max(self.retrieved, 2 * k)).asked
        asked = union([found, also])
        return Answered(asked, weigh(self.fusion, block, asked).mixed, found_in(found, asked))


def best_alone(scorer: Any, block: QueryBlock, k: int) -> Candidates:
    """Of each query the k items of a scorer's highest scores that are not in the history.

    Vectors are compared with all rows, which is exact. Who finds by itself is asked for as many more as the longest
    history holds; only scores above 0 are found then. Another is asked about the whole catalogue.
    """
    if isinstance(scorer, Searched) and isinstance(scorer, ItemScorer):
        return _nearest(scorer, block, k)
    if isinstance(scorer, Retriever) and isinstance(scorer, ItemScorer):
        longest = max((len(distinct(block.history(i))[0]) for i in range(len(block))), default=0)
        found = scorer.retrieve(block, k + longest)
        return Candidates.of([own[~within(own, block.history(i))] for i, own in _each(found)])
    scores = np.array(scorer.score_block(block), dtype=np.float32)
    inside = block.items < scores.shape[1]
    scores[block.rows()[inside], block.items[inside]] = np.nan
    return Candidates.of([np.sort(top_k(row, k)).astype(np.int32) for row in scores])


def found_in(found: Candidates, asked: Candidates) -> Mask:
    """(m,) which of the asked were found; what is found is among the asked."""
    parts = [np.zeros(0, dtype=np.bool_)]
    for i, own in _each(asked):
        mask = np.zeros(len(own), dtype=np.bool_)
        mask[places_in(own, found[i])[0]] = True
        parts.append(mask)
    return np.concatenate(parts)


def _replaced(answered: Answered, queries: npt.NDArray[np.intp], by: Answered) -> Answered:
    """The answers with those of some queries in place of what they were."""
    place = dict(zip(queries.tolist(), range(len(queries)), strict=True))
    rows, scores, found = [], [np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.bool_)]
    for i in range(len(answered.asked)):
        one, j = (by, place[i]) if i in place else (answered, i)
        mine = slice(one.asked.offsets[j], one.asked.offsets[j + 1])
        rows.append(one.asked.nums[mine])
        scores.append(one.scores[mine])
        found.append(one.found[mine])
    return Answered(Candidates.of(rows), np.concatenate(scores), np.concatenate(found))


def _nearest(scorer: Any, block: QueryBlock, k: int) -> Candidates:
    """Of each query the k rows of the highest products, stretch by stretch; rows of zeros cannot be found."""
    queries = np.asarray(scorer.index_queries(block), dtype=np.float32)
    silent = np.isnan(queries[:, 0]) if queries.shape[1] else np.ones(len(block), dtype=np.bool_)
    queries = np.nan_to_num(queries)
    owners = block.rows()
    nums = np.full((len(block), k), -1, dtype=np.int32)
    best = np.full((len(block), k), -np.inf, dtype=np.float32)
    for start in range(0, scorer.n_items, ROWS):
        here = np.arange(start, min(start + ROWS, scorer.n_items), dtype=np.int32)
        rows = scorer.index_rows(here)
        scores = queries @ rows.T
        scores[:, ~rows.any(axis=1)] = -np.inf
        inside = (block.items >= start) & (block.items <= here[-1])
        scores[owners[inside], block.items[inside] - start] = -np.inf
        _merge(nums, best, scores, start)
    nums[silent] = -1
    return Candidates.of([np.sort(row[row >= 0]) for row in nums])


def _merge(nums: IntVector, best: FloatMatrix, scores: FloatMatrix, start: int) -> None:
    """Puts what is above the worst of the best into them, in place; of equal scores the lower number stays."""
    k = best.shape[1]
    bars = best.min(axis=1)
    if np.isneginf(bars).any() and scores.shape[1] > k:  # too little was found so far to say what is too low
        own = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
        bars = np.maximum(bars, np.nextafter(own, np.float32(-np.inf)))
    rows, places = np.nonzero(scores > bars[:, None])
    ends = np.searchsorted(rows, np.arange(len(best) + 1))
    for i in range(len(best)):
        lo, hi = ends[i], ends[i + 1]
        if lo == hi:
            continue
        values = np.concatenate([best[i], scores[i, places[lo:hi]]])
        which = np.concatenate([nums[i], (places[lo:hi] + start).astype(np.int32)])
        order = np.lexsort((which, -values))[:k]
        best[i], nums[i] = values[order], which[order]


def _each(found: Candidates) -> Any:
    return ((i, found[i]) for i in range(len(found)))
