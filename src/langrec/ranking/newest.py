"""The list of the newest items: what someone sees of whom nothing is asked but what is new."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from langrec.data.asked import Asked
from langrec.data.items import Items
from langrec.ranking.filters import allowed
from langrec.types import IntVector, ItemList, Query


def newest(items: Items, query: Query, asked: Asked) -> tuple[ItemList, Mapping[str, int]]:
    """Allowed items by their own time, newest first; then those without one or with one before 1970, scored 0, the last
    added first.

    Added means the catalogue's order: rows of the items file, then what has been written since.

    Returns:
        The query's page, scored by seconds since 1970, and how many items each rule dropped.
    """
    times = items.times()
    mask, dropped = allowed(items, items.hidden(), query.filters, asked.seen, asked.at)
    nums = np.flatnonzero(mask)
    timed, timeless = nums[times[nums] >= 0], nums[times[nums] < 0][::-1]
    order = np.concatenate([timed[np.lexsort((timed, -times[timed]))], timeless])
    best: IntVector = order[query.offset : query.offset + query.k].astype(np.int32)
    return ItemList(best, (np.maximum(times[best], 0) / 1000.0).astype(np.float32)), dropped
