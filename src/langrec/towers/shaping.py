"""The spectrum of text vectors, shaped: from raw space to full whitening by one scalar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from langrec.types import FloatMatrix, FloatVector


@dataclass(frozen=True, slots=True, eq=False)
class Shaping:
    """x -> (x - mean) @ turn.

    Sentence vectors of one catalogue lie in a narrow cone: a few directions hold most of the variance. ZCA whitening
    gives all directions the same (Zhang et al. 2024, WhitenRec: ZCA keeps the axes, PCA whitening does not, and loses);
    the ridge `lam` keeps noise directions small: singular value s becomes s / sqrt(s^2 + lam * s_max^2).

    Attributes:
        mean: (d,) what is taken off.
        turn: (d, d) symmetric.
    """

    mean: FloatVector
    turn: FloatMatrix

    @classmethod
    def fit(cls, vectors: FloatMatrix, lam: float | None) -> Shaping:
        """The shaping of these (n, d) rows; rows of zeros (items without text) do not count.

        Args:
            lam: 0 whitens fully, larger values less; None keeps the raw space, centred and scaled to unit variance.
        """
        d = vectors.shape[1]
        written = vectors[np.asarray(vectors.any(axis=1))].astype(np.float64)
        if not len(written):
            return cls(np.zeros(d, np.float32), np.eye(d, dtype=np.float32))
        mean = written.mean(axis=0)
        centred = written - mean
        if lam is None:
            scale = 1.0 / max(float(centred.std()), 1e-9)
            return cls(mean.astype(np.float32), (np.eye(d) * scale).astype(np.float32))
        variances, axes = np.linalg.eigh(centred.T @ centred / len(written))
        # Directions that the rows do not span have no variance, and stay zero.
        floor = max(float(variances[-1]), 1e-12)
        inverse = np.where(variances > 1e-7 * floor, 1.0 / np.sqrt(np.maximum(variances, 0) + lam * floor + 1e-12), 0.0)
        turn = (axes * inverse) @ axes.T
        return cls(mean.astype(np.float32), turn.astype(np.float32))

    def apply(self, vectors: FloatMatrix) -> FloatMatrix:
        """(m, d) shaped rows; zero rows stay zero."""
        written = np.asarray(vectors.any(axis=1))
        shaped = (vectors - self.mean) @ self.turn
        return np.asarray(np.where(written[:, None], shaped, 0.0), dtype=np.float32)
