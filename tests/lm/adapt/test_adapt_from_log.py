"""Rows from an event log by itself: cut by time, likes by rating, negatives sampled where nothing is rated."""

from __future__ import annotations

import polars as pl
import pytest

from langrec.errors import DataError, SettingsError
from langrec.lm.adapt import from_log
from langrec.lm.adapt.from_log import FromLog
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from small_shop import write_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def rated(tmp_path):
    rows = [f"u{i % 6},i{(i * 5) % 7},{1700000000 + i},{1 + (i * 3) % 5}" for i in range(60)]
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp,rating\n" + "\n".join(rows) + "\n", "utf-8")
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},title {n}\n" for n in range(7)), "utf-8")
    return tmp_path / "events.csv", tmp_path / "items.csv"


def test_an_event_asks_about_its_item_given_what_the_user_did_before(rated):
    log = FromLog(*rated, seed=0)
    events = log.dataset.events
    assert log.rated
    for name in ("train", "valid", "test"):
        assert all(0 < len(row.before) <= 10 for row in log.asked[name])
    firsts = {int(u) for u in events.users}
    assert len(log.asked["train"]) == 48 - len(firsts)
    choices = log.choices("train")
    assert set(choices.labels) == {0.0, 1.0}
    assert len(choices) == len(log.asked["train"])


def test_rows_that_were_not_taken_are_said(rated, monkeypatch):
    monkeypatch.setitem(from_log.MOST, "train", 20)
    log = FromLog(*rated, seed=3)
    assert len(log.asked["train"]) == 20 and len(log.asked["valid"]) < from_log.MOST["valid"]
    assert "Rows of large parts were drawn by seed 3: 20 of 42 train." in log.notes
    n = len(log.pairs("train"))
    assert n < 20 and f"{n} of the 20 train rows are likes after another one: these are the pairs." in log.notes


