"""Items by the terms that they hold: the foremost terms of a query are looked up, and of each its foremost items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.candidates import distinct, slots
from langrec.retrieval.reached import NOBODY, Reached
from langrec.retrieval.terms import Terms
from langrec.types import Candidates, FloatVector, IntVector, Mask

# So many entries of one term are looked at, at most.
MOST_POSTINGS = 4_000


@dataclass(frozen=True, eq=False)
class Postings:
    """The postings of a fit.

    Attributes:
        documents: (v, n) what each item gives to each term.
    """

    documents: sparse.csr_array
    _kept: dict[int, tuple[IntVector, FloatVector]] = field(default_factory=dict)

    def best_by(
        self,
        loops: Any,
        asked: Terms,
        idf: FloatVector,
        k: int,
        allowed: Mask | None,
        most: npt.NDArray[np.int64],
        left_out: IntVector | None,
        n_items: int,
    ) -> Candidates:
        """The k highest of each query, by compiled loops.

        Args:
            idf: (v',) of the terms; those past v are held by no item here.
            most: (q,) entries that are looked at.
            left_out: rising numbers of items that are not found here.
        """
        documents = self.documents
        bounds, picked = loops.foremost_terms(
            asked.offsets, asked.terms, asked.weights, idf, documents.indptr, most, MOST_POSTINGS, documents.shape[0]
        )
        terms = asked.terms[picked]
        starts, stops = documents.indptr[terms].astype(np.int64), documents.indptr[terms + 1].astype(np.int64)
        frequent = stops - starts > MOST_POSTINGS
        parts = [self.foremost(int(term)) for term in terms[frequent]]
        starts[frequent] = np.arange(len(parts)) * MOST_POSTINGS
        stops[frequent] = starts[frequent] + MOST_POSTINGS
        indices = np.concatenate([np.zeros(0, np.int32), *(columns for columns, _ in parts)])
        gives = np.concatenate([np.zeros(0, np.float32), *(gives for _, gives in parts)])
        held = (documents.indices, documents.data, indices, gives)
        gone = np.zeros(0, np.int32) if left_out is None else left_out
        told = (gone, NOBODY if allowed is None else allowed, allowed is not None)
        room = slots(n_items)
        return Candidates(*loops.find(bounds, starts, stops, frequent, asked.weights[picked], *held, *told, k, room))

    def sums(
        self, terms: IntVector, weights: FloatVector, idf: FloatVector, most: int
    ) -> tuple[IntVector, npt.NDArray[np.float64]]:
        """Items that one query's foremost terms reach, and what these say of each."""
        documents = self.documents
        known = terms < documents.shape[0]
        old, worth = terms[known], weights[known]
        lengths = documents.indptr[old + 1] - documents.indptr[old]
        # What a term can bring an item at most, or nearly so: its weight times its rarity.
        order = np.argsort(-worth * idf[old], kind="stable")
        cost = np.minimum(lengths[order], MOST_POSTINGS)
        order = order[np.cumsum(cost) <= max(most, int(cost[0]))] if len(order) else order
        plain = order[lengths[order] <= MOST_POSTINGS]
        one = Reached.of(documents, old[plain])
        nums, values = one.columns, one.sums(worth[plain])
        frequent = order[lengths[order] > MOST_POSTINGS]
        if len(frequent):
            parts = [self.foremost(int(term)) for term in old[frequent]]
            sums = [values, *(gives * by for (_, gives), by in zip(parts, worth[frequent], strict=True))]
            nums, places = distinct(np.concatenate([nums, *(columns for columns, _ in parts)]))
            values = np.bincount(places, np.concatenate(sums), minlength=len(nums)).astype(np.float64, copy=False)
        return nums, values

    def foremost(self, term: int) -> tuple[IntVector, FloatVector]:
        """The MOST_POSTINGS items to which a term says most, and what it says."""
        if term not in self._kept:
            lo, hi = self.documents.indptr[term], self.documents.indptr[term + 1]
            gives = self.documents.data[lo:hi]
            best = np.argpartition(-gives, MOST_POSTINGS)[:MOST_POSTINGS]
            self._kept[term] = (self.documents.indices[lo:hi][best], gives[best])
        return self._kept[term]
