"""OpenVINO's graph and settings: keys read as they were made, and what is computed in fp32 between int8 products."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from langrec.lm.runtimes import _between_int8_products, _openvino_core, _with_keys_as_made, installed

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


def test_between_int8_products_fp32_with_vnni_alone() -> None:
    assert _between_int8_products(("avx2",)) == {}
    assert _between_int8_products(("avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")) == {}
    chosen = _between_int8_products(("avx2", "avx512_vnni", "avx512_bf16"))
    compiled = _openvino_core().compile_model(attention(), "CPU", chosen)
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_dtype() == np.float32
    rng = np.random.default_rng(1)
    queries, keys = (rng.normal(size=(3, 5, HEADS * WIDTH)).astype(np.float32) for _ in range(2))
    expected = np.einsum("bihw,bjhw->bhij", *(one.reshape(3, 5, HEADS, WIDTH) for one in (queries, keys)))
    np.testing.assert_allclose(compiled([queries, keys])[0], expected, rtol=1e-5, atol=1e-5)
