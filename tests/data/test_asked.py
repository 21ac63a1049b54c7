"""Requests in numbers."""

from __future__ import annotations

import worlds
from langrec.data.asked import number
from langrec.data.items import Items
from langrec.types import Query


def test_a_hidden_item_is_seen_but_stands_in_no_history():
    items = Items(worlds.catalogue(["a", "b", "c"]))
    ids = tuple(items.ids.names)
    query = Query(history=ids, history_types=("click", "hide", "click"))
    asked = number(query, items, {"hide"})
    assert asked.history.tolist() == [0, 2]
    assert asked.seen.tolist() == [0, 1, 2]
    assert number(query, items).history.tolist() == [0, 1, 2]
