"""What every scorer in closed form keeps: a change of the log changes it as a new fit would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

import worlds
from langrec import registry
from langrec.data.events import DAY_MS, Events
from langrec.data.fitting import FitData
from langrec.errors import NotTrained
from langrec.protocols import ClosedForm, EventReader, EventRemover
from langrec.retrieval import ease as ease_module
from langrec.settings import RetrievalSettings
from langrec.types import UserLogs

LINEAR = {
    "itemknn": {"neighbours": 5, "shrink": 2.0},
    "ease": {"reg": 5.0},
    "transitions": {"steps": 4, "power": 0.5, "back": 0.5},
}
POPULAR = {"popular": {}, "popular_7d": {"days": 7.0}, "popular_decayed": {"share": 0.1}}
WORLD = worlds.planted_topics(users=60, items=48, noise=0.2)
LOG = WORLD.dataset.events
# Gains that float32 does not hold exactly, so that sums are rounded.
LOG = replace(LOG, gains=np.resize(np.array([1.0, 0.3, 0.7, 0.1], np.float32), len(LOG)))
N_USERS, N = WORLD.n_users, WORLD.n_items
NEW_ITEM = N + 2

every_linear = pytest.mark.parametrize("kind", LINEAR)
every_popular = pytest.mark.parametrize("kind", POPULAR)


def fit(kind, log, n_items=N, growing=True, **more):
    params = {**LINEAR, **POPULAR}[kind]
    name, own = registry.kind_of(kind)
    data = FitData(log, N_USERS + 5, n_items, growing=growing)
    return registry.find("scorers", name).fit(data, RetrievalSettings(**more), **{**own, **params})


def logs(events):
    return UserLogs(events.users, events.items, events.at, events.gains)


def of_users(log, users):
    return log.take(np.isin(log.users, users))


def without_users(log, users):
    return log.take(~np.isin(log.users, users))


def with_rows(log, rows):
    """The log with further (user, item, at, gain) rows."""
    more = worlds.events(rows)
    names = ("users", "items", "at", "types", "values", "gains", "rows")
    order = np.argsort(np.concatenate([log.at, more.at]), kind="stable")
    columns = {name: np.concatenate([getattr(log, name), getattr(more, name)])[order] for name in names}
    return Events(**columns, type_names=log.type_names)


def dense(scorer):
    return scorer.weights.toarray() if sparse.issparse(scorer.weights) else scorer.weights


def assert_same(got, wanted):
    """Equal within 1e-6, in what is trained and in every weight."""
    np.testing.assert_array_equal(got.trained, wanted.trained)
    np.testing.assert_allclose(dense(got), dense(wanted), rtol=1e-6, atol=1e-6)
    block = worlds.queries([[1, 2, 3], [7], [NEW_ITEM, 4], []])
    np.testing.assert_allclose(got.score_block(block), wanted.score_block(block), rtol=1e-6, atol=1e-6)


def test_the_scorers_in_closed_form_are_known():
    offering = {kind for kind in registry.SCORERS if hasattr(registry.find("scorers", kind), "with_logs")}
    assert offering == set(LINEAR)
    assert all(isinstance(fit(kind, LOG), ClosedForm) for kind in LINEAR)
    assert all(isinstance(fit(kind, LOG), EventReader) for kind in POPULAR)
    assert all(isinstance(fit(kind, LOG), EventRemover) for kind in POPULAR)


@every_linear
@pytest.mark.parametrize("users", [[7], [0, 1, 59], list(range(0, 60, 2)), list(range(60))])
def test_without_users_is_a_fit_without_them(kind, users):
    got = fit(kind, LOG).with_logs(logs(of_users(LOG, users)), logs(worlds.events([])))
    assert_same(got, fit(kind, without_users(LOG, users), growing=False))


@every_linear
def test_an_item_that_only_a_deleted_user_had_is_untrained_again(kind):
    alone = with_rows(LOG, [(3, NEW_ITEM, int(LOG.at[-1]) + 5, 0.3)])
    fitted = fit(kind, alone, N + 4)
    assert fitted.trained[NEW_ITEM]
    got = fitted.with_logs(logs(of_users(alone, [3])), logs(of_users(LOG, [])))
    assert not got.trained[NEW_ITEM]
    assert_same(got, fit(kind, without_users(LOG, [3]), N + 4, growing=False))


@every_linear
def test_with_events_of_known_and_new_users_and_items_is_a_fit_on_all(kind):
    end = int(LOG.at[-1])
    rows = [(3, 11, end + 1, 0.7), (3, NEW_ITEM, end + 2, 1.0), (61, 5, end + 2, 0.3), (61, 9, end + 2, 1.0)]
    rows += [(8, int(LOG.items[LOG.users == 8][0]), end + 3, 0.9)]  # chosen again, with a greater gain
    grown = with_rows(LOG, rows)
    changed = [3, 8, 61]
    got = fit(kind, LOG).with_logs(logs(of_users(LOG, changed)), logs(of_users(grown, changed)))
    assert got.n_items == NEW_ITEM + 1
    assert_same(got, fit(kind, grown, NEW_ITEM + 1, growing=False))


@every_linear
def test_without_single_events_is_a_fit_without_them(kind):
    gone = np.flatnonzero(np.isin(LOG.users, [2, 30]))[::2]
    left = LOG.take(np.setdiff1d(np.arange(len(LOG)), gone))
    got = fit(kind, LOG).with_logs(logs(of_users(LOG, [2, 30])), logs(of_users(left, [2, 30])))
    assert_same(got, fit(kind, left, growing=False))


@every_linear
def test_many_changes_one_after_another_stay_equal_to_a_fit(kind):
    rng, log, scorer = np.random.default_rng(0), LOG, fit(kind, LOG)
    for step in range(40):
        user = int(rng.integers(0, N_USERS))
        if step % 3 == 2:
            after = without_users(log, [user])
        else:
            at = int(log.at[-1]) + 1 if len(log) else 0
            after = with_rows(log, [(user, int(rng.integers(0, N)), at, float(rng.choice([0.3, 0.5, 1.0])))])
        scorer = scorer.with_logs(logs(of_users(log, [user])), logs(of_users(after, [user])))
        log = after
    assert_same(scorer, fit(kind, log, growing=False))


@every_linear
def test_users_who_are_as_they_were_change_nothing(kind):
    fitted = fit(kind, LOG)
    got = fitted.with_logs(logs(LOG), logs(LOG))
    np.testing.assert_allclose(dense(got), dense(fitted), rtol=1e-6, atol=1e-7)
    assert_same(fitted.with_logs(logs(worlds.events([])), logs(worlds.events([]))), fitted)


@every_linear
def test_a_change_leaves_the_scorer_as_it_was(kind):
    fitted = fit(kind, LOG)
    before = dense(fitted).copy()
    fitted.with_logs(logs(of_users(LOG, [1])), logs(worlds.events([(1, NEW_ITEM, 5, 1.0)])))
    np.testing.assert_array_equal(dense(fitted), before)
    assert fitted.n_items == N


@every_linear
def test_a_scorer_without_its_sums_says_so(kind, tmp_path):
    fitted = fit(kind, LOG)
    fitted.save(tmp_path)
    for bare in (fit(kind, LOG, growing=False), type(fitted).load(tmp_path)):
        with pytest.raises(NotTrained, match="growing=True"):
            bare.with_logs(logs(LOG), logs(LOG))


@pytest.mark.parametrize("dense_items", [10, 5000])
def test_ease_on_neighbourhoods_and_cut_from_a_dense_one_change_as_fits_do(monkeypatch, dense_items):
    """With few neighbours kept, columns that a change does not reach must stay, and those it reaches be solved anew."""
    monkeypatch.setattr(ease_module, "NEIGHBOURHOOD", 6)
    monkeypatch.setattr(ease_module, "KEPT_PER_ITEM", 8)
    monkeypatch.setattr(ease_module, "DENSE_ITEMS", dense_items)
    limit = 10 if dense_items == 5000 else 20_000
    got = fit("ease", LOG, ease_dense_limit=limit).with_logs(logs(of_users(LOG, [4, 9])), logs(worlds.events([])))
    assert sparse.issparse(got.weights)
    assert_same(got, fit("ease", without_users(LOG, [4, 9]), growing=False, ease_dense_limit=limit))


def popular_scores(scorer, at):
    return scorer.score_block(worlds.queries([[], [1]], at=[at, at - DAY_MS]))


def same_fading(kind, scorer, like):
    """Fading is by a time that the fit takes from the log's span; here both fade alike."""
    return scorer.with_params(efold_days=like.efold_days) if kind == "popular_decayed" else scorer


