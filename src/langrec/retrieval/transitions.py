"""Transitions: what people choose next, counted."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy import sparse

from langrec.data.fitting import FitData, product
from langrec.retrieval.item_item import ItemItem
from langrec.settings import RetrievalSettings


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
        events = data.events.take(data.events.gains > 0)
        order = np.argsort(events.users, kind="stable")
        users, items, at = events.users[order], events.items[order], events.at[order]
        counts = np.bincount(items, minlength=data.n_items)
        weights = sparse.csr_array((data.n_items, data.n_items), dtype=np.float32)
        for distance in range(1, steps + 1):
            pair = (users[distance:] == users[:-distance]) & (items[distance:] != items[:-distance])
            first, then = items[:-distance][pair], items[distance:][pair]
            tied = at[distance:][pair] == at[:-distance][pair]
            ahead = np.full(len(first), 1.0 / distance, dtype=np.float32)
            weights = weights + sparse.csr_array((ahead, (first, then)), shape=weights.shape)
            if back > 0 or tied.any():
                behind = np.where(tied, ahead, np.float32(back) * ahead)
                weights = weights + sparse.csr_array((behind, (then, first)), shape=weights.shape)
        weights.eliminate_zeros()
        discount = (counts + 5.0) ** -power
        weights = sparse.csr_array(weights.multiply(discount[None, :]), dtype=np.float32)
        return cls(weights=weights, trained=counts > 0)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return product(steps=settings.transition_steps, power=settings.transition_power, back=settings.transition_back)
