"""The int8 file of a model: calibrated static quantisation whose outlier channels stay in floating point.

Plain int8 loses much of a BERT-like model: a few channels, above all after the GELU, are tens of times wider than the
rest and stretch the one scale that all share. Two remedies, for each activation that meets constant weights:

- smoothing (Xiao et al. 2023, SmoothQuant): channel j is divided by s_j = max|x_j|^0.5 / max|w_j|^0.5, and its weights
  are multiplied by it;
- after the activation function, the widest channels are made and multiplied in floating point beside the int8 product
  (Dettmers et al. 2022, LLM.int8).

Activations are uint8 with a zero point, one scale per tensor, clipped at a percentile where that lowers the error of
the layer's output; weights are int8, one scale per output channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.errors import MissingExtra, SettingsError
from langrec.lm import exported, graph
from langrec.lm.batches import batches, pad
from langrec.lm.exported import Exported
from langrec.lm.graph import Quantised
from langrec.lm.sample import sample_pairs
from langrec.lm.tokens import Tokens
from langrec.types import FloatMatrix, FloatVector, IntVector

SMOOTHING = 0.5
OUTLIERS = 16
PERCENTILES = (100.0, 99.99)
CALIBRATION_PAIRS, SEED, ROWS = 64, 7, 1_800
# Texts drawn from the vocabulary: tokens, and how many of them.
DRAWN = ((6, 80), (40, 30), (120, 10))


def make_int8(folder: Path, found: Exported, tokens: Tokens) -> Path:
    """Writes the int8 file beside the fp32 one where it is not there yet.

    Args:
        folder: an exported model.
        found: its encoder.json.
        tokens: its tokenizer.

    Raises:
        MissingExtra: the package onnx is not installed.
        SettingsError: the model's layers are not such that it can be made.
    """
    file = folder / exported.INT8
    if file.exists():
        return file
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("lm", "making the int8 model") from error
    model = onnx.load(str(folder / exported.FP32))
    inputs = graph.linear_inputs(model)
    if not inputs or graph.shares_weights(model):
        why = "layers that share their weights" if inputs else "no linear layers of the known shape"
        raise SettingsError(
            f"{found.identity}: has {why}, so static int8 cannot be made of it", field="encoder.runtime"
        )
    rows = _record(model, list(inputs), _calibration(found, tokens), found.pad_id)
    # The layers after the activation function have channels wide enough to be worth a product of their own.
    beside = {name: OUTLIERS if graph.splittable(model, name) else 0 for name in inputs}
    plans = {name: plan(rows[name], weights, beside[name]) for name, weights in inputs.items()}
    graph.quantise(model, plans, quantise_weights)
    unfinished = file.with_suffix(".part")
    onnx.save(model, str(unfinished))
    unfinished.replace(file)
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


def plan(x: FloatMatrix, weights: Sequence[FloatMatrix], outliers: int = 0) -> Quantised:
    """How to quantise activations x (m, k) that meet weights (k, n), with that many channels left in floating point."""
    w = np.concatenate(weights, axis=1)
    exact = x @ w
    smooth = smoothing(np.abs(x).max(0), w, SMOOTHING)
    xs, ws = x / smooth, w * smooth[:, None]
    out = np.sort(np.argsort(-np.abs(xs).max(0), kind="stable")[: min(outliers, len(ws) // 4)])
    kept = np.delete(xs, out, axis=1)
    quantised, scales = quantise_weights(np.delete(ws, out, axis=0))
    levels_of = quantised.astype(np.float32)
    beside = xs[:, out] @ ws[out]
    found = []
    for percentile in PERCENTILES:
        scale, zero = _range(kept.ravel(), percentile)
        levels = np.clip(np.round(kept / scale) + zero, 0, 255) - zero
        got = (levels @ levels_of) * (scale * scales) + beside
        found.append(
            Quantised(smooth, out, scale, zero, float(((got - exact) ** 2).sum() / ((exact**2).sum() + 1e-12)))
        )
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


def _record(model: Any, names: list[str], numbers: list[Any], pad_id: int) -> dict[str, FloatMatrix]:
    """(m, k) rows of each activation, real tokens only, evenly thinned to about ROWS."""
    import onnx
    import onnxruntime

    wide = onnx.ModelProto()
    wide.CopyFrom(model)
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
