"""BM25 over item texts."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from langrec.retrieval.lexical import Lexical
from langrec.types import FloatVector


class BM25(Lexical):
    """Okapi BM25 (Robertson & Zaragoza 2009); an item in a history asks for each of its words once."""

    __slots__ = ()

    @classmethod
    def _weigh(
        cls, counts: sparse.csr_array, idf: FloatVector, mean_length: float, params: tuple[float, float]
    ) -> tuple[FloatVector, FloatVector]:
        k1, b = params
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        norm = k1 * (1 - b + b * lengths / mean_length)
        tf = counts.data
        weight = idf[counts.indices] * tf * (k1 + 1) / (tf + np.repeat(norm, np.diff(counts.indptr)))
        return np.ones_like(tf), weight.astype(np.float32)

    @classmethod
    def _asks(cls, counts: sparse.csr_array, gives: FloatVector) -> FloatVector:
        return np.broadcast_to(np.float32(1.0), gives.shape)
