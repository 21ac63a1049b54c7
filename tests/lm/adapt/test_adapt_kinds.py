"""Every kind keeps one contract: it starts as the model was, trains its share, and saving changes nothing."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from langrec.data.cache import LEFT_SECONDS
from langrec.errors import SettingsError
from langrec.lm.adapt import states
from langrec.lm.adapt.kinds import KINDS, Adapted
from langrec.lm.adapt.settings import KINDS as NAMES
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.export import load_torch
from langrec.lm.model import find_model
from langrec.lm.tokens import Tokens

TEXTS = ["the cat sat on the mat", "a film", "the dog runs in the green house and the bird sits on the red train"]


def adapted(tiny, kind, **changes):
    return Adapted(find_model(str(tiny), 64), AdaptSettings(kind=kind, layers=1, dropout=0.0, **changes))


def vectors(folder):
    model = find_model(str(folder), 64)
    module, tokens = load_torch(model), Tokens.of_model(model)
    with torch.no_grad():
        rows = [
            module(torch.from_numpy(ids[None].astype(np.int64)), torch.ones(1, len(ids), dtype=torch.long))[0]
            for ids in tokens(TEXTS)
        ]
    return torch.stack(rows).numpy()


def disturb(one):
    """Changes what the kind trains, as training would."""
    torch.manual_seed(3)
    with torch.no_grad():
        for value in one.trained.parameters():
            if value.requires_grad:
                value.add_(torch.randn_like(value) * 0.4)


def test_the_table_holds_every_kind():
    assert set(KINDS) == set(NAMES)


@pytest.mark.parametrize("kind", NAMES)
def test_it_starts_as_the_model_it_came_from(tiny, kind):
    one = adapted(tiny, kind)
    assert np.allclose(one.vectors(one.feed(TEXTS)).numpy(), vectors(tiny), atol=2e-3)


@pytest.mark.parametrize("kind", NAMES)
def test_no_library_warns_of_another(tiny, kind, recwarn):
    adapted(tiny, kind)
    assert [str(one.message) for one in recwarn] == []


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_saved_gives_what_was_trained(tiny, kind, tmp_path):
    one = adapted(tiny, kind)
    disturb(one)
    trained = one.vectors(one.feed(TEXTS)).numpy()
    one.save(tmp_path / "model")
    found = vectors(tmp_path / "model")
    assert np.allclose(found, trained, atol=1e-2)
    moved = not np.allclose(found, vectors(tiny), atol=2e-2)
    assert moved == (kind != "head")


@pytest.mark.parametrize("kind", NAMES)
def test_it_trains_a_share_of_the_parameters(tiny, kind):
    one = adapted(tiny, kind)
    share = one.share(torch.nn.Linear(4, 2))
    assert 0 < share < 1
    table = one.core.get_input_embeddings().weight
    assert not table.requires_grad
    # A side network has its own size: beside a model of two narrow layers it is large.
    assert kind == "side" or share <= adapted(tiny, "full").share(torch.nn.Linear(4, 2))


@pytest.mark.parametrize("kind", ["side", "last", "head"])
def test_kept_states_give_what_computing_gives(tiny, kind):
    kept, computed = adapted(tiny, kind), adapted(tiny, kind, cached=False)
    assert kept.keeps
    assert not computed.keeps
    disturb(kept)
    disturb(computed)
    first, second = kept.vectors(kept.feed(TEXTS)), computed.vectors(computed.feed(TEXTS))
    assert np.allclose(first.numpy(), second.numpy(), atol=5e-3)


def test_a_text_is_kept_once_whatever_list_it_comes_in(tiny, tmp_path):
    model = find_model(str(tiny), 64)
    one = Adapted(model, AdaptSettings(kind="side"), tmp_path)
    first = one.feed(["a cat", "a dog", "a cat"])
    again = Adapted(model, AdaptSettings(kind="side"), tmp_path)
    second = again.feed(["a film", "a dog"])
    files = [file for file in (tmp_path / "states").rglob("*.npy") if "hashes" not in file.name]
    assert sum(np.load(file, mmap_mode="r").shape[0] for file in files) == 3
    assert torch.equal(first(np.array([1]))[0], second(np.array([1]))[0])
    assert torch.equal(first(np.array([0]))[0], first(np.array([2]))[0])
    assert not torch.equal(second(np.array([0]))[0], second(np.array([1]))[0])


# States of tokens lie in one file, with no hashes beside it.
@pytest.mark.parametrize(("kind", "which"), [("side", "states"), ("side", "hashes"), ("last", "states")])
@pytest.mark.parametrize("left", [0, 100, None, "zeros"])
def test_kept_states_that_are_cut_short_are_computed_again(tiny, tmp_path, which, left, kind):
    model = find_model(str(tiny), 64)
    first = Adapted(model, AdaptSettings(kind=kind, layers=1), tmp_path).feed(["a cat", "a dog"])
    right = first(np.array([0, 1]))[0].clone()
    files = [one for one in (tmp_path / "states").rglob("*.npy") if ("hashes" in one.name) == (which == "hashes")]
    (file,) = files
    data = file.read_bytes()
    file.unlink()
    if left is not None:
        file.write_bytes(data[:-64] + bytes(64) if left == "zeros" else data[:left])
    again = Adapted(model, AdaptSettings(kind=kind, layers=1), tmp_path).feed(["a cat", "a dog"])
    assert torch.equal(again(np.array([0, 1]))[0], right)


def test_states_that_a_killed_run_had_half_written_go_with_later_ones(tiny, tmp_path, monkeypatch):
    left = [tmp_path / "states" / "x.1.half", tmp_path / "states" / "y.2.half"]
    left[0].parent.mkdir()
    for age, file in enumerate(left):
        file.write_bytes(b"half")
        at = time.time() - age * (LEFT_SECONDS + 60)
        os.utime(file, (at, at))
    adapted = Adapted(find_model(str(tiny), 64), AdaptSettings(kind="last", layers=1), tmp_path)
    adapted.feed(["a cat"])
    assert list((tmp_path / "states").glob("*.half")) == left[:1]

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(states, "pad", stopped)
    with pytest.raises(KeyboardInterrupt):
        adapted.feed(["a dog"])
    assert list((tmp_path / "states").glob("*.half")) == left[:1], "one that is stopped leaves nothing"


def test_the_token_table_can_be_trained_too(tiny):
    one = adapted(tiny, "full", train_embeddings=True)
    assert one.core.get_input_embeddings().weight.requires_grad


def test_lower_layers_learn_slower_where_layer_decay_says_so(tiny):
    rates = sorted({group["rate"] for group in adapted(tiny, "full", layer_decay=0.5, rate=1.0).groups()})
    assert rates == [0.5, 1.0] or rates == [0.25, 0.5, 1.0]


def test_a_model_with_adapters_beside_it_is_not_adapted_again(tiny, tmp_path):
    adapted(tiny, "adapter").save(tmp_path / "model")
    with pytest.raises(SettingsError, match="kind head"):
        Adapted(find_model(str(tmp_path / "model"), 64), AdaptSettings(kind="lora"))
    head = Adapted(find_model(str(tmp_path / "model"), 64), AdaptSettings(kind="head"))
    assert np.allclose(head.vectors(head.feed(TEXTS)).numpy(), vectors(tiny), atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapter", "side"])
def test_what_stands_beside_the_weights_is_part_of_the_exported_graph(tiny, kind, tmp_path):
    from langrec.lm.export import export

    one = adapted(tiny, kind)
    disturb(one)
    one.save(tmp_path / "model")
    model = find_model(str(tmp_path / "model"), 64)
    export(model, tmp_path / "onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    ids = Tokens.of_model(model)([TEXTS[0]])[0][None].astype(np.int64)
    found = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    assert np.allclose(found[0], vectors(tmp_path / "model")[0], atol=1e-4)


@pytest.mark.parametrize("wrong", ["kind=loar", "rate=-1", "batch=-1", "nothing=1", "epochs=many", "cached=maybe"])
def test_a_wrong_setting_is_named(wrong):
    from langrec.lm.adapt.settings import with_overrides

    with pytest.raises(SettingsError, match=wrong.partition("=")[0]):
        with_overrides(AdaptSettings(), [wrong])
