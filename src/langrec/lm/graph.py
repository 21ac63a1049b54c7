"""The linear layers of an ONNX graph: finding them, and putting quantised ones in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.types import FloatMatrix, FloatVector

# What an activation function and its gate are made of: each works channel by channel.
ELEMENTWISE = frozenset(
    ("Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Sigmoid", "Relu", "Gelu", "Sqrt", "Exp", "Neg", "Clip")
)


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """How one activation, and the weights it meets, are quantised.

    Attributes:
        smooth: (k,) the divisor of each channel.
        outliers: channels multiplied in floating point.
        scale: of the uint8 activation.
        zero: its zero point.
        error: relative squared error of the layer's output on the calibration rows.
    """

    smooth: FloatVector
    outliers: npt.NDArray[np.int64]
    scale: float
    zero: int
    error: float


def linear_inputs(graph: Any) -> dict[str, list[FloatMatrix]]:
    """The activations that meet constant weights, with those weights; query, key and value share one."""
    found: dict[str, list[FloatMatrix]] = {}
    per_token = _per_token(graph)
    for node, weight in _linear(graph):
        if node.input[0] in per_token:
            found.setdefault(node.input[0], []).append(_array(weight))
    return found


def shares_weights(graph: Any) -> bool:
    """Whether several linear layers are one matrix, as in ALBERT: it would need levels of its own for each of them."""
    names = [weight.name for _, weight in _linear(graph)]
    return len(names) > len(set(names))


def splittable(graph: Any, name: str) -> bool:
    """Whether an activation comes channel by channel from linear layers, so that some channels can be made apart."""
    return bool(_feeding(graph, name))


def quantise(graph: Any, plans: Mapping[str, Quantised], levels_of: Any) -> None:
    """Puts quantised products in the place of the planned ones.

    Channels left in floating point are split off where they are made, before the activation function: what is left
    goes from one product to the next without leaving the runtime's fused int8 kernel.

    Args:
        graph: the model, changed in place.
        plans: by activation.
        levels_of: weights (k, n) to their int8 levels (k, n) and the scale (n,) of each output channel.
    """
    for name, one in plans.items():
        if len(one.outliers):
            _split(graph, name, one.outliers)
    _rewrite(graph, plans, levels_of)


def _array(initialiser: Any) -> npt.NDArray[Any]:
    from onnx import numpy_helper

    found: npt.NDArray[Any] = numpy_helper.to_array(initialiser)
    return found.astype(np.float32) if found.dtype.kind == "f" else found


def _linear(graph: Any) -> Iterator[tuple[Any, Any]]:
    """MatMul nodes with constant weights, and the weights' initialisers."""
    constants = {one.name: one for one in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants and len(constants[node.input[1]].dims) == 2:
            yield node, constants[node.input[1]]


def _per_token(graph: Any) -> set[str]:
    """Activations of the transformer; what comes after the pooling is small and stays as it is."""
    nodes = list(graph.graph.node)
    last = max((i for i, node in enumerate(nodes) if node.op_type == "LayerNormalization"), default=len(nodes))
    return {name for node in nodes[:last] for name in node.input}


def _feeding(graph: Any, name: str) -> list[Any]:
    """The nodes from the linear layers to an activation, in graph order; none where something else comes between.

    None either where more than linear layers read it, as those that add it up again: they would miss the channels.
    """
    constants = {one.name for one in graph.graph.initializer}
    maker = {out: node for node in graph.graph.node for out in node.output}
    linear = {node.output[0] for node, _ in _linear(graph)}
    if any(name in node.input and node.output[0] not in linear for node in graph.graph.node):
        return []
    chain: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in chain or one in constants:
            continue
        if one not in maker or (one not in linear and maker[one].op_type not in ELEMENTWISE):
            return []
        chain[one] = maker[one]
        waiting += [] if one in linear else list(maker[one].input)
    used_elsewhere = {
        given for node in graph.graph.node if node.output[0] not in chain for given in node.input if given != name
    }
    if used_elsewhere & set(chain):
        return []
    return [node for node in graph.graph.node if node.output and node.output[0] in chain]


def _split(graph: Any, name: str, channels: npt.NDArray[np.int64]) -> None:
    """Makes an activation's channels apart, as `<name>_wide`; the activation keeps the others."""
    from onnx import helper, numpy_helper

    chain = _feeding(graph, name)
    inside = {node.output[0] for node in chain}
    constants = {one.name: one for one in graph.graph.initializer}
    width = next(_array(constants[node.input[1]]).shape[1] for node in chain if node.op_type == "MatMul")
    rest = np.setdiff1d(np.arange(width), channels)

    def part(key: str, which: npt.NDArray[np.int64], suffix: str) -> str:
        values = _array(constants[key])
        if values.shape[-1:] != (width,):
            return key  # one number for all channels
        if not any(one.name == f"{key}{suffix}" for one in graph.graph.initializer):
            graph.graph.initializer.append(numpy_helper.from_array(values[..., which], f"{key}{suffix}"))
        return f"{key}{suffix}"

    apart = []
    for node in chain:
        copy = helper.make_node(node.op_type, [], [f"{node.output[0]}_wide"], name=f"{node.output[0]}_wide")
        copy.attribute.extend(node.attribute)
        for i, given in enumerate(node.input):
            if given in constants:
                copy.input.append(part(given, channels, "_wide"))
                node.input[i] = part(given, rest, "_rest")
            else:
                copy.input.append(f"{given}_wide" if given in inside else given)
        apart.append(copy)
    for stale in [one for one in graph.graph.value_info if one.name in inside]:  # their width has changed
        graph.graph.value_info.remove(stale)
    used = {given for node in graph.graph.node for given in node.input}
    for key in [key for key in constants if key not in used]:
        graph.graph.initializer.remove(constants[key])
    nodes = list(graph.graph.node)
    last = max(i for i, node in enumerate(nodes) if node.output[0] in inside)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes[: last + 1], *apart, *nodes[last + 1 :]])


