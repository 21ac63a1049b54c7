"""Bootstrap intervals by user: a user's questions are drawn together, because they resemble one another.

The Poisson bootstrap (Chamandy et al. 2012) gives every user an independent Poisson(1) weight per resample instead of
drawing users with replacement. Each statistic is a ratio of sums, so both agree, but this one needs one matrix product
and can be made in pieces. The weights depend on the seed and the user's place only: every scorer sees the same
resamples, which is what makes differences paired.

A few users say nothing of others: of one every resample is alike, and five of one mind are chance more often than once
in twenty (2 / 2^5). So of fewer than `FEWEST` there is no interval.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from langrec.evaluation.metrics import Values

FEWEST = 6  # users; 2 / 2^6 is below 0.05
_CHUNK = 2048  # users whose weights are drawn at once
_KEEP = 200_000_000  # bytes of weights that are kept between calls rather than drawn again


class Resamples:
    """Resamples of the users behind q questions.

    Args:
        users: (q,) user of each question.
        resamples: how many.
        seed: equal seeds and users give equal resamples.
    """

    def __init__(self, users: npt.NDArray[np.integer], resamples: int = 1000, seed: int = 0) -> None:
        _, group = np.unique(users, return_inverse=True)
        self._order = np.argsort(group, kind="stable")
        self._starts = np.flatnonzero(np.diff(group[self._order], prepend=-1))
        self._seed = seed
        self.resamples = resamples
        self.n_users = len(self._starts)
        self._kept: dict[int, npt.NDArray[np.uint8]] = {}

    def means(self, values: Values, weights: Values | None = None) -> Values:
        """(resamples, m) weighted means of m columns in every resample; NaN where a resample has no weight, and
        throughout a column of fewer than `FEWEST` users.

        Args:
            values: (q, m); NaN leaves the question out of that column.
            weights: (q, m); 1 each by default.
        """
        there = ~np.isnan(values)
        weight = there.astype(np.float64) if weights is None else np.where(there, weights, 0.0)
        top = self._sums(np.where(there, values, 0.0) * weight)
        bottom = self._sums(weight)
        out = np.full(top.shape, np.nan)
        np.divide(top, bottom, out=out, where=(bottom > 0) & (self._users_of(weight) >= FEWEST))
        return out

    def _users_of(self, weight: Values) -> npt.NDArray[np.intp]:
        """(m,) users who have weight in each of (q, m) columns."""
        if not self.n_users:
            return np.zeros(weight.shape[1], dtype=np.intp)
        by_user = np.add.reduceat(weight[self._order] > 0, self._starts, axis=0)
        return np.asarray(np.count_nonzero(by_user, axis=0), dtype=np.intp)

    def _sums(self, columns: Values) -> Values:
        """(resamples, m) sums of (q, m) columns over the questions of the drawn users."""
        # Most columns weigh alike, and with one target per question some metrics coincide: each is summed once.
        first: dict[bytes, int] = {}
        which = [first.setdefault(column.tobytes(), len(first)) for column in columns.T]
        total = np.zeros((len(first), self.resamples))
        if not self.n_users:
            return total[which].T
        distinct = np.stack([np.frombuffer(column) for column in first], axis=1)
        by_user = np.add.reduceat(distinct[self._order], self._starts, axis=0).astype(np.float32)
        for start in range(0, self.n_users, _CHUNK):
            part = by_user[start : start + _CHUNK]
            there = np.flatnonzero(part.any(axis=1))  # on a slice most users have nothing to add
            if len(there):
                total += part[there].T @ self._draw(start)[there].astype(np.float32)
        return total[which].T

    def _draw(self, start: int) -> npt.NDArray[np.uint8]:
        """(users, resamples) weights of the users from `start` on."""
        if start in self._kept:
            return self._kept[start]
        size = min(_CHUNK, self.n_users - start)
        draws = np.random.default_rng([self._seed, start]).poisson(1.0, (size, self.resamples)).astype(np.uint8)
        if self.resamples * self.n_users <= _KEEP:
            self._kept[start] = draws
        return draws


def mean(values: Values, weights: Values | None = None) -> Values:
    """(m,) weighted means of (q, m) columns, NaN entries left out; NaN for a column without any."""
    there = ~np.isnan(values)
    weight = there.astype(np.float64) if weights is None else np.where(there, weights, 0.0)
    bottom = weight.sum(axis=0)
    out = np.full(values.shape[1], np.nan)
    np.divide((np.where(there, values, 0.0) * weight).sum(axis=0), bottom, out=out, where=bottom > 0)
    return out


def percentiles(draws: Values, confidence: float) -> tuple[Values, Values]:
    """(m,) lower and upper bounds of the percentile interval of (resamples, m) draws.

    Resamples without a value are left out; a column without any has NaN bounds.
    """
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    usable = ~np.isnan(draws).all(axis=0)
    bounds = np.full((2, draws.shape[1]), np.nan)
    if usable.any():
        columns = draws[:, usable]
        quantile = np.nanquantile if np.isnan(columns).any() else np.quantile
        bounds[:, usable] = quantile(columns, tails, axis=0)
    return bounds[0], bounds[1]
