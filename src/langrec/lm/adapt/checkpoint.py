"""The last finished epoch on disk: what is trained, the best of it, the optimiser and the history, in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langrec.errors import UNREADABLE, DataError
from langrec.lm import summed

FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint holds: tensors of what is trained and of the best so far, the optimiser's, the kind's own."""

    now: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: dict[int, dict[str, Tensor]]
    extra: dict[str, Tensor]
    history: list[Any]
    scale: dict[str, Any]


def save(folder: Path, saved: Saved) -> None:
    """Writes it in one motion, so that no crash leaves tensors of one epoch beside the history of another."""
    from safetensors.torch import save_file

    tensors = {f"now.{name}": value for name, value in saved.now.items()}
    tensors |= {f"best.{name}": value for name, value in saved.best.items()}
    tensors |= {f"extra.{name}": value for name, value in saved.extra.items()}
    tensors |= {f"optimiser.{i}.{key}": value for i, part in saved.optimiser.items() for key, value in part.items()}
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f"checkpoint.{os.getpid()}.half"
    told = {"history": json.dumps(saved.history), "scale": json.dumps(saved.scale), "sum": summed.sum_of(tensors)}
    save_file(tensors, half, metadata=told)
    half.replace(folder / FILE)


def load(folder: Path | None) -> Saved | None:
    """The checkpoint of a folder; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    if folder is None or not (folder / FILE).is_file():
        return None
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    path = folder / FILE
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            told = file.metadata()
        summed.check(tensors, told)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimiser.").items():
            i, _, key = name.partition(".")
            state.setdefault(int(i), {})[key] = value
        history, scale = json.loads(told["history"]), json.loads(told["scale"])
        return Saved(
            _under(tensors, "now."), _under(tensors, "best."), state, _under(tensors, "extra."), history, scale
        )
    except (*UNREADABLE, RuntimeError, SafetensorError) as error:
        raise DataError(f"{path}: damaged ({error}); start again without --resume") from error


def trained(modules: Mapping[str, torch.nn.Module]) -> dict[str, Tensor]:
    """The parameters that training changes, by `module.name`."""
    return {
        f"{key}.{name}": value
        for key, module in modules.items()
        for name, value in module.named_parameters()
        if value.requires_grad
    }


def put(modules: Mapping[str, torch.nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Copies saved values into the parameters that training changes."""
    with torch.no_grad():
        for name, value in trained(modules).items():
            value.copy_(tensors[name])


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