@every_popular
@pytest.mark.parametrize("users", [[7], list(range(0, 60, 2))])
def test_popularity_without_users_is_that_of_a_fit_without_them(kind, users):
    fitted, gone = fit(kind, LOG), of_users(LOG, users)
    got = fitted.without_events(gone.items, gone.at, gone.gains)
    wanted = same_fading(kind, fit(kind, without_users(LOG, users)), fitted)
    now = int(LOG.at[-1]) + 1
    np.testing.assert_allclose(popular_scores(got, now), popular_scores(wanted, now), rtol=1e-6, atol=1e-6)
    assert sum(len(log) for log in got.logs) == len(LOG) - len(gone)  # gone, not outweighed


@every_popular
def test_popularity_with_events_and_without_them_again_is_that_of_a_fit(kind):
    last = int(LOG.at[-1])
    late = with_rows(LOG, [(1, 5, last + 1, 0.7), (2, 6, last + 2, 1.0), (1, 5, last + 3, 0.3)])
    more = late.take(late.at > last)
    fitted = fit(kind, LOG)
    grown = fitted.with_events(more.items, more.at, more.gains)
    wanted = same_fading(kind, fit(kind, late), fitted)
    np.testing.assert_allclose(popular_scores(grown, last + 9), popular_scores(wanted, last + 9), rtol=1e-6, atol=1e-6)
    part = more.take(np.array([2, 0]))
    less = grown.without_events(part.items, part.at, part.gains)
    wanted = same_fading(kind, fit(kind, late.take(late.at != last + 1).take(slice(0, -1))), fitted)
    np.testing.assert_allclose(popular_scores(less, last + 9), popular_scores(wanted, last + 9), rtol=1e-6, atol=1e-6)
    back = less.without_events(more.items[1:2], more.at[1:2], more.gains[1:2])
    np.testing.assert_allclose(popular_scores(back, last + 9), popular_scores(fitted, last + 9), rtol=1e-6, atol=1e-6)


@every_popular
def test_popularity_without_events_that_it_never_knew_is_as_it_was(kind):
    fitted = fit(kind, LOG)
    strange = worlds.events([(0, 1, 17, 1.0), (0, N + 30, int(LOG.at[0]), 1.0)])
    got = fitted.without_events(strange.items, strange.at, strange.gains)
    now = int(LOG.at[-1]) + 1
    np.testing.assert_array_equal(popular_scores(got, now), popular_scores(fitted, now))
