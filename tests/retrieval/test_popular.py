"""Popularity, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import worlds
from langrec.data.asked import nobody
from langrec.data.events import DAY_MS
from langrec.data.fitting import FitData
from langrec.ranking.select import top_k
from langrec.retrieval.gain_log import GainLog
from langrec.retrieval.popular import Popular, PopularDecayed
from langrec.settings import RetrievalSettings
from langrec.types import Candidates


def day(number):
    return worlds.START + int(number * DAY_MS)


# Item 0 was chosen long ago, item 1 lately, item 2 in between with a weight of its own; nobody chose item 3.
LOG = worlds.events(
    [(0, 0, day(0)), (1, 0, day(1)), (2, 0, day(2)), (0, 2, day(20), 0.5), (1, 1, day(29)), (2, 1, day(29.5))]
)
DATA = FitData(LOG, 3, 4)


def popular(**params):
    return Popular.fit(DATA, RetrievalSettings(), **params)


def at(*days):
    return worlds.queries([[]] * len(days), at=[day(number) for number in days])


def test_all_time_popularity_sums_gains():
    np.testing.assert_allclose(popular().score_block(at(40))[0], [3, 2, 0.5, 0], atol=2e-3)


def test_popularity_counts_only_what_lies_before_now():
    scores = popular().score_block(at(0, 1.5, 29, 29.2))
    np.testing.assert_allclose(scores, [[0, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0.5, 0], [3, 1, 0.5, 0]], atol=2e-3)


def test_a_window_counts_its_days():
    scores = popular(days=7).score_block(at(30, 8.5, 24))
    np.testing.assert_allclose(scores, [[0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0.5, 0]], atol=2e-3)


def test_the_beginning_of_a_window_counts_and_its_end_does_not():
    scores = popular(days=1).score_block(at(30, 29))
    np.testing.assert_allclose(scores, [[0, 2, 0, 0], [0, 0, 0, 0]], atol=2e-3)


def test_all_time_popularity_orders_an_empty_window():
    assert top_k(popular(days=1).score_block(at(15))[0], 4).tolist() == [0, 1, 2, 3]


def test_the_tie_breaker_weighs_less_than_any_event():
    scores = popular(days=12).score_block(at(30))[0]
    assert top_k(scores, 3).tolist() == [1, 2, 0]
    assert scores[0] < 0.01


def test_a_log_without_clock_counts_everything():
    ordered = replace(LOG, has_time=False)
    for cls in (Popular, PopularDecayed):
        scorer = cls.fit(FitData(ordered, 3, 4), RetrievalSettings())
        np.testing.assert_allclose(scorer.score_block(at(-5))[0], [3, 2, 0.5, 0], atol=2e-3)


def test_fading_events_by_hand():
    """Ages are compared at the last event before now; a factor common to all items changes no order."""
    scorer = PopularDecayed.fit(DATA, RetrievalSettings(), share=0.1)
    efold = 29.5 * 0.1
    assert scorer.efold_days == pytest.approx(efold)
    scores = scorer.score_block(at(30))[0].astype(float)
    expected = [
        sum(np.exp(-(29.5 - age) / efold) for age in (0, 1, 2)),
        1 + np.exp(-0.5 / efold),
        0.5 * np.exp(-9.5 / efold),
        0,
    ]
    np.testing.assert_allclose(scores / scores[1], np.array(expected) / expected[1], rtol=1e-4, atol=1e-7)


def test_fading_counts_only_what_lies_before_each_now():
    scorer = PopularDecayed.fit(DATA, RetrievalSettings(), share=0.5)
    efold = scorer.efold_days * DAY_MS
    asked = [29.6, 29.5, 29.2, 25, 3, 2, 0.5]
    scores = scorer.score_block(at(*asked)).astype(float)
    for row, number in enumerate(asked):
        known = LOG.at < day(number)
        last = LOG.at[known].max()
        expected = np.bincount(LOG.items[known], LOG.gains[known] * np.exp((LOG.at[known] - last) / efold), minlength=4)
        np.testing.assert_allclose(scores[row] / scores[row].sum(), expected / expected.sum(), rtol=1e-4)


def test_fading_does_not_depend_on_the_order_of_the_questions():
    scorer = PopularDecayed.fit(DATA, RetrievalSettings(), share=0.3)
    asked = [30, 2.5, 0, 21, 30, -3]
    scores = scorer.score_block(at(*asked))
    for row, number in enumerate(asked):
        np.testing.assert_allclose(scores[row], scorer.score_block(at(number))[0], rtol=1e-6)


def test_years_after_the_training_fading_popularity_still_has_an_order():
    scorer = PopularDecayed.fit(DATA, RetrievalSettings(), share=0.03)
    assert top_k(scorer.score_block(at(5000))[0], 2).tolist() == [1, 2]


def later(scorer, *rows):
    """The scorer with (item, day, gain) events."""
    items, days, gains = zip(*rows, strict=True)
    at_ = np.array([day(number) for number in days])
    return scorer.with_events(np.array(items, dtype=np.int32), at_, np.array(gains, dtype=np.float32))


def test_later_events_count_once_they_are_known():
    old = popular()
    new = later(old, (3, 31, 1), (3, 28, 1))
    assert new.score_block(at(32))[0, 3] == pytest.approx(2, abs=2e-3)
    assert new.score_block(at(29))[0, 3] == pytest.approx(1, abs=2e-3)
    assert old.score_block(at(32))[0, 3] == pytest.approx(0, abs=2e-3)
    assert later(new, (3, 31.5, 1)).score_block(at(32))[0, 3] == pytest.approx(3, abs=2e-3)


def test_an_item_from_after_the_training_becomes_popular_by_its_events():
    for scorer in (popular(), popular(days=7), PopularDecayed.fit(DATA, RetrievalSettings())):
        new = later(scorer, (5, 30.1, 1), (5, 30.2, 1), (5, 30.3, 1), (5, 30.4, 1))
        assert new.n_items == 6 and scorer.n_items == 4
        scores = new.score_block(at(30.5, 30))
        assert scores.shape == (2, 6) and not np.isnan(scores).any()
        assert scores[0].argmax() == 5 and scores[0, 4] == 0 and scores[1, 5] < 0.01


@pytest.mark.parametrize("params", [{}, {"days": 2.0}, {"share": 0.05}], ids=["all", "window", "fading"])
def test_events_that_come_one_by_one_in_any_order_count_as_if_they_had_been_trained_on(params):
    rng = np.random.default_rng(0)
    rows = [
        (0, int(item), day(float(when)), 0.5)
        for item, when in zip(rng.integers(0, 9, 300), rng.uniform(0, 40, 300), strict=True)
    ]
    known, late = rows[:100], rows[100:]
    kind = PopularDecayed if "share" in params else Popular
    fitted = kind.fit(
        FitData(worlds.events(sorted(known, key=lambda row: row[2])), 1, 9), RetrievalSettings(), **params
    )
    whole = kind.fit(FitData(worlds.events(sorted(rows, key=lambda row: row[2])), 1, 9), RetrievalSettings(), **params)
    whole = replace(whole, efold_days=fitted.efold_days)
    asked = at(40.1, 30, 3, 40.1, 0.1, -1, 17)
    for start in range(0, len(late), 7):
        fitted.score_block(asked)  # what was counted before must not stay
        part = late[start : start + 7]
        fitted = later(fitted, *((item, (when - worlds.START) / DAY_MS, gain) for _, item, when, gain in part))
    assert len(fitted.logs) <= 9 and fitted.logs[0].at.shape == (100,)
    scores, expected = fitted.score_block(asked), whole.score_block(asked)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


def test_later_events_are_saved_too(tmp_path):
    new = later(popular(days=7), (5, 30.1, 1), (1, 29.1, 1))
    new.save(tmp_path)
    np.testing.assert_array_equal(Popular.load(tmp_path).score_block(at(31, 29)), new.score_block(at(31, 29)))


def test_later_events_of_a_log_without_clock_count_at_any_time():
    scorer = Popular.fit(FitData(replace(LOG, has_time=False), 3, 4), RetrievalSettings())
    np.testing.assert_allclose(later(scorer, (3, 50, 1)).score_block(at(-5))[0], [3, 2, 0.5, 1], atol=2e-3)


@pytest.mark.parametrize("params", [{}, {"days": 7.0}, {"share": 0.05}], ids=["all", "window", "fading"])
def test_after_years_of_silence_one_event_is_not_all_that_is_known(params):
    kind = PopularDecayed if "share" in params else Popular
    fitted = kind.fit(DATA, RetrievalSettings(), **params)
    yesterday = fitted.score_block(at(30))[0]
    for rows in ([(3, 3000, 0.1)], [(3, 2000, 0.1), (3, 3000, 0.1)], [(3, 33, 0.1), (3, 3000, 0.1)]):
        scores = later(fitted, *rows).score_block(at(3000.1))[0]
        assert scores.argmax() == yesterday.argmax()
        assert scores[3] > yesterday[3]


def test_while_something_happens_every_day_the_training_ages_as_time_passes():
    fitted = popular(days=7)
    busy = later(fitted, *((3, 30 + number, 1) for number in range(10)))
    np.testing.assert_allclose(busy.score_block(at(39.5))[0], [0, 0, 0, 7], atol=2e-3)
    np.testing.assert_allclose(busy.score_block(at(39.5, 1.5)), [[0, 0, 0, 7], [2, 0, 0, 0]], atol=2e-3)


@pytest.mark.parametrize("kind", ["all", "days", "fading", "later"])
def test_a_moment_that_is_kept_ends_where_anything_changes(kind):
    rng = np.random.default_rng(2)
    at = np.sort(rng.integers(0, 6 * DAY_MS, 40)) + 100 * DAY_MS
    items, gains = rng.integers(0, 9, 40).astype(np.int32), np.ones(40, dtype=np.float32)
    made = {"days": {"days": 2.0}, "fading": {"efold_days": 1.5}}.get(kind, {})
    scorer = Popular((GainLog(items, at, gains),), 9, **made)
    if kind == "later":
        scorer = scorer.with_events(items[:5], at[-1] + np.arange(1, 6) * DAY_MS // 2, gains[:5])
    nums = np.arange(9, dtype=np.int32)
    steps = [-1, 0, 1, 2 * DAY_MS - 1, 2 * DAY_MS, 2 * DAY_MS + 1]
    asked = [int(then) + by for then in (*at[::3], at[-1], at[-1] + 3 * DAY_MS) for by in steps]
    for now in [*sorted(asked), *asked[::-1]]:  # forwards a kept moment would serve too long, backwards too early
        block = replace(nobody(now), kept={})
        found = scorer.score_items(block, Candidates.of([nums]))
        np.testing.assert_allclose(found, scorer.score_block(nobody(now))[0], rtol=1e-5, err_msg=str(now))
