"""The ranker's features in a world small enough to work them out by hand."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import worlds
from langrec.data.dataset import Dataset
from langrec.data.events import DAY_MS
from langrec.data.ids import Ids
from langrec.errors import BundleError
from langrec.ranking.facts import Facts
from langrec.ranking.features import candidate_features, feature_names
from langrec.ranking.mix import log_features
from langrec.types import Item
from worlds import START

SIGNALS = ("transitions", "transitions@1", "popular_7d", "popular_30d")


def dataset():
    items = worlds.catalogue(
        ["ship", "bread", "queen", "rocket", "violin", "glacier"],
        categories=[["a", "b"], ["a"], ["b"], ["c"], [], ["a", "c"]],
        price=[10.0, 20.0, None, 40.0, 50.0, 60.0],
        at=[START - 30 * DAY_MS, None, None, None, None, None],
        brand=["X", "x", "y", None, "y", "z"],
        shop_id=[1, 2, 3, 4, 5, 6],
        on_sale=[True, False, False, False, False, None],
        constant=[1, 1, 1, 1, 1, 1],
    )
    log = worlds.events(
        [(0, 0, START), (0, 1, START + DAY_MS), (1, 1, START + 2 * DAY_MS), (1, 2, START + 3 * DAY_MS, 0.0)]
    )
    profiles = pl.DataFrame(
        {"user_id": ["u0", "u1"], "age": [30, None], "gender": ["m", "f"], "brand": ["x", None], "note": [["q"], None]}
    )
    return Dataset(Ids(["u0", "u1"]), items, log, profiles)


DATA = dataset()
FACTS = Facts.of(DATA, DATA.events)
# Query 0: user 0 with 0, 3, 0; query 1: nobody with nothing; query 2: user 1 with 4, which has no category.
BLOCK = worlds.queries([[0, 3, 0], [], [4]], users=[0, -1, 1], at=[START + 10 * DAY_MS] * 3)
CANDIDATES = [np.array([1, 0, 5], np.int32), np.array([2], np.int32), np.array([3, 4], np.int32)]


def logs(n=6, q=3, seed=0):
    raw = np.random.default_rng(seed).random((len(SIGNALS), q, n), dtype=np.float32)
    raw[0, 0] = [1, 3, 0, 0, 0, 3][:n] + [0] * (n - 6)
    raw[0, 1:2] = np.nan
    return log_features(raw)


def vectors():
    """Unit rows along three axes; item 4 has no text, item 5 no row at all."""
    rows = np.zeros((5, 3), dtype=np.float32)
    rows[0, 0] = rows[1, 0] = rows[2, 1] = rows[3, 2] = 1.0
    return rows


def made(facts=FACTS, block=BLOCK, candidates=CANDIDATES, text=True, signals=SIGNALS, scores=None):
    scores = logs(len(facts), len(block)) if scores is None else scores
    mix = scores.sum(axis=0)
    x = candidate_features(facts, signals, scores, mix, block, candidates, vectors() if text else None)
    names = feature_names(facts, signals, text)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert x.shape == (sum(len(nums) for nums in candidates), len(names))
    return dict(zip(names, x.T, strict=True))


X = made()


def assert_near(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_facts_count_events_that_say_something():
    assert FACTS.counts.tolist() == [1, 2, 0, 0, 0, 0]
    assert FACTS.last.tolist() == [START, START + 2 * DAY_MS, -1, -1, -1, -1]


def test_an_items_own_time_goes_before_its_first_event():
    assert FACTS.first.tolist() == [START - 30 * DAY_MS, START + DAY_MS, -1, -1, -1, -1]


def test_item_fields_are_numbers_that_differ_and_are_no_ids():
    assert FACTS.item_fields == ("price", "on_sale")
    assert_near(FACTS.item_values[:, 0], [10, 20, np.nan, 40, 50, 60])
    assert_near(FACTS.item_values[:, 1], [1, 0, 0, 0, 0, np.nan])


def test_user_fields_are_numbers_or_places_of_words():
    assert FACTS.user_fields == ("gender",), "one known age says nothing, a list is no value"
    assert_near(FACTS.user_values[:, 0], [1, 0])


def test_text_fields_of_very_many_values_are_left_out():
    ids = [f"u{num}" for num in range(60)]
    profiles = pl.DataFrame({"user_id": ids, "zip": ids, "age": range(60)})
    facts = Facts.of(Dataset(Ids(ids), DATA.catalogue, worlds.events([]), profiles), worlds.events([]))
    assert facts.user_fields == ("age",)


def test_names_are_unique_and_follow_what_is_known():
    names = feature_names(FACTS, SIGNALS, text=True)
    assert len(set(names)) == len(names)
    assert not any(name.startswith("text_") for name in feature_names(FACTS, SIGNALS, text=False))
    assert "trend" not in feature_names(FACTS, ("transitions",), text=False)
    with_new = made(
        signals=(*SIGNALS, "bm25@new"), scores=np.concatenate([logs(len(FACTS), len(BLOCK))] * 2)[: len(SIGNALS) + 1]
    )
    assert list(with_new) == list(X), "a signal for new items alone has no column of its own"
    assert "rank:transitions@1" not in names


def test_every_column_is_explained_in_its_order():
    page = (Path(__file__).parents[2] / "docs" / "features.md").read_text("utf-8")
    written = [re.sub("<.*", "", name) for name in re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)]
    kinds = dict.fromkeys(re.sub("(?<=:).*", "", name) for name in feature_names(FACTS, SIGNALS, text=True))
    assert list(kinds) == written


def test_scores_are_those_of_the_signals():
    features = logs()
    for s, name in enumerate(SIGNALS):
        wanted = np.concatenate([features[s, q, nums] for q, nums in enumerate(CANDIDATES)])
        np.testing.assert_array_equal(X[f"score:{name}"], wanted)


def test_equal_scores_share_the_later_rank_and_silence_is_last():
    # Query 0 scores its candidates 1, 0, 5 as 3, 1, 3.
    assert_near(X["rank:transitions"][:3], np.log2(1 + np.array([2, 3, 2])))
    silent = made(scores=np.zeros_like(logs()))
    assert_near(silent["rank:transitions"][:3], np.log2([4, 4, 4]))


def test_the_mix_is_told_with_its_rank_and_its_gap_to_the_best():
    mix = logs().sum(axis=0)
    own = mix[0, CANDIDATES[0]]
    assert_near(X["mix"][:3], own)
    assert_near(X["mix_gap"][:3], own - own.max())
    assert_near(X["mix_rank"][:3], np.log2(1 + (own[:, None] <= own[None, :]).sum(axis=1)))


def test_the_trend_is_the_weeks_popularity_less_the_months():
    assert_near(X["trend"], X["score:popular_7d"] - X["score:popular_30d"])


def test_counts_and_ages_come_from_training_events():
    assert_near(X["count"], np.log1p([2, 1, 0, 0, 0, 0]))
    assert X["unseen"].tolist() == [0, 0, 1, 1, 1, 1]
    assert_near(X["age_days"], [np.log1p(9), np.log1p(40), *[np.nan] * 4])
    assert_near(X["since_last"], [np.log1p(8), np.log1p(10), *[np.nan] * 4])


def test_an_event_after_the_question_was_just_now():
    early = dataclasses.replace(BLOCK, at=np.full(3, START, dtype=np.int64))
    assert made(block=early)["since_last"][0] == 0


def test_texts_are_compared_with_the_last_the_mean_and_the_nearest():
    # History 0, 3, 0 along the axes x, z, x; candidates 1 along x, 0 along x, 5 without a row.
    weight = np.exp(-0.1 * np.array([2, 1, 0]))
    mean = np.array([weight[0] + weight[2], weight[1]])
    assert_near(X["text_last"][:3], [1, 1, np.nan])
    assert_near(X["text_mean"][:3], [mean[0] / np.linalg.norm(mean)] * 2 + [np.nan])
    assert_near(X["text_max"][:3], [1, 1, np.nan])
    assert np.isnan(X["text_max"][3:]).all(), "no history, and a history without text"


def test_a_text_far_back_counts_in_the_mean_alone():
    block = worlds.queries([[2, *[0] * 10]], at=[START + 20 * DAY_MS])
    x = made(block=block, candidates=[np.array([2], np.int32)])
    assert x["text_max"][0] == 0
    assert x["text_mean"][0] > 0.01


def test_a_last_item_without_text_leaves_the_last_unknown():
    block = worlds.queries([[0, 4]], at=[START + 20 * DAY_MS])
    x = made(block=block, candidates=[np.array([1], np.int32)])
    assert np.isnan(x["text_last"][0])
    assert_near(x["text_mean"], [1])


def test_category_share_is_the_decayed_share_of_the_history():
    weight = np.exp(-0.1 * np.array([2, 1, 0]))
    in_a = (weight[0] + weight[2]) / weight.sum()
    in_c = weight[1] / weight.sum()
    # Candidate 1 lies in a, 0 in a and b, 5 in a and c.
    assert_near(X["category_share"][:3], [in_a, in_a, (in_a + in_c) / 2])
    assert np.isnan(X["category_share"][3:]).all(), "no history, a history without categories, an item without"


def test_category_last_is_what_both_share_of_what_either_has():
    # The last item lies in a and b.
    assert_near(X["category_last"][:3], [1 / 2, 1, 1 / 3])
    assert np.isnan(X["category_last"][3:]).all()


def test_repeats_say_how_often_and_how_long_ago():
    assert X["repeats"].tolist() == [0, 2, 0, 0, 0, 1]
    assert_near(X["repeat_steps"], [np.nan, 0, np.nan, np.nan, np.nan, 0])
    assert_near(X["repeat_days"], [np.nan, np.log1p(8), np.nan, np.nan, np.nan, np.log1p(10)])


def test_the_history_tells_its_length_span_and_gap():
    assert_near(X["history"], np.log1p([3, 3, 3, 0, 1, 1]))
    assert_near(X["gap"], [*[np.log1p(8 * 86_400)] * 3, np.nan, *[np.log1p(10 * 86_400)] * 2])
    assert_near(X["span"], [*[np.log1p(2)] * 3, np.nan, 0, 0])


def test_hour_and_weekday_are_those_of_the_question_in_utc():
    # 2023-11-14 22:13:20 was a Tuesday.
    block = worlds.queries([[]], at=[START])
    x = made(block=block, candidates=[np.array([0], np.int32)])
    assert (x["hour"][0], x["weekday"][0]) == (22, 1)


def test_taste_is_the_usual_popularity_of_the_history():
    usual = (2 * np.log1p(1) + np.log1p(0)) / 3
    assert_near(X["taste_count"], [*[usual] * 3, np.nan, 0, 0])
    assert_near(X["taste_gap"][:3], np.log1p([2, 1, 0]) - usual)
    assert_near(X["taste_new"], [*[1 / 3] * 3, np.nan, 1, 1])


def test_columns_are_made_in_the_order_that_is_wanted():
    scores = logs()
    wanted = ("unseen", "score:transitions", "count")
    x = candidate_features(FACTS, SIGNALS, scores, scores.sum(axis=0), BLOCK, CANDIDATES, None, wanted)
    assert_near(x, np.stack([X[name] for name in wanted], axis=1))


def test_fields_are_told_with_their_distance_from_the_history():
    assert_near(X["field:price"], [20, 10, 60, np.nan, 40, 50])
    assert_near(X["field_gap:price"], [0, -10, 40, np.nan, -10, 0])


def test_user_fields_and_matches_need_a_known_user():
    assert_near(X["user:gender"], [1, 1, 1, np.nan, 0, 0])
    # User 0 wants x: item 1 has x, 0 has X, 5 has z; user 1 has told no brand.
    assert_near(X["match:brand"], [1, 1, 0, np.nan, np.nan, np.nan])


def test_a_log_without_times_says_nothing_of_times():
    facts = Facts.of(DATA, dataclasses.replace(DATA.events, has_time=False))
    x = made(facts)
    for name in ("age_days", "since_last", "repeat_days", "gap", "span", "hour", "weekday"):
        assert np.isnan(x[name]).all(), name
    assert x["repeats"][1] == 2


def test_a_question_alone_gets_the_same_numbers():
    rng = np.random.default_rng(3)
    world = worlds.planted_topics(users=40, items=64)
    facts = Facts.of(world.dataset, world.dataset.events)
    block = worlds.queries([*world.histories(), [], [63] * 120])
    scores = log_features(rng.random((4, len(block), 64), dtype=np.float32))
    mix = scores.sum(axis=0)
    candidates = [rng.permutation(64)[: rng.integers(1, 50)].astype(np.int32) for _ in range(len(block))]
    rows = world.topic_vectors(dim=37)
    whole = candidate_features(facts, SIGNALS, scores, mix, block, candidates, rows)
    alone = [
        candidate_features(
            facts, SIGNALS, scores[:, i : i + 1], mix[i : i + 1], block.slice(i, i + 1), [candidates[i]], rows
        )
        for i in range(len(block))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(alone))


def test_a_question_without_candidates_takes_no_row():
    empty = [CANDIDATES[0], np.zeros(0, np.int32), CANDIDATES[2]]
    x = made(candidates=empty)
    for name, column in x.items():
        np.testing.assert_array_equal(column, np.delete(X[name], 3), err_msg=name)
    assert len(made(candidates=[np.zeros(0, np.int32)] * 3)["mix"]) == 0


def test_a_data_set_without_categories_users_or_fields_has_fewer_columns():
    world = worlds.cycle()
    facts = Facts.of(world.dataset, world.dataset.events)
    block = worlds.queries([[0, 1]])
    ones = np.ones((1, 1, 12), np.float32)
    x = made(facts, block, [np.array([2], np.int32)], text=False, signals=("a",), scores=ones)
    assert not [name for name in x if name.startswith(("category", "field", "user", "match", "text"))]


def test_new_items_are_known_by_what_they_say():
    new = Item("i6", categories=("c", "never seen", "a"), at=START + 5 * DAY_MS, fields={"price": 15, "brand": "x"})
    changed = Item("i0", categories=("c",), fields={"price": "dear"})
    facts = FACTS.with_items(np.array([6, 0], np.int32), [new, changed], 8)
    assert len(facts) == 8
    whole = facts.settled()
    assert whole.counts.tolist() == [1, 2, 0, 0, 0, 0, 0, 0]
    assert whole.first.tolist() == [*FACTS.first, START + 5 * DAY_MS, -1]
    cats = [whole.category_nums[whole.category_starts[i] : whole.category_starts[i + 1]].tolist() for i in range(8)]
    assert cats == [[2], [0], [1], [2], [], [0, 2], [0, 2], []]
    x = made(facts, candidates=[np.array([6, 0, 7], np.int32), *CANDIDATES[1:]])
    assert_near(x["age_days"][:3], [np.log1p(5), np.log1p(40), np.nan])
    assert_near(x["field:price"][:3], [15, np.nan, np.nan])
    assert_near(x["match:brand"][:3], [1, np.nan, np.nan])
    assert x["unseen"][:3].tolist() == [1, 0, 1]
    settled = made(whole, candidates=[np.array([6, 0, 7], np.int32), *CANDIDATES[1:]])
    for name, column in x.items():
        np.testing.assert_array_equal(settled[name], column, err_msg=name)
    again = facts.with_items(np.array([7, 6], np.int32), [changed, new], 8).settled()
    assert again.category_nums[again.category_starts[6] :].tolist() == [0, 2, 2]
    assert len(FACTS) == 6, "the facts before are as they were"
    assert FACTS.category_nums.tolist() == [0, 1, 0, 1, 2, 0, 2]


def test_numbers_alone_widen_the_facts():
    facts = FACTS.with_items(np.array([6, 7], np.int32), None, 8)
    assert len(facts) == 8
    facts = facts.settled()
    assert facts.category_starts.tolist() == [*FACTS.category_starts, 7, 7]
    np.testing.assert_array_equal(facts.item_values[:6], FACTS.item_values)


def test_history_items_beyond_the_facts_keep_their_step():
    block = worlds.queries([[0, 9]], at=[START + 10 * DAY_MS])
    x = made(block=block, candidates=[np.array([0], np.int32)])
    assert_near(x["repeat_steps"], np.log1p([1]))
    assert_near(x["history"], np.log1p([2]))
    assert np.isnan(x["category_last"][0])


def test_facts_are_kept_in_a_folder(tmp_path):
    FACTS.save(tmp_path / "facts")
    back = Facts.load(tmp_path / "facts")
    for name, column in made(back).items():
        np.testing.assert_array_equal(column, X[name], err_msg=name)
    new = Item("i6", categories=("c",), fields={"brand": "x"})
    assert back.with_items(np.array([6], np.int32), [new], 7).settled().item_codes[6].tolist() == [0]


@pytest.mark.parametrize("name", ["facts.npz", "facts.json"])
def test_damaged_facts_are_refused(tmp_path, name):
    FACTS.save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    with pytest.raises(BundleError, match="facts of items and users"):
        Facts.load(tmp_path)


def test_facts_of_different_lengths_are_refused(tmp_path):
    dataclasses.replace(FACTS, last=FACTS.last[:3]).save(tmp_path)
    with pytest.raises(BundleError, match="lengths"):
        Facts.load(tmp_path)
