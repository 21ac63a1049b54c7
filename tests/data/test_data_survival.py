"""Files that break readers: each ends in one clear line, or is read with its bad rows set aside."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langrec.data.load import load_dataset
from langrec.errors import DataError
from langrec.settings import DataSettings

GOOD = "user_id,item_id,timestamp\n" + "".join(f"u{i % 3},i{i % 5},{1_600_000_000 + i}\n" for i in range(20))


def write(folder: Path, text: str | bytes, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def error_of(path: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path, None, DataSettings(**settings))
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message, "the message names the file"
    return message


def test_an_empty_file_is_named_as_such(tmp_path):
    assert "is empty" in error_of(write(tmp_path, ""))


def test_a_file_of_blank_lines_is_empty(tmp_path):
    assert "is empty" in error_of(write(tmp_path, "\n\n  \n"))


def test_a_header_without_rows_says_so(tmp_path):
    assert "no rows" in error_of(write(tmp_path, "user_id,item_id,timestamp\n"))


def test_a_header_without_a_line_end_says_so(tmp_path):
    assert "no rows" in error_of(write(tmp_path, "user_id,item_id,timestamp"))


def test_an_unknown_delimiter_shows_the_header_and_what_was_tried(tmp_path):
    message = error_of(write(tmp_path, GOOD.replace(",", "^")))
    assert "user_id^item_id" in message
    assert "user_id, item_id, timestamp" in message


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", "::"])
def test_usual_delimiters_are_found(tmp_path, mark):
    dataset, report = load_dataset(write(tmp_path, GOOD.replace(",", mark)))
    assert (report.events, len(dataset.users), len(dataset.catalogue)) == (20, 3, 5)


def test_a_header_of_other_columns_names_the_missing_role(tmp_path):
    assert "no item column" in error_of(write(tmp_path, "user_id,thing,timestamp\nu1,x,1600000000\n"))


def test_a_byte_order_mark_does_not_hide_the_first_column(tmp_path):
    dataset, _ = load_dataset(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()))
    assert "u0" in dataset.users


def test_utf_16_is_read_and_noted(tmp_path):
    dataset, report = load_dataset(write(tmp_path, GOOD.encode("utf-16")))
    assert len(dataset.events) == 20
    assert any("UTF-16" in step.what for step in report.steps)


def test_mixed_encodings_are_read_line_by_line(tmp_path):
    lines = [b"item_id,title", "1,Amélie".encode(), "2,Amélie".encode("cp1252"), b"3,Plain"]
    items = write(tmp_path, b"\n".join(lines), "items.csv")
    dataset, report = load_dataset(write(tmp_path, GOOD), items)
    assert dataset.catalogue.titles[:3] == ("Amélie", "Amélie", "Plain")
    assert any("1 lines are not UTF-8" in step.what and "lines 3" in step.what for step in report.steps)


@pytest.mark.slow
def test_a_hundred_megabytes_without_a_line_end_are_refused(tmp_path):
    path = write(tmp_path, b"x" * 100_000_000)
    assert "line 1 is longer" in error_of(path)


@pytest.mark.slow
def test_one_line_of_a_hundred_megabytes_does_not_take_the_others_with_it(tmp_path):
    first, rest = GOOD.encode().split(b"\n", 1)
    path = write(tmp_path, first + b"\n" + b"u," * 50_000_000 + b"\n" + rest)
    dataset, report = load_dataset(path)
    assert len(dataset.events) == 20
    assert report.refused == 1


def test_nan_ids_are_set_aside_with_their_rows(tmp_path):
    rows = "user_id,item_id,timestamp\nu1,i1,1600000000\nNaN,i1,1600000001\n,i2,1600000002\nu2,null,1600000003\n"
    rejected = tmp_path / "rejected.parquet"
    dataset, report = load_dataset(write(tmp_path, rows), rejected=rejected)
    assert len(dataset.events) == 1
    assert (report.count("missing_user"), report.count("missing_item")) == (2, 1)
    found = pl.read_parquet(rejected).sort("row")
    assert found["row"].to_list() == [1, 2, 3]
    assert found["reason"].to_list() == ["missing_user", "missing_user", "missing_item"]
    assert set(found["file"]) == {"events.csv"}


def test_nan_ids_of_a_parquet_float_column_are_set_aside(tmp_path):
    path = tmp_path / "events.parquet"
    pl.DataFrame({"user": [1.0, float("nan"), None], "item": [7, 7, 8], "time": [1_600_000_000] * 3}).write_parquet(
        path
    )
    dataset, report = load_dataset(path)
    assert list(dataset.users) == ["1"]
    assert report.count("missing_user") == 2


def test_negative_and_far_future_times_are_set_aside(tmp_path):
    rows = GOOD + "u1,i1,-5\nu1,i2,99999999999\nu1,i3,soon\n"
    rejected = tmp_path / "rejected.parquet"
    dataset, report = load_dataset(write(tmp_path, rows), rejected=rejected)
    assert len(dataset.events) == 20
    assert report.count("impossible_time") == 2
    assert report.count("unreadable_time") == 1
    details = dict(pl.read_parquet(rejected).select("row", "detail").iter_rows())
    assert details == {20: "-5", 21: "99999999999", 22: "soon"}


def test_where_no_row_can_be_used_the_first_place_and_the_way_out_are_named(tmp_path):
    message = error_of(write(tmp_path, "user_id,item_id,timestamp\nu1,i1,13-Sep-2020\n"))
    assert "events.csv row 0 (13-Sep-2020)" in message and "ISO 8601" in message


def test_a_column_of_event_ids_that_is_taken_for_types_is_named(tmp_path):
    rows = "".join(f"u{num % 3},i{num % 5},{1_600_000_000 + num},E{num}\n" for num in range(200))
    message = error_of(write(tmp_path, "user_id,item_id,timestamp,event\n" + rows))
    assert "column event holds 200 kinds" in message and "rename it" in message


def test_of_columns_with_one_name_the_first_is_used_and_the_other_reported(tmp_path):
    rows = "user_id,item_id,user_id,timestamp\nu1,i1,other,1600000000\n"
    dataset, report = load_dataset(write(tmp_path, rows))
    assert list(dataset.users) == ["u1"]
    assert any("user_id occurs twice" in step.what for step in report.steps)


def test_rows_with_too_many_fields_are_set_aside_and_keep_the_count_of_rows(tmp_path):
    rows = "user_id,item_id,timestamp\nu1,i1,1600000000\nu2,i2,1600000001,9,9\nu3,i3,1600000002\n"
    dataset, report = load_dataset(write(tmp_path, rows))
    assert dataset.events.rows.tolist() == [0, 2]
    assert report.count("unreadable") == 1


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("later", [False, True])
def test_an_open_quote_costs_its_own_row_alone(tmp_path, place, later):
    fields = ["u9", "i1", "1600000000"]
    fields[place] = '"' + fields[place]
    rest = "".join(f"u{i},i1,{1_600_000_100 + i}\n" for i in range(5))
    quoted = 'u7,"i1",1600000200\n' if later else ""
    dataset, report = load_dataset(write(tmp_path, GOOD + ",".join(fields) + "\n" + rest + quoted))
    assert report.refused == report.count("unreadable") == 1
    assert dataset.events.rows.tolist() == [*range(20), *range(21, 26 + later)]


def test_a_quoted_text_of_several_lines_is_one_field_whatever_stands_in_it(tmp_path):
    rows = 'item_id,title,price\n1,"two\nlines, ""quoted""",5\n2,"one\nand a "loose" one",6\n3,c,7\n'
    dataset, report = load_dataset(None, write(tmp_path, rows, "items.csv"), DataSettings(repair_text=False))
    assert report.refused == 0
    assert dataset.catalogue.titles[0] == 'two\nlines, "quoted"'
    assert dataset.catalogue.frame["price"].to_list() == [5, 6, 7]


