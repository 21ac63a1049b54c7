"""What each step does to a model: layers, units, heads, widths, tables; and what must stay the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from langrec.encoders import load_encoder, load_saved
from langrec.errors import SettingsError
from langrec.lm.compress import distil, drop, layers, project, prune, quantise, read, static
from langrec.lm.compress.binary import BinaryCodes, recall
from langrec.lm.compress.exports import saved
from langrec.lm.compress.read import read_torch
from langrec.lm.compress.steps import Step, parse_steps
from langrec.lm.export import load_torch
from langrec.settings import EncoderSettings

pytest.importorskip("torch")


def core(model):
    return load_torch(model).core


def vectors(model, texts):
    return read_torch(load_torch(model), model, texts)


@pytest.mark.parametrize(("value", "kept"), [("2", "2, 4"), ("first3", "1, 2, 3")])
def test_the_named_layers_are_kept(work, tmp_path, value, kept):
    made, note = drop.run(work.teacher, Step("drop", value), tmp_path / "model", work)
    assert note == f"kept layers {kept} of 4"
    assert layers.count(core(made)) == len(kept.split(","))


def test_the_layer_without_which_vectors_stay_nearest_is_left_out(work, tmp_path):
    made, _ = drop.run(work.teacher, Step("drop", "best3"), tmp_path / "best", work)
    whole = vectors(work.teacher, work.corpus.asked)
    best = (vectors(made, work.corpus.asked) * whole).sum(1).mean()
    other, _ = drop.run(work.teacher, Step("drop", "first3"), tmp_path / "first", work)
    assert best >= (vectors(other, work.corpus.asked) * whole).sum(1).mean() - 1e-6


def test_without_a_number_half_of_the_layers_stay(work, tmp_path):
    made, note = drop.run(work.teacher, Step("drop", "best"), tmp_path / "half", work)
    _, named = drop.run(work.teacher, Step("drop", "best2"), tmp_path / "two", work)
    assert layers.count(core(made)) == 2 and note == named


def test_dropping_no_layer_changes_no_vector(work, tmp_path):
    made, _ = drop.run(work.teacher, Step("drop", "first4"), tmp_path / "model", work)
    assert np.allclose(vectors(made, work.corpus.asked), vectors(work.teacher, work.corpus.asked), atol=1e-5)


def test_the_same_step_makes_the_same_model(work, tmp_path):
    # The teacher's folder lacks a pooler, whose weights are drawn: a model of other numbers would be exported anew.
    made = [drop.run(work.teacher, Step("drop", "2"), tmp_path / name, work)[0] for name in ("one", "two")]
    assert made[0].hash == made[1].hash


def test_pruning_leaves_the_named_share_of_units_and_heads(work, tmp_path):
    step = parse_steps("prune:units=0.5/heads=0.5")[0]
    made, note = prune.run(work.teacher, step, tmp_path / "model", work)
    assert note == "kept 32 of 64 units and 1 of 2 heads in each layer"
    layer = layers.stack(core(made))[0]
    assert layer.intermediate.dense.out_features == 32
    assert layer.attention.self.query.out_features == 16
    assert vectors(made, ["a cat sits"]).shape == (1, 32)


@pytest.mark.slow
def test_a_model_of_fewer_heads_is_known_to_a_process_that_did_not_make_it(work, tmp_path):
    # Such as the one that goes on with a healing that was killed.
    made, _ = prune.run(work.teacher, parse_steps("prune:heads=0.5")[0], tmp_path / "model", work)
    code = (
        "import sys; from langrec.lm.compress import layers; from langrec.lm.compress.read import pad_id;"
        "from langrec.lm.adapt.kinds import load_core; from langrec.lm.adapt.settings import AdaptSettings;"
        "from langrec.lm.model import find_model; model = find_model(sys.argv[1], 64);"
    )
    width = "layers.stack(load_core(model, AdaptSettings()))[0].attention.self.query.out_features"
    # Each in a process of its own: what the first imports could tell the second of the model.
    for asked, right in (("pad_id(model)", read.pad_id(work.teacher)), (width, 16)):
        words = [sys.executable, "-c", f"{code} print({asked})", str(made.folder)]
        assert subprocess.run(words, check=True, capture_output=True, text=True).stdout.split() == [str(right)]


def test_a_roberta_of_fewer_heads_reads_each_token_at_its_place():
    torch = pytest.importorskip("torch")
    from transformers import RobertaConfig, RobertaModel

    from langrec.lm import slim

    config = RobertaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=12, pad_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    whole = RobertaModel(config).eval()
    ids, mask = torch.tensor([[0, 5, 6, 2], [0, 7, 2, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.inference_mode():
        wanted, found = (
            one(input_ids=ids, attention_mask=mask).last_hidden_state for one in (whole, slim.with_heads(whole, 2))
        )
    assert torch.allclose(wanted[mask.bool()], found[mask.bool()], atol=1e-6)


def test_a_pruned_model_can_be_pruned_and_exported_again(work, tmp_path):
    once, _ = prune.run(work.teacher, parse_steps("prune:heads=0.5")[0], tmp_path / "once", work)
    twice, _ = prune.run(once, parse_steps("prune:units=0.5")[0], tmp_path / "twice", work)
    found = load_saved(saved(twice, tmp_path / "saved", work.exported)).encode(work.corpus.asked)
    assert np.allclose(found, vectors(twice, work.corpus.asked), atol=2e-2)


def test_units_that_never_move_the_output_are_the_ones_left_out():
    gram, weights = np.eye(6), np.ones((2, 6), dtype=np.float32)
    gram[1, 1], weights[:, 4] = 0.0, 0.0
    assert prune.kept_groups(gram, weights, 1, 4).tolist() == [0, 2, 3, 5]


def test_refitted_weights_make_up_for_units_that_others_can_stand_in_for():
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(400, 3))
    seen = np.concatenate([seen, seen[:, :1] + seen[:, 1:2]], axis=1)  # the fourth is the sum of two others
    weights = rng.normal(size=(5, 4)).astype(np.float32)
    kept = np.array([0, 1, 2], dtype=np.int32)
    found = prune.refit(seen.T @ seen / len(seen), weights, kept)
    assert np.allclose(seen[:, :3] @ found.T, seen @ weights.T, atol=0.02)


def test_a_family_whose_layers_are_unknown_is_refused(work, tmp_path, monkeypatch):
    monkeypatch.setattr(prune, "FAMILIES", ("other",))
    with pytest.raises(SettingsError, match="bert is not one of other"):
        prune.run(work.teacher, Step("prune", "0.5"), tmp_path / "model", work)


@pytest.mark.slow
def test_training_brings_a_cut_model_nearer_to_its_teacher(work, tmp_path):
    cut, _ = drop.run(work.teacher, Step("drop", "2"), tmp_path / "cut", work)
    held = work.corpus.held_out()
    wanted = vectors(work.teacher, held)
    before = distil.likeness(vectors(cut, held), wanted)
    healed, note = distil.run(cut, Step("distil", "6"), tmp_path / "healed", work)
    assert distil.likeness(vectors(healed, held), wanted) > before + 0.05
    assert "epochs" in note


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [None, "state/sealed.json", "state/state.safetensors", "best.safetensors"])
def test_a_killed_training_goes_on_to_the_same_model(work, tmp_path, monkeypatch, damaged):
    cut, _ = drop.run(work.teacher, Step("drop", "2"), tmp_path / "cut", work)
    whole, _ = distil.run(cut, Step("distil"), tmp_path / "whole", work)
    wanted = vectors(whole, work.corpus.asked)
    import dataclasses

    again = dataclasses.replace(work, kept=tmp_path / "killed")
    keep, seen = distil._keep, []

    def killed(place, trained, optimiser, state):
        keep(place, trained, optimiser, state)
        seen.append(1)
        if len(seen) == (2 if damaged is None else 4):
            raise KeyboardInterrupt

    monkeypatch.setattr(distil, "CHECKPOINT", 5)  # so that the kill falls into an epoch
    monkeypatch.setattr(distil, "_keep", killed)
    with pytest.raises(KeyboardInterrupt):
        distil.run(cut, Step("distil"), tmp_path / "never", again)
    monkeypatch.setattr(distil, "_keep", keep)
    if damaged is not None:
        (file,) = again.kept.glob(f"training-*/{damaged}")
        file.write_bytes(file.read_bytes()[:-40] + bytes(40))
    resumed, note = distil.run(cut, Step("distil"), tmp_path / "resumed", again)
    assert "3 epochs" in note
    assert np.allclose(vectors(resumed, work.corpus.asked), wanted, atol=1e-6)


def test_the_loss_is_least_where_student_and_teacher_agree():
    import torch

    wanted = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    other = torch.nn.functional.normalize(wanted + 0.3 * wanted.roll(1, 0), dim=1)
    assert float(distil.loss_of(wanted, wanted)) < 1e-5 < float(distil.loss_of(other, wanted))
    bank = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    assert float(distil.loss_of(wanted, wanted, bank)) < 1e-5 < float(distil.loss_of(other, wanted, bank))
    # A turned space has the same similarities: of unlike widths they alone count.
    wide = torch.cat([wanted, torch.zeros(6, 2)], dim=1)
    assert abs(float(distil.loss_of(wide, wanted))) < 1e-5


def test_projected_vectors_keep_their_neighbours_better_than_cut_ones(work, tmp_path):
    texts = work.corpus.held_out()
    wanted = vectors(work.teacher, texts)
    pca, _ = project.run(work.teacher, parse_steps("project:12/by=pca")[0], tmp_path / "pca", work)
    cut, _ = project.run(work.teacher, parse_steps("project:12/by=truncate")[0], tmp_path / "cut", work)
    found = vectors(pca, texts)
    assert found.shape[1] == 12 and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert project.overlap(found, wanted, 3) > project.overlap(vectors(cut, texts), wanted, 3)


def test_projecting_twice_stacks_two_layers(work, tmp_path):
    first, _ = project.run(work.teacher, Step("project", "16"), tmp_path / "first", work)
    second, _ = project.run(first, Step("project", "8"), tmp_path / "second", work)
    assert len(second.dense) == 2 and vectors(second, ["a cat"]).shape == (1, 8)


def test_a_width_that_is_no_narrowing_is_refused(work, tmp_path):
    with pytest.raises(SettingsError, match="from 1 to 31"):
        project.run(work.teacher, Step("project", "32"), tmp_path / "model", work)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["static", "dynamic", "weights"])
def test_each_kind_of_int8_reads_nearly_as_fp32_does(work, tmp_path, way):
    folder, _ = quantise.run(work.teacher, Step("quantise", way), tmp_path / "int8", work)
    found = load_saved(folder)
    wanted = vectors(work.teacher, work.corpus.asked)
    assert (found.encode(work.corpus.asked) * wanted).sum(1).mean() > 0.98
    assert f"/int8-{quantise.METHODS[way]}" in found.identity


@pytest.mark.slow
def test_an_int8_embedding_table_is_a_fourth_as_large_and_reads_the_same(work, tmp_path):
    folder, _ = quantise.run(work.teacher, Step("quantise", "dynamic", {"table": "float"}), tmp_path / "int8", work)
    file = folder / "model-int8.onnx"
    wanted, before = load_saved(folder).encode(work.corpus.asked), file.stat().st_size
    assert quantise.quantise_tables(file, least=50) > 100
    assert before - file.stat().st_size > 0.6 * 4 * 32 * 100
    assert (load_saved(folder).encode(work.corpus.asked) * wanted).sum(1).mean() > 0.999


def test_a_distilled_table_loads_as_a_static_encoder(work, tmp_path):
    folder, note = static.run(work.teacher, Step("static", "16"), tmp_path / "table", work)
    found = load_saved(folder)
    assert type(found).__name__ == "StaticEncoder" and found.dim == 16 and "16 dimensions" in note
    assert load_encoder(EncoderSettings(name=str(folder))).identity == found.identity


def test_fitting_the_table_brings_held_out_texts_nearer_to_the_model(work):
    rng = np.random.default_rng(0)
    from scipy import sparse

    true = rng.normal(size=(30, 6)).astype(np.float32)
    counts = sparse.csr_array(rng.poisson(0.3, size=(300, 30)).astype(np.float32))
    held = sparse.csr_array(rng.poisson(0.3, size=(50, 30)).astype(np.float32))
    start = (true + rng.normal(size=true.shape)).astype(np.float32)

    def unit(rows):
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    _, _, before, after = static.fitted(start, counts, unit(counts @ true), held, unit(held @ true))
    assert after > before + 0.05


def test_sign_codes_are_32_times_smaller_and_find_what_is_near():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 64)).astype(np.float32) + 2  # a common direction, as vectors of texts have
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asked = rows[:40] + 0.02 * rng.normal(size=(40, 64)).astype(np.float32)
    codes = BinaryCodes.of(rows)
    assert codes.bits.nbytes * 32 == rows.nbytes
    found, scores = codes.search(asked, 5, vectors=rows)
    assert (found[:, 0] == np.arange(40)).mean() > 0.9 and (np.diff(scores) <= 0).all()
    alone, rescored = (recall(codes, asked, rows, factor, rescored=factor > 1) for factor in (1, 20))
    assert alone < rescored and rescored > 0.9


def test_sign_codes_come_back_as_they_were_saved(tmp_path):
    rows = np.random.default_rng(1).normal(size=(20, 12)).astype(np.float32)
    codes = BinaryCodes.of(rows)
    codes.save(tmp_path / "codes.npz")
    again = BinaryCodes.load(tmp_path / "codes.npz")
    assert (again.search(rows[:3], 4)[0] == codes.search(rows[:3], 4)[0]).all() and len(again) == 20
