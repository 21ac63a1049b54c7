"""Shares of history items and the short reason, from numbers made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import worlds
from langrec.data.fitting import FitData
from langrec.explain.additive import Reason, history_shares, reason_of
from langrec.ranking.fusion import Fusion, Signal
from langrec.ranking.mix import Mix
from langrec.retrieval.itemknn import ItemKNN
from langrec.retrieval.popular import Popular
from langrec.retrieval.transitions import Transitions
from langrec.settings import RetrievalSettings

IDS = ("a", "b", "c")


def shares(**by_signal):
    return {name: np.array(values, dtype=np.float32) for name, values in by_signal.items()}


def test_nothing_that_speaks_for_an_item_is_the_fallback():
    assert reason_of({}, {}, IDS) == Reason("fallback", "")
    assert reason_of({"ease": -1.0, "popular": 0.0}, shares(ease=[1, 0, 0]), IDS) == Reason("fallback", "")


def test_popularity_alone_is_the_reason_of_a_new_visitor():
    assert reason_of({"popular": 1.0, "popular_7d": 2.0}, {}, ()) == Reason("new_visitor", "popular_7d")
    assert reason_of({"popular": 1.0}, {}, IDS) == Reason("popular", "popular")


def test_the_two_history_items_that_carry_most_are_named_in_order():
    reason = reason_of({"ease": 2.0}, shares(ease=[0.2, 0.5, 0.3]), IDS)
    assert reason == Reason("because", "ease", ("b", "c"))


def test_the_signals_that_carry_are_weighed_by_their_contribution():
    parts = {"ease": 3.0, "itemknn": 1.0}
    reason = reason_of(parts, shares(ease=[0.6, 0.4, 0.0], itemknn=[0.0, 0.0, 1.0]), IDS)
    assert reason == Reason("because", "ease", ("a", "b"))
    parts = {"ease": 1.0, "itemknn": 3.0}
    assert reason_of(parts, shares(ease=[0.6, 0.4, 0.0], itemknn=[0.0, 0.0, 1.0]), IDS).items == ("c", "a")


def test_what_speaks_against_an_item_is_no_reason_for_it():
    reason = reason_of({"ease": 1.0, "itemknn": -5.0}, shares(ease=[1, 0, 0], itemknn=[0, 0, 1]), IDS)
    assert reason == Reason("because", "ease", ("a",))


def test_popularity_is_the_reason_where_it_says_more_than_the_history():
    carried = shares(ease=[1, 0, 0])
    assert reason_of({"popular": 2.0, "ease": 0.5}, carried, IDS) == Reason("popular", "popular")
    assert reason_of({"popular": 0.5, "ease": 2.0}, carried, IDS) == Reason("because", "ease", ("a",))
    several = {"popular": 1.0, "ease": 0.7, "ease@1": 0.7}
    assert reason_of(several, shares(**{"ease": [1, 0, 0], "ease@1": [0, 1, 0]}), IDS).kind == "because"


@pytest.mark.parametrize("signal", ["bm25", "tfidf@rare", "vectors", "tokens@0.3"])
def test_readers_of_text_find_a_similar_text(signal):
    reason = reason_of({signal: 1.0}, shares(**{signal: [0, 1, 0]}), IDS)
    assert reason == Reason("similar_text", signal.split("@")[0], ("b",))


def test_an_item_that_stands_twice_in_the_history_is_named_once_with_all_that_it_carries():
    reason = reason_of({"ease": 1.0}, shares(ease=[0.3, 0.4, 0.3]), ("a", "b", "a"))
    assert reason.items == ("a", "b")


def test_a_scorer_that_is_no_sum_over_the_history_names_no_items():
    assert reason_of({"als": 1.0}, {}, IDS) == Reason("because", "als")
    assert reason_of({"als": 1.0, "popular": 0.5}, {}, IDS) == Reason("because", "als")


# ---- shares ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fusion():
    world = worlds.planted_topics(noise=0.0)
    data = FitData(world.dataset.events, world.n_users, world.n_items)
    settings = RetrievalSettings()
    scorers = {
        "popular": Popular.fit(data, settings),
        "itemknn": ItemKNN.fit(data, settings, neighbours=50, shrink=0.0),
        "transitions": Transitions.fit(data, settings, steps=3, power=0.3, back=1.0),
    }
    signals = (*(Signal(name) for name in scorers), Signal("transitions", (("decay", 1.0),)))
    names = tuple(signal.name for signal in signals)
    return Fusion(scorers, signals, Mix(names, "linear", np.ones(4, np.float32)), world.n_items)


def test_the_shares_of_each_additive_signal_sum_to_one(fusion):
    block = worlds.queries([[0, 4, 8, 1]])
    found = history_shares(fusion, block, np.array([12, 16], dtype=np.int32))
    assert len(found) == 2
    for one in found:
        assert set(one) == {"itemknn", "transitions", "transitions@1"}
        for share in one.values():
            assert share.shape == (4,)
            assert share.sum() == pytest.approx(1.0, rel=1e-5)
            assert share[3] == 0  # of another topic


def test_a_shares_signal_looks_at_the_history_with_its_own_decay(fusion):
    one = history_shares(fusion, worlds.queries([[0, 4, 8]]), np.array([12], dtype=np.int32))[0]
    assert one["transitions@1"][2] > one["transitions"][2]


def test_an_item_about_which_a_signal_says_nothing_has_no_share_of_it(fusion):
    found = history_shares(fusion, worlds.queries([[0]]), np.array([13, fusion.n_items + 5], dtype=np.int32))
    assert found == [{}, {}]


def test_without_a_history_there_are_no_shares(fusion):
    assert history_shares(fusion, worlds.queries([[]]), np.array([3], dtype=np.int32)) == [{}]
    assert history_shares(fusion, worlds.queries([[0]]), np.zeros(0, np.int32)) == []


def test_a_rare_signal_shares_as_its_scorer_does_and_only_named_signals_are_looked_at(fusion):
    signals = (*fusion.signals, Signal("itemknn", only="rare"))
    names = tuple(signal.name for signal in signals)
    twice = replace(fusion, signals=signals, mix=Mix(names, "linear", np.ones(len(names), np.float32)))
    block, nums = worlds.queries([[0, 4, 8]]), np.array([12], dtype=np.int32)
    one = history_shares(twice, block, nums)[0]
    np.testing.assert_array_equal(one["itemknn@rare"], one["itemknn"])
    some = history_shares(twice, block, nums, among={"itemknn@rare"})[0]
    assert set(some) == {"itemknn@rare"}
    np.testing.assert_array_equal(some["itemknn@rare"], one["itemknn"])


def test_shares_are_the_same_where_the_block_keeps_what_was_made(fusion):
    nums = np.array([12, 16], dtype=np.int32)
    plain = history_shares(fusion, worlds.queries([[0, 4, 8, 1]]), nums)
    kept = history_shares(fusion, replace(worlds.queries([[0, 4, 8, 1]]), kept={}), nums)
    for one, other in zip(plain, kept, strict=True):
        assert one.keys() == other.keys() and one
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
