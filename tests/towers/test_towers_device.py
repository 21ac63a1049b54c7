"""A tower that is trained on a graphics card, pretended, is the tower that is trained on the processor."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

import worlds
from langrec.data.fitting import FitData
from langrec.settings import IdTowerSettings, TextTowerSettings
from langrec.towers import contrastive, fit, softmax, train
from langrec.towers.fit import fit_tower
from langrec.towers.id_tower import IdTower
from langrec.towers.text_tower import TextTower
from pretended_card import CARD, Card

AdamW = torch.optim.AdamW
SMALL = {"dim": 16, "epochs": 2, "tokens": 256, "warmup": 2, "precision": "fp32", "dropout": 0.1, "length": 8}
KINDS = {
    "ids": (IdTower, IdTowerSettings(**SMALL)),
    "ids, learned places, altered views first": (
        IdTower,
        IdTowerSettings(**SMALL, positions="learned", pretrain_epochs=1, drop_ids=0.2),
    ),
    "ids, sampled": (IdTower, IdTowerSettings(**SMALL, full_below=1, negatives=7)),
    "texts": (TextTower, TextTowerSettings(**SMALL, head=(12,))),
}


@pytest.fixture
def on_card(monkeypatch):
    """Runs a function while the card is the chosen device, and sees that something was computed there."""

    def run(function):
        with monkeypatch.context() as patch, Card() as card:
            patch.setattr(fit, "chosen_device", lambda: CARD)
            # PyTorch knows no lower precision of a device that is not there; fp32 is what is trained in here.
            for module in (train, fit, contrastive):
                patch.setattr(module, "autocast", lambda *_: nullcontext())
            # Nor has it a fused step there.
            patch.setattr(torch.optim, "AdamW", lambda *given, fused=False, **named: AdamW(*given, **named))
            patch.setattr(softmax, "product_type", lambda states: states.dtype)
            found = function()
        assert card.products
        return found

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_tower_of_a_card_is_that_of_the_processor(on_card, tmp_path, kind):
    world = worlds.cycle()
    vectors = np.random.default_rng(0).normal(size=(world.n_items, 8)).astype(np.float32)
    data = FitData(world.dataset.events, world.n_users, world.n_items, world.texts, {"vectors": vectors})
    tower, settings = KINDS[kind]

    def trained(name):
        return fit_tower(tower, data, settings, folder=tmp_path / name, epochs=2)

    here, there = trained("here"), on_card(lambda: trained("there"))
    assert all(isinstance(value, np.ndarray) and not isinstance(value, torch.Tensor) for value in there.arrays.values())
    for name, value in here.arrays.items():
        assert np.allclose(value, there.arrays[name], atol=1e-5), name


def test_a_training_on_the_card_goes_on_after_its_last_epoch(on_card, tmp_path):
    world = worlds.cycle()
    data = FitData(world.dataset.events, world.n_users, world.n_items, world.texts, {})
    tower, settings = KINDS["ids"]
    whole = fit_tower(tower, data, settings, folder=tmp_path / "whole", epochs=2)
    on_card(lambda: fit_tower(tower, data, settings, folder=tmp_path / "halves", epochs=1))
    halves = on_card(lambda: fit_tower(tower, data, settings, folder=tmp_path / "halves", epochs=2))
    assert all(np.allclose(value, halves.arrays[name], atol=1e-5) for name, value in whole.arrays.items())