def test_hard_negatives_that_would_not_be_used_are_refused(rated, tiny, tmp_path):
    with pytest.raises(SettingsError, match="add --set asks=choices"):
        FromLog(*rated, seed=0).choices("train", "bm25")
    assert len(FromLog(*rated, seed=0, asks="choices").choices("train", "bm25"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"history": ["a cat"], "candidate": "a dog", "label": 1}\n', "utf-8")
    settings = AdaptSettings(task="recommend", kind="head", hard_negatives="bm25")
    with pytest.raises(SettingsError, match=r"finds them for the rows of a log \(--events\)"):
        adapt(str(tiny), settings, Files(rows), tmp_path / "out")


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_log_and_a_file_of_rows_are_refused(rated, part):
    files = {"train": None, part: rated[0]}
    with pytest.raises(SettingsError, match=f"--{part} and --events"):
        Files(**files, events=rated[0])


def test_where_nothing_is_rated_each_event_has_a_sampled_negative(shop):
    log = FromLog(*shop, seed=0)
    choices = log.choices("valid")
    assert not log.rated
    assert 0.4 < choices.labels.mean() < 0.6
    events = log.dataset.events
    met = {(log.dataset.users.names[u], log.texts[i]) for u, i in zip(events.users, events.items, strict=True)}
    negative = [(u, c) for u, c, y in zip(choices.users, choices.candidates, choices.labels, strict=True) if not y]
    assert negative
    assert not met & set(negative)
    assert any("drawn evenly" in note for note in log.notes)


def test_the_users_later_events_are_in_no_history(shop):
    log = FromLog(*shop, seed=0)
    events = log.dataset.events
    for row in log.asked["train"]:
        times = {int(i): int(t) for u, i, t in zip(events.users, events.items, events.at, strict=True) if u == row.user}
        assert all(times[item] <= max(times.values()) for item in row.before)


@pytest.mark.parametrize(("task", "metric"), [("recommend", "auc"), ("pairs", "mrr")])
def test_a_log_is_enough_to_adapt_a_model(tiny, shop, tmp_path, task, metric):
    settings = AdaptSettings(task=task, kind="side", epochs=2, precision="fp32", width=16)
    told = adapt(str(tiny), settings, Files(None, events=shop[0], items=shop[1]), tmp_path / "out")
    assert 0 < told["test"][metric] <= 1
    assert told["predictions_of"] == "test"


def test_two_items_that_a_user_liked_one_after_the_other_are_a_pair(rated):
    log = FromLog(*rated, seed=0)
    pairs, events = log.pairs("train", of="items"), log.dataset.events
    place, numbers = (
        {text: num for num, text in enumerate(log.texts)},
        log.dataset.users.numbers(list(log.dataset.users.names)),
    )
    user = dict(zip(log.dataset.users.names, numbers.tolist(), strict=True))
    liked = {
        (int(u), int(i)) for u, i, value in zip(events.users, events.items, events.values, strict=True) if value > 3
    }
    assert len(pairs) > 10
    for who, anchor, positive in zip(pairs.users, pairs.anchors, pairs.positives, strict=True):
        assert anchor != positive
        assert {(user[who], place[anchor]), (user[who], place[positive])} <= liked
    again, other = (
        FromLog(*rated, seed=0).pairs("train", of="items"),
        FromLog(*rated, seed=1).pairs("train", of="items"),
    )
    assert again.anchors == pairs.anchors != other.anchors
    assert not set(log.pairs("train").anchors) <= set(log.texts), "histories are read by titles, several in one text"


def test_pairs_of_items_have_hard_negatives_too(shop):
    pairs = FromLog(*shop, seed=0).pairs("train", "bm25", "items")
    assert sum(bool(text) for text in pairs.negatives) > len(pairs) / 2
    given = zip(pairs.anchors, pairs.positives, pairs.negatives, strict=True)
    assert not any(negative in (anchor, positive) for anchor, positive, negative in given)


def test_the_command_makes_pairs_of_items(langrec_, tiny, shop, tmp_path):
    words = [
        "adapt",
        "--task",
        "pairs",
        "--pairs",
        "items",
        "--model",
        tiny,
        "--kind",
        "side",
        "--out",
        tmp_path / "out",
    ]
    told = [*words, "--events", shop[0], "--items", shop[1], "--set", "epochs=1", "--set", "precision=fp32"]
    status, _, error = langrec_(*told, "--set", "width=16")
    assert status == 0, error
    lines = pl.read_parquet(tmp_path / "out" / "predictions.parquet")
    texts = set(FromLog(*shop, seed=0).texts)
    assert len(lines) and set(lines["label"]) | set(lines["predicted"]) <= texts
    status, _, error = langrec_(*words, "--train", shop[0])
    assert status == 2 and "adapt.pairs items: makes its pairs from a log; give one with --events" in error


def test_a_log_in_which_no_like_follows_another_makes_no_pairs(tmp_path):
    path = tmp_path / "events.csv"
    rows = [f"u{i % 9},i{i},{1700000000 + i},{1 if i < 80 else 5}" for i in range(90)]
    path.write_text("user_id,item_id,timestamp,rating\n" + "\n".join(rows) + "\n", "utf-8")
    with pytest.raises(DataError, match="no like of the train part has another one of the same user before it"):
        FromLog(path, None, 0).pairs("train", of="items")


def test_a_log_of_lone_events_is_refused(tmp_path):
    path = tmp_path / "events.csv"
    rows = "".join(f"u{i},i{i % 3},{1700000000 + i}\n" for i in range(30))
    path.write_text("user_id,item_id,timestamp\n" + rows, "utf-8")
    with pytest.raises(DataError, match="no event of its train part"):
        FromLog(path, None, 0)


def test_choices_are_asked_about_in_place_of_ratings(rated):
    log = FromLog(*rated, seed=0, asks="choices")
    assert not log.rated and all(row.label == 1.0 and all(row.liked) for row in log.asked["train"])


def test_a_hard_negative_is_what_a_simple_scorer_would_show_and_the_user_has_not_met(shop):
    log = FromLog(*shop, seed=0)
    rows, plain = log.choices("train", hard="ease"), log.choices("train")
    n = len(log.asked["train"])
    assert rows.candidates[: len(plain)] == plain.candidates and len(rows) > len(plain)
    assert rows.labels[:n].all() and not rows.labels[n:].any()
    met = set(zip(log.train.users.tolist(), log.train.items.tolist(), strict=True))
    place = {text: num for num, text in enumerate(log.texts)}
    users = log.dataset.users.numbers(rows.users[len(plain) :].tolist())
    for user, text in zip(users.tolist(), rows.candidates[len(plain) :], strict=True):
        assert (user, place[text]) not in met


def test_a_history_is_read_by_its_titles_where_that_is_asked_for(shop):
    log = FromLog(*shop, seed=0, past="titles")
    rows, titles = log.choices("train"), set(log.dataset.catalogue.titles)
    assert all(set(row) <= titles for row in rows.liked) and not set(rows.candidates) <= titles
