"""An adapted model as a folder in the layout of transformers and sentence-transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langrec.lm.model import WEIGHTS, TextModel, read_json

# What an adapted folder holds beside its weights, and the module that says so: a reader that knows no such module
# refuses the folder instead of reading it without them.
MODULES = {"adapters.safetensors": "langrec.lm.adapt.Adapters", "side.safetensors": "langrec.lm.adapt.Side"}


def write(
    out: Path,
    model: TextModel,
    core: Any,
    dense: Any,
    weights: Mapping[str, Any] | None,
    beside: Mapping[str, Mapping[str, Any]],
) -> None:
    """Writes weights, configuration, tokenizer and the list of modules.

    Args:
        core: the transformer, merged.
        dense: the dense layers after its pooling.
        weights: its parameters where they are not those of `core` itself.
        beside: further files, by name, of parameters.
    """
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(model.folder.rglob("*")):
        if file.is_file() and not _is_weights(file) and "onnx" not in file.parts:
            target = out / file.relative_to(model.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    (out / "README.md").unlink(missing_ok=True)  # it describes the model that was, not this one
    config = read_json(out / "config.json")
    core.save_pretrained(out, state_dict=dict(weights) if weights is not None else None)
    # Dropout was set for training: the configuration stays what it was.
    saved = read_json(out / "config.json")
    saved |= {name: value for name, value in config.items() if "dropout" in name}
    (out / "config.json").write_text(json.dumps(saved, indent=2), "utf-8")
    for layer, folder in zip(dense, model.dense, strict=True):
        linear = {f"linear.{name}": value.detach().contiguous().cpu() for name, value in layer[0].state_dict().items()}
        save_file(linear, out / folder.relative_to(model.folder) / "model.safetensors")
    for name, tensors in beside.items():
        save_file({key: value.detach().contiguous().cpu() for key, value in tensors.items()}, out / name)
        _add_module(out, MODULES[name])


def copy(out: Path, model: TextModel) -> None:
    """The model's folder as it is, for an adaptation that leaves it so."""
    shutil.copytree(model.folder, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md", "onnx"))


def _is_weights(file: Path) -> bool:
    return any(file.match(pattern) for pattern in WEIGHTS) or file.suffix in (".bin", ".onnx", ".h5", ".msgpack", ".ot")


def _add_module(out: Path, kind: str) -> None:
    modules = read_json(out / "modules.json") or [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    ]
    modules = [one for one in modules if one["type"] != kind]
    modules.append({"idx": len(modules), "name": str(len(modules)), "path": "", "type": kind})
    (out / "modules.json").write_text(json.dumps(modules, indent=2), "utf-8")
