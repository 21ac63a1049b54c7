"""A data frame is read as the file is that it could be written to."""

from __future__ import annotations

import sys

import pandas as pd
import polars as pl
import pytest

from langrec.data.load import load_dataset
from langrec.data.sources.frames import read_frame
from langrec.errors import DataError

EVENTS = pl.DataFrame(
    {
        "user_id": ["u1", "u2", "u1", "u3"],
        "item_id": [7, 8, 8, 9],
        "timestamp": [1_600_000_003, 1_600_000_001, 1_600_000_002, 1_600_000_009],
        "type": ["view", "click", "view", "click"],
    }
)
ITEMS = pl.DataFrame({"item_id": [7, 8, 9], "title": ["Seven", "Eight", None], "genres": [["a", "b"], [], ["c"]]})
USERS = pl.DataFrame({"user_id": ["u1", "u2"], "age": [31, 42]})


def as_pandas(frame):
    return pd.DataFrame(frame.to_dict(as_series=False))


def as_arrow(frame):
    pytest.importorskip("pyarrow")
    return frame.to_arrow()


@pytest.mark.parametrize("kind", [lambda frame: frame, as_pandas, as_arrow], ids=["polars", "pandas", "arrow"])
def test_a_frame_is_the_dataset_of_its_file(tmp_path, kind):
    EVENTS.write_parquet(tmp_path / "events.parquet")
    ITEMS.write_parquet(tmp_path / "items.parquet")
    USERS.write_parquet(tmp_path / "users.parquet")
    right, said = load_dataset(tmp_path)
    found, report = load_dataset(kind(EVENTS), kind(ITEMS), users=kind(USERS))
    assert found.hash() == right.hash() and len(found.events) == 4
    assert found.profiles is not None and found.profiles.equals(right.profiles)
    assert found.catalogue.frame.equals(right.catalogue.frame)
    assert (report.rows_in, report.items_in, report.users_in) == (said.rows_in, said.items_in, said.users_in)


def test_frames_and_files_go_together(tmp_path):
    ITEMS.write_parquet(tmp_path / "items.parquet")
    EVENTS.write_parquet(tmp_path / "events.parquet")
    right, _ = load_dataset(tmp_path)
    for events, items in ((EVENTS, tmp_path), (EVENTS, tmp_path / "items.parquet"), (tmp_path, ITEMS)):
        assert load_dataset(events, items)[0].hash() == right.hash()
    assert len(load_dataset(None, ITEMS)[0].catalogue) == 3


def test_rows_of_a_frame_are_named_and_kept_as_those_of_a_file(tmp_path):
    gaps = as_pandas(EVENTS).assign(user_id=["u1", None, "u1", float("nan")])
    _, report = load_dataset(gaps, ITEMS, rejected=tmp_path / "rejected.parquet")
    assert next(step for step in report.steps if step.name == "missing_user").places == ("events row 1", "events row 3")
    assert pl.read_parquet(tmp_path / "rejected.parquet")["file"].to_list() == ["events", "events"]


def test_the_named_index_of_pandas_is_a_column():
    plain, _ = load_dataset(as_pandas(EVENTS), as_pandas(ITEMS))
    indexed, _ = load_dataset(
        as_pandas(EVENTS).set_index(["user_id", "item_id"]), as_pandas(ITEMS).set_index("item_id")
    )
    assert indexed.hash() == plain.hash()
    kept = as_pandas(ITEMS).set_index("item_id", drop=False)
    assert load_dataset(as_pandas(EVENTS), kept)[0].hash() == plain.hash()


def test_what_pandas_makes_of_gaps_zones_and_kinds():
    frame = pd.DataFrame(
        {
            "whole": [1, None, 3],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "truth": pd.array([True, None, False], dtype="boolean"),
            "label": pd.Categorical(["a", None, "b"]),
            "mixed": [1, "two", None],
            "lists": [["x"], None, ["y", "z"]],
            "at": pd.to_datetime(["2020-01-01 01:00", None, "2020-01-01 02:00"]).tz_localize("Europe/Berlin"),
        }
    )
    found = read_frame(frame, "items").frame.to_dict(as_series=False)
    assert found["whole"] == [1.0, None, 3.0] and found["nullable"] == [1, None, 3]
    assert found["truth"] == [True, None, False] and found["label"] == ["a", None, "b"]
    assert found["mixed"] == ["1", "two", None] and found["lists"] == [["x"], None, ["y", "z"]]
    assert [None if at is None else at.hour for at in found["at"]] == [0, None, 1]


def test_the_first_of_equal_columns_is_read_and_said():
    frame = pd.DataFrame([["a", 1, 2]], columns=["item_id", "price", "price"])
    table = read_frame(frame, "items")
    assert table.frame.to_dict(as_series=False) == {"item_id": ["a"], "price": [1]}
    assert table.notes == ["the column price is there more than once; the first is used"]


def test_pandas_needs_no_pyarrow(monkeypatch):
    frame = as_pandas(EVENTS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert read_frame(frame, "events").frame["user_id"].to_list() == EVENTS["user_id"].to_list()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 2], "events: is a list; give a path, or a data frame of Polars, pandas or Arrow"),
        (EVENTS.lazy(), "events: is a lazy frame; give what its collect"),
        (EVENTS.drop("item_id"), "events: no item column among: user_id, timestamp, type"),
    ],
)
def test_what_is_no_table_is_refused_with_the_way_out(given, said):
    with pytest.raises(DataError, match=said):
        load_dataset(given, ITEMS)
