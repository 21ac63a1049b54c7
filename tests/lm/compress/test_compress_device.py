"""Whatever device is chosen, a step reads and trains there, and gives what it gives on the processor."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from langrec.encoders import load_saved
from langrec.lm import device, precision
from langrec.lm.compress import cross, distil, drop, project, prune, read, static, teach
from langrec.lm.compress.read import read_torch
from langrec.lm.compress.steps import parse_steps
from langrec.lm.export import load_torch
from pretended_card import CARD, Card
from tiny_cross import tiny_cross

STEPS = {"drop": drop, "prune": prune, "distil": distil, "project": project, "teach": teach}


@pytest.fixture
def on_card(monkeypatch):
    """Runs a function while the card is the chosen device; tells that something was computed there."""

    def run(function):
        with monkeypatch.context() as patch, Card() as card:
            for module in (read, cross):
                patch.setattr(module, "chosen_device", lambda: CARD)
            # PyTorch knows no half precision of a device that is not there; fp32 is what is trained in here.
            patch.setattr(precision, "autocast", lambda *_: nullcontext())
            # Tensors that pretend know no views without a version.
            patch.setattr(torch, "inference_mode", torch.no_grad)
            found = function()
        assert card.products
        return found

    return run


def read_with_the_teacher(work):
    """The teacher is exported and reads by a runtime of its own, which is no part of these tests."""
    work.vectors(work.corpus.training())
    work.vectors(work.corpus.held_out())


@pytest.mark.slow
@pytest.mark.parametrize("words", ["drop:best2", "prune:0.5", "distil:2", "project:8", "teach:kl", "teach:margin"])
def test_a_step_on_a_card_makes_the_model_that_it_makes_on_the_processor(work, four_layers, on_card, tmp_path, words):
    step, model = parse_steps(words)[0], work.teacher
    given = dataclasses.replace(work, cross=tiny_cross(tmp_path / "cross", four_layers))
    if step.kind == "distil":
        read_with_the_teacher(given)
        model, _ = drop.run(model, parse_steps("drop:2")[0], tmp_path / "cut", given)
    made, note = on_card(lambda: STEPS[step.kind].run(model, step, tmp_path / "there", given))
    alone = dataclasses.replace(given, kept=tmp_path / "alone")
    wanted, same = STEPS[step.kind].run(model, step, tmp_path / "here", alone)
    # Before it, a training says how long it took.
    assert note.split(";")[-1] == same.split(";")[-1]
    texts = given.corpus.asked
    there, here = (read_torch(load_torch(model), model, texts) for model in (made, wanted))
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_the_token_table_is_read_on_the_card(work, on_card, tmp_path):
    step = parse_steps("static:16/fit=no")[0]
    there, _ = on_card(lambda: static.run(work.teacher, step, tmp_path / "there", work))
    here, _ = static.run(work.teacher, step, tmp_path / "here", work)
    texts = work.corpus.asked
    np.testing.assert_allclose(load_saved(there).encode(texts), load_saved(here).encode(texts), atol=1e-5)


def test_a_cross_encoder_scores_on_the_card(four_layers, on_card, tmp_path):
    folder = tiny_cross(tmp_path / "cross", four_layers)
    pairs = ["a cat", "a dog"], ["a red bird", "the blue house"]
    found = on_card(lambda: cross.load_cross(folder, 64).score(*pairs))
    np.testing.assert_allclose(found, cross.load_cross(folder, 64).score(*pairs), atol=1e-5)


@pytest.mark.slow
def test_a_training_on_the_card_goes_on_after_its_last_checkpoint(work, on_card, tmp_path, monkeypatch):
    step, kept = parse_steps("distil:2")[0], distil._keep
    work = dataclasses.replace(work, healing=dataclasses.replace(work.healing, precision="auto"))
    read_with_the_teacher(work)

    def killed(*given):
        kept(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(distil, "_keep", killed)
    with pytest.raises(KeyboardInterrupt):
        on_card(lambda: distil.run(work.teacher, step, tmp_path / "never", work))
    monkeypatch.setattr(distil, "_keep", kept)
    _, note = on_card(lambda: distil.run(work.teacher, step, tmp_path / "resumed", work))
    assert "2 epochs" in note


def test_a_card_is_chosen_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.chosen_device() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.chosen_device() == torch.device("cpu")
