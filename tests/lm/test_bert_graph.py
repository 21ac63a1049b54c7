"""The graph that is written of a BERT gives the module's vectors; what is more than a BERT is left to tracing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from langrec.lm import slim, traced  # noqa: E402
from langrec.lm.adapt import adapters, side  # noqa: E402
from langrec.lm.bert_graph import write_bert  # noqa: E402
from langrec.lm.export import load_torch, pooled  # noqa: E402
from langrec.lm.model import POOLINGS, find_model  # noqa: E402
from tiny_lm import tiny_lm  # noqa: E402

IDS = np.array([[2, 7, 9, 30, 31, 3], [2, 8, 3, 0, 0, 0], [2, 3, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return find_model(str(tiny_lm(tmp_path_factory.mktemp("bert") / "model")), 64)


@pytest.fixture
def core(model):
    torch.manual_seed(5)
    core = load_torch(model).core
    with torch.no_grad():
        for name, value in core.named_parameters():
            if name.endswith("bias"):  # a new model's are all zero
                value.normal_(0.0, 0.3)
    return core


def written(module, pooling, file):
    return write_bert(module, pooling, {name: value.numpy() for name, value in module.state_dict().items()}, file)


def vectors(file):
    import onnxruntime

    onnx.checker.check_model(onnx.load(file))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return [session.run(None, {"input_ids": IDS[:n], "attention_mask": MASK[:n]})[0] for n in (1, len(IDS))]


def assert_same(module, file):
    with torch.no_grad():
        wanted = module(torch.from_numpy(IDS), torch.from_numpy(MASK)).numpy()
    for found in vectors(file):
        np.testing.assert_allclose(found, wanted[: len(found)], atol=2e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_graph_gives_the_vectors_of_torch(core, model, pooling, tmp_path):
    module = pooled(core, replace(model, pooling=pooling))
    assert written(module, pooling, tmp_path / "a.onnx")
    assert_same(module, tmp_path / "a.onnx")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_side_network_and_dense_layers_are_part_of_it(core, model, pooling, tmp_path):
    from safetensors.torch import save_file

    for name, (wide, narrow) in {"Tanh": (32, 16), "Identity": (16, 8)}.items():
        (tmp_path / name).mkdir()
        told = {"in_features": wide, "out_features": narrow, "activation_function": f"torch.nn.modules.{name}"}
        (tmp_path / name / "config.json").write_text(json.dumps(told), "utf-8")
        layer = torch.nn.Linear(wide, narrow)
        save_file(
            {"linear.weight": layer.weight.data, "linear.bias": layer.bias.data}, tmp_path / name / "model.safetensors"
        )
    model = replace(model, pooling=pooling, dense=(tmp_path / "Tanh", tmp_path / "Identity"))
    one = side.Side(rows=3, dim=32, inner=4)
    with torch.no_grad():
        for value in one.parameters():
            value.normal_(0.0, 0.5)
    module = side.Beside(pooled(core, model), pooling, one).eval()
    assert written(module, pooling, tmp_path / "a.onnx")
    assert_same(module, tmp_path / "a.onnx")
    assert vectors(tmp_path / "a.onnx")[0].shape == (1, 8)


def test_fewer_heads_and_another_activation_are_told_from_the_layers(core, model, tmp_path):
    kept = {name: value[:16] if ".self." in name else value for name, value in core.state_dict().items()}
    kept = {
        name: value[:, :16] if name.endswith("attention.output.dense.weight") else value for name, value in kept.items()
    }
    config = slim.register().config_class(**core.config.to_dict() | {"slim_heads": 1, "hidden_act": "relu"})
    config._attn_implementation = "eager"
    narrow = slim.register()(config, add_pooling_layer=False).eval()
    narrow.load_state_dict(kept, strict=False)  # without the pooler
    module = pooled(narrow, model)
    assert written(module, "mean", tmp_path / "a.onnx")
    assert_same(module, tmp_path / "a.onnx")


def adapted(core):
    adapters.insert(core, 4)
    return core


def of_other_activation(core):
    return transformers.BertModel(transformers.BertConfig(**core.config.to_dict() | {"hidden_act": "gelu_new"}))


def of_another_family(core):
    return transformers.RobertaModel(transformers.RobertaConfig(**{**core.config.to_dict(), "pad_token_id": 0}))


def decoding(core):
    core.config.is_decoder = True
    return core


@pytest.mark.parametrize("other", [adapted, of_other_activation, of_another_family, decoding])
def test_what_is_more_than_a_bert_is_not_written(core, model, other, tmp_path):
    assert not written(pooled(other(core), model), "mean", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_an_export_is_written_and_one_that_would_not_agree_is_traced(core, model, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(traced, "_trace", lambda module, file: asked.append(file))
    monkeypatch.setattr(traced, "_without_weights", lambda *_: None)
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "cache"))
    module = pooled(core, model)
    traced.write_onnx(module, "mean", tmp_path / "a.onnx")
    assert not asked
    assert_same(module, tmp_path / "a.onnx")
    traced.write_onnx(module, "cls", tmp_path / "b.onnx")  # the module pools by the mean
    assert asked == [tmp_path / "b.onnx"]
