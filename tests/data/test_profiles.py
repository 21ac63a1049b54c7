"""Fields of users: from a users file or from the events file, cleaned as ids are, one row per user."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from langrec.data.checks import check_data
from langrec.data.describe import describe_dataset
from langrec.data.load import load_dataset
from langrec.errors import DataError
from langrec.settings import DataSettings

EVENTS = "user_id,item_id,timestamp\nu2,a,1600000002\nu1,a,1600000001\nu3,b,1600000003\n"
USERS = "user_id,age,gender,zip\nu2,31,F,01002\nu1,24,M,85711\nu9,50,F,94043\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def folder(root: Path, users: str = USERS, name: str = "users.csv") -> Path:
    write(root / "events.csv", EVENTS)
    write(root / name, users)
    return root


def test_users_stand_in_the_order_of_their_numbers_and_the_unknown_are_empty(tmp_path):
    dataset, report = load_dataset(folder(tmp_path))
    assert dataset.profiles.to_dicts() == [
        {"user_id": "u1", "age": 24, "gender": "M", "zip": "85711"},
        {"user_id": "u2", "age": 31, "gender": "F", "zip": "01002"},
        {"user_id": "u3", "age": None, "gender": None, "zip": None},
    ]
    assert list(dataset.users) == dataset.profiles["user_id"].to_list()
    assert report.users_in == 3
    assert report.count("user_without_events") == 1
    assert report.count("user_without_row") == 1
    assert report.refused == 0


def test_every_format_of_users_gives_the_same_data(tmp_path):
    frame = pl.read_csv(USERS.encode(), infer_schema=False)
    frame = frame.with_columns(pl.col("age").cast(pl.Int16))
    atomic = "user_id:token\tage:float\tgender:token\tzip:token\n" + USERS.split("\n", 1)[1].replace(",", "\t")
    hashes = set()
    for name in ("users.csv", "users.parquet", "users.jsonl", "log.user", "users.csv.gz"):
        root = tmp_path / name.replace(".", "-")
        root.mkdir()
        write(root / "events.csv", EVENTS)
        if name.endswith(".parquet"):
            frame.write_parquet(root / name)
        elif name.endswith(".jsonl"):
            frame.write_ndjson(root / name)
        elif name.endswith(".gz"):
            (root / name).write_bytes(gzip.compress(USERS.encode()))
        else:
            write(root / name, atomic if name.endswith(".user") else USERS)
        hashes.add(load_dataset(root)[0].hash())
    assert len(hashes) == 1


def test_the_hash_knows_the_fields_of_users_only_where_there_are_any(tmp_path):
    without = load_dataset(write(tmp_path / "log.csv", EVENTS))[0]
    assert without.profiles is None
    known = load_dataset(folder(tmp_path))[0]
    older = load_dataset(folder(tmp_path, USERS.replace("24", "25")))[0]
    assert len({without.hash(), known.hash(), older.hash()}) == 3


def test_rows_without_an_id_and_rows_that_come_again_are_set_aside(tmp_path):
    users = "userId;age\n u1 ;24\n;30\nNaN;31\nu1;99\nu2;40\n"
    dataset, report = load_dataset(folder(tmp_path, users), rejected=tmp_path / "rejected.parquet")
    assert dataset.profiles["age"].to_list() == [24, 40, None]
    assert (report.count("missing_user"), report.count("user_twice")) == (2, 1)
    rejected = pl.read_parquet(tmp_path / "rejected.parquet")
    assert rejected.select("file", "row", "reason").rows() == [
        ("users.csv", 1, "missing_user"),
        ("users.csv", 2, "missing_user"),
        ("users.csv", 3, "user_twice"),
    ]


def test_strict_mode_stops_at_a_user_that_comes_twice(tmp_path):
    with pytest.raises(DataError, match=r"users\.csv row 3 \(u2\)"):
        load_dataset(folder(tmp_path, USERS + "u2,1,F,1\n"), None, DataSettings(strict=True))


def test_whole_floats_are_the_ids_that_they_were(tmp_path):
    events = write(tmp_path / "log.csv", "user_id,item_id\n7,a\n8,a\n")
    pl.DataFrame({"uid": [7.0, None, 8.0], "age": [1, 2, 3]}).write_parquet(tmp_path / "people.parquet")
    dataset, report = load_dataset(events, users=tmp_path / "people.parquet")
    assert dataset.profiles["age"].to_list() == [1, 3]
    assert report.count("missing_user") == 1


def test_a_users_file_that_only_lies_there_does_not_stop_the_events(tmp_path):
    dataset, report = load_dataset(folder(tmp_path, "name,colour\nAnn,red\n"))
    assert dataset.profiles is None and len(dataset.events) == 3
    assert report.count("reading") == 1
    with pytest.raises(DataError, match=r"users\.csv"):
        load_dataset(tmp_path, users=tmp_path / "users.csv")
    with pytest.raises(DataError, match="no users file"):
        (tmp_path / "empty").mkdir()
        load_dataset(tmp_path, users=tmp_path / "empty")


def test_columns_of_the_events_file_describe_users_where_they_never_differ(tmp_path):
    rows = "user_id,item_id,timestamp,user_age,user_session,user_plan\n"
    rows += "u1,a,1600000001,24,s1,\nu1,b,1600000002,,s2,\nu2,a,1600000003,31,s3,gold\n,a,1600000004,5,s4,tin\n"
    expected = [
        {"user_id": "u1", "user_age": 24, "user_plan": None},
        {"user_id": "u2", "user_age": 31, "user_plan": "gold"},
    ]
    assert load_dataset(write(tmp_path / "log.csv", rows))[0].profiles.to_dicts() == expected
    pl.read_csv(tmp_path / "log.csv").write_parquet(tmp_path / "log.parquet")
    assert load_dataset(tmp_path / "log.parquet")[0].profiles.to_dicts() == expected


def test_fields_of_users_are_described_and_checked(tmp_path):
    facts = describe_dataset(load_dataset(folder(tmp_path))[0])
    assert facts["user_fields"]["gender"] == {"type": "String", "filled": pytest.approx(2 / 3), "distinct": 2}
    assert "user_fields" not in describe_dataset(load_dataset(tmp_path / "events.csv")[0])
    found = check_data(tmp_path / "events.csv", None, DataSettings(), users=tmp_path / "users.csv")
    assert [step.name for step in found.steps] == ["user_without_events", "user_without_row"] and found.ok
