"""Ids and numbers, in both directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langrec.data.ids import Ids
from langrec.errors import DataError

NAMES = st.lists(st.text(max_size=4), unique=True, max_size=8)


def test_an_ids_number_is_its_place():
    ids = Ids(["b", "a", "ü"])
    assert len(ids) == 3
    assert ids.number("a") == 1
    assert ids[1] == "a"
    assert list(ids) == ["b", "a", "ü"]
    assert ids.take(np.array([2, 0, 0])) == ("ü", "b", "b")


def test_unknown_ids_have_the_number_minus_one():
    ids = Ids(["b", "a"])
    assert ids.number("c") == -1
    assert ids.numbers(["a", "c", "b", "a"]).tolist() == [1, -1, 0, 1]
    assert ids.numbers([]).dtype == ids.numbers(["a"]).dtype == np.int32


def test_only_known_strings_are_in_it():
    ids = Ids(["1", "a"])
    assert "a" in ids
    assert "b" not in ids
    assert 1 not in ids
    assert None not in ids


def test_an_id_that_occurs_twice_is_refused():
    with pytest.raises(DataError, match="'a' occurs twice"):
        Ids(["a", "b", "a"]).number("a")


def test_no_ids_know_nobody():
    ids = Ids([])
    assert len(ids) == 0
    assert ids.number("a") == -1
    assert list(ids) == []


def test_extended_ids_go_on_where_the_old_ones_end():
    old = Ids(["a", "b"])
    new = old.extended(["c"]).extended(["d", "e"])
    assert list(new) == ["a", "b", "c", "d", "e"]
    assert new.numbers(["e", "a", "x", "c"]).tolist() == [4, 0, -1, 2]
    assert new.take(np.array([4, 1])) == ("e", "b")
    assert new[2] == "c"
    assert "d" in new
    assert list(old) == ["a", "b"]
    assert "c" not in old


def test_a_long_list_is_shared_by_its_extensions():
    old = Ids([str(num) for num in range(1000)])
    assert old.extended(["x"]).extended(["y"])._base is old


@given(NAMES, NAMES)
def test_numbers_and_ids_go_both_ways(first, second):
    fresh = [name for name in second if name not in first]
    ids = Ids(first).extended(fresh)
    everyone = [*first, *fresh]
    assert ids.numbers(everyone).tolist() == list(range(len(everyone)))
    assert ids.take(np.arange(len(everyone))) == tuple(everyone)
    assert ids.names.tolist() == everyone
    assert [ids[num] for num in range(len(ids))] == everyone
