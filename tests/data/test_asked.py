"""Requests in numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

import worlds
from langrec.data.asked import number
from langrec.data.items import Items
from langrec.errors import DataError
from langrec.types import Condition, Filters, Query


def test_a_hidden_item_is_seen_but_stands_in_no_history():
    items = Items(worlds.catalogue(["a", "b", "c"]))
    ids = tuple(items.ids.names)
    query = Query(history=ids, history_types=("click", "hide", "click"))
    asked = number(query, items, {"hide"})
    assert asked.history.tolist() == [0, 2]
    assert asked.seen.tolist() == [0, 1, 2]
    assert number(query, items).history.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(history="a"), "history: 'a' is a text where a tuple is meant; write ('a',)"),
        (Query(history=("a",), without="a"), "without: 'a' is a text"),
        (Query(history=("a", 7)), "history: 7 is no string; write '7'"),
        (Query(filters=Filters(exclude="a")), "exclude: 'a' is a text"),
        (Query(filters=Filters(exclude=("a", np.int64(7)))), "is no string; write '7'"),
        (Query(filters=Filters(categories="film")), "categories: 'film' is a text"),
        (Query(filters=Filters(seen_types="click")), "seen_types: 'click' is a text"),
        (Query(filters=Filters(max_age_days=float("nan"))), "max_age_days = nan: must be 0 or more"),
        (Query(filters=Filters(where=(Condition("title", "ne", "a"),))), "'ne' on title is none of eq, in, ge, le"),
        (Query(filters=Filters(where=(Condition("title", "in", ["a"]),))), "in on title takes a value or a tuple"),
        (Query(text="sea", meaning=1.5), "meaning = 1.5: must be between 0 and 1"),
        (Query(text="sea", personal=float("nan")), "personal = nan: must be between 0 and 1"),
        (Query(k=3.0), "k = 3.0: must be a whole number"),
    ],
)
def test_a_query_that_would_answer_another_question_is_refused(query, message):
    with pytest.raises(DataError, match=re.escape(message)):
        number(query, Items(worlds.catalogue(["a", "b", "c"])))


def test_lists_arrays_and_numbers_of_numpy_are_taken():
    items = Items(worlds.catalogue(["a", "b", "c"]))
    where = (Condition("year", "ge", np.float32(3)), Condition("title", "in", ("a", "b")))
    filters = Filters(exclude=np.array(["b"]), categories=["film"], where=where, max_age_days=np.int64(0))
    history = np.array(list(items.ids.names))[[0, 2]]
    query = Query(history=history, k=np.int32(3), text="sea", personal=1, filters=filters)
    assert number(query, items).history.tolist() == [0, 2]
