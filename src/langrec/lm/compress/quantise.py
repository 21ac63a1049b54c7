"""int8 in three ways: static with calibration, dynamic, or the weights alone; and the embedding table with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from langrec.errors import MissingExtra, SettingsError
from langrec.lm import exported
from langrec.lm.compress.exports import exported_once
from langrec.lm.compress.steps import Step
from langrec.lm.compress.work import Work
from langrec.lm.int8 import make_int8
from langrec.lm.model import TextModel
from langrec.lm.tokens import Tokens

# How the file was made is part of what its vectors are; the static way has the number of `exported.INT8_METHOD`.
METHODS = {"static": exported.INT8_METHOD, "dynamic": 101, "weights": 102}
# With an int8 table beside it.
TABLE = 1_000
BLOCK = 32


def run(model: TextModel, step: Step, folder: Path, work: Work) -> tuple[Path, str]:
    """Writes a saved encoder that reads with an int8 file; returns its folder and how, in words.

    Raises:
        SettingsError: the way does not exist.
        MissingExtra: the package onnx is not installed.
    """
    way, table = step.value or "static", step.options.get("table", "int8")
    if way not in METHODS:
        raise SettingsError(f"--steps {step}: {way} is not one of {', '.join(METHODS)}", field="steps")
    if table not in ("int8", "float"):
        raise SettingsError(f"--steps {step}: table={table} is not int8 or float", field="steps")
    work.told("export", 0, 1)
    found = exported_once(model, folder, work.exported)
    work.told(f"quantise: {way}", 0, 1)
    if way == "static":
        make_int8(folder, found, Tokens.load(folder / exported.TOKENIZER, found.max_tokens))
    elif way == "dynamic":
        _dynamic(folder / exported.FP32, folder / exported.INT8)
    else:
        _weights(folder / exported.FP32, folder / exported.INT8)
    rows = 0
    if table == "int8":
        rows = quantise_tables(folder / exported.INT8)
    method = METHODS[way] + (TABLE if rows else 0)
    found = dataclasses.replace(found, int8_method=method, runtime="onnx-int8")
    found.save(folder)
    return folder, f"{way} int8" + (f", the table of {rows:,} tokens too" if rows else "")


def quantise_tables(file: Path, least: int = 1_000) -> int:
    """Makes the embedding tables of `least` rows or more int8, one scale per row, in place; returns their rows.

    A row is looked up as int8 and widened after that: the table stays small on disk and in memory.
    """
    onnx = _onnx()
    from onnx import TensorProto, helper, numpy_helper

    graph = (model := onnx.load(str(file))).graph
    constants = {one.name: one for one in graph.initializer}
    nodes, rows, done = [], 0, set()
    for node in graph.node:
        nodes.append(node)
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != TensorProto.FLOAT or len(table.dims) != 2 or table.dims[0] < least:
            continue
        if any(attribute.name == "axis" and attribute.i for attribute in node.attribute):
            continue
        name, out = table.name, node.output[0]
        if name not in done:
            values = numpy_helper.to_array(table)
            scale = (np.maximum(np.abs(values).max(1, keepdims=True), 1e-9) / 127).astype(np.float32)
            levels = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
            graph.initializer.append(numpy_helper.from_array(levels, f"{name}_levels"))
            graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scales"))
            done.add(name)
            rows = max(rows, len(values))
        ids = node.input[1]
        nodes.pop()
        nodes += [
            helper.make_node("Gather", [f"{name}_levels", ids], [f"{out}_levels"]),
            helper.make_node("Cast", [f"{out}_levels"], [f"{out}_wide"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}_scales", ids], [f"{out}_scale"]),
            helper.make_node("Mul", [f"{out}_wide", f"{out}_scale"], [out]),
        ]
    if not done:
        return 0
    del graph.node[:]
    graph.node.extend(nodes)
    used = {given for node in graph.node for given in node.input}
    for name in done - used:
        graph.initializer.remove(constants[name])
    part = file.with_suffix(".part")
    onnx.save(model, str(part))
    part.replace(file)
    return rows


def _dynamic(source: Path, target: Path) -> None:
    _onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            str(source),
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )


def _weights(source: Path, target: Path) -> None:
    onnx = _onnx()
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    with _quiet():
        # Accuracy level 4: activations become int8 per block as they come, which is what makes it fast.
        config = DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=True, accuracy_level=4, bits=8)
        quantiser = MatMulNBitsQuantizer(onnx.load(str(source)), algo_config=config)
        quantiser.process()
    onnx.save(quantiser.model.model, str(target))


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("lm", "making an int8 model") from error
    return onnx


class _quiet:  # noqa: N801 - reads as a word where it is used
    """Keeps the quantiser's own log lines away from the user."""

    def __enter__(self) -> None:
        import logging

        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        import logging

        logging.disable(self._before)
