"""Putting quantised products into a graph."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from langrec.lm import graph  # noqa: E402
from langrec.lm.int8 import plan, quantise_weights  # noqa: E402

K, WIDE, ROWS = 16, 64, 200


def feed_forward(rng: np.random.Generator) -> onnx.ModelProto:
    """x (m, K) -> widened, tanh times itself, narrowed; channel 5 of the wide activation is far wider than the rest."""
    from onnx import TensorProto, helper, numpy_helper

    first = rng.normal(size=(K, WIDE)).astype(np.float32)
    first[:, 5] *= 40
    constants = {
        "first": first,
        "bias": rng.normal(size=WIDE).astype(np.float32),
        "half": np.array(0.5, dtype=np.float32),
        "second": rng.normal(size=(WIDE, K)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["wide"]),
        helper.make_node("Add", ["wide", "bias"], ["biased"]),
        helper.make_node("Mul", ["biased", "half"], ["halved"]),
        helper.make_node("Sigmoid", ["halved"], ["gate"]),
        helper.make_node("Mul", ["biased", "gate"], ["active"]),
        helper.make_node("MatMul", ["active", "second"], ["y"]),
    ]
    made = helper.make_graph(
        nodes,
        "feed forward",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", K])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", K])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=[helper.make_tensor_value_info("active", TensorProto.FLOAT, ["m", WIDE])],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])


def run(model: onnx.ModelProto, x: np.ndarray, name: str = "y") -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([name], {"x": x})[0]


def quantised(outliers: int) -> tuple[np.ndarray, np.ndarray, onnx.ModelProto]:
    """The exact output, that of the quantised graph, and the graph."""
    rng = np.random.default_rng(0)
    model = feed_forward(rng)
    x = rng.normal(size=(ROWS, K)).astype(np.float32)
    exact = run(model, x)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.append(onnx.helper.make_tensor_value_info("active", 1, None))
    inputs = graph.linear_inputs(model)
    rows = {"x": x, "active": run(shown, x, "active")}
    plans = {name: plan(rows[name], w, outliers if graph.splittable(model, name) else 0) for name, w in inputs.items()}
    graph.quantise(model, plans, quantise_weights)
    return exact, run(model, x), model


def test_an_activation_is_splittable_where_only_channelwise_nodes_lie_between_it_and_a_linear_layer():
    model = feed_forward(np.random.default_rng(0))
    assert graph.splittable(model, "active")
    assert not graph.splittable(model, "x")
    model.graph.node[3].op_type = "Softmax"
    assert not graph.splittable(model, "active")


def test_an_activation_whose_source_is_read_elsewhere_is_not_split():
    model = feed_forward(np.random.default_rng(0))
    model.graph.node.append(onnx.helper.make_node("Neg", ["biased"], ["other"]))
    assert not graph.splittable(model, "active")


def test_an_activation_that_more_than_linear_layers_read_is_not_split():
    model = feed_forward(np.random.default_rng(0))
    model.graph.node.append(onnx.helper.make_node("Add", ["active", "wide"], ["other"]))
    assert not graph.splittable(model, "active")


def test_layers_that_are_one_matrix_are_known():
    model = feed_forward(np.random.default_rng(0))
    assert not graph.shares_weights(model)
    model.graph.node.append(onnx.helper.make_node("MatMul", ["y", "first"], ["again"]))
    assert graph.shares_weights(model)


def test_channels_split_off_lower_the_error_of_a_layer_with_a_wide_channel():
    exact, plain, _ = quantised(0)
    _, split, _ = quantised(4)
    scale = np.abs(exact).mean()
    assert np.abs(split - exact).mean() < 0.6 * np.abs(plain - exact).mean()
    assert np.abs(split - exact).mean() < 0.05 * scale


def test_a_split_graph_passes_the_checker_and_holds_no_weights_that_nothing_reads():
    _, _, model = quantised(4)
    onnx.checker.check_model(model, full_check=True)
    used = {name for node in model.graph.node for name in node.input}
    assert {one.name for one in model.graph.initializer} <= used
    levels = {one.name: list(one.dims) for one in model.graph.initializer if one.name.endswith("_levels")}
    assert levels == {"first_rest_levels": [K, WIDE - 4], "second_levels": [WIDE - 4, K]}
