"""The tower in NumPy, for answering: from histories to query vectors, equal to `network.py` within rounding."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.types import FloatMatrix, IntMatrix, IntVector

Arrays = Mapping[str, npt.NDArray[np.float32]]
Tensor = npt.NDArray[np.float32]
Turns = npt.NDArray[np.complex64]


def query_vectors(
    arrays: Arrays,
    inputs: Tensor,
    gaps: IntMatrix,
    lengths: IntVector,
    heads: int,
    turns: Turns | None,
) -> FloatMatrix:
    """(b, d) what the last position of each row says about the next item.

    Args:
        arrays: parameters by the names of `network.py`.
        inputs: (b, l, d) what the blocks read for each item, before positions and gaps.
        gaps: (b, l) buckets.
        lengths: (b,) real items of each row, from 1.
        turns: of rotary positions (`turns_of`); None where positions are learned.
    """
    length = inputs.shape[1]
    x = inputs
    if "gap" in arrays:
        x = arrays["gap"][gaps]
        x += inputs
    if "position" in arrays:
        x = x + arrays["position"][:length]
    layers = sum(name.endswith("qkv.weight") for name in arrays)
    last = lengths.astype(np.intp) - 1
    causal = _causal(1 << (length - 1).bit_length())[:length, :length]
    for layer in range(layers - 1):
        x = _block(arrays, f"blocks.{layer}.", x, causal, heads, turns)
    x = _last(arrays, f"blocks.{layers - 1}.", x, last, heads, turns)
    return layer_norm(x, arrays["norm.weight"], arrays["norm.bias"])


@lru_cache(maxsize=16)
def _causal(length: int) -> Tensor:
    """(length, length) what is added to scores, so that nothing looks ahead."""
    return np.asarray(np.triu(np.full((length, length), -np.inf), 1), dtype=np.float32)


def ready(arrays: Arrays, heads: int, turned: bool) -> Arrays:
    """The parameters with those beside them that `query_vectors` would else make anew for each call."""
    made = dict(arrays)
    for name in arrays:
        if name.endswith("qkv.weight"):
            block = name.removesuffix("qkv.weight")
            made[block + "read.weight"], made[block + "read.bias"] = _projections(arrays, block, heads, turned)
    return made


def _block(arrays: Arrays, name: str, x: Tensor, causal: Tensor, heads: int, turns: Turns | None) -> Tensor:
    """(b, l, d) the block's output at all positions."""
    b, length, d = x.shape
    weight, bias = _projections(arrays, name, heads, turns is not None)
    qkv = _standard(x) @ weight.T
    qkv += bias
    if turns is not None:
        _turn(qkv[..., : 2 * d], np.tile(turns[:length], 2 * heads))
    q, k, v = (_heads(qkv[..., start : start + d], heads) for start in (0, d, 2 * d))
    scores: Tensor = q @ k.swapaxes(-1, -2)
    scores *= np.float32((d // heads) ** -0.5)
    scores += causal
    seen: Tensor = (_softmax(scores) @ v).swapaxes(1, 2).reshape(b, length, d)
    return _fed(arrays, name, x, seen)


def _last(arrays: Arrays, name: str, x: Tensor, last: npt.NDArray[np.intp], heads: int, turns: Turns | None) -> Tensor:
    """(b, d) the last block's output at the last position alone: its query against the keys before it.

    A weighted sum of values is the values' projection of the weighted sum of what they are made of, so that only the
    keys are computed at every position.
    """
    b, length, d = x.shape
    size, rows = d // heads, np.arange(b)
    weight, bias = _projections(arrays, name, heads, turns is not None)
    normed = _standard(x)
    q = normed[rows, last] @ weight[:d].T + bias[:d]
    keys = normed @ weight[d : 2 * d].T
    keys += bias[d : 2 * d]
    if turns is not None:
        wide = np.tile(turns[:length], heads)
        _turn(q, wide[last])
        _turn(keys, wide)
    products: Any = q.reshape(b, heads, 1, size) @ _heads(keys, heads).swapaxes(-1, -2)
    scores: Tensor = products[:, :, 0]
    scores *= np.float32(size**-0.5)
    scores[(np.arange(length) > last[:, None])[:, None].repeat(heads, axis=1)] = -np.inf
    mixed = _softmax(scores) @ normed
    seen = np.empty((b, d), dtype=np.float32)
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        seen[:, own] = mixed[:, head] @ weight[2 * d :][own].T + bias[2 * d :][own]
    return _fed(arrays, name, x[rows, last], seen)


def _projections(arrays: Arrays, name: str, heads: int, turned: bool) -> tuple[Tensor, Tensor]:
    """(3 d, d) and (3 d,) queries', keys' and values' weights and biases over rows of mean 0 and variance 1.

    The norm's own scale and shift are taken into them: a product of small matrices instead of two passes over all
    positions. Where positions turn, the halves of each head's queries and keys stand in pairs, each a complex number;
    inner products do not mind the order.
    """
    if name + "read.weight" in arrays:
        return arrays[name + "read.weight"], arrays[name + "read.bias"]
    scale, shift = arrays[name + "attention_norm.weight"], arrays[name + "attention_norm.bias"]
    weight, bias = arrays[name + "qkv.weight"], arrays[name + "qkv.bias"]
    bias, weight = bias + weight @ shift, weight * scale
    if turned:
        d = weight.shape[1]
        paired = np.arange(2 * d).reshape(2 * heads, 2, -1).swapaxes(1, 2).ravel()
        order = np.concatenate([paired, np.arange(2 * d, 3 * d)])
        weight, bias = weight[order], bias[order]
    return weight, bias


def _turn(x: Tensor, turns: Turns) -> None:
    """Turns pairs of (…, 2 m) numbers by (…, m) angles, in place."""
    pairs = x.view(np.complex64)
    pairs *= turns


def _softmax(scores: Tensor) -> Tensor:
    """Of the last axis, in place."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _fed(arrays: Arrays, name: str, here: Tensor, seen: Tensor) -> Tensor:
    """What attention saw joined to what was there, and the block's second half."""
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


def turns_of(length: int, dim: int) -> Turns:
    """(length, dim / 2) the turns of `rotary` as complex numbers."""
    cos, sin = rotary(length, dim)
    return np.asarray(cos + 1j * sin, dtype=np.complex64)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    normed = _standard(x)
    normed *= weight
    normed += bias
    return normed


def _standard(x: Tensor) -> Tensor:
    """Rows of mean 0 and variance 1."""
    normed: Tensor = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...d,...d->...", normed, normed)[..., None] / np.float32(x.shape[-1])
    # In place: on a batch of long histories each copy costs as much as a sum.
    normed *= 1 / np.sqrt(variance + np.float32(1e-5))
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
