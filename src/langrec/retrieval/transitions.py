"""Transitions: what people choose next, counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy import sparse

from langrec.data.events import Events
from langrec.data.fitting import FitData, product
from langrec.data.mapped import narrowed
from langrec.retrieval.item_item import ItemItem, served
from langrec.retrieval.sums import padded, summed
from langrec.settings import RetrievalSettings
from langrec.types import IntVector, UserLogs


@dataclass(frozen=True, slots=True, eq=False)
class PairSums:
    """What Transitions is made of.

    Attributes:
        pairs: (n, n) float64 sums of 1 / distance; kept with 12 bytes an entry.
        counts: (n,) events of each item.
        steps: of the fit, as `power` and `back`.
    """

    pairs: sparse.csr_array
    counts: IntVector
    steps: int
    power: float
    back: float

    @classmethod
    def of(cls, log: Events | UserLogs, n_items: int, steps: int, power: float, back: float) -> Self:
        """The sums of a log whose events stand in time order within each user."""
        order = np.flatnonzero(log.gains > 0)
        order = order[np.argsort(log.users[order], kind="stable")]
        users, items, at = log.users[order], log.items[order], log.at[order]
        pairs = sparse.csr_array((n_items, n_items), dtype=np.float64)
        for distance in range(1, steps + 1):
            pair = (users[distance:] == users[:-distance]) & (items[distance:] != items[:-distance])
            first, then = items[:-distance][pair], items[distance:][pair]
            tied = at[distance:][pair] == at[:-distance][pair]
            ahead = np.full(len(first), 1.0 / distance)
            pairs = pairs + sparse.csr_array((ahead, (first, then)), shape=pairs.shape)
            if back > 0 or tied.any():
                behind = np.where(tied, ahead, back * ahead)
                pairs = pairs + sparse.csr_array((behind, (then, first)), shape=pairs.shape)
        pairs.eliminate_zeros()
        return cls(pairs, np.bincount(items, minlength=n_items).astype(np.int32), steps, power, back)

    def changed(self, before: UserLogs, after: UserLogs) -> Self:
        """The sums with other logs of some users."""
        n = max(len(self.counts), *(int(log.items.max(initial=-1)) + 1 for log in (before, after)))
        gone, come = (self.of(log, n, self.steps, self.power, self.back) for log in (before, after))
        pairs = summed(self.pairs, come.pairs - gone.pairs)
        return replace(self, pairs=pairs, counts=padded(self.counts, n) + come.counts - gone.counts)

    def weights(self) -> sparse.csr_array:
        """(n, n) the sums with the discount of popular items."""
        discount = (self.counts + 5.0) ** -self.power
        return narrowed(sparse.csr_array(self.pairs.multiply(discount[None, :]), dtype=np.float32))


class Transitions(ItemItem):
    """w(i, j) = sum over users of 1 / distance, for j up to `steps` events after i, over (count(j) + 5)^power.

    Sequential co-occurrence, as the rules of Ludewig & Jannach 2018 ("SR"), with a discount of popular items.
    The way back, from j to i, counts `back` as much; events of one time have no order and count fully both ways.
    """

    __slots__ = ()

    @classmethod
    def fit(
        cls,
        data: FitData,
        settings: RetrievalSettings,
        steps: int = 10,
        power: float = 0.5,
        back: float = 0.0,
        **_: Any,
    ) -> Self:
        sums = PairSums.of(data.events, data.n_items, steps, power, back)
        return cls(weights=sums.weights(), trained=sums.counts > 0, sums=sums if data.growing else None)

    def with_logs(self, before: UserLogs, after: UserLogs) -> Self:
        """The scorer fitted with other logs of some users: their pairs are taken away, and those of now added."""
        old: PairSums = self._sums()
        sums = old.changed(before, after)
        return replace(self, weights=served(sums.weights()), trained=sums.counts > 0, sums=sums)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return product(steps=settings.transition_steps, power=settings.transition_power, back=settings.transition_back)
