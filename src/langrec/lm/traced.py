"""The ONNX file of a torch module; where its graph has to be traced, that of one shape is traced once.

The graph of a BERT is written down (`langrec.lm.bert_graph`). Tracing takes seconds even for a tiny model, and a chain
of steps, a ladder of rungs or a study exports many of one shape. Graphs without their weights stay in the process and
in `graphs` of the cache folder. One that is written down or used again is asked beside the module, and traced anew
where they do not agree.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from langrec.data.cache import cache_folder, remove_left
from langrec.lm.bert_graph import write_bert

log = logging.getLogger(__name__)
INPUTS = ["input_ids", "attention_mask"]
# Two texts of unlike length: one of them padded, so that the mask's part of the graph is seen.
IDS = np.array([[1, 2, 3, 4, 1], [1, 2, 1, 0, 0]])
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
# Vectors of one module by torch and by ONNX Runtime lie nearer to one another, those of others do not.
AGREE = 1e-4
# Graphs that are kept in a process, and in the cache folder: some tenths of a megabyte each.
MOST = 8
MOST_FILES = 64
# Of a kept file: where its constants belong.
PLACES = "langrec.places"


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph without its weights.

    Attributes:
        model: the ONNX model as bytes.
        places: by constant of the graph the weight that belongs there, and whether it stands there transposed.
    """

    model: bytes
    places: dict[str, tuple[str, bool]]


_kept: OrderedDict[str, _Graph] = OrderedDict()


def write_onnx(module: Any, pooling: str, file: Path) -> None:
    """Writes a module of ids and mask to vectors as one ONNX file.

    Args:
        module: in evaluation mode.
        pooling: how it makes one vector of a text's states, which its layers do not tell.
    """
    weights = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    if write_bert(module, pooling, weights, file) and _agrees(module, file):
        return
    key = _shape(module, pooling, weights)
    known = _kept.get(key) or _read(key)
    if known is not None and _filled(known, weights, module, file):
        _keep(key, known)
        return
    _trace(module, file)
    graph = _without_weights(file, weights)
    if graph is not None:
        _keep(key, graph)
        _write(key, graph)


def _keep(key: str, graph: _Graph) -> None:
    _kept[key] = graph
    _kept.move_to_end(key)
    while len(_kept) > MOST:
        _kept.popitem(last=False)


def _folder() -> Path:
    return cache_folder() / "graphs"


def _read(key: str) -> _Graph | None:
    """A graph that another process kept; None where there is none that can be read."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString((_folder() / f"{key}.onnx").read_bytes())
        (told,) = [one.value for one in model.metadata_props if one.key == PLACES]
        places = {name: (str(weight), bool(turned)) for name, (weight, turned) in json.loads(told).items()}
    except (OSError, DecodeError, ValueError):
        return None
    kept = [one for one in model.metadata_props if one.key != PLACES]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return _Graph(model.SerializeToString(), places)


def _write(key: str, graph: _Graph) -> None:
    """Keeps a graph for other processes; where that is not possible, the next one traces it."""
    import onnx

    model = onnx.ModelProto.FromString(graph.model)
    model.metadata_props.add(key=PLACES, value=json.dumps(graph.places))
    folder = _folder()
    half = folder / f"{key}.{os.getpid()}.half"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_left(folder, "*.half")
        half.write_bytes(model.SerializeToString())
        half.replace(folder / f"{key}.onnx")
        files = sorted(folder.glob("*.onnx"), key=lambda one: one.stat().st_mtime)
        for old in files[:-MOST_FILES]:
            old.unlink(missing_ok=True)
    except OSError as error:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
        log.warning("the graph of a model is not kept in %s: %s", folder, error)


def _trace(module: Any, file: Path) -> None:
    import torch

    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    quiet = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in quiet]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for logger in quiet:
            logger.setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            (torch.from_numpy(IDS), torch.from_numpy(MASK)),
            input_names=INPUTS,
            output_names=["vectors"],
            dynamic_shapes=dict.fromkeys(INPUTS, axes),
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)
        program.save(str(file), external_data=False)


def _shape(module: Any, pooling: str, weights: dict[str, Any]) -> str:
    """A hash of all that a graph depends on: the layers, and which weights are equal, since those are kept once."""
    first: dict[bytes, str] = {}
    same = {
        name: (str(value.dtype), value.shape, first.setdefault(hashlib.sha1(value.tobytes()).digest(), name))
        for name, value in weights.items()
    }
    config = {name: value for name, value in module.core.config.to_dict().items() if not name.startswith("_")}
    told = [repr(module), pooling, json.dumps(config, sort_keys=True, default=str), repr(sorted(same.items()))]
    told += [version(name) for name in ("torch", "transformers", "onnxscript")]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def _without_weights(file: Path, weights: dict[str, Any]) -> _Graph | None:
    """The graph of a file; None where it holds numbers that may come from the weights in a way of their own."""
    import onnx
    from onnx import numpy_helper

    if any(value.size == 1 and value.dtype.kind == "f" for value in weights.values()):
        return None  # among the graph's own single numbers they could not be found
    model = onnx.load(file)
    lying = {(value.shape, value.tobytes()): (name, False) for name, value in weights.items()}
    turned = {(value.T.shape, value.T.tobytes()): (name, True) for name, value in weights.items() if value.ndim == 2}
    places = {}
    for constant in model.graph.initializer:
        value = numpy_helper.to_array(constant)
        if value.dtype.kind != "f" or value.size == 1:
            continue
        here = (value.shape, value.tobytes())
        found = lying.get(here) or turned.get(here)
        if found is None or not constant.HasField("raw_data"):
            return None
        places[constant.name] = found
    for constant in model.graph.initializer:
        if constant.name in places:
            constant.ClearField("raw_data")
    return _Graph(model.SerializeToString(), places)


def _fill(graph: _Graph, weights: dict[str, Any], file: Path) -> None:
    """Writes a graph with these weights."""
    import onnx

    model = onnx.ModelProto.FromString(graph.model)
    for constant in model.graph.initializer:
        if constant.name in graph.places:
            name, is_turned = graph.places[constant.name]
            constant.raw_data = (weights[name].T if is_turned else weights[name]).tobytes()
    file.write_bytes(model.SerializeToString())


def _filled(graph: _Graph, weights: dict[str, Any], module: Any, file: Path) -> bool:
    """Whether a kept graph with these weights gives the module's vectors; a damaged one may fail in any way."""
    try:
        _fill(graph, weights, file)
        return _agrees(module, file)
    except Exception as error:
        log.info("a kept graph is traced anew: %s", error)
        return False


def _agrees(module: Any, file: Path) -> bool:
    """Whether the file gives the module's vectors."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, dict(zip(INPUTS, (IDS, MASK), strict=True)))
    with torch.no_grad():
        wanted = module(torch.from_numpy(IDS), torch.from_numpy(MASK)).numpy()
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() < AGREE)
