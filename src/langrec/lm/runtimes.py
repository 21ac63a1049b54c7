"""What computes the vectors: ONNX Runtime, OpenVINO or PyTorch behind one seam."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np

from langrec.errors import BundleError, MissingExtra, SettingsError
from langrec.lm import exported
from langrec.lm.batches import LongMatrix
from langrec.lm.machine import cores, this_machine
from langrec.lm.model import TextModel
from langrec.types import FloatMatrix

RUNTIMES = ("onnx-fp32", "onnx-int8", "openvino", "openvino-int8", "torch-fp32", "torch-bf16")
# What a runtime needs beyond the base install: a module, and the extra that brings it.
EXTRA_OF = {
    "openvino": ("openvino", "openvino"),
    "openvino-int8": ("openvino", "openvino"),
    "torch-fp32": ("torch", "lm"),
    "torch-bf16": ("torch", "lm"),
}


class Runtime(Protocol):
    """Token numbers to unit vectors."""

    @property
    def name(self) -> str: ...

    @property
    def lanes(self) -> int:
        """How many batches it computes side by side: `run` may be called from so many threads."""
        ...

    def run(self, ids: LongMatrix, mask: LongMatrix) -> FloatMatrix:
        """(b, t) int64 token numbers and mask to (b, d) float32 unit rows."""
        ...


def reads_int8(name: str) -> bool:
    """Whether a runtime computes from the int8 file, whose vectors are near those of fp32 but not equal."""
    return name.endswith("-int8")


def installed(name: str) -> bool:
    """Whether the packages of a runtime are here."""
    return name not in EXTRA_OF or importlib.util.find_spec(EXTRA_OF[name][0]) is not None


def open_runtime(name: str, folder: Path, threads: int, model: TextModel | None = None) -> Runtime:
    """Loads a model in one of the RUNTIMES.

    Args:
        name: the runtime.
        folder: an exported model.
        threads: threads to compute with; 0 = all cores.
        model: the source folder, which only the torch runtimes need.

    Raises:
        SettingsError: no runtime has that name, or it needs the source model and there is none.
        MissingExtra: its packages are not installed.
        BundleError: its file is missing or damaged.
    """
    if name not in RUNTIMES:
        raise SettingsError(f"encoder.runtime {name}: not one of auto, {', '.join(RUNTIMES)}", field="encoder.runtime")
    if not installed(name):
        raise MissingExtra(EXTRA_OF[name][1], f"the runtime {name}")
    threads = threads or cores()
    file = folder / (exported.INT8 if reads_int8(name) else exported.FP32)
    if name.startswith("onnx"):
        return OnnxRuntime(name, file, threads)
    if name.startswith("openvino"):
        return OpenVino(name, file, threads)
    if model is None:
        raise SettingsError(f"encoder.runtime {name}: a saved encoder has no torch weights; use onnx-fp32 or openvino")
    return Torch(name, model, threads)


class OnnxRuntime:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, name: str, file: Path, threads: int) -> None:
        import onnxruntime

        self.name = name
        # A batch on each core is faster than one batch on all of them: nothing waits for anything.
        self.lanes = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Batches come in every shape: planning memory for each shape costs more than it saves.
        options.enable_mem_pattern = False
        if reads_int8(name) and not any("vnni" in flag or "amx" in flag for flag in this_machine().flags):
            # Without VNNI the product of uint8 and int8 overflows 16 bits; this takes the slower kernel that does not.
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library has a class per failure and no common base
            raise BundleError(f"{file}: ONNX Runtime cannot load it ({str(error).splitlines()[0]})") from error

    def run(self, ids: LongMatrix, mask: LongMatrix) -> FloatMatrix:
        found: FloatMatrix = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return found


def _between_int8_products(flags: Collection[str]) -> dict[str, str]:
    """How OpenVINO computes what is not int8: attention, norms, sums.

    It takes bf16 wherever the processor knows it, and one fused kernel for attention. With VNNI but no AMX both lose:
    bf16 is no faster there than fp32 and is converted to and fro, and the fused kernel of a model whose shapes change
    calls its small products one by one (docs/encoders.md has what that gains).
    """
    if "avx512_vnni" not in flags or "amx_int8" in flags:
        return {}
    return {"INFERENCE_PRECISION_HINT": "f32", "SNIPPETS_MODE": "DISABLE"}


class OpenVino:
    """An ONNX file in OpenVINO; the fp32 file in bf16 where the processor knows it."""

    def __init__(self, name: str, file: Path, threads: int) -> None:
        self.name = name
        self.lanes = threads
        core = _openvino_core()
        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(threads)}
        if reads_int8(name):
            config |= _between_int8_products(this_machine().flags)
        self._free: SimpleQueue[Any] = SimpleQueue()
        try:
            model = core.compile_model(_with_keys_as_made(core.read_model(str(file))), "CPU", config)
            for _ in range(threads):
                self._free.put(model.create_infer_request())
        except Exception as error:
            raise BundleError(f"{file}: OpenVINO cannot load it ({str(error).strip().splitlines()[-1]})") from error

    def run(self, ids: LongMatrix, mask: LongMatrix) -> FloatMatrix:
        request = self._free.get()
        try:
            found = request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
            return np.array(found[0], dtype=np.float32)
        finally:
            self._free.put(request)


def _with_keys_as_made(model: Any) -> Any:
    """The same model, in which attention reads its keys (b, heads, t, d) as they are, not turned to (b, heads, d, t).

    The runtime fuses products, softmax and the turning of heads into one kernel, but not this turn: alone it copies
    every key, 2 % of all time. The product reads its second factor by rows just as well.
    """
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or node.get_attributes()["transpose_b"]:
            continue
        turn = node.input_value(1).get_node()
        if turn.get_type_name() == "Transpose" and _constant(turn.input_value(1)) == [0, 2, 3, 1]:
            keys = opset13.transpose(turn.input_value(0), opset13.constant([0, 2, 1, 3]))
            product = opset13.matmul(node.input_value(0), keys, node.get_attributes()["transpose_a"], True)
            node.output(0).replace(product.output(0))
    return model


def _constant(value: Any) -> list[int] | None:
    node = value.get_node()
    return list(node.get_data()) if node.get_type_name() == "Constant" else None


def _openvino_core() -> Any:
    # Importing openvino starts its telemetry, which wants to reach the network: switched off before the import.
    import sys
    import types

    if "openvino_telemetry" not in sys.modules:
        stub = types.ModuleType("openvino_telemetry")

        class Telemetry:
            def __init__(self, *args: object, **kwargs: object) -> None: ...

            def __getattr__(self, name: str) -> Any:
                return lambda *_, **__: None

        stub.Telemetry = Telemetry  # type: ignore[attr-defined]
        sys.modules["openvino_telemetry"] = stub
    import openvino

    return openvino.Core()


class Torch:
    """The source model in PyTorch, in fp32 or with bf16 weights."""

    def __init__(self, name: str, model: TextModel, threads: int) -> None:
        import torch

        from langrec.lm.export import load_torch

        self.name = name
        self.lanes = 1
        self._threads = threads
        self._module = load_torch(model)
        self._torch = torch
        if name == "torch-bf16":
            self._module = self._module.to(torch.bfloat16)
            self._module.dense.float()

    def run(self, ids: LongMatrix, mask: LongMatrix) -> FloatMatrix:
        torch = self._torch
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            found: FloatMatrix = self._module(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy()
        return found
