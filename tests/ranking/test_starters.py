"""Starters: popular, unlike one another, informative, and beyond what is liked already."""

from __future__ import annotations

import numpy as np

from langrec.ranking.starters import candidates_for, pick_starters

NOBODY = np.zeros((0, 6), dtype=np.float32)
# Items 0-2 speak for one another, and so do 3-4; item 5 speaks for itself alone.
NEAR = np.array(
    [
        [1, 0.9, 0.9, 0, 0, 0],
        [0.5, 1, 0.1, 0, 0, 0],
        [0.5, 0.1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0.8, 0],
        [0, 0, 0, 0.6, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ],
    dtype=np.float32,
)
EVERY = np.arange(6, dtype=np.int32)


def picks(k, popularity=(4, 4, 4, 4, 4, 4), covered=NOBODY):
    return pick_starters(NEAR, EVERY, np.array(popularity, dtype=np.float32), covered, k)


def test_each_starter_speaks_for_others_than_those_before():
    found = picks(3)
    assert found.nums.tolist() == [0, 3, 5]
    assert found.gains.tolist() == sorted(found.gains.tolist(), reverse=True)
    np.testing.assert_allclose(found.gains, [2.8 / 6, 1.8 / 6, 1 / 6], rtol=1e-6)


def test_what_people_choose_counts_for_more():
    assert picks(1, (1, 1, 1, 100, 100, 1)).nums.tolist() == [3]
    assert picks(1, (0, 0, 0, 0, 0, 9)).nums.tolist() == [5]


def test_likes_need_not_be_asked_about_again():
    assert picks(2, covered=NEAR[[0]]).nums.tolist() == [3, 5]


def test_all_gains_add_up_to_everything_and_no_item_comes_twice():
    found = picks(10)
    assert sorted(found.nums.tolist()) == EVERY.tolist()
    assert abs(float(found.gains.sum()) - 1) < 1e-6


def test_without_popularity_the_candidates_keep_their_order():
    assert picks(6, (0, 0, 0, 0, 0, 0)).nums.tolist() == EVERY.tolist()


def test_a_longer_list_looks_at_more_candidates():
    assert candidates_for(3) == 60
    assert candidates_for(40) == 200
