"""Where a language model is trained and read in PyTorch."""

from __future__ import annotations

from typing import Any


def chosen_device() -> Any:
    """A graphics card where PyTorch sees one, else the processor."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(module: Any) -> Any:
    """The device that a module's weights lie on."""
    return next(module.parameters()).device
