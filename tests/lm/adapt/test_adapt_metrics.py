"""The metrics of adaptation agree with hand-worked cases and with slow versions of themselves."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.lm.adapt.metrics import auc, auc_difference, auc_interval, calibration_error, interval, report, user_auc


def test_the_report_of_a_hand_worked_case():
    told = report(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0]), ("a", "b", "c"))
    assert told["accuracy"] == pytest.approx(4 / 6)
    assert told["classes"]["a"] == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "support": 3,
    }
    assert told["classes"]["c"]["f1"] == 0
    assert told["macro"]["f1"] == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert told["weighted"]["recall"] == pytest.approx(4 / 6)


def slow_auc(positive, scores):
    pairs = [
        (a > b) + (a == b) / 2
        for a, p in zip(scores, positive, strict=True)
        if p
        for b, q in zip(scores, positive, strict=True)
        if not q
    ]
    return np.mean(pairs)


def test_the_area_counts_pairs_and_ties_half():
    rng = np.random.default_rng(0)
    positive, scores = rng.integers(0, 2, 60), rng.integers(0, 8, 60).astype(float)
    assert auc(positive, scores) == pytest.approx(slow_auc(positive, scores))
    assert auc(np.array([1, 0]), np.array([2.0, 1.0])) == 1
    assert np.isnan(auc(np.array([1, 1]), np.array([2.0, 1.0])))


def test_graded_labels_count_by_their_share():
    scores = np.array([3.0, 2, 1])
    assert auc(np.array([1.0, 0.5, 0.0]), scores) == pytest.approx(
        (1 * 0.5 + 1 * 1 + 0.5 * 1 + 0.5 * 0.5 * 0.5) / (1.5 * 1.5)
    )


def test_the_users_area_is_the_mean_over_users_with_both_kinds():
    users = np.array([0, 0, 1, 1, 2, 2])
    assert user_auc(np.array([1, 0, 1, 0, 1, 1]), np.array([2.0, 1, 1, 2, 1, 2]), users) == 0.5


def test_a_user_of_one_graded_row_has_no_area():
    """A row of 0.7 was ranked against itself, which is a draw: each such user pulled the mean to 0.5."""
    users, labels = np.array([0, 0, 1, 2]), np.array([1, 0, 0.7, 0.4])
    assert user_auc(labels, np.array([2.0, 1, 1, 2]), users) == 1
    assert np.isnan(user_auc(labels[2:], np.array([1.0, 2]), users[2:]))


def test_an_interval_by_user_is_wider_than_one_by_row_where_a_users_rows_are_alike():
    rng = np.random.default_rng(0)
    level = rng.normal(size=20)
    users = np.repeat(np.arange(20), 30)
    scores = level[users] + rng.normal(size=600) * 0.1
    positive = (level[users] + rng.normal(size=600) * 0.1 > 0).astype(int)
    noisy = scores + rng.normal(size=20)[users]
    by_user, by_row = auc_interval(positive, noisy, users), auc_interval(positive, noisy, None)
    assert by_user[1] - by_user[0] > by_row[1] - by_row[0]
    value, low, high = auc_difference(positive, scores, noisy, users)
    assert low < value < high
    assert low > 0


def test_a_sure_and_right_prediction_is_calibrated():
    assert calibration_error(np.ones(5, bool), np.ones(5)) == 0
    assert calibration_error(np.zeros(5, bool), np.full(5, 0.8)) == pytest.approx(0.8)


def test_the_interval_of_a_constant_is_the_constant():
    assert interval(np.ones(10)) == (1.0, 1.0)


def test_fewer_than_six_users_or_rows_have_no_interval():
    """One user alone had an interval of no width, and a gain over him was called sure."""
    positive, scores = np.tile([0, 1], 30), np.arange(60.0)
    for users in (5, 6):
        by = np.arange(60) % users
        there = users == 6
        assert np.isfinite(auc_interval(positive, scores, by)).all() == there
        assert np.isfinite(auc_difference(positive, scores, -scores, by)[1:]).all() == there
        assert np.isfinite(interval(scores, by)).all() == there
        assert np.isfinite(interval(np.ones(users))).all() == there
    assert np.isnan(interval(np.ones(0))).all()
