"""One log in every format gives one dataset; each layout's own ways are understood."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from langrec.data.describe import describe_dataset
from langrec.data.load import load_dataset
from langrec.data.sources.delimited import read_delimited
from langrec.data.sources.tables import read_table
from langrec.data.times import to_millis
from langrec.errors import DataError
from langrec.recipe import load_settings
from langrec.settings import DataSettings

ROWS = [
    ("u1", "i1", 1_600_000_003),
    ("u2", "i2", 1_600_000_001),
    ("u1", "i2", 1_600_000_002),
    ("u3", "i9", 1_600_000_009),
]


def csv_of(rows: list[tuple], header: str = "user_id,item_id,timestamp") -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode("utf-8")))
    else:
        path.write_text(text, "utf-8")
    return path


def as_parquet(folder: Path) -> Path:
    frame = pl.DataFrame(ROWS, schema=["user", "item", "time"], orient="row")
    frame.write_parquet(folder / "log.parquet")
    return folder / "log.parquet"


def as_jsonl(folder: Path) -> Path:
    lines = [json.dumps({"userId": u, "itemId": i, "datetime": t}) for u, i, t in ROWS]
    return write(folder / "log.jsonl.gz", "\n".join(lines))


def as_recbole(folder: Path) -> Path:
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *("\t".join(map(str, row)) for row in ROWS)]
    return write(folder / "log.inter", "\n".join(lines))


FORMATS = {
    "csv": lambda folder: write(folder / "log.csv", csv_of(ROWS)),
    "csv.gz": lambda folder: write(folder / "log.csv.gz", csv_of(ROWS)),
    "tsv": lambda folder: write(folder / "log.tsv", csv_of(ROWS).replace(",", "\t")),
    "parquet": as_parquet,
    "jsonl": as_jsonl,
    "recbole": as_recbole,
}


@pytest.mark.parametrize(
    "lines",
    [
        '{"item_id": "a", "title": "first", "title": "second"}\n{"item_id": "b", "title": "other"}',
        '{"item_id": "a", "title": "first", "title": "second", "tags": ["x"]}\n{"item_id": "b", "title": "other"}',
        '[{"item_id": "a", "title": "first", "title": "second"}, {"item_id": "b", "title": "other"}]',
    ],
    ids=["flat lines", "lines with lists", "an array"],
)
def test_the_first_of_two_equal_keys_counts(tmp_path, lines):
    path = tmp_path / "items.jsonl"
    path.write_text(lines.replace("{", "{").replace("}", "}"), "utf-8")
    assert read_table(path).frame["title"].to_list() == ["first", "other"]


def test_a_field_that_only_late_json_lines_have_is_kept(tmp_path):
    items = [{"item_id": f"i{n}", "title": f"Title {n}"} for n in range(3_000)]
    items[-1] |= {"price": 4.5, "note": "signed"}
    path = write(tmp_path / "items.jsonl", "\n".join(map(json.dumps, items)))
    frame = read_table(path).frame
    assert frame.columns == ["item_id", "title", "price", "note"]
    assert frame.row(-1) == ("i2999", "Title 2999", 4.5, "signed") and frame["note"].null_count() == 2_999


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_dataset(tmp_path, kind):
    dataset, report = load_dataset(FORMATS[kind](tmp_path))
    events = dataset.events
    assert report.steps == ()
    assert list(dataset.users) == ["u2", "u1", "u3"], "users are numbered by their first event"
    assert list(dataset.catalogue.ids) == ["i2", "i1", "i9"]
    assert events.users.tolist() == [0, 1, 1, 2]
    assert events.items.tolist() == [0, 0, 1, 2]
    assert events.at.tolist() == [t * 1000 for t in sorted(t for _, _, t in ROWS)]
    assert events.rows.tolist() == [1, 2, 0, 3]
    assert events.has_time
    assert events.type_names == ("click",)
    assert [column.dtype for column in (events.users, events.items, events.at, events.rows)] == [
        np.int32,
        np.int32,
        np.int64,
        np.int64,
    ]
    assert events.types.dtype == np.int8
    assert events.gains.tolist() == [0.5] * 4, "a click weighs a half"


def test_the_same_data_has_the_same_hash_in_every_format(tmp_path):
    hashes = {load_dataset(make(tmp_path))[0].hash() for make in FORMATS.values()}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    "header",
    [
        "userId,movieId,time",
        "USER,ITEM,DATETIME",
        "reviewerID,asin,unixReviewTime",
        "uid,iid,date",
        "UserID,product_id,ts",
    ],
)
def test_columns_of_other_names_are_recognised(tmp_path, header):
    assert len(load_dataset(write(tmp_path / "log.csv", csv_of(ROWS, header)))[0].events) == 4


@pytest.mark.parametrize("factor", [1, 1000, 1_000_000, 1_000_000_000])
def test_whole_times_are_read_by_their_size(factor):
    times = pl.Series([1_600_000_000 * factor, 1_700_000_000 * factor])
    assert to_millis(times).to_list() == [1_600_000_000_000, 1_700_000_000_000]


def test_one_wild_time_does_not_change_the_unit_of_the_others():
    times = pl.Series([1_600_000_000, 1_600_000_001, 1_600_000_002, 10**18])
    assert to_millis(times).to_list()[:3] == [1_600_000_000_000, 1_600_000_001_000, 1_600_000_002_000]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2020-09-13T12:26:40Z",
            "2020-09-13 12:26:40",
            "2020-09-13T12:26:40",
            "2020-09-13T14:26:40+02:00",
            "1600000000",
        ),
        *(
            "20200913T122640Z",
            "13.09.2020 12:26:40",
            "13/09/2020 12:26:40",
            "09/13/2020 12:26:40",
            "2020/09/13 12:26:40",
        ),
    ],
)
def test_times_in_words_are_read(text):
    assert to_millis(pl.Series([text])).to_list() == [1_600_000_000_000]


@pytest.mark.parametrize(
    "text",
    [
        *("2020年9月13日 12:26:40", "2020年09月13日12時26分40秒", "2020年9月13日 下午12:26:40"),
        *("2020년 9월 13일 12시 26분 40초", "2020. 9. 13. 12:26:40", "2020. 9. 13. 오후 12:26:40"),
        *("13.09.2020, 12:26:40", "13/09/2020, 12:26:40", "9/13/2020, 12:26:40 PM", "13-09-2020 12:26:40 p.m."),
        *("13.09.2020 14:26:40 +02:00", "2020/09/13 21:26:40+0900", "2020-09-13 12:26:40 pm"),
        *("٢٠٢٠-٠٩-١٣ ١٢:٢٦:٤٠", "２０２０/０９/１３ １２:２６:４０", "13/09/2563 12:26:40", "2563-09-13T12:26:40Z"),
    ],
)
def test_times_are_read_as_they_are_written_elsewhere(text):
    assert to_millis(pl.Series([text])).to_list() == [1_600_000_000_000]


def test_compact_dates_are_no_seconds_of_1970():
    for days in (pl.Series([20200913, 20200914]), pl.Series(["20200913", "20200914"]), pl.Series([25630913, 25630914])):
        assert to_millis(days).to_list() == [1_599_955_200_000, 1_600_041_600_000]
    assert to_millis(pl.Series([20200913, 20209999])).to_list() == [20_200_913_000, 20_209_999_000]


def test_years_of_the_buddhist_calendar_have_their_own_leap_days():
    assert to_millis(pl.Series(["29/02/2563", "13/09/2563"])).to_list() == [1_582_934_400_000, 1_599_955_200_000]
    ours = to_millis(pl.Series(["13/09/2563", "13/09/2020"]))
    assert ours[1] == 1_599_955_200_000 and ours[0] > 1.8e13, "where some are ours, all are"


@pytest.mark.parametrize("text", ["2020-09-13T14:26+02:00", "2020-09-13 12:26", "13.09.2020 12:26", "9/13/2020 12:26"])
def test_times_without_seconds_are_read(text):
    assert to_millis(pl.Series([text])).to_list() == [1_599_999_960_000]


def test_years_of_two_digits_are_no_years_of_antiquity():
    assert to_millis(pl.Series(["13.09.20", "9/13/20", "13.09.2020"])).to_list() == [None, None, 1_599_955_200_000]


def test_dates_with_slashes_have_one_order_in_a_column():
    first, second = to_millis(pl.Series(["2020-04-03", "2020-03-04"]))
    assert to_millis(pl.Series(["03/04/2020", "13/09/2020"])).to_list() == [first, 1_599_955_200_000]
    assert to_millis(pl.Series(["03/04/2020", "09/13/2020"])).to_list() == [second, 1_599_955_200_000]
    assert to_millis(pl.Series(["03/04/2020"])).to_list() == [second]
    mixed = to_millis(pl.Series(["03/04/2020", "13/09/2020", "14/09/2020", "09/15/2020"]))
    assert mixed.to_list()[:2] == [first, 1_599_955_200_000] and mixed[3] is None


@pytest.mark.parametrize("text", ["2020-09-13T12:26:40.250Z", "2020-09-13 12:26:40.250", "1600000000.25"])
def test_parts_of_a_second_are_kept(text):
    assert to_millis(pl.Series([text])).to_list() == [1_600_000_000_250]


def test_mixed_forms_of_time_are_each_read_or_null():
    times = to_millis(pl.Series(["2020-09-13", "2020-09-13T12:26:40Z", "2020-09-13 12:26:40+00:00", "someday", None]))
    assert times.to_list() == [1_599_955_200_000, 1_600_000_000_000, 1_600_000_000_000, None, None]


def test_positions_stand_in_for_times_within_each_user(tmp_path):
    rows = [("u1", "a", 0), ("u1", "b", 1), ("u2", "c", 0)]
    dataset, _ = load_dataset(write(tmp_path / "log.csv", csv_of(rows, "user_id,item_id,position")))
    assert not dataset.events.has_time
    assert dataset.events.at.tolist() == [0, 0, 1]


def test_without_times_and_positions_the_order_of_the_rows_counts(tmp_path):
    rows = [("u1", "b"), ("u1", "a"), ("u1", "b")]
    dataset, report = load_dataset(write(tmp_path / "log.csv", csv_of(rows, "user_id,item_id")))
    assert not dataset.events.has_time
    assert dataset.events.rows.tolist() == [0, 1, 2]
    assert report.steps == (), "a repeat without a time is no duplicate"


def test_event_types_weigh_as_the_settings_say(tmp_path):
    rows = [("u1", "a", 1_600_000_000, "view"), ("u1", "a", 1_600_000_001, "Purchase"), ("u1", "a", 1_600_000_002, "")]
    path = write(tmp_path / "log.csv", csv_of(rows, "user_id,item_id,timestamp,event_type"))
    events = load_dataset(path)[0].events
    assert [events.type_names[t] for t in events.types] == ["view", "purchase", "click"]
    assert events.gains.tolist() == pytest.approx([0.3, 1.0, 0.5])


def test_types_that_differ_in_case_are_one(tmp_path):
    types = ["View", "view ", "BUY", "", "buy", "VIEW"]
    rows = [("u1", f"i{num}", 1_600_000_000 + num, kind) for num, kind in enumerate(types)]
    dataset, _ = load_dataset(write(tmp_path / "events.csv", csv_of(rows, "user_id,item_id,timestamp,type")))
    assert dataset.events.type_names == ("view", "buy", "click")
    assert dataset.events.types.tolist() == [0, 0, 1, 2, 1, 0]
    assert describe_dataset(dataset)["events"]["types"] == {"view": 3, "buy": 2, "click": 1}


def test_weights_and_the_default_type_are_named_in_any_case(tmp_path):
    settings = load_settings(None, ["data.type_weights=View=0.25,Like=0.75", "data.default_type=LIKE"], environ={}).data
    rows = [("u1", "i1", 1_600_000_000, "View"), ("u1", "i2", 1_600_000_001, "")]
    path = write(tmp_path / "events.csv", csv_of(rows, "user_id,item_id,timestamp,type"))
    dataset, _ = load_dataset(path, settings=settings)
    assert dataset.events.type_names == ("view", "like")
    assert dataset.events.gains.tolist() == [0.25, 0.75]


def test_ratings_count_alike_or_by_their_size(tmp_path):
    rows = [("u1", "a", 1_600_000_000, 5), ("u1", "b", 1_600_000_001, 2), ("u1", "c", 1_600_000_002, "")]
    path = write(tmp_path / "log.csv", csv_of(rows, "user_id,item_id,timestamp,rating"))
    events = load_dataset(path)[0].events
    assert events.type_names == ("rating",)
    assert events.gains.tolist() == [1, 1, 1]
    assert events.values[:2].tolist() == [5, 2]
    assert np.isnan(events.values[2])
    scaled = load_dataset(path, None, DataSettings(rating_gain="scaled"))[0].events
    assert scaled.gains.tolist() == pytest.approx([1.0, 0.4, 1.0])


def test_ids_keep_their_leading_zeros_and_lose_their_spaces(tmp_path):
    rows = [("007", " a ", 1_600_000_000), ("7", "a", 1_600_000_001)]
    dataset, _ = load_dataset(write(tmp_path / "log.csv", csv_of(rows)))
    assert list(dataset.users) == ["007", "7"]
    assert list(dataset.catalogue.ids) == ["a"]


@pytest.mark.parametrize("blank", ["", "\n"])
def test_the_null_of_databases_is_missing(tmp_path, blank):
    head = "user_id\titem_id\ttimestamp\ttype\n"
    rows = "u1\ti1\t1600000000\t\\N\n" + blank + "\\N\ti1\t1600000001\tview\nu2\t\\N\t1600000002\tview\n"
    dataset, report = load_dataset(write(tmp_path / "events.tsv", head + rows))
    assert list(dataset.users) == ["u1"] and dataset.events.type_names[dataset.events.types[0]] == "click"
    assert (report.count("missing_user"), report.count("missing_item")) == (1, 1)


def test_blank_lines_are_no_rows(tmp_path):
    text = "user_id,item_id,timestamp\nu1,a,1600000000\n\nu2,b,1600000001\n\n\n"
    dataset, report = load_dataset(write(tmp_path / "log.csv", text))
    assert dataset.events.rows.tolist() == [0, 1]
    assert report.rows_in == 2


def test_quoted_fields_hold_commas_quotes_and_line_ends(tmp_path):
    path = write(tmp_path / "items.csv", 'item_id,title\n1,"A, ""quoted"" title"\n2,"two\nlines"\n')
    assert read_delimited(path).frame["title"].to_list() == ['A, "quoted" title', "two\nlines"]


def test_ids_written_as_decimals_throughout_are_whole_numbers(tmp_path):
    events = write(
        tmp_path / "log.csv",
        csv_of([("1.0", "7.0", 1_600_000_003), ("nan", "7.0", 1_600_000_004), ("2.0", "8.0", 1_600_000_005)]),
    )
    dataset, report = load_dataset(events, write(tmp_path / "items.csv", "item_id,title\n7,Seven\n8,Eight\n"))
    assert (list(dataset.users), list(dataset.catalogue.ids)) == (["1", "2"], ["7", "8"])
    assert report.count("unknown_item") == 0


@pytest.mark.parametrize("others", [["1.1", "2.0"], ["2", "a1.0"], ["1.00", "2.0"]])
def test_ids_of_which_some_are_no_whole_numbers_stay_as_they_are(tmp_path, others):
    rows = [("u", item, 1_600_000_000 + at) for at, item in enumerate(["1.0", *others])]
    dataset, _ = load_dataset(write(tmp_path / "log.csv", csv_of(rows)))
    assert list(dataset.catalogue.ids) == ["1.0", *others]


def test_items_keep_their_order_and_unknown_ones_follow(tmp_path):
    events = write(tmp_path / "log.csv", csv_of(ROWS))
    items = write(tmp_path / "items.csv", "item_id,title\ni7,Never\ni1,One\ni2,Two\n")
    dataset, report = load_dataset(events, items)
    assert list(dataset.catalogue.ids) == ["i7", "i1", "i2", "i9"]
    assert dataset.catalogue.titles == ("Never", "One", "Two", "i9")
    assert dataset.events.items.tolist() == [2, 2, 1, 3]
    assert report.count("unknown_item") == 1


def test_item_fields_find_their_kind(tmp_path):
    text = (
        "asin,name,genres,price,imUrl,description,code,weight,blurb\n"
        'a,Heat (1995),Crime|Drama,$9.99,http://x/1.jpg,A film,012,3,"A long run of words that says what it is for"\n'
        'b,Up (2009),(no genres listed),"1,200.00",,,013,4.5,"Another long run of words, to be read as a text by all"\n'
    )
    dataset, _ = load_dataset(None, write(tmp_path / "items.csv", text))
    catalogue = dataset.catalogue
    frame = catalogue.frame
    assert catalogue.titles == ("Heat (1995)", "Up (2009)")
    assert catalogue.categories == (("Crime", "Drama"), ())
    assert frame["price"].to_list() == [9.99, 1200.0]
    assert frame["release_year"].to_list() == [1995, 2009]
    assert frame["image"].to_list() == ["http://x/1.jpg", ""]
    assert catalogue.text_fields == ("description", "blurb")
    assert frame["code"].to_list() == ["012", "013"], "padded codes are no numbers"
    assert frame["weight"].to_list() == [3.0, 4.5]


def test_hashes_and_keys_are_no_texts_however_long(tmp_path):
    rows = "".join(f"i{n},Film {n},{n:064x},{'a' * 39}{n}==\n" for n in range(10))
    dataset, _ = load_dataset(None, write(tmp_path / "items.csv", f"item_id,title,sha256,token\n{rows}"))
    assert dataset.catalogue.text_fields == () and {"sha256", "token"} <= set(dataset.catalogue.frame.columns)
    assert dataset.catalogue.texts()[1] == "Film 1"


@pytest.mark.parametrize("name", ["items.csv", "items.jsonl", "items.parquet"])
def test_categories_that_are_objects_are_their_names(tmp_path, name):
    genres = [
        [{"id": 16, "name": "Animation"}, {"id": 35, "name": "Comedy, dark"}],
        [],
        [{"id": 9, "name": "Kids' films"}],
    ]
    rows = [{"id": str(num), "title": f"T{num}", "genres": row} for num, row in enumerate(genres)]
    if name.endswith("csv"):
        frame = pl.DataFrame([row | {"genres": str(row["genres"])} for row in rows])  # as pandas writes them
        frame.write_csv(tmp_path / name)
    elif name.endswith("jsonl"):
        write(tmp_path / name, "\n".join(map(json.dumps, rows)))
    else:
        pl.DataFrame(rows).write_parquet(tmp_path / name)
    catalogue = load_dataset(None, tmp_path / name)[0].catalogue
    assert catalogue.categories == (("Animation", "Comedy, dark"), (), ("Kids' films",))


def test_categories_written_as_lists_are_their_parts(tmp_path):
    texts = ['["A, B", "C|D"]', "['E']", "[F, 'G']", "H|I", ""]
    frame = pl.DataFrame({"item_id": list("12345"), "categories": texts})
    frame.write_csv(tmp_path / "items.csv")
    catalogue = load_dataset(None, tmp_path / "items.csv")[0].catalogue
    assert catalogue.categories == (("A, B", "C|D"), ("E",), ("F", "G"), ("H", "I"), ())


def test_yes_or_no_columns_are_truth_values(tmp_path):
    path = write(tmp_path / "items.csv", "item_id,title,is_hidden,organic\n1,A,True,true\n2,B,0,False\n3,C,,\n")
    frame = load_dataset(None, path)[0].catalogue.frame
    assert frame["hidden"].to_list() == [True, False, False]
    assert frame["organic"].to_list() == [True, False, None]


def test_fields_that_cannot_be_read_are_named(tmp_path):
    rows = ["1;A;ja;ask us;soon;once", "2;B;1.0;;;1999", "3;C; NO ;2;2024-05-01;n/a", "4;D;NaN;3;;"]
    dataset, report = load_dataset(
        None, write(tmp_path / "items.csv", "\n".join(["item_id;title;hidden;price;date;year", *rows]))
    )
    assert dataset.catalogue.frame["hidden"].to_list() == [False, True, False, False]
    found = {
        step.what.split()[2]: (step.count, step.places[0]) for step in report.steps if step.name == "unreadable_field"
    }
    assert found == {
        "hidden": (1, "items.csv: item 1 (ja)"),
        "price": (1, "items.csv: item 1 (ask us)"),
        "date": (1, "items.csv: item 1 (soon)"),
        "year": (2, "items.csv: item 1 (once)"),
    }


def test_long_numbers_beside_a_float_stay_apart(tmp_path):
    users = [2**53 + 1, 2**53 + 2, 7.0, 1.5]
    rows = [{"user_id": user, "item_id": "a", "timestamp": 1_600_000_000 + n} for n, user in enumerate(users)]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert list(load_dataset(path)[0].users) == ["9007199254740993", "9007199254740994", "7", "1.5"]


def test_a_recbole_folder_gives_events_and_items(tmp_path):
    as_recbole(tmp_path)
    lines = [
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        'i1\tThe "One"\t1995\tAction Drama',
    ]
    write(tmp_path / "log.item", "\n".join(lines))
    dataset, _ = load_dataset(tmp_path)
    assert dataset.catalogue.titles[0] == 'The "One"'
    assert dataset.catalogue.categories[0] == ("Action", "Drama")
    assert dataset.catalogue.frame["release_year"][0] == 1995


def test_files_of_a_folder_that_are_passed_over_are_named(tmp_path):
    for name in ("events.csv", "ratings.csv", "events.jsonl.gz"):
        write(tmp_path / name, csv_of(ROWS))
    write(tmp_path / "items.csv", "item_id,title\ni1,One\n")
    dataset, report = load_dataset(tmp_path)
    assert len(dataset.events) == len(ROWS)
    (step,) = [step for step in report.steps if step.name == "passed_over"]
    assert (step.count, step.places) == (2, ("events.jsonl.gz", "ratings.csv"))
    _, report = load_dataset(tmp_path / "events.csv")
    assert report.count("passed_over") == 0


def test_a_movielens_folder_joins_tags_and_further_texts(tmp_path):
    write(tmp_path / "ratings.csv.gz", "userId,movieId,rating,timestamp\n1,10,4.0,964982703\n1,20,3.5,964982704\n")
    write(tmp_path / "movies.csv", 'movieId,title,genres\n10,"Heat, The (1995)",Crime|Drama\n20,Up (2009),Animation\n')
    write(tmp_path / "tags.csv", "userId,movieId,tag,timestamp\n1,10,slow,1\n2,10,heist,2\n3,10,heist,3\n")
    write(tmp_path / "tmdb_text.csv.gz", "movieId,overview,keywords,title_zh\n20,A house flies.,house|balloon,飛屋\n")
    dataset, _ = load_dataset(tmp_path)
    frame = dataset.catalogue.frame
    assert frame["tags"].to_list() == [["heist", "slow"], None]
    assert "tags" not in dataset.catalogue.text_fields
    assert dataset.catalogue.text_fields == ("overview", "keywords", "title_zh")
    assert dataset.catalogue.texts()[1] == "Up (2009). A house flies.. house, balloon. 飛屋. Animation"


def test_old_amazon_files_are_read(tmp_path):
    review = {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1_400_000_000, "helpful": [1, 2]}
    write(tmp_path / "reviews.json.gz", json.dumps(review) + "\n")
    # The first files were written as Python literals.
    meta = (
        "{'asin': 'B1', 'title': 'Soap', 'price': 3.5, 'imUrl': 'http://x/b1.jpg', 'categories': [['Beauty', 'Bath']]}"
    )
    write(tmp_path / "meta.json", meta + "\n")
    dataset, report = load_dataset(tmp_path)
    assert report.refused == 0
    assert dataset.catalogue.titles == ("Soap",)
    assert dataset.catalogue.categories == (("Beauty", "Bath"),)
    assert dataset.catalogue.frame["image"][0] == "http://x/b1.jpg"
    assert dataset.events.at.tolist() == [1_400_000_000_000]
    assert dataset.events.type_names == ("rating",)


def test_new_amazon_files_are_read(tmp_path):
    review = {"user_id": "A1", "parent_asin": "P1", "asin": "V1", "rating": 4.0, "timestamp": 1_600_000_000_000}
    write(tmp_path / "reviews.jsonl", json.dumps(review) + "\n")
    metas = [
        {
            "parent_asin": "P1",
            "title": "Lamp",
            "description": ["Bright.", "Small."],
            "features": ["LED"],
            "categories": ["Home", "Light"],
            "price": "12.50",
            "images": [{"thumb": "http://x/t.jpg", "large": "http://x/l.jpg"}],
            "details": {"Brand": "X"},
        },
        {"parent_asin": "P2", "title": "Rug", "description": "Soft.", "categories": [], "price": None, "images": []},
    ]
    write(tmp_path / "meta.jsonl.gz", "\n".join(map(json.dumps, metas)))
    catalogue = load_dataset(tmp_path)[0].catalogue
    assert list(catalogue.ids) == ["P1", "P2"]
    assert catalogue.texts() == ["Lamp. Bright. Small.. LED. Home, Light", "Rug. Soft."]
    assert catalogue.frame["price"].to_list() == [12.5, None]
    assert catalogue.frame["image"][0] == "http://x/l.jpg"


def test_a_file_of_the_wrong_kind_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="no item column"):
        load_dataset(None, write(tmp_path / "items.csv", "title,price\nA,3\n"))


def test_progress_names_each_step(tmp_path):
    told: list[str] = []
    load_dataset(write(tmp_path / "log.csv", csv_of(ROWS)), progress=told.append)
    assert told == ["read items", "read events", "number", "clean events", "sort and build"]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_are_read(tmp_path, end):
    path = tmp_path / "log.csv"
    path.write_bytes(csv_of(ROWS).replace("\n", end).encode())
    assert load_dataset(path)[0].events.rows.tolist() == [1, 2, 0, 3]
