"""The items as a running service sees them: a catalogue under what has come or changed since."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langrec.data.catalogue import Catalogue
from langrec.data.items import Items, item_text
from langrec.types import Item

FIELDS = ("title", "*text", "categories")


def base():
    frame = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "title": ["Alpha", "", "Gamma"],
            "plot": ["A ship sails.", None, "Bread rises."],
            "cast": ["Ann, Bob", "Cy", ""],
            "categories": [["sea", "war"], [], None],
            "image": ["a.png", None, None],
            "price": [5.0, None, 7.5],
            "year": [1990, 2000, None],
            "tags": [["x", "y"], [], None],
            "sold": [True, False, None],
            "at": [1000, None, 3000],
            "hidden": [False, None, True],
        },
        schema_overrides={"categories": pl.List(pl.String), "tags": pl.List(pl.String)},
    )
    return Items(Catalogue(frame, ["plot", "cast"]))


def test_an_item_of_the_catalogue_as_it_stands_there():
    assert base().view("a") == Item(
        id="a",
        title="Alpha",
        texts={"plot": "A ship sails.", "cast": "Ann, Bob"},
        categories=("sea", "war"),
        image="a.png",
        at=1000,
        fields={"price": 5.0, "year": 1990, "tags": ["x", "y"], "sold": True},
    )


def test_what_the_catalogue_does_not_say_is_empty():
    item = base().view("b")
    assert (item.title, item.categories, item.image, item.at, item.hidden) == ("", (), "", -1, False)
    assert item.texts == {"plot": "", "cast": "Cy"}
    assert item.fields == {"year": 2000, "tags": [], "sold": False}
    assert base().view("c").hidden


def test_unknown_items_have_no_view():
    assert base().view("nobody") is None


def test_new_items_follow_the_catalogue_and_changed_ones_keep_their_number():
    items, nums = base().with_items([Item("d", "Delta"), Item("a", "Alpha 2"), Item("e")])
    assert nums.tolist() == [3, 0, 4]
    assert nums.dtype == np.int32
    assert len(items) == 5
    assert items.ids.take(np.arange(5)) == ("a", "b", "c", "d", "e")
    assert items.view("a").title == "Alpha 2"
    assert [items.title(num) for num in range(5)] == ["Alpha 2", "b", "Gamma", "Delta", "e"]


def test_a_view_never_changes():
    old = base()
    old.with_items([Item("d"), Item("a", "Alpha 2")])
    old.without(["b"])
    assert len(old) == 3
    assert old.view("a").title == "Alpha"
    assert old.view("b") is not None


def test_the_last_state_of_an_id_counts():
    items, nums = base().with_items([Item("d", "one"), Item("d", "two"), Item("a", "x"), Item("a", "y")])
    assert nums.tolist() == [3, 3, 0, 0]
    assert len(items) == 4
    assert items.view("d").title == "two"
    assert items.view("a").title == "y"


def test_deleted_items_are_hidden_and_have_no_view_until_they_come_back():
    gone = base().without(["a", "nobody"])
    assert gone.view("a") is None
    assert len(gone) == 3
    assert gone.hidden().tolist() == [True, False, True]
    back, nums = gone.with_items([Item("a", "again")])
    assert nums.tolist() == [0]
    assert back.view("a").title == "again"
    assert back.hidden().tolist() == [False, False, True]


def test_a_new_state_says_whether_the_item_is_hidden():
    items, _ = base().with_items([Item("a", hidden=True), Item("c"), Item("d", hidden=True)])
    assert items.hidden().tolist() == [True, False, False, True]


def test_times_are_the_newest_and_minus_one_where_unknown():
    items, _ = base().with_items([Item("b", at=2000), Item("c"), Item("d", at=4000)])
    assert items.times().tolist() == [1000, 2000, -1, 4000]


def test_categories_of_all_states():
    items, _ = base().with_items([Item("a", categories=("bread",)), Item("d", categories=("sea",))])
    assert items.in_categories(["sea"]).tolist() == [False, False, False, True]
    assert items.in_categories(["bread", "sea"]).tolist() == [True, False, False, True]
    assert base().in_categories(["war"]).tolist() == [True, False, False]
    assert base().in_categories(["opera"]).tolist() == [False, False, False]


def test_a_catalogue_without_categories_has_none():
    items = Items(Catalogue(pl.DataFrame({"item_id": ["a"], "title": ["x"]})))
    assert items.in_categories(["x"]).tolist() == [False]
    assert items.times().tolist() == [-1]
    assert items.hidden().tolist() == [False]


def test_names_that_only_newer_items_have_take_no_memory():
    items, _ = base().with_items([Item(f"n{i}", fields={f"field {i}": i}) for i in range(50)])
    for i in range(50):
        assert items.field(f"field {i}")[3 + i] == i and np.isnan(items.field(f"field {i}")[:3]).all()
        assert items.base_field(f"field {i}").strides == (0,)


def test_a_field_may_have_any_name():
    frame = pl.DataFrame({"item_id": ["a", "b"], "title": ["x", "y"], "hidden": [True, False], "mask": ["p", "q"]})
    items = Items(Catalogue(frame.with_columns(pl.Series("kinds", ["r", "s"]))))
    assert items.base_hidden.tolist() == [True, False] and items.in_categories(["r"]).tolist() == [False, False]
    assert items.field("hidden").tolist() == [1, 0]
    assert [items.field(name).tolist() for name in ("mask", "kinds")] == [["p", "q"], ["r", "s"]]


def test_numbers_are_floats_with_nan_for_missing():
    np.testing.assert_array_equal(base().field("price"), [5, np.nan, 7.5])
    np.testing.assert_array_equal(base().field("sold"), [1, 0, np.nan])
    items, _ = base().with_items([Item("a"), Item("d", fields={"price": 9, "sold": True})])
    np.testing.assert_array_equal(items.field("price"), [np.nan, np.nan, 7.5, 9])
    np.testing.assert_array_equal(items.field("sold"), [np.nan, 0, np.nan, 1])


def test_other_values_are_objects_with_none_for_missing():
    assert base().field("plot").tolist() == ["A ship sails.", None, "Bread rises."]
    assert base().field("tags").tolist() == [["x", "y"], [], None]
    items, _ = base().with_items([Item("d", texts={"plot": "Snow."}, fields={"price": "much", "maker": "acme"})])
    assert items.field("plot").tolist() == ["A ship sails.", None, "Bread rises.", "Snow."]
    assert items.field("price").tolist() == [5.0, None, 7.5, "much"]
    assert items.field("maker").tolist() == [None, None, None, "acme"]


def test_an_unknown_time_is_a_missing_value():
    items, _ = base().with_items([Item("a"), Item("d", at=4000)])
    np.testing.assert_array_equal(items.field("at"), [np.nan, np.nan, 3000, 4000])


def test_reading_a_field_of_changed_items_leaves_the_catalogues_column_alone():
    first = base()
    first.field("price")
    first.with_items([Item("a", fields={"price": 99.0})])[0].field("price")[1] = -1
    np.testing.assert_array_equal(first.field("price"), [5, np.nan, 7.5])


def test_field_names_are_those_of_the_catalogue_and_of_newer_items():
    items, _ = base().with_items([Item("d", fields={"maker": "acme"})])
    assert {"title", "plot", "price", "at", "maker"} <= set(items.field_names())
    assert "item_id" not in items.field_names()
    assert len(set(items.field_names())) == len(items.field_names())


@pytest.mark.parametrize(
    "fields",
    [FIELDS, ("title",), ("categories", "title"), ("title", "year", "tags", "sold", "price", "none"), ("plot",)],
)
def test_the_text_of_one_item_is_that_of_the_catalogue(fields):
    items = base()
    texts = items.catalogue.texts(fields)
    assert [item_text(items.at(num), fields) for num in range(3)] == texts


def test_the_text_of_a_new_item_passes_over_what_it_has_not():
    assert item_text(Item("d", "", {"plot": "Snow."}, ("ice", "sea")), FIELDS) == "Snow.. ice, sea"
    assert item_text(Item("d"), FIELDS) == ""


WORDS = st.text(st.characters(categories=["L", "N"]), max_size=5)


@given(
    st.lists(st.tuples(WORDS, st.one_of(st.none(), WORDS), st.lists(WORDS, max_size=3)), min_size=1, max_size=5),
)
def test_any_catalogue_and_its_items_make_the_same_texts(rows):
    titles, plots, categories = (list(column) for column in zip(*rows, strict=True))
    frame = pl.DataFrame(
        {"item_id": [str(num) for num in range(len(rows))], "title": titles, "plot": plots, "categories": categories},
        schema_overrides={"plot": pl.String, "categories": pl.List(pl.String)},
    )
    items = Items(Catalogue(frame, ["plot"]))
    assert [item_text(items.at(num), FIELDS) for num in range(len(rows))] == items.catalogue.texts(FIELDS)
