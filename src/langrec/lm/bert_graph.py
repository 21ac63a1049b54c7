"""The ONNX graph of a BERT with its pooling, written down layer by layer: tracing finds the same in tens of seconds.

MiniLM and many other readers of texts are of this family, alone or with a side network. Other families, and layers
that stand in the usual ones' places (an adapter that is not merged), are traced (`langrec.lm.traced`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# What torch adds or clips with where a mask, a sum of squares or a count is 0.
LOWEST = np.finfo(np.float32).min
SHORTEST, FEWEST = 1e-12, 1e-9


def write_bert(module: Any, pooling: str, weights: dict[str, npt.NDArray[Any]], file: Path) -> bool:
    """Writes a module of `langrec.lm.export` that is a BERT and its pooling; False, and nothing, where it is not one.

    Args:
        module: (b, t) ids and mask to (b, d) unit rows, in evaluation mode.
        pooling: how it makes one vector of a text's states.
        weights: its weights by name.
    """
    from transformers import BertModel

    core = module.core
    if not isinstance(core, BertModel) or core.config.is_decoder or core.config.add_cross_attention:
        return False
    writer = _Writer(weights)
    try:
        _graph(writer, module, pooling)
    except (_UnusualError, KeyError, AttributeError):
        return False
    # Nobody asks the pooler, and the dense layers of a side network are those of the module.
    unread = [name for name in weights if not name.startswith(("core.pooler.", "finish.dense."))]
    if not writer.used.issuperset(unread):
        return False  # the module does more than the graph
    writer.save(file)
    return True


class _UnusualError(Exception):
    """A part that this graph has no words for."""


class _Writer:
    """Nodes and constants of a graph as they are added.

    Attributes:
        used: names of the weights that the graph holds.
    """

    def __init__(self, weights: dict[str, npt.NDArray[Any]]) -> None:
        self.weights = weights
        self.used: set[str] = set()
        self._nodes: list[Any] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}

    def node(self, kind: str, *given: str, out: str = "", **attributes: Any) -> str:
        """Adds a node and gives the name of its output."""
        from onnx import helper

        out = out or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(given), [out], name=out, **attributes))
        return out

    def numbers(self, *values: int) -> str:
        """A constant (n,) of whole numbers."""
        return self.constant("_".join(["numbers", *map(str, values)]), np.array(values, dtype=np.int64))

    def number(self, value: float) -> str:
        """A constant single number."""
        return self.constant(f"number_{value:.9g}", np.array(value, dtype=np.float32))

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self._constants[name] = value
        return name

    def weight(self, name: str) -> str:
        """A weight as it is."""
        return self.constant(name, self.take(name))

    def take(self, name: str) -> npt.NDArray[Any]:
        self.used.add(name)
        return self.weights[name]

    def linear(self, name: str, given: str) -> str:
        """The linear layer `name` of states (b, t, k)."""
        turned = self.constant(f"{name}.weight", self.take(f"{name}.weight").T)
        return self.node("Add", self.node("MatMul", given, turned), self.weight(f"{name}.bias"))

    def flat_linear(self, name: str, given: str) -> str:
        """The linear layer `name` of vectors (b, k)."""
        bias = (self.weight(f"{name}.bias"),) if f"{name}.bias" in self.weights else ()
        return self.node("Gemm", given, self.weight(f"{name}.weight"), *bias, transB=1)

    def norm(self, name: str, given: str, eps: float) -> str:
        """The layer norm `name` over the last axis."""
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", given, scale, shift, axis=-1, epsilon=eps)

    def gelu(self, given: str) -> str:
        error = self.node("Erf", self.node("Div", given, self.number(math.sqrt(2.0))))
        half = self.node("Mul", self.number(0.5), self.node("Add", error, self.number(1.0)))
        return self.node("Mul", given, half)

    def activation(self, layer: Any, given: str) -> str:
        """An activation function of torch or transformers."""
        kind = type(layer).__name__
        if kind in ("GELU", "GELUActivation"):
            return self.gelu(given)
        if kind in ("ReLU", "Tanh"):
            return self.node({"ReLU": "Relu"}.get(kind, kind), given)
        if kind == "Identity":
            return given
        raise _UnusualError(kind)

    def save(self, file: Path) -> None:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["texts", "width"])
        constants = [numpy_helper.from_array(np.asarray(v, order="C"), name) for name, v in self._constants.items()]
        graph = helper.make_graph(self._nodes, "bert", inputs, [output], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(model, file)


def _graph(writer: _Writer, module: Any, pooling: str) -> None:
    mask = writer.node("Cast", "attention_mask", to=1)
    states = [_embedded(writer, module.core)]
    unseen = writer.node("Unsqueeze", writer.node("Cast", "attention_mask", to=9), writer.numbers(1, 2))
    unseen = writer.node("Where", unseen, writer.number(0.0), writer.number(float(LOWEST)))  # (b, 1, 1, t)
    for i, layer in enumerate(module.core.encoder.layer):
        states.append(_layer(writer, layer, f"core.encoder.layer.{i}", states[-1], unseen))
    finish = getattr(module, "finish", None)
    vectors = _pooled(writer, states[-1], mask, pooling)
    if finish is not None:
        below = [_pooled(writer, one, mask, "mean") for one in states[:-1]]
        vectors = _beside(writer, finish.side, "finish.side", [*below, vectors])
    for i, part in enumerate(module.dense):
        vectors = writer.activation(part[1], writer.flat_linear(f"dense.{i}.0", vectors))
    length = writer.node("ReduceL2", vectors, writer.numbers(1), keepdims=1)
    writer.node("Div", vectors, writer.node("Clip", length, writer.number(SHORTEST)), out="vectors")


def _embedded(writer: _Writer, core: Any) -> str:
    """Tokens, their places, and the kind that all of them have, as states (b, t, d)."""
    name = "core.embeddings"
    words = writer.node("Gather", writer.weight(f"{name}.word_embeddings.weight"), "input_ids")
    kind = writer.take(f"{name}.token_type_embeddings.weight")[0]
    table = writer.take(f"{name}.position_embeddings.weight") + kind
    count = writer.node("Shape", "input_ids", start=1, end=2)
    places = writer.node("Slice", writer.constant(f"{name}.places", table), writer.numbers(0), count)
    return writer.norm(f"{name}.LayerNorm", writer.node("Add", words, places), core.embeddings.LayerNorm.eps)


def _layer(writer: _Writer, layer: Any, name: str, given: str, unseen: str) -> str:
    """A layer: attention over what the mask lets see, then the feed-forward part (Devlin et al. 2019)."""
    own, out = layer.attention.self, layer.attention.output
    heads, width = int(own.num_attention_heads), int(own.attention_head_size)
    parted = writer.numbers(0, 0, heads, width)

    def part(kind: str, *order: int) -> str:
        states = writer.linear(f"{name}.attention.self.{kind}", given)
        return writer.node("Transpose", writer.node("Reshape", states, parted), perm=order)

    query, key, value = part("query", 0, 2, 1, 3), part("key", 0, 2, 3, 1), part("value", 0, 2, 1, 3)
    scores = writer.node("Mul", writer.node("MatMul", query, key), writer.number(float(own.scaling)))
    shares = writer.node("Softmax", writer.node("Add", scores, unseen), axis=-1)
    mixed = writer.node("Transpose", writer.node("MatMul", shares, value), perm=(0, 2, 1, 3))
    mixed = writer.node("Reshape", mixed, writer.numbers(0, 0, heads * width))
    mixed = writer.linear(f"{name}.attention.output.dense", mixed)
    states = writer.norm(f"{name}.attention.output.LayerNorm", writer.node("Add", mixed, given), out.LayerNorm.eps)
    inner = writer.activation(
        layer.intermediate.intermediate_act_fn, writer.linear(f"{name}.intermediate.dense", states)
    )
    added = writer.node("Add", writer.linear(f"{name}.output.dense", inner), states)
    return writer.norm(f"{name}.output.LayerNorm", added, layer.output.LayerNorm.eps)


def _pooled(writer: _Writer, states: str, mask: str, pooling: str) -> str:
    """As `langrec.lm.pooling.pool`."""
    if pooling == "cls":
        return writer.node("Gather", states, writer.constant("first", np.array(0, dtype=np.int64)), axis=1)
    wide = writer.node("Unsqueeze", mask, writer.numbers(2))
    if pooling == "max":
        far = writer.node("Mul", writer.node("Sub", wide, writer.number(1.0)), writer.number(1e9))
        return writer.node("ReduceMax", writer.node("Add", states, far), writer.numbers(1), keepdims=0)
    if pooling == "lasttoken":
        so_far = writer.node("CumSum", mask, writer.constant("axis", np.array(1, dtype=np.int64)))
        ended = writer.node("Equal", so_far, writer.node("ReduceSum", mask, writer.numbers(1), keepdims=1))
        last = writer.node("Mul", writer.node("Cast", ended, to=1), mask)
        only = writer.node("Mul", states, writer.node("Unsqueeze", last, writer.numbers(2)))
        return writer.node("ReduceSum", only, writer.numbers(1), keepdims=0)
    if pooling != "mean":
        raise _UnusualError(pooling)
    total = writer.node("ReduceSum", writer.node("Mul", states, wide), writer.numbers(1), keepdims=0)
    count = writer.node("ReduceSum", wide, writer.numbers(1), keepdims=0)
    return writer.node("Div", total, writer.node("Clip", count, writer.number(FEWEST)))


def _beside(writer: _Writer, side: Any, name: str, states: list[str]) -> str:
    """As `langrec.lm.adapt.side.Side`, of the pooled states (b, d) of all layers."""
    gates, h = writer.take(f"{name}.gates"), ""
    gates = (1.0 / (1.0 + np.exp(-gates))).astype(np.float32)
    for row, state in enumerate(states):
        normed = writer.norm(f"{name}.norms.{row}", state, side.norms[row].eps)
        own = writer.flat_linear(f"{name}.narrow.{row}", normed)
        own = writer.node("Mul", own, writer.constant(f"{name}.gates.{row}", gates[row]))
        if h:
            own = writer.node("Add", own, writer.node("Mul", h, writer.constant(f"{name}.rest.{row}", 1 - gates[row])))
        h = writer.node("Add", own, writer.gelu(writer.flat_linear(f"{name}.blocks.{row}", own)))
    return writer.node("Add", states[-1], writer.flat_linear(f"{name}.back", h))
