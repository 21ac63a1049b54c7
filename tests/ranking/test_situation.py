"""What a query's situation is, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import worlds
from langrec.ranking.situation import DECAY, DEPTH, SITUATION, Situations

COUNTS = np.array([8, 0, 2], dtype=np.int32)
HOUR_MS = 3_600_000


def told(histories, **others):
    """By name, the (q,) situations of some histories."""
    found = Situations(COUNTS).of(worlds.queries(histories, **others))
    assert found.dtype == np.float32
    return dict(zip(SITUATION, found.T, strict=True))


def weighted(values):
    """Mean of values, oldest first, of which one j steps back weighs exp(-DECAY * j)."""
    weights = np.exp(-DECAY * np.arange(len(values)))[::-1]
    return float(weights @ values / weights.sum())


def test_no_history_is_the_shortest_and_says_nothing_of_what_is_taken():
    found = told([[]])
    assert [float(column[0]) for column in found.values()] == [-1, -0.5, 0, 0]


def test_a_history_tells_its_length_and_how_long_ago_it_ended():
    block = worlds.queries([[0] * 99], at=[worlds.START])
    block.at[0] = block.times[-1] + HOUR_MS
    found = Situations(COUNTS).of(block)[0]
    np.testing.assert_allclose(found[:2], [0, np.log1p(3600) / 8 - 0.5], atol=1e-6)


def test_new_are_items_without_training_events_and_later_ones():
    found = told([[0, 1, 2], [9, 0], [0, 2]])
    expected = [weighted([0, 1, 0]), weighted([1, 0]), 0]
    np.testing.assert_allclose(found["fresh"], np.sqrt(expected), rtol=1e-5)


def test_taste_is_how_popular_the_newest_items_are_beside_what_an_event_usually_takes():
    usual = (8 * np.log(9) + 2 * np.log(3)) / 10
    spread = np.sqrt((8 * (np.log(9) - usual) ** 2 + 2 * (np.log(3) - usual) ** 2) / 10)
    found = told([[0], [2, 2, 0], [1]])
    of_three = weighted([(np.log(3) - usual) / spread] * 2 + [(np.log(9) - usual) / spread])
    np.testing.assert_allclose(found["taste"], [(np.log(9) - usual) / spread, of_three, -1.5], rtol=1e-5)


def test_what_lies_far_back_says_nothing():
    found = told([[1] * 10 + [0] * DEPTH])
    assert found["fresh"][0] == 0


@pytest.mark.parametrize("counts", [np.zeros(0, np.int32), np.zeros(3, np.int32), np.full(3, 4, np.int32)])
def test_every_situation_is_a_number_of_one_size(counts):
    found = Situations(counts).of(worlds.queries([[0, 1, 2, 9], []]))
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1.5


def test_a_query_alone_is_in_the_same_situation_as_among_others():
    histories = [[0, 1], [], [2, 2, 1, 0], [9]]
    together = Situations(COUNTS).of(worlds.queries(histories))
    alone = [Situations(COUNTS).of(worlds.queries([own]))[0] for own in histories]
    np.testing.assert_array_equal(together, alone)
