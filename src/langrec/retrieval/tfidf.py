"""TF-IDF over item texts."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from langrec.retrieval.lexical import Lexical
from langrec.retrieval.terms import with_values
from langrec.types import FloatVector


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
    ) -> tuple[FloatVector, FloatVector]:
        unit = _unit_tfidf(counts, idf).data
        return unit, unit

    @classmethod
    def _asks(cls, counts: sparse.csr_array, gives: FloatVector) -> FloatVector:
        return gives

    def _ask(self, counts: sparse.csr_array) -> sparse.csr_array:
        return _unit_tfidf(counts, self.idf)


def _unit_tfidf(counts: sparse.csr_array, idf: FloatVector) -> sparse.csr_array:
    weight = (1.0 + np.log(counts.data)) * idf[counts.indices]
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    norms = np.sqrt(np.bincount(rows, weight * weight, minlength=counts.shape[0]))
    return with_values(counts, weight / np.maximum(norms[rows], 1e-12))
