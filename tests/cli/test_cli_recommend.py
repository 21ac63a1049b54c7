"""The list of users that `langrec recommend` reads."""

from __future__ import annotations

import polars as pl
import pytest

from langrec.cli.recommend import _read_users
from langrec.errors import DataError


def test_users_come_from_lines_or_a_table(tmp_path):
    (tmp_path / "lines.txt").write_text("user_id\nu1\n\nu2\n")
    (tmp_path / "table.csv").write_text("user_id,age\nu1,3\nu2,4\n")
    pl.DataFrame({"user_id": [1, 2]}).write_parquet(tmp_path / "table.parquet")
    assert _read_users(tmp_path / "lines.txt") == ["u1", "u2"]
    assert _read_users(tmp_path / "table.csv") == ["u1", "u2"]
    assert _read_users(tmp_path / "table.parquet") == ["1", "2"]


@pytest.mark.parametrize("name", ["absent.txt", "absent.parquet", "no_column.csv", "bytes.txt"])
def test_a_list_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "no_column.csv").write_text("name,age\nx,3\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=name):
        _read_users(tmp_path / name)