def _rewrite(graph: Any, plans: Mapping[str, Quantised], levels_of: Any) -> None:
    from onnx import helper, numpy_helper

    constants, extra = graph.graph.initializer, {}

    def constant(name: str, value: npt.NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def levels(name: str, one: Quantised) -> list[Any]:
        """The activation's nodes: smoothed, then to uint8 and back."""
        smooth = np.delete(one.smooth, one.outliers)
        nodes = [helper.make_node("Mul", [name, constant(f"{name}_by", 1 / smooth)], [f"{name}_smooth"])]
        scale = constant(f"{name}_scale", np.array(one.scale, dtype=np.float32))
        zero = constant(f"{name}_zero", np.array(one.zero, dtype=np.uint8))
        nodes.append(helper.make_node("QuantizeLinear", [f"{name}_smooth", scale, zero], [f"{name}_levels"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_levels", scale, zero], [f"{name}_back"]))
        return nodes

    for node, weight in list(_linear(graph)):
        name, one = node.input[0], plans.get(node.input[0])
        if one is None or weight.name.endswith("_wide"):
            continue
        w, key, out = _array(weight), weight.name, node.output[0]
        inner, scales = levels_of(np.delete(w * one.smooth[:, None], one.outliers, axis=0))
        parts = [constant(f"{key}_levels", inner), constant(f"{key}_scale", scales)]
        parts.append(constant(f"{key}_zero", np.zeros(len(scales), dtype=np.int8)))
        nodes = [
            helper.make_node("DequantizeLinear", parts, [f"{key}_back"], axis=1),
            helper.make_node("MatMul", [f"{name}_back", f"{key}_back"], [f"{out}_inner" if len(one.outliers) else out]),
        ]
        if len(one.outliers):
            beside = constant(f"{key}_outer", w[one.outliers])
            nodes.append(helper.make_node("MatMul", [f"{name}_wide", beside], [f"{out}_outer"]))
            nodes.append(helper.make_node("Add", [f"{out}_inner", f"{out}_outer"], [out]))
        extra[out] = nodes
        constants.remove(weight)
    ready: set[str] = set()
    nodes = []
    for node in graph.graph.node:
        if node.output and node.output[0] in extra:
            name = node.input[0]
            if name not in ready:
                nodes += levels(name, plans[name])
                ready.add(name)
            nodes += extra[node.output[0]]
        else:
            nodes.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
