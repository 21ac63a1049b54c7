"""A transformer cut in two: frozen lower layers, run once per text, and upper ones, trained on what these gave."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from langrec.lm.adapt.adapters import layers_of
from langrec.lm.pooling import pool


class Upper(nn.Module):  # type: ignore[misc]
    """The upper layers with pooling and dense layers: (b, t, d) states and (b, t) mask -> (b, d) unit rows."""

    def __init__(self, core: Any, dense: nn.Module, pooling: str) -> None:
        super().__init__()
        self.core = core
        self.dense = dense
        self.pooling = pooling

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        found = self.core(inputs_embeds=states, attention_mask=attention_mask).last_hidden_state.float()
        return functional.normalize(self.dense(pool(found, attention_mask, self.pooling)), p=2.0, dim=1)


class _Given(nn.Module):  # type: ignore[misc]
    """Stands where the embeddings were, and gives the states that it is given."""

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, **_rest: Any) -> Any:
        return inputs_embeds


def upper_of(core: Any, module: Any, pooling: str, layers: int) -> Upper | None:
    """The upper `layers` of a model, sharing its parameters; None where the model cannot be cut so.

    Whether it can is tried out: two texts must get the same vectors by the whole way and by both parts.
    """
    if not hasattr(core, "embeddings") or layers >= len(layers_of(core)):
        return None
    shared = [part for layer in list(layers_of(core))[-layers:] for part in layer.modules()]
    upper = copy.deepcopy(core, {id(part): part for part in shared})
    _set_layers(upper, list(layers_of(core))[-layers:])
    upper.embeddings = _Given()
    found = Upper(upper, module.dense, pooling).eval()
    module.eval()
    ids, mask = torch.tensor([[1, 2, 3, 4, 1], [1, 2, 1, 0, 0]]), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    try:
        with torch.no_grad():
            parts = found(lower_run(core, layers)(ids, mask), mask)
            same = torch.allclose(parts, module(ids, mask), atol=1e-4)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return None
    return found if same else None


def lower_run(core: Any, layers: int) -> Callable[[Tensor, Tensor], Tensor]:
    """(b, t) ids and mask -> (b, t, d) states below the upper `layers`, in evaluation mode."""

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        every = list(layers_of(core))
        core.eval()
        _set_layers(core, every[:-layers])
        try:
            with torch.no_grad():
                states: Tensor = core(input_ids=ids, attention_mask=mask).last_hidden_state
            return states
        finally:
            _set_layers(core, every)

    return run


def _set_layers(core: Any, layers: list[Any]) -> None:
    """Gives the model these layers in place of its own, by the name that the list of layers has."""
    known = core.__dict__.get("_langrec_layers")
    if known is None:
        own = layers_of(core)
        known = next(name for name, module in core.named_modules() if module is own)
        core.__dict__["_langrec_layers"] = known
    parent, _, name = known.rpartition(".")
    setattr(core.get_submodule(parent), name, nn.ModuleList(layers))
