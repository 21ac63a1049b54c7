"""Reciprocal rank fusion: signals vote by their ranks; validation says which of them count, and how steeply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from langrec.ranking.mix import RRF_K, Mix, votes_of
from langrec.types import FloatMatrix

Gains = npt.NDArray[np.float64]

# Between these the lists change little; below, the first ranks decide alone, above, all ranks count the same.
CONSTANTS = (5.0, 20.0, RRF_K)
# A weak voter counts as much as a strong one, so beyond the best few each one more makes lists worse.
MOST_VOTERS = 8
# What the others' votes count: enough to order what the voters are silent about, such as new items and new people.
OTHERS = 0.01


class Ballot:
    """Ways to fuse ranks: with so many of the signals that are best alone, and with each constant.

    Attributes:
        ways: (constant, voters) of each.
    """

    def __init__(self, alone: Gains, rrf_k: float = 0.0) -> None:
        """
        Args:
            alone: (s,) NDCG@10 of each signal alone.
            rrf_k: a constant that is wanted, with all signals as voters; 0 leaves both to validation.
        """
        self._order = np.argsort(-alone, kind="stable")
        n = len(alone)
        most = min(MOST_VOTERS, n)
        self.ways: tuple[tuple[float, int], ...] = ((rrf_k, n),)
        if not rrf_k:
            self.ways = tuple((k, voters) for k in CONSTANTS for voters in range(min(2, n), most + 1))

    def merged(self, ranks: npt.NDArray[np.int16]) -> Iterator[FloatMatrix]:
        """The fused scores by each way, of (s, ...) ranks."""
        for k in dict.fromkeys(k for k, _ in self.ways):
            votes = votes_of(ranks, k)
            said = np.float32(OTHERS) * votes.sum(axis=0)
            wanted = {voters for own, voters in self.ways if own == k}
            for voters, signal in enumerate(self._order[: max(wanted)], 1):
                said = said + np.float32(1 - OTHERS) * votes[signal]
                if voters in wanted:
                    yield said

    def best(self, gains: Gains) -> int:
        """The way of the highest mean of (ways, q) gains, of equal ones the first."""
        return int(gains.mean(axis=1).argmax()) if gains.size else 0

    def mix(self, names: Sequence[str], way: int) -> Mix:
        """The named signals fused in this way."""
        k, voters = self.ways[way]
        weights = np.full(len(names), OTHERS, dtype=np.float32)
        weights[self._order[:voters]] = 1.0
        return Mix(tuple(names), "rrf", weights, k)
