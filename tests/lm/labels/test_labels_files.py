"""What goes out to be labelled comes back whole: nothing is lost, nothing is overwritten, every conflict is named."""

from __future__ import annotations

import json
import os
import time
from functools import partial

import polars as pl
import pytest

from langrec.data.cache import LEFT_SECONDS
from langrec.errors import DataError
from langrec.lm.adapt.examples import read_columns, read_texts
from langrec.lm.labels.files import merge, read_pool, write

GROUPS = {
    "animals": "cat cats dog dogs kitten bird fish",
    "films": "film movie story comedy drama love",
}


def rows_file(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


@pytest.fixture
def labelled(tmp_path):
    return rows_file(tmp_path / "labelled.csv", "text,label,by", "one,a,anna", "two,b,", "one,a,ben")


def test_the_pool_leaves_out_what_is_labelled_and_what_comes_twice(tmp_path, labelled):
    pool = rows_file(tmp_path / "pool.csv", "id,text", "1,two", "2,three", "3,four", "4,three")
    found = read_pool(pool, read_texts(labelled))
    assert found.texts.texts == ("three", "four") and found.texts.rows.tolist() == [1, 2] and found.left_out == 2


def test_answers_come_after_the_old_rows_which_stay_as_they_are(tmp_path, labelled):
    answers = rows_file(tmp_path / "next.csv", "row,text,why,label", "1,three,far,b", "2,four,far,", "3,five,far, a ")
    found = merge(labelled, [answers])
    assert found.frame["text"].to_list() == ["one", "two", "one", "three", "five"]
    assert found.frame["label"].to_list() == ["a", "b", "a", "b", "a"]
    assert found.frame["by"].to_list()[0] == "anna" and found.frame["by"].to_list()[3:] == [None, None]
    assert (found.added, found.known, found.open, found.conflicts, found.new_labels) == (2, 0, 1, (), {})


def test_a_label_that_differs_from_the_old_one_is_a_conflict_and_the_old_one_stays(tmp_path, labelled):
    answers = rows_file(tmp_path / "next.csv", "text,label", "two,a", "one,a")
    found = merge(labelled, [answers])
    assert found.frame.height == 3 and found.known == 1
    (conflict,) = found.conflicts
    assert (conflict.text, conflict.label, conflict.other) == ("two", "a", "b")
    assert conflict.where.endswith("next.csv row 1") and conflict.other_where.endswith("labelled.csv row 2")


def test_two_people_who_disagree_are_a_conflict_and_two_who_agree_are_one_label(tmp_path):
    anna = rows_file(tmp_path / "anna.csv", "text,label", "three,a", "four,b")
    ben = rows_file(tmp_path / "ben.csv", "text,label", "three,b", "four,b")
    found = merge(None, [anna, ben])
    assert found.frame.rows() == [("four", "b")] and (found.added, found.known) == (1, 1)
    assert [one.text for one in found.conflicts] == ["three"]


def test_a_row_whose_text_is_not_the_pools_is_a_conflict(tmp_path):
    pool = rows_file(tmp_path / "pool.csv", "text", "one", "two")
    answers = rows_file(tmp_path / "next.csv", "row,text,label", "0,one,a", "0,two,b", "9,three,c")
    found = merge(None, [answers], pool)
    assert found.added == 1 and [one.text for one in found.conflicts] == ["two", "three"]
    with pytest.raises(DataError, match="no column row"):
        merge(None, [rows_file(tmp_path / "bare.csv", "text,label", "one,a")], pool)


def test_a_label_that_is_new_is_named_with_the_one_that_it_resembles(tmp_path):
    labelled = rows_file(tmp_path / "labelled.csv", "text,label", "one,refund", "two,card")
    answers = rows_file(tmp_path / "next.csv", "text,label", "three,refnud", "four,zebra")
    assert merge(labelled, [answers]).new_labels == {"refnud": "refund", "zebra": ""}


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_what_was_merged_is_read_again(tmp_path, labelled, end):
    answers = rows_file(tmp_path / "next.csv", "text,label", '"three, or ""so""",b')
    out = tmp_path / f"merged.{end}"
    write(merge(labelled, [answers]).frame, out)
    assert read_texts(out).texts[-1] == 'three, or "so"' and read_texts(out).labels == ("a", "b", "a", "b")
    assert not list(tmp_path.glob(".*half"))


def test_labels_that_are_numbers_are_merged_as_those_of_training_are_read(tmp_path):
    labelled = rows_file(tmp_path / "labelled.csv", "text,label", "one,1", "two,2")
    pl.DataFrame({"text": ["one", "three", "four"], "label": [1.0, 2.0, None]}).write_parquet(tmp_path / "a.parquet")
    found = merge(labelled, [tmp_path / "a.parquet"])
    assert found.frame["label"].to_list() == ["1", "2", "2"]
    assert not found.conflicts and not found.new_labels


def test_a_file_of_another_kind_is_refused_and_lists_do_not_fit_into_csv(tmp_path):
    with pytest.raises(DataError, match=r"must end in \.csv"):
        write(pl.DataFrame({"a": [1]}), tmp_path / "out.xlsx")
    with pytest.raises(DataError, match="CSV cannot hold the lists of column a"):
        write(pl.DataFrame({"a": [[1]]}), tmp_path / "out.csv")


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def langrec_(langrec_, monkeypatch):
    """Runs `langrec label …` with the encoder that needs no weights; gives its status, output and error."""
    monkeypatch.setenv("LANGREC_ENCODER_NAME", "hashing")
    return partial(langrec_, "label")


@pytest.fixture
def texts(tmp_path):
    found = [(f"the {a} and the {b}", name) for name, words in GROUPS.items() for a in words.split() for b in "xyz"]
    rows_file(tmp_path / "pool.csv", "text", *(text for text, _ in found))
    return dict(found)


def test_labels_go_out_and_come_back_until_nothing_is_open(langrec_, tmp_path, texts):
    pytest.importorskip("torch")
    pool, nxt, out = tmp_path / "pool.csv", tmp_path / "next.csv", tmp_path / "labelled.csv"
    status, said, _ = langrec_("next", "--pool", pool, "--count", 8, "--out", nxt)
    assert status == 0 and "coreset chose instead" in said
    for step in range(2):
        frame = pl.read_csv(nxt)
        assert frame.columns == ["row", "text", "why", "label"] and frame.height == 8
        frame.with_columns(label=pl.Series([texts[text] for text in frame["text"]])).write_csv(nxt)
        old = ["--labelled", out] if out.exists() else []
        status, said, _ = langrec_("merge", *old, "--answers", nxt, "--pool", pool, "--out", out, "--json")
        assert status == 0 and json.loads(said)["added"] == 8 and json.loads(said)["rows"] == 8 * (step + 1)
        status, said, _ = langrec_("next", "--pool", pool, "--labelled", out, "--count", 8, "--out", nxt, "--json")
        assert json.loads(said)["by"] == "badge"
    assert not set(pl.read_csv(nxt)["text"]) & set(pl.read_csv(out)["text"])


def test_conflicts_are_said_and_kept(langrec_, tmp_path):
    old = rows_file(tmp_path / "old.csv", "text,label", "one,a")
    new = rows_file(tmp_path / "new.csv", "text,label", "one,b")
    status, said, error = langrec_("merge", "--labelled", old, "--answers", new, "--out", old)
    assert status == 0 and "0 labels added" in said and "conflict: " in error and "says b" in error
    assert pl.read_csv(tmp_path / "old.csv.conflicts.csv")["label"].to_list() == ["b"]
    assert pl.read_csv(old).rows() == [("one", "a")]


def test_what_another_merge_adds_at_the_same_moment_is_kept(langrec_, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    old, filled = tmp_path / "labelled.csv", tmp_path / "next.csv"
    rows_file(old, "text,label", "one,a")
    rows_file(filled, "text,label", "two,b")

    def after_another(*_):
        rows_file(old, "text,label", "one,a", "three,a")

    monkeypatch.setattr(fcntl, "flock", after_another)
    assert langrec_("merge", "--labelled", old, "--answers", filled, "--out", old)[0] == 0
    assert pl.read_csv(old).rows() == [("one", "a"), ("three", "a"), ("two", "b")]


def test_what_a_killed_merge_had_half_written_goes_with_a_later_one(langrec_, tmp_path):
    rows_file(tmp_path / "next.csv", "text,label", "two,b")
    for name, age in ((".labelled.csv.1.half", 0), (".labelled.csv.2.half", LEFT_SECONDS + 60), (".other.3.half", 1e6)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert langrec_("merge", "--answers", tmp_path / "next.csv", "--out", tmp_path / "labelled.csv")[0] == 0
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".labelled.csv.1.half", ".other.3.half"]


def test_labels_are_not_written_over_by_a_command_that_was_not_told_of_them(langrec_, tmp_path, texts):
    pytest.importorskip("torch")
    pool, nxt, out = tmp_path / "pool.csv", tmp_path / "next.csv", tmp_path / "labelled.csv"
    old = [f"{text},{label}" for text, label in list(texts.items())[::4]]
    rows_file(out, "text,label", *old)
    status, said, _ = langrec_("next", "--pool", pool, "--labelled", out, "--count", 2, "--out", nxt)
    assert status == 0 and f"--labelled {out} --answers {nxt} --out {out}" in said
    filled = pl.read_csv(nxt).with_columns(label=pl.lit("animals"))
    filled.write_csv(nxt)
    status, _, error = langrec_("next", "--pool", pool, "--labelled", out, "--out", nxt)
    assert status == 2 and "holds 2 labels that would be lost; merge them first" in error
    status, _, error = langrec_("merge", "--answers", nxt, "--out", out)
    assert status == 2 and f"holds {len(old)} labels that would be lost; give --labelled {out}" in error
    for verb in (["spread", "--pool", pool], ["check"]):
        status, _, error = langrec_(*verb, "--labelled", out, "--out", out)
        assert status == 2 and "is a file that this command reads" in error
    assert pl.read_csv(nxt).equals(filled) and pl.read_csv(out).height == len(old)
    assert langrec_("merge", "--answers", nxt, "--labelled", out, "--out", out)[0] == 0
    assert langrec_("merge", "--answers", nxt, "--labelled", out, "--out", out)[0] == 0
    assert langrec_("next", "--pool", pool, "--labelled", out, "--out", nxt)[0] == 0


def test_a_turned_label_is_flagged(langrec_, tmp_path, texts):
    wrong = next(iter(texts))
    rows = [f"{text},{'films' if text == wrong else label}" for text, label in texts.items()]
    labelled = rows_file(tmp_path / "labelled.csv", "text,label", *rows)
    status, _, _ = langrec_("check", "--labelled", labelled, "--neighbours", 3, "--out", tmp_path / "flags.csv")
    flagged = pl.read_csv(tmp_path / "flags.csv")
    assert status == 0 and wrong in flagged["text"].to_list()
    assert flagged.filter(pl.col("text") == wrong)["suggested"].to_list() == ["animals"]


def test_sure_labels_are_written_and_the_gain_is_said(langrec_, tmp_path, texts):
    pytest.importorskip("torch")
    labelled = rows_file(tmp_path / "labelled.csv", "text,label", *(f"{t},{texts[t]}" for t in list(texts)[::3]))
    words = ["spread", "--pool", tmp_path / "pool.csv", "--labelled", labelled, "--out", tmp_path / "spread.parquet"]
    status, said, _ = langrec_(*words, "--confidence", 0.55)
    assert status == 0 and "Too few labelled texts to judge the gain" in said
    found = pl.read_parquet(tmp_path / "spread.parquet")
    assert found.height and (found["label"] == pl.Series([texts[text] for text in found["text"]])).mean() > 0.8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["next", "--pool", "absent.csv"], "absent.csv"),
        (["next", "--pool", "pool.csv", "--text", "why"], "is the name of another column"),
        (["next", "--pool", "pool.csv", "--by", "guess"], "unknown (known: random"),
        (["check", "--labelled", "pool.csv"], "has no column label"),
    ],
)
def test_what_cannot_be_used_is_one_line(langrec_, tmp_path, texts, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    status, _, error = langrec_(*words)
    assert status == 2 and said in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("back", ["utf-8-sig", "gb18030"])
def test_a_spreadsheet_reads_chinese_and_what_it_saves_is_read_again(tmp_path, back):
    texts = ["发票抬头写错了怎么办", "快递什么时候到深圳", "绿茶用多少度的水冲泡"]
    write(pl.DataFrame({"text": texts, "label": ["发票", "物流", "冲泡"]}), tmp_path / "next.csv")
    sheet = (tmp_path / "next.csv").read_bytes()
    assert sheet.startswith(b"\xef\xbb\xbf")
    (tmp_path / "filled.csv").write_text(sheet.decode("utf-8-sig"), back, newline="")
    assert list(read_pool(tmp_path / "filled.csv", None).texts.texts) == texts
    write(pl.DataFrame({"text": ["plain"], "label": ["a"]}), tmp_path / "plain.csv")
    assert (tmp_path / "plain.csv").read_bytes() == b"text,label\nplain,a\n"


def test_columns_are_found_in_a_file_of_another_encoding(tmp_path):
    """Also the delimiter, which the names of the wanted columns tell."""
    path = tmp_path / "labels.csv"
    rows = ["문장;분류", "녹차 선물 세트, 무료 배송;상품", "환불은 언제 되나요;환불"]
    path.write_text("\n".join(rows) + "\n", "cp949")
    found = read_columns(path, ["문장", "분류"])
    assert found.select("문장", "분류").rows() == [
        ("녹차 선물 세트, 무료 배송", "상품"),
        ("환불은 언제 되나요", "환불"),
    ]
