"""Cleaning: each step finds what it should, leaves the rest alone, and says what it did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langrec.data.events import joined
from langrec.data.load import load_dataset
from langrec.data.near_duplicates import find_near_duplicates
from langrec.data.report import CleaningReport
from langrec.data.splits import split_events
from langrec.data.texts import repair
from langrec.errors import DataError, SettingsError
from langrec.settings import DataSettings

HEADER = "user_id,item_id,timestamp,rating"


def log(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "events.csv"
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


def items(folder: Path, *rows: str, header: str = "item_id,title") -> Path:
    path = folder / "items.csv"
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


def test_equal_rows_are_kept_once_and_the_first_of_them(tmp_path):
    path = log(
        tmp_path, "u,a,1600000005,3", "u,b,1600000001,3", "u,a,1600000005,3", "u,a,1600000005,4", "u,a,1600000006,3"
    )
    dataset, report = load_dataset(path)
    assert dataset.events.rows.tolist() == [1, 0, 3, 4]
    assert report.count("duplicate") == 1


def test_equal_rows_without_a_value_are_equal_too(tmp_path):
    path = log(tmp_path, "u,a,1600000000,", "v,a,1600000000,", "u,a,1600000000,")
    assert load_dataset(path)[0].events.rows.tolist() == [0, 1]


def test_equal_rows_can_be_kept(tmp_path):
    path = log(tmp_path, "u,a,1600000000,3", "u,a,1600000000,3")
    dataset, report = load_dataset(path, None, DataSettings(drop_duplicates=False))
    assert (len(dataset.events), report.steps) == (2, ())


@pytest.mark.parametrize(("policy", "rows"), [("all", [0, 1, 2, 3]), ("first", [0, 2]), ("last", [2, 3])])
def test_repeats_follow_their_policy(tmp_path, policy, rows):
    path = log(tmp_path, "u,a,1600000000,3", "u,a,1600000001,4", "u,b,1600000002,4", "u,a,1600000003,5")
    dataset, report = load_dataset(path, None, DataSettings(repeats=policy))
    assert dataset.events.rows.tolist() == rows
    assert report.count("repeat") == 4 - len(rows)


def test_repeats_of_another_type_are_no_repeats(tmp_path):
    path = log(tmp_path, "u,a,1600000000,view", "u,a,1600000001,purchase", header="user_id,item_id,timestamp,type")
    assert len(load_dataset(path, None, DataSettings(repeats="first"))[0].events) == 2


def test_believable_times_are_a_setting(tmp_path):
    path = log(tmp_path, "u,a,1600000000,3", "u,b,1700000000,3")
    dataset, report = load_dataset(path, None, DataSettings(min_time="2022-01-01"))
    assert len(dataset.events) == 1
    assert report.count("impossible_time") == 1


def test_a_minimum_time_that_is_no_date_is_a_settings_error(tmp_path):
    with pytest.raises(SettingsError, match=r"data\.min_time"):
        load_dataset(log(tmp_path, "u,a,1600000000,3"), None, DataSettings(min_time="then"))


def test_unknown_items_can_be_refused(tmp_path):
    path = log(tmp_path, "u,a,1600000000,3", "u,ghost,1600000001,3")
    rejected = tmp_path / "rejected.parquet"
    dataset, report = load_dataset(
        path, items(tmp_path, "a,A"), DataSettings(unknown_items="reject"), rejected=rejected
    )
    assert list(dataset.catalogue.ids) == ["a"]
    assert report.count("unknown_item") == 1
    assert pl.read_parquet(rejected)["detail"].to_list() == ["ghost"]


def test_an_item_that_occurs_again_is_refused_and_its_first_row_used(tmp_path):
    dataset, report = load_dataset(None, items(tmp_path, "a,First", "b,B", "a,Second", ",None"))
    assert dataset.catalogue.titles == ("First", "B")
    assert (report.count("item_twice"), report.count("missing_item")) == (1, 1)


def test_missing_titles_are_filled_from_other_fields_and_marked(tmp_path):
    rows = ["a,Given,Words,X", "b,,Words about b,X", "c,,,Shoes", "d,,,"]
    dataset, report = load_dataset(None, items(tmp_path, *rows, header="item_id,title,description,category"))
    assert dataset.catalogue.titles == ("Given", "Words about b", "Shoes", "d")
    assert dataset.catalogue.frame["title_filled"].to_list() == [False, True, True, False]
    assert (report.count("title_filled"), report.count("no_text")) == (2, 1)


@pytest.mark.parametrize("fill", [True, False])
def test_items_without_their_texts_are_counted_and_read_by_what_else_there_is(tmp_path, fill):
    rows = ["a,Given,Words,X", "b,Named,,Shoes", "c,,,"]
    settings = DataSettings(fill_texts=fill)
    dataset, report = load_dataset(None, items(tmp_path, *rows, header="item_id,title,description,category"), settings)
    assert (report.count("text_missing"), report.count("no_text")) == (1, 1)
    assert dataset.catalogue.texts() == ["Given. Words. X", "Named. Shoes", ""]


def test_missing_titles_can_be_left_alone(tmp_path):
    dataset, _ = load_dataset(
        None, items(tmp_path, "a,,Words", header="item_id,title,description"), DataSettings(fill_texts=False)
    )
    assert dataset.catalogue.titles == ("a",)


def test_broken_texts_are_repaired_and_counted(tmp_path):
    rows = ["1,CafÃ© AT&amp;T", "2,<b>Bold</b> &lt;3", "3,  wide   spaces ", "4,你好，世界！", "5,5 < 6 > 4"]
    dataset, report = load_dataset(None, items(tmp_path, *rows))
    assert dataset.catalogue.titles == ("Café AT&T", "Bold <3", "wide spaces", "你好，世界！", "5 < 6 > 4")
    assert report.count("text_repaired") == 3


def test_html_leaves_its_words_alone(tmp_path):
    link = f"<a href='https://shop.example/{'x' * 300}' style='color: red'>Link</a>"
    code = "<style>p { color: red }</style><SCRIPT type='a'>var a = 1 < 2</SCRIPT>"
    rows = [f"1,{link}", f"2,{code}Chair", "3,&lt;p&gt;Bank&lt;/p&gt;", '4,"<!-- two\nlines -->Bed"']
    dataset, _ = load_dataset(None, items(tmp_path, *rows))
    assert dataset.catalogue.titles == ("Link", "Chair", "Bank", "Bed")


def test_repair_can_be_switched_off(tmp_path):
    dataset, _ = load_dataset(None, items(tmp_path, "1,A&amp;B"), DataSettings(repair_text=False))
    assert dataset.catalogue.titles == ("A&amp;B",)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_repairing_a_repaired_text_changes_no_space(texts):
    once = repair(pl.Series(texts, dtype=pl.String))
    assert len(once) == len(texts)
    assert all(text == " ".join(text.split()) for text in once)


def test_items_of_one_text_are_reported(tmp_path):
    rows = ["1,The Thing!", "2,the  thing", "3,Another", "4,", "5,"]
    dataset, report = load_dataset(None, items(tmp_path, *rows))
    assert len(dataset.catalogue) == 5
    assert report.count("near_duplicate") == 1
    assert "item 2 = item 1" in next(step for step in report.steps if step.name == "near_duplicate").places[0]


def test_items_of_one_text_can_be_merged_with_their_events(tmp_path):
    rows = items(tmp_path, "1,The Thing!", "2,the thing", "3,Another")
    path = log(tmp_path, "u,2,1600000000,3", "u,3,1600000001,3", "v,1,1600000002,3")
    dataset, report = load_dataset(path, rows, DataSettings(near_duplicates="merge"))
    assert list(dataset.catalogue.ids) == ["1", "3"]
    assert dataset.events.items.tolist() == [0, 1, 0]
    assert report.count("near_duplicate") == 1


def test_items_of_other_years_are_no_duplicates():
    frame = pl.DataFrame({"item_id": ["1", "2", "3"], "title": ["Hamlet"] * 3, "release_year": [1948, 1996, 1948]})
    assert find_near_duplicates(frame, ()).rows() == [("3", "1")]


def test_ratings_of_many_problems_are_each_counted_once(tmp_path):
    path = log(tmp_path, "u,a,1600000000,3", ",,-5,x", "u,,1600000000,3", "u,a,-5,3", "u,a,1600000000,3")
    rejected = tmp_path / "rejected.parquet"
    dataset, report = load_dataset(path, rejected=rejected)
    assert report.refused == 4
    assert report.rows_in == len(dataset.events) + report.refused
    assert pl.read_parquet(rejected)["row"].sort().to_list() == [1, 2, 3, 4]


def test_the_report_goes_to_json_and_back(tmp_path):
    _, report = load_dataset(log(tmp_path, "u,a,1600000000,3", "u,,1600000000,3"))
    again = CleaningReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again == report
    assert "fill the column item_id" in json.dumps(report.to_dict())


def test_strict_mode_passes_clean_data(tmp_path):
    dataset, _ = load_dataset(log(tmp_path, "u,a,1600000000,3"), None, DataSettings(strict=True))
    assert len(dataset.events) == 1


def test_strict_mode_stops_at_equal_rows(tmp_path):
    with pytest.raises(DataError, match=r"events\.csv row 1: the row equals an earlier one \(1 in all\)"):
        load_dataset(log(tmp_path, "u,a,1600000000,3", "u,a,1600000000,3"), None, DataSettings(strict=True))


def test_loading_twice_gives_equal_data(tmp_path):
    path = log(tmp_path, *(f"u{i * 7 % 11},i{i * 5 % 13},{1_600_000_000 + i % 4},3" for i in range(200)))
    first, second = load_dataset(path)[0], load_dataset(path)[0]
    assert first.hash() == second.hash()
    assert list(first.users) == list(second.users)


def test_rows_of_one_time_that_stand_by_item_id_are_told(tmp_path):
    rng = np.random.default_rng(0)
    baskets = [rng.choice(3_000, 10, replace=False) for _ in range(200)]

    def found(order):
        rows = [
            f"u{n % 50},{item},{1_600_000_000 + 60 * n}" for n, items in enumerate(baskets) for item in order(items)
        ]
        path = tmp_path / "log.csv"
        path.write_text("\n".join(["user_id,item_id,timestamp", *rows]), "utf-8")
        return [step for step in load_dataset(path)[1].steps if step.name == "order_of_file"]

    (told,) = found(np.sort)  # by number: as texts, "10" would stand before "9"
    assert told.count == 1_800 and "100% of them stand in rising order" in told.what and "equal_times=drawn" in told.fix
    assert told.places == ("log.csv row 0", "log.csv row 1")
    assert "falling" in found(lambda items: np.sort(items)[::-1])[0].what
    assert not found(lambda items: items), "baskets in the order in which they were drawn"


def test_equal_times_are_drawn_where_it_is_asked(tmp_path):
    rng = np.random.default_rng(0)
    baskets = [np.sort(rng.choice(3_000, 10, replace=False)) for _ in range(200)]
    rows = [f"u{n % 50},{item},{1_600_000_000 + 60 * n}" for n, items in enumerate(baskets) for item in items]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]), "utf-8")
    dataset, report = load_dataset(path, None, DataSettings(equal_times="drawn"))
    events = dataset.events
    assert (np.diff(events.at) >= 0).all()
    for n in (0, 1, 199):
        basket = events.rows[10 * n : 10 * n + 10]
        assert sorted(basket) == list(range(10 * n, 10 * n + 10)), "no event leaves its time"
    rising = np.diff(events.rows)[np.diff(events.at) == 0] > 0
    assert 0.45 < rising.mean() < 0.55
    (told,) = [step for step in report.steps if step.name in ("equal_times", "order_of_file")]
    assert (told.name, told.count, told.action) == ("equal_times", 1_800, "changed")
    again = load_dataset(path, None, DataSettings(equal_times="drawn"))[0]
    assert again.hash() == dataset.hash() != load_dataset(path)[0].hash()
    split = split_events(events, len(dataset.users))
    whole = joined(split.train, split.valid)
    assert (whole.rows == events.rows[: len(whole)]).all(), "parts put together keep the drawn order"
