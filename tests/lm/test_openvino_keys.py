"""Attention's keys in OpenVINO: read as they were made, with the same vectors."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from langrec.lm.runtimes import _openvino_core, _with_keys_as_made, installed

pytestmark = pytest.mark.skipif(not installed("openvino"), reason="openvino is not installed")
HEADS, WIDTH = 2, 4


def attention() -> object:
    """Scores of queries (b, t, h * w) against keys of the same shape, written as exported models write them."""
    from openvino import Model, opset13

    queries, keys = (opset13.parameter([-1, -1, HEADS * WIDTH], np.float32, name) for name in ("queries", "keys"))
    heads = opset13.constant([0, 0, HEADS, WIDTH])
    q = opset13.transpose(opset13.reshape(queries, heads, True), opset13.constant([0, 2, 1, 3]))
    k = opset13.transpose(opset13.reshape(keys, heads, True), opset13.constant([0, 2, 3, 1]))
    return Model([opset13.matmul(q, k, False, False)], [queries, keys])


def turns(model: object) -> Counter[tuple[int, ...]]:
    kinds = [node for node in model.get_ordered_ops() if node.get_type_name() == "Transpose"]  # type: ignore[attr-defined]
    return Counter(tuple(node.input_value(1).get_node().get_data()) for node in kinds)


def test_keys_are_no_longer_turned_and_the_products_stay_the_same() -> None:
    core, rng = _openvino_core(), np.random.default_rng(0)
    plain, changed = attention(), _with_keys_as_made(attention())
    assert turns(plain)[(0, 2, 3, 1)] == 1
    assert turns(changed)[(0, 2, 3, 1)] == 0
    given = [rng.normal(size=(3, 5, HEADS * WIDTH)).astype(np.float32) for _ in range(2)]
    before, after = (core.compile_model(model, "CPU")(given)[0] for model in (plain, changed))
    assert before.shape == (3, HEADS, 5, 5)
    np.testing.assert_allclose(after, before, rtol=1e-2, atol=1e-2)
