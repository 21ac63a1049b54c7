"""Pre-training of a tower by two views of a history."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import worlds
from langrec.data.fitting import FitData
from langrec.settings import IdTowerSettings
from langrec.towers.contrastive import info_nce, pretrain, view
from langrec.towers.id_tower import IdTower
from langrec.towers.network import IdNetwork
from langrec.towers.sequences import Sequences

WORLD = worlds.cycle()
IDS = IdTowerSettings(dim=16, epochs=2, tokens=256, warmup=5, precision="fp32", length=10, dropout=0.1)


def data(**rest):
    return FitData(WORLD.dataset.events, WORLD.n_users, WORLD.n_items, WORLD.texts, {}, **rest)


def test_a_view_is_a_piece_of_the_history_or_all_of_it_in_another_order():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        rows = view(5, 15, rng)
        assert len(rows) >= 1
        assert len(set(rows.tolist())) == len(rows)
        assert set(rows.tolist()) <= set(range(5, 15))
        ordered = (np.diff(rows) > 0).all()
        whole = (np.diff(rows) == 1).all()
        seen.add("crop" if whole and len(rows) == 6 else "mask" if ordered and len(rows) < 10 else "reorder")
        if not ordered:
            assert len(rows) == 10
    assert seen == {"crop", "mask", "reorder"}
    assert view(3, 4, rng).tolist() == [3]


def test_the_loss_is_least_where_views_of_one_history_are_alike():
    rows = torch.eye(4)
    assert info_nce(rows, rows) < 0.1 < info_nce(rows, rows.roll(1, 0))


def test_views_come_to_find_each_other():
    torch.manual_seed(0)
    network = IdNetwork(IDS, WORLD.n_items)
    settings = dataclasses.replace(IDS, pretrain_epochs=15, rate=5e-3)
    losses = pretrain(network, Sequences.of(WORLD.dataset.events, WORLD.n_users), settings)
    assert len(losses) == 15
    assert losses[-1] < 0.9 * losses[0]
    assert not network.training


def test_a_tower_begins_where_its_pre_training_ended_and_the_same_seed_gives_the_same(tmp_path):
    wanted = dataclasses.replace(IDS, pretrain_epochs=2)
    first, second = IdTower.fit(data(), wanted), IdTower.fit(data(), wanted)
    np.testing.assert_array_equal(first.items, second.items)
    assert not np.allclose(first.items, IdTower.fit(data(), IDS).items)


def test_a_fit_that_goes_on_from_a_tower_is_not_pre_trained_again(tmp_path, monkeypatch):
    wanted = dataclasses.replace(IDS, pretrain_epochs=2)
    first = IdTower.fit(data(kept=tmp_path, judge=lambda *_: 0.5), wanted)

    def never(*_):
        pytest.fail("pre-trained again")

    monkeypatch.setattr("langrec.towers.train.pretrain", never)
    IdTower.fit(data(kept=tmp_path), wanted, **first.settled)
    more = dataclasses.replace(wanted, seed=1)  # another key: the fit is not found, its start is
    assert IdTower.fit(data(kept=tmp_path), more, **first.settled).trained.any()
