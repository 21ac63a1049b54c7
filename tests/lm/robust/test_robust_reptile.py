"""Reptile on the head: in a world where units disagree, its start is one that a few rows turn the right way."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.errors import BundleError, DataError
from langrec.lm.robust.reptile import Meta, Start, Unit, average, best, compare, judged, reptile

META = Meta(rounds=400, rates=(0.3, 1.0))


def opposed(n, seed, rows=40, dim=48):
    """Units that judge by the same two hidden directions out of many, each with signs of its own."""
    hidden = np.linalg.qr(np.random.default_rng(5).normal(size=(dim, 2)))[0]
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        vectors = rng.normal(size=(rows, dim))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        signs = rng.choice([-1.0, 1.0], size=2)
        found.append(Unit(vectors.astype(np.float32), (vectors @ hidden @ signs > 0).astype(float)))
    return found


@pytest.fixture(scope="module")
def starts():
    train, valid = opposed(120, 0), opposed(40, 1)
    return {"reptile": best(reptile, train, valid, META), "average": best(average, train, valid, META)}


def test_where_units_disagree_reptile_wins_after_steps_and_neither_knows_before(starts):
    told = compare(starts, opposed(80, 2), 8, (0, 5, 20))
    assert told["units"] == 80
    assert abs(told["reptile_auc_0"] - 0.5) < 0.06  # what a unit thinks cannot be known before its rows are
    assert told["above_average_5_interval"][0] > 0.02
    assert told["above_average_20_interval"][0] > 0.02
    assert told["reptile_auc_20"] >= told["reptile_auc_5"] > told["reptile_auc_0"]


def test_where_units_agree_both_starts_know_before_any_row():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=32)

    def alike(n):
        vectors = rng.normal(size=(n, 30, 32))
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        return [Unit(one.astype(np.float32), (one @ hidden > 0).astype(float)) for one in vectors]

    train, valid, test = alike(60), alike(20), alike(30)
    for learn in (reptile, average):
        assert np.nanmean(judged(best(learn, train, valid, META), test, 8, (0,))[0]) > 0.9


def test_a_start_is_saved_and_read_back(starts, tmp_path):
    starts["reptile"].save(tmp_path)
    read = Start.load(tmp_path)
    unit = opposed(1, 3)[0]
    np.testing.assert_allclose(read.logits(unit.vectors), starts["reptile"].logits(unit.vectors))
    (tmp_path / "reptile.safetensors").write_bytes(b"nothing")
    with pytest.raises(BundleError, match="no readable start"):
        Start.load(tmp_path)


def test_the_same_seed_gives_the_same_start():
    units = opposed(10, 0)
    meta = Meta(rounds=5)
    first, second = reptile(units, meta, 0.3), reptile(units, meta, 0.3)
    np.testing.assert_array_equal(first.project, second.project)


def test_no_steps_leave_the_start_as_it_is(starts):
    unit = opposed(1, 4)[0]
    start = starts["reptile"]
    same = start.adapted(unit.vectors, unit.labels, 0)
    np.testing.assert_array_equal(same.project, start.project)


def test_without_units_nothing_is_learned():
    with pytest.raises(DataError, match="rows enough"):
        reptile([], Meta(), 0.1)
