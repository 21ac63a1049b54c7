"""Parquet columns of every kind are read as what they stand for, whichever role they have."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from langrec.data.describe import describe_dataset
from langrec.data.load import load_dataset

EVENTS = {
    "user_id": ["01", "2", "01"],
    "item_id": ["1", "2", "3"],
    "timestamp": ["2024-05-01", "2024-05-02", "2024-05-03"],
    "type": ["view", "view", "buy"],
    "rating": ["4", "5", "3"],
}


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(sorted({v for column in EVENTS.values() for v in column}))])
def test_categorical_columns_of_events_are_their_strings(tmp_path, kind):
    frame = pl.DataFrame(EVENTS)
    frame.write_parquet(tmp_path / "strings.parquet")
    frame.cast(kind).write_parquet(tmp_path / "codes.parquet")
    strings, codes = (load_dataset(tmp_path / name)[0] for name in ("strings.parquet", "codes.parquet"))
    assert codes.hash() == strings.hash()
    assert codes.events.values.tolist() == [4, 5, 3]


def test_whole_decimals_are_whole_ids(tmp_path):
    ids = pl.Series([Decimal("1.00"), Decimal("20.00"), Decimal("7.50")], dtype=pl.Decimal(30, 2))
    pl.DataFrame(EVENTS).with_columns(user_id=ids).write_parquet(tmp_path / "events.parquet")
    assert list(load_dataset(tmp_path / "events.parquet")[0].users) == ["1", "20", "7.50"]


def test_columns_of_items_of_every_kind_are_read(tmp_path):
    n = 3
    columns = {
        "item_id": pl.Series(["1", "2", "3"]).cast(pl.Categorical),
        "title": pl.Series([b"One", b"Two", b"Three"]),
        "description": pl.Series([["first", "part"]] * n).cast(pl.List(pl.Categorical)),
        "brand": pl.Series(["M", "N", "O"]).cast(pl.Categorical),
        "categories": pl.Series([[["A", "B"], ["A", "C"]]] * n),
        "hidden": pl.Series(["true", "false", "no"]).cast(pl.Categorical),
        "price": pl.Series([Decimal("12.50")] * n),
        "size": pl.Series([{"width": Decimal("1.5"), "made": date(2024, 5, 1)}] * (n - 1) + [None]),
        "parts": pl.Series([[{"id": 1}]] * n),
        "vector": pl.Series([[0.5, 1]] * n, dtype=pl.Array(pl.Float32, 2)),
        "lengths": pl.Series([[1, 2]] * n),
        "lasts": pl.Series([timedelta(hours=1)] * n),
        "opens": pl.Series([time(8)] * n),
        "weight": pl.Series([Decimal("0.25")] * n),
        "picture": pl.Series([b"\xff\xd8"] * n),
        "title_filled": pl.Series(["false"] * n),
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "items.parquet")
    dataset, report = load_dataset(None, tmp_path / "items.parquet")
    row = dataset.catalogue.frame.row(0, named=True)
    assert (row["item_id"], row["title"], row["description"], row["brand"]) == ("1", "One", "first part", "M")
    assert dataset.catalogue.text_fields == ("description", "brand")
    assert (row["categories"], row["price"], row["weight"], row["title_filled"]) == (["A", "B", "C"], 12.5, 0.25, False)
    assert dataset.catalogue.frame["hidden"].to_list() == [True, False, False]
    assert dataset.catalogue.frame["size"].to_list() == ['{"width": "1.5", "made": "2024-05-01"}'] * 2 + [None]
    assert (row["parts"], row["vector"], row["lengths"]) == (['{"id": 1}'], [0.5, 1], [1, 2])
    assert "picture" not in row and "picture holds bytes" in report.steps[0].what
    assert describe_dataset(dataset)["fields"]["parts"]["distinct"] == 1


def test_numbers_in_lists_are_categories_and_a_column_called_at_is_a_time(tmp_path):
    frame = pl.DataFrame({"item_id": [1, 2], "categories": [[7, 8], [8]], "at": ["2024-05-01", None]})
    frame.write_parquet(tmp_path / "items.parquet")
    catalogue = load_dataset(None, tmp_path / "items.parquet")[0].catalogue
    assert catalogue.categories == (("7", "8"), ("8",))
    assert catalogue.times.tolist() == [1_714_521_600_000, -1]


def test_what_is_missing_is_no_distinct_value(tmp_path):
    frame = pl.DataFrame(
        {"item_id": [1, 2, 3], "price": [1.5, None, 1.5], "image": ["", "/a.jpg", None], "tags": [["a"], [], None]}
    )
    frame.write_parquet(tmp_path / "items.parquet")
    fields = describe_dataset(load_dataset(None, tmp_path / "items.parquet")[0])["fields"]
    assert [fields[name]["distinct"] for name in ("price", "image", "tags")] == [1, 1, 1]
