"""The tower in NumPy, for answering: from histories to query vectors, equal to `network.py` within rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.types import FloatMatrix, IntMatrix, IntVector

Arrays = Mapping[str, npt.NDArray[np.float32]]
Tensor = npt.NDArray[np.float32]


def query_vectors(
    arrays: Arrays,
    inputs: Tensor,
    gaps: IntMatrix,
    lengths: IntVector,
    heads: int,
    turns: tuple[FloatMatrix, FloatMatrix] | None,
) -> FloatMatrix:
    """(b, d) what the last position of each row says about the next item.

    Args:
        arrays: parameters by the names of `network.py`.
        inputs: (b, l, d) what the blocks read for each item, before positions and gaps.
        gaps: (b, l) buckets.
        lengths: (b,) real items of each row, from 1.
        turns: cosines and sines of rotary positions; None where positions are learned.
    """
    b, length, _ = inputs.shape
    x = inputs.copy()
    if "position" in arrays:
        x += arrays["position"][:length]
    if "gap" in arrays:
        x += arrays["gap"][gaps]
    layers = 1 + max(int(name.split(".")[1]) for name in arrays if name.startswith("blocks."))
    last = lengths.astype(np.intp) - 1
    causal = np.asarray(np.triu(np.full((length, length), -np.inf), 1), dtype=np.float32)
    for layer in range(layers - 1):
        x = _block(arrays, f"blocks.{layer}.", x, np.arange(length)[None, :].repeat(b, axis=0), causal, heads, turns)
    # Of the last block only the last position is asked for: its query against all keys.
    x = _block(arrays, f"blocks.{layers - 1}.", x, last[:, None], causal, heads, turns)
    return layer_norm(x[:, 0], arrays["norm.weight"], arrays["norm.bias"])


def _block(
    arrays: Arrays,
    name: str,
    x: Tensor,
    asked: npt.NDArray[np.intp],
    causal: Tensor,
    heads: int,
    turns: tuple[FloatMatrix, FloatMatrix] | None,
) -> Tensor:
    """(b, a, d) the block's output at the asked positions (b, a)."""
    b, length, d = x.shape
    normed = layer_norm(x, arrays[name + "attention_norm.weight"], arrays[name + "attention_norm.bias"])
    weight, bias = arrays[name + "qkv.weight"], arrays[name + "qkv.bias"]
    whole = asked.shape[1] == length
    at = normed if whole else np.take_along_axis(normed, asked[:, :, None], axis=1)
    here = x if whole else np.take_along_axis(x, asked[:, :, None], axis=1)
    q = _heads(at @ weight[:d].T + bias[:d], heads)
    kv = normed @ weight[d:].T + bias[d:]
    k, v = _heads(kv[..., :d], heads), _heads(kv[..., d:], heads)
    if turns is not None:
        cos, sin = turns[0][:length], turns[1][:length]
        q = _rotate(q, cos[asked][:, None], sin[asked][:, None])
        k = _rotate(k, cos, sin)
    scores: Tensor = q @ k.swapaxes(-1, -2)
    scores *= np.float32((d // heads) ** -0.5)
    np.add(scores, causal[asked][:, None], out=scores)
    np.subtract(scores, scores.max(axis=-1, keepdims=True), out=scores)
    np.exp(scores, out=scores)
    np.divide(scores, scores.sum(axis=-1, keepdims=True), out=scores)
    seen: Tensor = (scores @ v).swapaxes(1, 2).reshape(b, asked.shape[1], d)
    here = here + (seen @ arrays[name + "out.weight"].T + arrays[name + "out.bias"])
    normed = layer_norm(here, arrays[name + "feed_norm.weight"], arrays[name + "feed_norm.bias"])
    up = gelu(normed @ arrays[name + "up.weight"].T + arrays[name + "up.bias"])
    fed: Tensor = here + (up @ arrays[name + "down.weight"].T + arrays[name + "down.bias"])
    return fed


def head_vectors(arrays: Arrays, shaped: FloatMatrix) -> FloatMatrix:
    """(m, d) the text tower's item vectors of (m, e) shaped text vectors."""
    layers = 1 + max(int(name.split(".")[1]) for name in arrays if name.startswith("head."))
    x = shaped
    for layer in range(layers):
        x = x @ arrays[f"head.{layer}.weight"].T + arrays[f"head.{layer}.bias"]
        if layer < layers - 1:
            x = gelu(x)
    return np.asarray(x, dtype=np.float32)


def rotary(length: int, dim: int) -> tuple[FloatMatrix, FloatMatrix]:
    """(length, dim / 2) cosines and sines of rotary positions (Su et al. 2021)."""
    speeds = 1.0 / 10_000 ** (np.arange(0, dim, 2) / dim)
    angles = np.arange(length)[:, None] * speeds
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...d,...d->...", centred, centred)[..., None] / np.float32(x.shape[-1])
    normed: Tensor = centred / np.sqrt(variance + np.float32(1e-5)) * weight + bias
    return normed


def gelu(x: Tensor) -> Tensor:
    """The tanh form (Hendrycks & Gimpel 2016)."""
    inner = x * x
    inner *= np.float32(0.044715)
    inner += np.float32(1.0)
    inner *= x
    inner *= np.float32(np.sqrt(2.0 / np.pi))
    np.tanh(inner, out=inner)
    inner += np.float32(1.0)
    inner *= x
    inner *= np.float32(0.5)
    return inner


def unit(x: Tensor) -> Tensor:
    """Rows of length 1; rows of zeros stay zero."""
    lengths: Any = np.linalg.norm(x, axis=-1, keepdims=True)
    scaled: Tensor = x / np.maximum(lengths, np.float32(1e-12))
    return scaled


def _heads(x: Tensor, heads: int) -> Tensor:
    b, length, d = x.shape
    split: Tensor = x.reshape(b, length, heads, d // heads).swapaxes(1, 2)
    return split


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
