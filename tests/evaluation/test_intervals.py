"""Intervals: drawn by user, seeded, paired, and as wide as theory says."""

from __future__ import annotations

import random

import numpy as np
import pytest

from langrec.evaluation import intervals
from langrec.evaluation.intervals import Resamples, mean, percentiles


def test_the_interval_of_independent_users_is_as_wide_as_the_standard_error():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, (900, 1))
    low, high = percentiles(Resamples(np.arange(900), 2000).means(values), 0.95)
    expected = 1.96 * values.std() / 30
    assert (high - low)[0] / 2 == pytest.approx(expected, rel=0.08)
    assert low[0] < values.mean() < high[0]


def test_questions_of_one_user_are_drawn_together():
    """Ten equal questions of each user say no more than one: the interval stays as wide."""
    rng = np.random.default_rng(1)
    per_user = rng.normal(0, 1, (200, 1))
    once = Resamples(np.arange(200), 1000).means(per_user)
    tenfold = Resamples(np.repeat(np.arange(200), 10), 1000).means(np.repeat(per_user, 10, axis=0))
    np.testing.assert_allclose(once, tenfold, atol=1e-5)
    apart = Resamples(np.arange(2000), 1000).means(np.repeat(per_user, 10, axis=0))
    assert apart.std() < 0.5 * once.std()


def test_users_with_more_questions_weigh_more():
    values = np.array([[1.0]] * 15 + [[0.0]] * 5)  # ten users, five of whom ask three questions each, and are pleased
    draws = Resamples(np.concatenate([np.repeat(np.arange(5), 3), np.arange(5, 10)]), 4000, seed=3).means(values)
    assert mean(values)[0] == 0.75
    assert np.nanmedian(draws) == pytest.approx(0.75, abs=0.01)


def test_equal_seeds_give_equal_resamples_and_others_do_not():
    values = np.random.default_rng(0).random((50, 2))
    users = np.arange(50) % 20
    first, again = Resamples(users, 100, seed=4), Resamples(users, 100, seed=4)
    np.testing.assert_array_equal(first.means(values), again.means(values))
    assert (Resamples(users, 100, seed=5).means(values) != first.means(values)).any()


def test_weights_that_are_drawn_again_are_the_same(monkeypatch):
    values = np.random.default_rng(0).random((300, 2))
    monkeypatch.setattr(intervals, "_CHUNK", 64)
    kept = Resamples(np.arange(300), 50)
    monkeypatch.setattr(intervals, "_KEEP", 0)
    drawn = Resamples(np.arange(300), 50)
    np.testing.assert_array_equal(kept.means(values), drawn.means(values))
    np.testing.assert_array_equal(drawn.means(values), drawn.means(values))


def test_a_question_without_value_is_left_out():
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]] * 4)
    assert mean(values)[0] == 2.0 and np.isnan(mean(values)[1])
    draws = Resamples(np.arange(12), 200).means(values)
    assert np.nanmin(draws[:, 0]) >= 1 and np.nanmax(draws[:, 0]) <= 3
    low, high = percentiles(draws, 0.9)
    assert np.isnan(low[1]) and np.isnan(high[1])


def test_weighted_means_follow_their_weights():
    values, weights = np.array([[1.0], [0.0]] * 6), np.array([[3.0], [1.0]] * 6)
    assert mean(values, weights)[0] == 0.75
    draws = Resamples(np.repeat(np.arange(6), 2), 50).means(values, weights)
    assert np.nanmax(np.abs(draws - 0.75)) < 1e-6


def test_paired_differences_are_narrower_than_the_intervals_themselves():
    rng = np.random.default_rng(2)
    base = rng.normal(0, 1, (400, 1))
    resamples = Resamples(np.arange(400), 1000)
    low, high = percentiles(resamples.means(base + 0.05) - resamples.means(base), 0.95)
    assert low[0] == pytest.approx(0.05, abs=1e-5) and high[0] == pytest.approx(0.05, abs=1e-5)


def test_no_questions_give_no_interval():
    low, high = percentiles(Resamples(np.zeros(0, int), 10).means(np.zeros((0, 2))), 0.95)
    assert np.isnan(low).all() and np.isnan(high).all()


@pytest.mark.parametrize(("users", "known"), [(1, False), (5, False), (6, True)])
def test_a_handful_of_users_has_no_interval(users: int, known: bool):
    """All are better off, each by another bit: fifty questions of one user would be a gain with no width at all."""
    asked = np.repeat(np.arange(users), 50)
    gaps = 0.1 + 0.01 * asked[:, None] + np.zeros((1, 2))
    gaps[asked == 0, 1] = np.nan  # of the second column there is one user fewer
    low, high = percentiles(Resamples(asked, 300).means(gaps), 0.95)
    assert list(~np.isnan(low)) == list(~np.isnan(high)) == [known, False]


def drawn_users(users, top, bottom, resamples, rng):
    """Ratios of sums where whole users are drawn with replacement, in plain Python."""
    by_user = {}
    for user, over, under in zip(users.tolist(), top.tolist(), bottom.tolist(), strict=True):
        sums = by_user.setdefault(user, [0.0, 0.0])
        sums[0] += over
        sums[1] += under
    pairs = list(by_user.values())
    found = []
    for _ in range(resamples):
        some = rng.choices(pairs, k=len(pairs))
        found.append(sum(over for over, _ in some) / sum(under for _, under in some))
    return sorted(found)


@pytest.mark.parametrize("weighted", [False, True])
def test_users_drawn_with_replacement_give_the_same_interval(weighted):
    """Of a mean and of a weighted one, and of the paired difference of two scorers that are alike."""
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(80), rng.lognormal(1, 1, 80).astype(int) + 1)
    liked = rng.beta(1, 4, 80)[users]
    one = (rng.random(len(users)) < liked).astype(float)
    other = np.where(rng.random(len(users)) < 0.1, 1 - one, one)
    weights = rng.random(len(users)) if weighted else np.ones(len(users))
    resamples = Resamples(users, 3000, 2)
    draws = [resamples.means(values[:, None], weights[:, None]) for values in (one, other)]
    for sample, values in ((draws[0], one), (draws[0] - draws[1], one - other)):
        own = drawn_users(users, values * weights, weights, 3000, random.Random(9))
        low, high = percentiles(sample, 0.95)
        width = own[2924] - own[75]
        assert high[0] - low[0] == pytest.approx(width, rel=0.12)
        assert low[0] == pytest.approx(own[75], abs=0.1 * width)


def test_an_interval_of_sixty_users_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    sizes, liked = rng.lognormal(1, 1, 100_000).astype(int) + 1, rng.beta(1, 6, 100_000)
    truth, held = (sizes * liked).sum() / sizes.sum(), 0
    for seed in range(300):
        who = rng.integers(0, 100_000, 60)
        users = np.repeat(np.arange(60), sizes[who])
        values = (rng.random(len(users)) < liked[who][users]).astype(float)
        low, high = percentiles(Resamples(users, 300, seed).means(values[:, None]), 0.95)
        held += bool(low[0] <= truth <= high[0])
    assert 0.88 < held / 300 < 0.98
