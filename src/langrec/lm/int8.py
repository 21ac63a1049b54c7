"""The int8 file of a model: calibrated static quantisation whose outlier channels stay in floating point.

Plain int8 loses much of a BERT-like model: a few channels, above all after the GELU, are tens of times wider than the
rest and stretch the one scale that all share. Two remedies, for each activation that meets constant weights:

- smoothing (Xiao et al. 2023, SmoothQuant): channel j is divided by s_j = max|x_j|^0.5 / max|w_j|^0.5, and its weights
  are multiplied by it;
- where a layer narrows (after the GELU), the widest channels are multiplied in floating point beside the int8 product
  (Dettmers et al. 2022, LLM.int8).

Activations are uint8 with a zero point, one scale per tensor, clipped at a percentile where that lowers the error of
the layer's output; weights are int8, one scale per output channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.errors import MissingExtra
from langrec.lm import exported
from langrec.lm.batches import batches, pad
from langrec.lm.exported import Exported
from langrec.lm.sample import sample_pairs
from langrec.lm.tokens import Tokens
from langrec.types import FloatMatrix, FloatVector, IntVector

# Part of the cache key of a measurement: a change of method is measured again.
INT8_VERSION = 2
SMOOTHING = 0.5
OUTLIERS = 32
PERCENTILES = (100.0, 99.99)
CALIBRATION_PAIRS, SEED, ROWS = 64, 7, 1_800
# Texts drawn from the vocabulary: tokens, and how many of them.
DRAWN = ((6, 80), (40, 30), (120, 10))


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How one activation is quantised.

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


def make_int8(folder: Path, found: Exported, tokens: Tokens) -> Path:
    """Writes the int8 file beside the fp32 one where it is not there yet.

    Args:
        folder: an exported model.
        found: its encoder.json.
        tokens: its tokenizer.

    Raises:
        MissingExtra: the package onnx is not installed.
    """
    file = folder / exported.INT8
    if file.exists():
        return file
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("lm", "making the int8 model") from error
    graph = onnx.load(str(folder / exported.FP32))
    inputs = _linear_inputs(graph)
    rows = _record(graph, list(inputs), _calibration(found, tokens), found.pad_id)
    plans = {name: plan(rows[name], weights, _outliers(weights[0])) for name, weights in inputs.items()}
    _rewrite(graph, plans)
    beside = file.with_suffix(".part")
    onnx.save(graph, str(beside))
    beside.replace(file)
    return file


def _calibration(found: Exported, tokens: Tokens) -> list[IntVector]:
    """Token rows to record on: made-up texts, and tokens drawn from the whole vocabulary, common ones more often.

    Made-up texts alone know too few words: cosine to fp32 was 0.995 with them and 0.998 with both.
    """
    titles, descriptions = sample_pairs(CALIBRATION_PAIRS, SEED)
    rows = tokens([*titles, *descriptions])
    frame = tokens([""])[0]
    head, tail = np.split(frame, [(len(frame) + 1) // 2])
    rng = np.random.default_rng(SEED)
    usable = tokens.ordinary()
    for length, count in DRAWN:
        length = min(length, found.max_tokens - len(frame))
        for _ in range(count):
            # Vocabularies are ordered by frequency: flat over the first thousand, then falling as words do.
            ranks = (1_000 * (1 + len(usable) / 1_000) ** rng.random(length) - 1_000).astype(int)
            rows.append(np.concatenate([head, usable[ranks], tail]).astype(np.int32))
    return rows


def _outliers(weights: FloatMatrix) -> int:
    """Layers that narrow, those after the activation function, have channels wide enough to be worth it."""
    return OUTLIERS if weights.shape[0] > weights.shape[1] else 0


def plan(x: FloatMatrix, weights: Sequence[FloatMatrix], outliers: int = 0) -> Plan:
    """How to quantise activations x (m, k) that meet weights (k, n), with that many channels left in floating point."""
    w = np.concatenate(weights, axis=1)
    exact = x @ w
    smooth = smoothing(np.abs(x).max(0), w, SMOOTHING)
    xs, ws = x / smooth, w * smooth[:, None]
    out = np.sort(np.argsort(-np.abs(xs).max(0), kind="stable")[: min(outliers, len(ws) // 4)])
    kept = xs.copy()
    kept[:, out] = 0
    inner = ws.copy()
    inner[out] = 0
    quantised, scales = quantise_weights(inner)
    levels_of = quantised.astype(np.float32)
    beside = xs[:, out] @ ws[out]
    found = []
    for percentile in PERCENTILES:
        scale, zero = _range(kept.ravel(), percentile)
        levels = np.clip(np.round(kept / scale) + zero, 0, 255) - zero
        got = (levels @ levels_of) * (scale * scales) + beside
        found.append(Plan(smooth, out, scale, zero, float(((got - exact) ** 2).sum() / ((exact**2).sum() + 1e-12))))
    return min(found, key=lambda one: one.error)


def smoothing(peaks: FloatVector, weights: FloatMatrix, alpha: float) -> FloatVector:
    """(k,) divisors that move the width of a channel from the activation into its weights."""
    raw = np.maximum(peaks, 1e-4) ** alpha / np.maximum(np.abs(weights).max(1), 1e-4) ** (1 - alpha)
    found: FloatVector = (raw / np.exp(np.log(raw).mean())).astype(np.float32)
    return found


def quantise_weights(weights: FloatMatrix) -> tuple[npt.NDArray[np.int8], FloatVector]:
    """int8 levels (k, n) and the scale (n,) of each output channel, clipped where that lowers the squared error."""
    full = np.maximum(np.abs(weights).max(0), 1e-9) / 127
    best, least = full, np.full(weights.shape[1], np.inf, dtype=np.float32)
    for ratio in (1.0, 0.95, 0.9, 0.85):
        scale = full * ratio
        error = ((np.clip(np.round(weights / scale), -127, 127) * scale - weights) ** 2).sum(0)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return np.clip(np.round(weights / best), -127, 127).astype(np.int8), best.astype(np.float32)


def _range(values: FloatVector, percentile: float) -> tuple[float, int]:
    """Scale and zero point of the uint8 levels that cover the values, zero included."""
    if percentile >= 100:
        low, high = float(values.min()), float(values.max())
    else:
        low, high = (float(v) for v in np.percentile(values[::5], [100 - percentile, percentile]))
    low, high = min(low, 0.0), max(high, 1e-6)
    scale = (high - low) / 255
    return scale, round(-low / scale)


def _linear(graph: Any) -> Iterator[tuple[Any, Any]]:
    """MatMul nodes with constant weights, and the weights' initialisers."""
    constants = {one.name: one for one in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants and len(constants[node.input[1]].dims) == 2:
            yield node, constants[node.input[1]]


def _linear_inputs(graph: Any) -> dict[str, list[FloatMatrix]]:
    """The activations that meet constant weights, with those weights; query, key and value share one."""
    from onnx import numpy_helper

    found: dict[str, list[FloatMatrix]] = {}
    per_token = _per_token(graph)
    for node, weight in _linear(graph):
        if node.input[0] in per_token:
            found.setdefault(node.input[0], []).append(numpy_helper.to_array(weight).astype(np.float32))
    return found


def _per_token(graph: Any) -> set[str]:
    """Activations of the transformer; what comes after the pooling is small and stays as it is."""
    nodes = list(graph.graph.node)
    last = max((i for i, node in enumerate(nodes) if node.op_type == "LayerNormalization"), default=len(nodes))
    return {name for node in nodes[:last] for name in node.input}


def _record(graph: Any, names: list[str], numbers: list[Any], pad_id: int) -> dict[str, FloatMatrix]:
    """(m, k) rows of each activation, real tokens only, evenly thinned to about ROWS."""
    import onnx
    import onnxruntime

    wide = onnx.ModelProto()
    wide.CopyFrom(graph)
    wide.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(wide.SerializeToString(), options, providers=["CPUExecutionProvider"])
    lengths = np.array([len(one) for one in numbers])
    step = max(1, int(lengths.sum()) // ROWS)
    kept: dict[str, list[FloatMatrix]] = {name: [] for name in names}
    for batch in batches(lengths, 512):
        ids, mask = pad([numbers[i] for i in batch], pad_id)
        real = mask.astype(bool)
        for name, values in zip(names, session.run(names, {"input_ids": ids, "attention_mask": mask}), strict=True):
            rows = values[real]
            # The first token of each text (its special one) is where outliers live: always keep a few.
            kept[name] += [rows[::step], values[:4, 0]]
    return {name: np.concatenate(parts).astype(np.float32) for name, parts in kept.items()}


def _rewrite(graph: Any, plans: dict[str, Plan]) -> None:
    """Puts quantised products in the place of the planned ones."""
    from onnx import helper, numpy_helper

    constants, extra = graph.graph.initializer, {}

    def constant(name: str, value: npt.NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def quantised(name: str, one: Plan) -> list[Any]:
        """The activation's nodes: smoothed, then to uint8 and back."""
        source = f"{name}_smooth"
        nodes = [helper.make_node("Mul", [name, constant(f"{name}_by", 1 / one.smooth)], [source])]
        scale = constant(f"{name}_scale", np.array(one.scale, dtype=np.float32))
        zero = constant(f"{name}_zero", np.array(one.zero, dtype=np.uint8))
        nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [f"{name}_levels"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_levels", scale, zero], [f"{name}_back"]))
        if len(one.outliers):
            which = constant(f"{name}_which", one.outliers)
            nodes.append(helper.make_node("Gather", [source, which], [f"{name}_wide"], axis=-1))
        return nodes

    for node, weight in list(_linear(graph)):
        name, one = node.input[0], plans.get(node.input[0])
        if one is None:
            continue
        w = numpy_helper.to_array(weight).astype(np.float32) * one.smooth[:, None]
        inner = w.copy()
        inner[one.outliers] = 0  # these channels come in by the other product, unclipped
        levels, scales = quantise_weights(inner)
        key, out = weight.name, node.output[0]
        parts = [constant(f"{key}_levels", levels), constant(f"{key}_scale", scales)]
        parts.append(constant(f"{key}_zero", np.zeros(len(scales), dtype=np.int8)))
        nodes = [
            helper.make_node("DequantizeLinear", parts, [f"{key}_back"], axis=1),
            helper.make_node("MatMul", [f"{name}_back", f"{key}_back"], [f"{out}_inner" if len(one.outliers) else out]),
        ]
        if len(one.outliers):
            rest = constant(f"{key}_wide", w[one.outliers])
            nodes.append(helper.make_node("MatMul", [f"{name}_wide", rest], [f"{out}_outer"]))
            nodes.append(helper.make_node("Add", [f"{out}_inner", f"{out}_outer"], [out]))
        extra[out] = nodes
        constants.remove(weight)
    ready: set[str] = set()
    nodes = []
    for node in graph.graph.node:
        if node.output and node.output[0] in extra:
            name = node.input[0]
            if name not in ready:
                nodes += quantised(name, plans[name])
                ready.add(name)
            nodes += extra[node.output[0]]
        else:
            nodes.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
