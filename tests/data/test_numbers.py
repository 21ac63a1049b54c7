"""Numbers in the forms of several countries are read as what they say, and what is none is named."""

from __future__ import annotations

import math

import polars as pl
import pytest

from langrec.data.load import load_dataset
from langrec.data.numbers import first_numbers, whole_numbers
from langrec.settings import DataSettings


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1.299,00 €", "12,99 €", "1.299", "1 234 567,89", "0,500"], [1299, 12.99, 1299, 1234567.89, 0.5]),
        (["$1,299.50", "1,299", "1.299", "¥9"], [1299.5, 1299, 1.299, 9]),
        (["12,99", "1,299"], [12.99, 1.299]),
        (["1.299 €"], [1299]),
        (["1,299"], [1299]),
        (["1.234.567", "1,234,567"], [1234567, 1234567]),
        (["₹1,50,000", "Rs. 500.50"], [150000, 500.5]),
        (["١٬٢٩٩٫٥٠ ر.س", "١٢٫٥"], [1299.5, 12.5]),
        (["۱۲۳۴", "१२५", "๑๒๐ บาท", "１，２８０円"], [1234, 125, 120, 1280]),
        (["3万円", "1億2000万円", "1만 2천원", "1.5万", "约3万5000元", "980円"], [3e4, 1.2e8, 12e3, 15e3, 35e3, 980]),
        (["CHF 1'299.-", "EUR 12.-", "1\u202f299 kr", None, "ask us"], [1299, 12, 1299, None, None]),
    ],
)
def test_the_decimal_mark_is_found_by_value_and_by_column(texts, numbers):
    assert first_numbers(pl.Series(texts)).to_list() == numbers


def test_whole_numbers_read_nothing_else():
    texts = ["4,5", " -2,25", "1.000", "4 stars", "", None, "1e3"]
    assert whole_numbers(pl.Series(texts)).to_list() == [4.5, -2.25, 1000, None, None, None, 1000]
    assert whole_numbers(pl.Series(["٤٫٥", "－２", "\u22123"])).to_list() == [4.5, -2, -3], (
        "in the digits of any script"
    )
    assert whole_numbers(pl.Series(["1.000", "-4", "1e3"])).to_list() == [1, -4, 1000], "plain numbers stay as they are"


def test_prices_with_decimal_commas_are_read(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item_id;title;price\n1;A;1.299,00 €\n2;B;12,99 €\n3;C;5 €\n", "utf-8-sig")
    assert load_dataset(None, path)[0].catalogue.frame["price"].to_list() == [1299, 12.99, 5]


def test_values_with_decimal_commas_are_read_and_others_are_named(tmp_path):
    path = tmp_path / "events.csv"
    rows = ["u1;i1;1600000000;4,5", "u2;i1;1600000001;good", "u3;i1;1600000002;", "u4;i1;1600000003;3"]
    path.write_text("\n".join(["user_id;item_id;timestamp;rating", *rows, ""]))
    dataset, report = load_dataset(path, settings=DataSettings(rating_gain="scaled"))
    assert [value if math.isfinite(value) else None for value in dataset.events.values.tolist()] == [4.5, None, None, 3]
    assert dataset.events.gains.tolist() == pytest.approx([1, 1, 1, 3 / 4.5])
    found = next(step for step in report.steps if step.name == "unreadable_value")
    assert (found.count, found.places) == (1, ("events.csv row 1 (good)",))


def test_an_infinite_rating_is_no_highest_rating(tmp_path):
    at = ["1600000000", "1600000001", "1600000002", "1600000003"]
    rows = pl.DataFrame({"user_id": [f"u{k}" for k in range(4)], "item_id": ["i"] * 4, "timestamp": map(int, at)})
    ratings = pl.Series("rating", [4.0, math.inf, 2.0, math.nan])
    rows.with_columns(ratings).write_parquet(tmp_path / "events.parquet")
    rows.with_columns(ratings.cast(pl.String)).write_csv(tmp_path / "events.csv")
    for path in (tmp_path / "events.parquet", tmp_path / "events.csv"):
        dataset, report = load_dataset(path, settings=DataSettings(rating_gain="scaled"))
        assert dataset.events.gains.tolist() == [1, 1, 0.5, 1]
        found = next(step for step in report.steps if step.name == "unreadable_value")
        assert (found.count, found.places) == (1, (f"{path.name} row 1 (inf)",))


def test_codes_that_no_number_holds_stay_strings(tmp_path):
    rows = "item_id,title,serial,code\n1,A,12345678901234567890,12345678901234567\n2,B,12345678901234567891,1.5\n"
    (tmp_path / "items.csv").write_text(rows)
    frame = load_dataset(None, tmp_path / "items.csv")[0].catalogue.frame
    assert frame["serial"].to_list() == ["12345678901234567890", "12345678901234567891"]
    assert frame["code"].to_list() == ["12345678901234567", "1.5"]
