"""A sum over tensors, kept with them: what a crash damaged in a checkpoint is found out before it is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def sum_of(tensors: Mapping[str, Any]) -> str:
    """sha256 over the names and bytes of torch tensors, which may lie anywhere and be of any type."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check(tensors: Mapping[str, Any], told: Mapping[str, str]) -> None:
    """Raises ValueError where tensors are not those that the sum `told["sum"]` was made of."""
    if told.get("sum") != sum_of(tensors):
        raise ValueError("its bytes are not what was written")
