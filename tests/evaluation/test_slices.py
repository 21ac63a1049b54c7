"""Slices of the test."""

from __future__ import annotations

import numpy as np
from evaluation_worlds import questions

from langrec.evaluation.slices import MEANING, popular_items, slices
from langrec.settings import EvaluateSettings


def test_the_head_is_the_fewest_items_that_hold_the_share():
    assert popular_items(np.array([10, 50, 30, 10, 0]), 0.8).tolist() == [False, True, True, False, False]
    assert popular_items(np.array([10, 50, 30, 10, 0]), 0.81).tolist() == [True, True, True, False, False]
    assert popular_items(np.zeros(3, int), 0.8).tolist() == [False, False, False]
    assert popular_items(np.zeros(0, int), 0.8).tolist() == []


def test_every_target_is_hot_or_warm_or_cold():
    targets = questions([[0], [1], [2, 0]])
    found = slices(targets, np.array([5, 0, 0]), np.array([True, True, False]), EvaluateSettings())
    assert found["hot"].tolist() == [True, False, False, True]
    assert found["warm"].tolist() == [False, True, False, False]
    assert found["cold"].tolist() == [False, False, True, False]
    assert found["rare"].tolist() == [True, True, True, True]
    assert found["all"].all()


def test_histories_are_empty_or_short_or_long():
    targets = questions([[9], [9], [9], [9]], [[], [1], [1, 2], [1, 2, 3]])
    found = slices(targets, np.ones(10, int), None, EvaluateSettings(short_history=2))
    assert found["empty"].tolist() == [True, False, False, False]
    assert found["short"].tolist() == [False, True, True, False]
    assert found["long"].tolist() == [False, False, False, True]


def test_a_slice_without_targets_is_left_out():
    found = slices(questions([[0]]), np.array([9]), None, EvaluateSettings())
    assert set(found) == {"all", "hot", "popular", "empty"}
    assert set(found) <= set(MEANING)


def test_users_of_whom_nothing_little_or_more_is_known_are_apart():
    targets = questions([[9]] * 4, [[], [1], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]])
    found = slices(targets, np.ones(10, int), None, EvaluateSettings())
    assert found["empty"].tolist() == [True, False, False, False]
    assert found["few"].tolist() == [False, True, True, False]
    assert found["more"].tolist() == [False, False, False, True]
    assert {"empty", "few", "more"} <= set(MEANING)
