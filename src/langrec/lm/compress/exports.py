"""Models as saved encoders: each is exported once, however many steps and chains need it, and linked after that."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

from langrec.errors import BundleError
from langrec.lm.export import export
from langrec.lm.exported import FP32, TABLE, TOKENIZER, Exported, read_config
from langrec.lm.model import TextModel
from langrec.lm.runtimes import installed
from langrec.sealed import SEAL, seal, sealed

# Files of fewer bytes are copied: they are the ones that may be written again.
LINKED = 1_000_000
# What an export is, beside encoder.json: that is written again by who measures runtimes.
FILES = (FP32, TOKENIZER, TABLE)


def name_of(model: TextModel) -> str:
    """What an export of the model is called: another name for other weights, another longest text, other prompts."""
    return hashlib.sha256(f"{model.space}\n{sorted(model.prompts.items())}".encode()).hexdigest()[:16]


def exported_once(model: TextModel, folder: Path, exports: Path) -> Exported:
    """The model's fp32 export in `folder`; `exports` keeps it, so that the same model is never traced a second time."""
    kept = exports / name_of(model)
    if not _is_whole(kept):
        export(model, kept)
        seal(kept, FILES)
    found = Exported.load(kept)
    put(kept, folder)
    return found


def saved(model: TextModel, folder: Path, exports: Path) -> Path:
    """The model exported to a folder that `load_saved` reads, in the fastest fp32 runtime that is installed."""
    if not _is_whole(folder):  # a crash may have damaged it
        found = exported_once(model, folder, exports)
        runtime = "openvino" if installed("openvino") else "onnx-fp32"
        dataclasses.replace(found, runtime=runtime).save(folder)
        seal(folder, FILES)
    return folder


def _is_whole(folder: Path) -> bool:
    return can_be_read(folder) and sealed(folder) is not None


def can_be_read(folder: Path) -> bool:
    """Whether a folder has an encoder.json that is one."""
    try:
        read_config(folder)
    except BundleError:
        return False
    return True


def put(source: Path, target: Path) -> None:
    """Copies a folder into its place, whole or not at all, without its seal; what was there before goes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, copy_function=_link, ignore=shutil.ignore_patterns(SEAL))
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)


def _link(source: str, target: str) -> None:
    """Weights are linked, not copied, where the file system can: no step writes into a file that is there."""
    if Path(source).stat().st_size > LINKED:
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    shutil.copyfile(source, target)
