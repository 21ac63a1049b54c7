"""Each way of choosing what to label next asks for what it says it asks for."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.errors import SettingsError
from langrec.lm.labels.pick import ASKING, WAYS, classifier, pick, probabilities

pytest.importorskip("torch")


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clouds(n, classes=3, dim=8, spread=0.2, seed=0):
    """n unit rows around `classes` directions, and the class of each."""
    rng = np.random.default_rng(seed)
    own = np.arange(n) % classes
    return unit(np.eye(classes, dim)[own] + spread * rng.normal(size=(n, dim))), own


KNOWN, OWN = clouds(30)
LABELS = [f"label{i}" for i in OWN]
POOL, POOL_OWN = clouds(60, seed=1)


@pytest.mark.parametrize("by", WAYS)
def test_every_way_picks_so_many_different_rows_and_says_why(by):
    picks = pick(by, POOL, KNOWN, LABELS, 10)
    assert len(set(picks.rows.tolist())) == len(picks.why) == 10 and all(picks.why) and picks.by == by
    assert picks.rows.tolist() == pick(by, POOL, KNOWN, LABELS, 10).rows.tolist()


@pytest.mark.parametrize("by", WAYS)
def test_a_pool_that_is_too_small_is_picked_whole(by):
    assert sorted(pick(by, POOL[:4], KNOWN, LABELS, 10).rows) == [0, 1, 2, 3]
    assert len(pick(by, POOL[:0], KNOWN, LABELS, 10)) == 0


@pytest.mark.parametrize("by", WAYS)
def test_a_pool_of_one_and_the_same_text_is_no_trouble(by):
    assert sorted(pick(by, np.repeat(POOL[:1], 5, axis=0), KNOWN, LABELS, 3).rows.tolist()) != []
    assert len(set(pick(by, np.repeat(POOL[:1], 5, axis=0), KNOWN, LABELS, 3).rows.tolist())) == 3


@pytest.mark.parametrize("by", ["margin", "entropy"])
def test_the_unsure_ways_pick_what_lies_between_the_labels(by):
    pool = np.concatenate([POOL, unit([[1, 1, 0, 0, 0, 0, 0, 0]])])
    assert pick(by, pool, KNOWN, LABELS, 1).rows[0] == len(POOL) or by == "entropy"
    shares = probabilities(pool, *classifier(KNOWN, LABELS)[1:])
    ordered = np.sort(shares, axis=1)
    worst = {
        "margin": np.argmin(ordered[:, -1] - ordered[:, -2]),
        "entropy": np.argmax(-(shares * np.log(shares)).sum(1)),
    }[by]
    assert pick(by, pool, KNOWN, LABELS, 1).rows[0] == worst


def test_coreset_goes_where_nothing_is_labelled():
    far = unit([[0, 0, 0, 0, 0, 0, 0, 1]])
    picks = pick("coreset", np.concatenate([POOL, far]), KNOWN, LABELS, 2)
    assert picks.rows[0] == len(POOL) and "cosine" in picks.why[0]


def test_coreset_without_labels_begins_in_the_middle_and_covers_every_cloud():
    rows = pick("coreset", POOL, POOL[:0], [], 6).rows
    assert set(POOL_OWN[rows]) == {0, 1, 2}


def test_badge_spreads_over_what_is_unsure_instead_of_taking_the_same_thing_often():
    # Fifty copies of one unsure text, and one other unsure text.
    copies = np.repeat(unit([[1, 1, 0, 0, 0, 0, 0, 0]]), 50, axis=0)
    other = unit([[0, 1, 1, 0, 0, 0, 0, 0]])
    picks = pick("badge", np.concatenate([copies, other]), KNOWN, LABELS, 2)
    assert 50 in picks.rows.tolist()


def test_badge_measures_the_outer_products_that_it_does_not_write_out():
    from langrec.lm.labels.pick import _to

    rng = np.random.default_rng(0)
    residual, pool = rng.normal(size=(6, 3)), unit(rng.normal(size=(6, 4)))
    outer = np.einsum("nc,nd->ncd", residual, pool).reshape(6, -1)
    length = (outer**2).sum(1)
    assert np.allclose(_to(2, residual, pool, length), ((outer - outer[2]) ** 2).sum(1), atol=1e-5)


@pytest.mark.parametrize("by", ASKING)
@pytest.mark.parametrize("labels", [[], ["one"] * 3])
def test_without_two_labels_coreset_stands_in_and_says_so(by, labels):
    picks = pick(by, POOL, KNOWN[: len(labels)], labels, 3)
    assert picks.by == "coreset" and f"{by} needs two labels" in picks.why[0]


def test_another_seed_draws_another_lot():
    first, second = (pick("random", POOL, KNOWN, LABELS, 10, seed).rows.tolist() for seed in (1, 2))
    assert first != second


def test_an_unknown_way_and_a_count_of_nothing_are_refused():
    with pytest.raises(SettingsError, match="known: random, margin"):
        pick("guess", POOL, KNOWN, LABELS, 1)
    with pytest.raises(SettingsError, match="at least 1"):
        pick("random", POOL, KNOWN, LABELS, 0)
