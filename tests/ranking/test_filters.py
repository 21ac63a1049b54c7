"""What a query may be shown, rule by rule."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from langrec.data.catalogue import Catalogue
from langrec.data.events import DAY_MS
from langrec.data.items import Items
from langrec.errors import DataError
from langrec.ranking.filters import allowed, holds
from langrec.types import Condition, Filters, Item

NOW = 100 * DAY_MS

FRAME = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d", "e"],
        "title": ["Alpha", "Beta", "", "Delta", "Epsilon"],
        "categories": [["film", "war"], ["film"], [], None, ["war"]],
        "price": [10.0, 20.0, None, 0.0, 30.0],
        "year": [1990, 2000, 2010, None, 2020],
        "colour": ["red", "blue", None, "Red", "green"],
        "stock": [True, False, None, True, True],
        "tags": [["x", "y"], ["y", "z"], ["x", "z"], ["z", "w"], None],
        "at": [99 * DAY_MS, 90 * DAY_MS, None, 10 * DAY_MS, 101 * DAY_MS],
        "hidden": [False, False, False, None, True],
    },
    schema_overrides={"categories": pl.List(pl.String)},
)
ITEMS = Items(Catalogue(FRAME))
NONE = np.zeros(0, dtype=np.int32)


def shown(filters, items=ITEMS, hidden=None, seen=NONE):
    mask, dropped = allowed(items, np.zeros(len(items), bool) if hidden is None else hidden, filters, seen, NOW)
    return "".join(items.ids.take(np.flatnonzero(mask))), dropped


def where(field, op, value, items=ITEMS):
    return "".join(items.ids.take(np.flatnonzero(holds(items, Condition(field, op, value)))))


def test_without_wishes_everything_may_be_shown():
    assert shown(Filters()) == ("abcde", {})


def test_hidden_items_are_shown_to_nobody():
    assert shown(Filters(), hidden=ITEMS.hidden()) == ("abcd", {"hidden": 1})


def test_seen_items_are_dropped_once_each():
    seen = np.array([1, 1, 3], dtype=np.int32)
    assert shown(Filters(), seen=seen) == ("ace", {"seen": 2})
    assert shown(Filters(drop_seen=False), seen=seen) == ("abcde", {})


def test_numbers_that_the_catalogue_does_not_hold_drop_nothing():
    assert shown(Filters(), seen=np.array([-1, 5, 99], dtype=np.int32)) == ("abcde", {})


def test_excluded_items_are_dropped_and_unknown_ids_passed_over():
    assert shown(Filters(exclude=("b", "nobody", "b"))) == ("acde", {"excluded": 1})


def test_one_of_the_categories_is_enough():
    assert shown(Filters(categories=("war",))) == ("ae", {"categories": 3})
    assert shown(Filters(categories=("war", "film"))) == ("abe", {"categories": 2})
    assert shown(Filters(categories=("opera",))) == ("", {"categories": 5})


def test_old_items_and_items_without_a_time_fail_an_age():
    assert shown(Filters(max_age_days=10)) == ("abe", {"age": 2})
    assert shown(Filters(max_age_days=9.9)) == ("ae", {"age": 3})
    for ever in (1000, 1e308, float("inf")):
        assert shown(Filters(max_age_days=ever)) == ("abde", {"age": 1})


def test_a_rule_counts_what_earlier_rules_had_left():
    filters = Filters(
        categories=("film",), where=(Condition("price", "le", 15.0),), exclude=("a",), max_age_days=1000.0
    )
    hidden = np.array([False, False, False, False, True])
    assert shown(filters, hidden=hidden, seen=np.array([2], dtype=np.int32)) == (
        "",
        {"hidden": 1, "seen": 1, "excluded": 1, "categories": 1, "where price": 1},
    )


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("eq", 20.0, "b"),
        ("eq", 20, "b"),
        ("eq", "20", "b"),
        ("eq", "much", ""),
        ("eq", "nan", ""),
        ("in", (10.0, 30.0, "x"), "ae"),
        ("in", (), ""),
        ("le", 10.0, "ad"),
        ("lt", 10.0, "d"),
        ("ge", 20.0, "be"),
        ("gt", "20", "e"),
        ("ge", -1.0, "abde"),
    ],
)
def test_a_number_and_its_conditions(op, value, expected):
    assert where("price", op, value) == expected


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("eq", "red", "a"),
        ("in", ("red", "Red"), "ad"),
        ("ge", "blue", "abe"),
        ("lt", "b", "d"),
    ],
)
def test_a_text_and_its_conditions(op, value, expected):
    assert where("colour", op, value) == expected


def test_a_truth_and_its_conditions():
    assert where("stock", "eq", True) == "ade"
    assert where("stock", "eq", False) == "b"


def test_a_list_holds_what_it_contains():
    assert where("tags", "eq", "x") == "ac"
    assert where("tags", "in", ("y", "w")) == "abd"


@pytest.mark.parametrize(
    ("field", "op", "value"),
    [
        ("price", "le", 1e9),
        ("price", "in", (10.0, 20.0, 0.0, 30.0)),
        ("year", "ge", 0.0),
        ("colour", "ge", ""),
        ("stock", "in", (True, False)),
        ("at", "le", 1e15),
    ],
)
def test_a_missing_value_fails_every_condition(field, op, value):
    missing = FRAME["item_id"].filter(FRAME[field].is_null()).to_list()
    assert len(missing) == 1
    assert set(where(field, op, value)) == set("abcde") - set(missing)


@pytest.mark.parametrize(("op", "value"), [("lt", "zzz"), ("le", "zzz"), ("eq", ""), ("in", ("", "Alpha", "Beta"))])
def test_an_empty_text_is_a_missing_value(op, value):
    changed, _ = ITEMS.with_items([Item("f", title=""), Item("b", title=""), Item("g", fields={"colour": ""})])
    kept = {"lt": "abde", "le": "abde", "eq": "", "in": "ab"}[op]
    assert where("title", op, value) == kept
    assert where("title", op, value, changed) == kept.replace("b", "")
    assert "g" not in where("colour", op, value, changed)


def test_several_conditions_all_hold():
    conditions = (Condition("year", "ge", 2000.0), Condition("price", "le", 20.0))
    assert shown(Filters(where=conditions))[0] == "b"


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Condition("prise", "le", 1.0), r"no item has a field 'prise' \(fields: title, price, "),
        (Condition("price", "le", "cheap"), "price holds numbers; 'cheap' is none"),
        (Condition("colour", "le", 3.0), "colour holds text; 3.0 is a number"),
        (Condition("price", "le", (1.0, 2.0)), "le on price needs one value"),
        (Condition("stock", "ge", True), "ge on stock needs one value"),
    ],
)
def test_a_condition_that_cannot_be_checked_says_why(condition, said):
    with pytest.raises(DataError, match=said) as caught:
        allowed(ITEMS, np.zeros(5, bool), Filters(where=(condition,)), NONE, NOW)
    assert caught.value.field == "where"


def grown(*items):
    return ITEMS.with_items(items)[0]


def test_changed_and_new_items_are_filtered_by_their_newest_state():
    items = grown(
        Item("a", "Alpha", categories=("opera",), at=5 * DAY_MS, fields={"price": 99.0}),
        Item("f", "Zeta", categories=("war",), at=99 * DAY_MS, fields={"price": 5, "colour": "red"}),
    )
    assert where("price", "le", 10.0, items) == "df"
    assert where("colour", "eq", "red", items) == "f"
    assert where("year", "ge", 0.0, items) == "bce"
    assert shown(Filters(categories=("war",)), items)[0] == "ef"
    assert shown(Filters(max_age_days=10), items)[0] == "bef"


def test_an_unknown_time_of_a_new_item_fails_conditions_on_it():
    items = grown(Item("f", "Zeta"))
    assert "f" not in where("at", "le", 1e15, items)


def test_one_item_with_a_text_among_numbers_spoils_no_condition():
    items = grown(Item("f", fields={"price": "much"}))
    for op, value, expected in [("eq", "20", "b"), ("eq", 20.0, "b"), ("in", ("20", "much"), "bf"), ("le", 10.0, "ad")]:
        assert where("price", op, value, items) == expected


def test_a_field_that_only_a_new_item_has_can_be_asked_for():
    items = grown(Item("f", fields={"maker": "acme", "size": 3, "parts": [{"n": 1}, "screw"], "box": {"w": 1}}))
    assert where("maker", "eq", "acme", items) == "f"
    assert where("size", "ge", 2.0, items) == "f"
    assert where("parts", "eq", "screw", items) == "f"
    assert where("box", "eq", "w", items) == ""


def test_lists_of_equal_length_stay_one_value_per_item():
    assert ITEMS.field("tags").shape == (5,)


def test_dates_are_compared_as_iso_texts():
    items = Items(Catalogue(pl.DataFrame({"item_id": ["a", "b"], "title": ["", ""], "out": [date(2020, 1, 2), None]})))
    assert where("out", "ge", "2019-12-31", items) == "a"
    assert where("out", "eq", "2020-01-02", items) == "a"
    assert where("out", "lt", "2020-01-02", items) == ""


def test_asking_leaves_the_masks_alone():
    hidden = np.array([False, True, False, False, False])
    hidden.flags.writeable = False
    shown(Filters(categories=("film",), exclude=("a",)), hidden=hidden)
    assert hidden.tolist() == [False, True, False, False, False]


def test_conditions_that_differ_in_the_kind_of_their_value_are_not_taken_for_one():
    words = Items(Catalogue(pl.DataFrame({"item_id": [*"abc"], "title": [*"abc"], "code": ["1", "True", "1.0"]})))
    found = {Condition("code", "eq", value): where("code", "eq", value, words) for value in (True, 1, 1.0)}
    assert list(found.values()) == ["b", "a", "ac"]
    assert found[Condition("code", "eq", True)] == "b"
    assert Condition("code", "in", (True,)) != Condition("code", "in", (1.0,)) != "code"
