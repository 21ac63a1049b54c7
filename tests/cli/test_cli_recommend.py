"""The list of users that `langrec recommend` reads."""

from __future__ import annotations

import gzip

import polars as pl
import pytest

from langrec.cli.recommend import _read_users
from langrec.errors import DataError
from langrec.settings import DataSettings


def test_users_come_from_lines_or_a_table(tmp_path):
    (tmp_path / "lines.txt").write_text("user_id\nu1\n\nu2\n")
    (tmp_path / "table.csv").write_text("user_id,age\nu1,3\nu2,4\n")
    pl.DataFrame({"user_id": [1, 2]}).write_parquet(tmp_path / "table.parquet")
    assert _read_users(tmp_path / "lines.txt") == ["u1", "u2"]
    assert _read_users(tmp_path / "table.csv") == ["u1", "u2"]
    assert _read_users(tmp_path / "table.parquet") == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("excel.csv", "\ufeffCustomer ID;Age\r\n 01 ;3\r\n2;4\r\n"),
        ("quoted.csv", '"userId","note"\n"01","a, b"\n"2","c"\n'),
        ("one.csv", "User ID\n01\n2\nNaN\n"),
        ("lines.jsonl", '{"user_id": "01"}\n{"user_id": 2}\n'),
        ("tabs.tsv", "age\tuser\n3\t01\n4\t2\n"),
        ("plain.txt", "01\n 2\n"),
        ("packed.txt.gz", "01\n2\n"),
    ],
)
def test_users_come_from_every_kind_of_table_that_training_reads(tmp_path, name, content):
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert _read_users(tmp_path / name) == ["01", "2"]


@pytest.mark.parametrize("header", ["用户编号\n", "用户编号,城市\n", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_chinese_users_come_from_lines_or_a_table_in_any_encoding(tmp_path, encoding, header):
    row = "{},深圳\n" if "," in header else "{}\n"
    path = tmp_path / "用户.csv"
    path.write_text(header + "".join(row.format(name) for name in ("李/四4", "赵 深圳", "周%书店")), encoding)
    assert _read_users(path) == ["李/四4", "赵 深圳", "周%书店"]


@pytest.mark.parametrize("header", ["user_id,city\n", ""])
def test_users_are_read_in_the_encoding_of_the_releases_settings(tmp_path, header):
    path = tmp_path / "users.csv"
    path.write_text(header + "".join(f"{name},x\n" if header else f"{name}\n" for name in ("佐藤", "鈴木")), "euc_jp")
    assert _read_users(path, DataSettings(encoding="euc_jp")) == ["佐藤", "鈴木"]


@pytest.mark.parametrize("mark", [",", ";"])
def test_users_stand_in_the_column_that_the_releases_settings_name(tmp_path, mark):
    path = tmp_path / "users.csv"
    path.write_text(mark.join(("Ort", "Kundin")) + "\n" + mark.join(("Wien", "ann")) + "\n")
    assert _read_users(path, DataSettings(columns={"user_id": "Kundin"})) == ["ann"]


def test_who_stands_there_often_gets_one_list(tmp_path):
    """A log is a table with user_id too: a list for each of its rows would count users by their events."""
    (tmp_path / "log.csv").write_text("user_id,item_id\nu2,a\nu1,a\nu2,b\n")
    (tmp_path / "lines.txt").write_text("u2\nu1\nu2\n")
    assert _read_users(tmp_path / "log.csv") == _read_users(tmp_path / "lines.txt") == ["u2", "u1"]


def test_whole_floats_are_whole_ids(tmp_path):
    pl.DataFrame({"uid": [7.0, None, 8.0]}).write_parquet(tmp_path / "users.parquet")
    assert _read_users(tmp_path / "users.parquet") == ["7", "8"]


@pytest.mark.parametrize(
    "name", ["absent.txt", "absent.parquet", "no_column.csv", "bytes.txt", "empty.txt", "wide.csv"]
)
def test_a_list_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "no_column.csv").write_text("name,age\nx,3\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "wide.csv").write_text("user_id,age\nu1,3\nu2,3,4\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=name):
        _read_users(tmp_path / name)
