"""The stack of layers inside a transformer, whatever its family calls it."""

from __future__ import annotations

from typing import Any

from langrec.errors import SettingsError

# What families call the number of layers in their configuration.
COUNTS = ("num_hidden_layers", "n_layers", "num_layers")


def stack(core: Any) -> Any:
    """The ModuleList that holds the layers.

    Raises:
        SettingsError: the model has none that its configuration counts.
    """
    import torch

    wanted = count(core)
    for module in core.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted:
            return module
    raise SettingsError(f"{type(core).__name__}: has no list of {wanted} layers that could be made shorter")


def count(core: Any) -> int:
    """How many layers the configuration says there are.

    Raises:
        SettingsError: it does not say.
    """
    for name in COUNTS:
        if isinstance(getattr(core.config, name, None), int):
            return int(getattr(core.config, name))
    raise SettingsError(f"{type(core).__name__}: its configuration does not say how many layers it has")


def keep(core: Any, kept: list[int]) -> None:
    """Leaves only the layers of these numbers, in place."""
    layers = stack(core)
    chosen = [layers[i] for i in kept]
    del layers[:]
    layers.extend(chosen)
    for place, layer in enumerate(layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place
    for name in COUNTS:
        if isinstance(getattr(core.config, name, None), int):
            setattr(core.config, name, len(kept))
    if getattr(core.config, "layer_types", None):
        core.config.layer_types = [core.config.layer_types[i] for i in kept]
