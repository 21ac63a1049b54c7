"""Vectors like those of a real catalogue, any number of them: a mixture of Gaussians fitted to the real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from langrec.errors import DataError
from langrec.types import FloatMatrix, FloatVector

# Real vectors of one component, on average. With so few a drawn item has its nearest neighbours as near as a real one:
# with 12 they are a tenth further away, and the grain of the catalogue is gone.
PER_COMPONENT = 3
COMPONENTS = 20_000
ROUNDS = 10


@dataclass(frozen=True, eq=False)
class Mixture:
    """Items fall on components by weight; a component's items spread about its middle along common directions.

    Attributes:
        means: (c, d) middles.
        weights: (c,) shares of the items, in sum 1.
        spreads: (c,) how wide each component is, relative to all.
        directions: (d, d) what turns unit noise into the common spread.
    """

    means: FloatMatrix
    weights: FloatVector
    spreads: FloatVector
    directions: FloatMatrix

    @classmethod
    def fit(cls, vectors: FloatMatrix, dim: int, rng: np.random.Generator) -> Mixture:
        """The mixture of these vectors in their `dim` strongest directions, after their common mean is taken off.

        Raises:
            DataError: fewer than 100 distinct vectors.
        """
        rows = projected(np.unique(vectors[vectors.any(axis=1)], axis=0), dim)
        if len(rows) < 100:
            raise DataError(f"bench: a mixture is fitted to at least 100 distinct vectors, here are {len(rows)}")
        means, nearest = _means(rows, min(COMPONENTS, max(2, len(rows) // PER_COMPONENT)), rng)
        left = rows - means[nearest]
        counts = np.bincount(nearest, minlength=len(means))
        # Of a component with few members the members are nearer to their own mean than those to come will be.
        left *= np.sqrt(counts / np.maximum(counts - 1, 1))[nearest, None]
        energy = np.bincount(nearest, weights=(left**2).sum(axis=1), minlength=len(means)) / np.maximum(counts, 1)
        usual = float((left**2).sum(axis=1).mean())
        spreads = np.sqrt(np.where(counts > 1, energy, usual) / max(usual, 1e-12))
        values, axes = np.linalg.eigh(np.cov(left.T, bias=True))
        directions = np.sqrt(np.maximum(values, 0))[:, None] * axes.T
        return cls(
            means, (counts / counts.sum()).astype(np.float32), spreads.astype(np.float32), directions.astype(np.float32)
        )

    @property
    def dim(self) -> int:
        return int(self.means.shape[1])

    def items(self, n: int, rng: np.random.Generator) -> FloatMatrix:
        """(n, d) unit rows."""
        return self._around(rng.choice(len(self.means), size=n, p=self._shares), rng)

    def queries(self, n: int, rng: np.random.Generator) -> FloatMatrix:
        """(n, d) unit rows: each the mean of one to five items of one or two components, as a history is."""
        tastes = rng.choice(len(self.means), size=(n, 2), p=self._shares)
        total = np.zeros((n, self.dim), dtype=np.float32)
        length = rng.integers(1, 6, size=n)
        for step in range(5):
            rows = np.flatnonzero(length > step)
            total[rows] += self._around(tastes[rows, rng.integers(2, size=len(rows))], rng)
        return unit(total)

    @property
    def _shares(self) -> FloatVector:
        shares = self.weights.astype(np.float64)
        return np.asarray(shares / shares.sum())

    def _around(self, components: np.ndarray, rng: np.random.Generator) -> FloatMatrix:
        noise = rng.standard_normal((len(components), self.dim), dtype=np.float32) @ self.directions
        return unit(self.means[components] + noise * self.spreads[components, None])


def projected(vectors: FloatMatrix, dim: int) -> FloatMatrix:
    """(n, min(dim, d)) unit rows: the vectors without their mean, in their strongest directions."""
    rows = unit(vectors - vectors.mean(axis=0))
    if dim < rows.shape[1]:
        _, axes = np.linalg.eigh(rows.T @ rows)
        rows = rows @ axes[:, ::-1][:, :dim]
    return unit(np.asarray(rows, dtype=np.float32))


def unit(rows: FloatMatrix) -> FloatMatrix:
    """Rows of length one; zero rows stay zero."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-9), dtype=np.float32)


def _means(rows: FloatMatrix, count: int, rng: np.random.Generator) -> tuple[FloatMatrix, np.ndarray]:
    """Lloyd's k-means: (count, d) middles, (n,) the nearest of each row; a middle without rows moves to a far row."""
    means = rows[rng.permutation(len(rows))[:count]].copy()
    nearest = np.zeros(len(rows), dtype=np.intp)
    for _ in range(ROUNDS):
        distance = (means**2).sum(axis=1) - 2 * (rows @ means.T)
        nearest = distance.argmin(axis=1)
        counts = np.bincount(nearest, minlength=count)
        order = np.argsort(nearest, kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        filled = counts > 0
        means[filled] = np.add.reduceat(rows[order], starts[filled], axis=0) / counts[filled, None]
        far = np.argsort(distance[np.arange(len(rows)), nearest])[::-1][: count - int(filled.sum())]
        means[~filled] = rows[far]
    return means, nearest