def test_a_gzip_file_cut_short_says_so(tmp_path):
    # Text that does not compress to nothing, so that the cut leaves something to read.
    text = "user_id,item_id,timestamp\n" + "".join(
        f"u{i * 7919 % 10007},i{i},{1_600_000_000 + i}\n" for i in range(20000)
    )
    packed = gzip.compress(text.encode())
    assert "cut short" in error_of(write(tmp_path, packed[: len(packed) // 2], "events.csv.gz"))


def test_a_damaged_gzip_file_says_so(tmp_path):
    packed = bytearray(gzip.compress(GOOD.encode() * 100))
    packed[30:60] = b"\0" * 30
    assert "damaged" in error_of(write(tmp_path, bytes(packed), "events.csv.gz"))


@pytest.mark.parametrize(
    ("head", "what"),
    [(b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip"), (b"BZh9", "bzip2"), (b"\xfd7zXZ\0", "xz")],
)
@pytest.mark.parametrize("name", ["events.csv.zst", "events.jsonl", "events"])
def test_a_file_that_is_packed_otherwise_says_how(tmp_path, head, what, name):
    message = error_of(write(tmp_path, head + b"\0\1\2\n" * 9, name))
    assert what in message and "unpack it" in message


def test_a_folder_without_data_lists_what_is_in_it(tmp_path):
    write(tmp_path, "hello", "notes.txt")
    assert "notes.txt" in error_of(tmp_path)


def test_a_missing_file_says_so(tmp_path):
    assert "no such file" in error_of(tmp_path / "nowhere.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_says_so(tmp_path):
    path = write(tmp_path, GOOD)
    path.chmod(0)
    assert "permission" in error_of(path).lower()


def test_a_refused_opening_is_one_clear_line(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD)
    real = Path.open

    def refuse(self, *args, **kwargs):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    assert "check its permissions" in error_of(path)


def test_a_parquet_file_cut_short_says_so(tmp_path):
    whole = tmp_path / "whole.parquet"
    pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": [1_600_000_000]}).write_parquet(whole)
    assert "not a readable Parquet file" in error_of(write(tmp_path, whole.read_bytes()[:-20], "events.parquet"))


def test_lines_that_are_not_json_are_set_aside(tmp_path):
    lines = ['{"user_id": "u1", "item_id": "i1", "timestamp": 1600000000}', "{broken", '["a"]']
    dataset, report = load_dataset(write(tmp_path, "\n".join(lines), "events.jsonl"))
    assert len(dataset.events) == 1
    assert report.count("unreadable") == 2


def test_a_line_of_json_of_absurd_length_is_set_aside(tmp_path):
    line = '{"user_id": "%s", "item_id": "i1", "timestamp": 1600000000}'
    dataset, report = load_dataset(write(tmp_path, "\n".join([line % "u1", line % ("u" * 2_000_000)]), "events.jsonl"))
    assert len(dataset.events) == 1
    assert report.steps[0].places == ("events.jsonl row 1 (line 2: over 1,000,000 bytes)",)


def test_mixed_encodings_of_json_lines_are_counted(tmp_path):
    line = '{"user_id": "%s", "item_id": "i1", "timestamp": 1600000000}\n'
    data = (line % "zoë").encode() + (line % "jürgen").encode("cp1252")
    dataset, report = load_dataset(write(tmp_path, data, "events.jsonl"))
    assert tuple(dataset.users) == ("zoë", "jürgen")
    assert report.count("reading") == 1
    dataset, report = load_dataset(write(tmp_path, (line % "zoë").encode("utf-16"), "wide.jsonl"))
    assert tuple(dataset.users) == ("zoë",)
    assert report.count("reading") == 1


def test_no_data_at_all_is_an_error():
    with pytest.raises(DataError, match="no data"):
        load_dataset(None, None)


def test_strict_mode_stops_at_the_first_problem_with_its_place(tmp_path):
    path = write(tmp_path, GOOD + ",i1,1600000000\nu1,i1,-5\n")
    message = error_of(path, strict=True)
    assert "row 20" in message
    assert "user" in message


def test_strict_mode_stops_at_columns_of_one_name(tmp_path):
    path = write(tmp_path, "user_id,item_id,user_id,timestamp\nu1,i1,other,1600000000\n")
    assert "user_id occurs twice" in error_of(path, strict=True)


def test_rows_set_aside_are_written_even_where_nothing_is_left(tmp_path):
    rejected = tmp_path / "out" / "rejected.parquet"
    with pytest.raises(DataError, match="none of the 1 rows"):
        load_dataset(write(tmp_path, "user_id,item_id,timestamp\n,i1,1600000000\n"), rejected=rejected)
    assert pl.read_parquet(rejected).height == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    head=st.sampled_from(
        [b"", b"user_id,item_id,timestamp\n", b"user_id\titem_id\n", b'{"user_id": 1}\n', b"PAR1", b"\x1f\x8b"]
    ),
    body=st.one_of(
        st.binary(max_size=60),
        st.text(alphabet='u1,\t"\n\r;|{}[]:.-0 é', max_size=60).map(lambda text: text.encode("utf-8")),
    ),
    suffix=st.sampled_from([".csv", ".jsonl", ".parquet", ".inter", ".csv.gz"]),
)
def test_any_bytes_end_in_a_dataset_or_a_data_error(tmp_path, head, body, suffix):
    path = write(tmp_path, head + body, "events" + suffix)
    for arguments in ((path, None), (None, path)):
        try:
            dataset, _ = load_dataset(*arguments)
        except DataError:
            continue
        assert len(dataset.events) + len(dataset.catalogue) > 0
