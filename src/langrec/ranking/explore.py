"""Places of a list that go to new or rare items, drawn with a known chance, so that these can show their worth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from langrec.data.events import DAY_MS
from langrec.ranking.select import top_k
from langrec.types import FloatVector, IntVector, ItemList, Query


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """A list with drawn items in it.

    Attributes:
        nums: item numbers, best first.
        propensities: for each the chance to be in the list: 1, or drawn / pool on the first page, and 1 less that for
            what stands on a later one because it was not drawn.
        drawn: numbers of the drawn items.
        pool: how many they were drawn from.
    """

    nums: IntVector
    propensities: FloatVector
    drawn: IntVector
    pool: int

    def joined(self, listed: ItemList, scores: FloatVector, columns: Mapping[str, FloatVector]) -> ItemList:
        """The list in this order, the drawn items with their own scores and signals.

        Args:
            listed: without exploration.
            scores: (n,) of all items.
            columns: by signal, (len(drawn),) the parts of the drawn items.
        """
        both = ItemList(
            np.concatenate([listed.nums, self.drawn]),
            np.concatenate([listed.scores, scores[self.drawn]]),
            {name: np.concatenate([own, columns[name]]) for name, own in listed.columns.items()},
        )
        order = np.argsort(both.nums, kind="stable")
        return both.take(order[np.searchsorted(both.nums[order], self.nums)])


def explore(
    listed: IntVector, k: int, worth: FloatVector, among: int, places: int, rng: np.random.Generator
) -> Explored:
    """Gives places among the first k to drawn items; the others keep their order and move down.

    The drawn places lie in the lower half of the k, so that the best stay where they are. An item that the list holds
    above its end is not drawn: it is shown anyway.

    Args:
        listed: the list without exploration, k or more.
        k: length of its first page.
        worth: (n,) how well each new or rare item fits; NaN for what may not be drawn.
        among: the best so many are drawn from, each with the same chance.
        places: how many are drawn, at most half of k.
        rng: draws.
    """
    places = min(places, k // 2)
    left = worth.copy()
    left[listed[: k - places]] = np.nan
    pool = top_k(left, among)
    n = min(places, len(pool))
    if not n:
        return Explored(listed, np.ones(len(listed), np.float32), pool[:0], len(pool))
    drawn = rng.choice(pool, n, replace=False).astype(np.int32)
    rest = listed[~np.isin(listed, drawn)]
    at = np.sort(rng.choice(np.arange(k // 2, k), n, replace=False))
    at = np.minimum(at, len(rest) + np.arange(n))  # a short list has no gaps
    nums = np.empty(len(rest) + n, dtype=np.int32)
    there = np.zeros(len(nums), dtype=np.bool_)
    there[at] = True
    nums[at], nums[~there] = drawn, rest
    chance = np.float32(n / len(pool))
    propensities = np.where(there, chance, np.float32(1.0))
    propensities[np.isin(nums, pool) & ~there] = np.float32(1.0) - chance
    return Explored(nums, propensities, drawn, len(pool))


def draws(seed: int, query: Query, at: int) -> np.random.Generator:
    """The randomness of one query.

    A user with one history has the same draw for a day (UTC), so that the pages of a list fit together; someone of
    whom nothing is known has a new one every millisecond.

    Args:
        at: the query's "now" in epoch milliseconds.
    """
    known = bool(query.user or query.history or query.text)
    asked = repr((seed, query.user, query.history, query.text, at // DAY_MS if known else at))
    digest = hashlib.blake2b(asked.encode("utf-8", "replace"), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
