"""A gated side network on a frozen model's states (IISAN, Fu et al. 2024; ladder side-tuning, Sung et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from langrec.lm.pooling import pool

FILE = "side.safetensors"


class Side(nn.Module):  # type: ignore[misc]
    """Pooled states of all layers (b, r, d), bottom first, to (b, d): the last state and what the side adds to it.

    Each rung narrows one layer's state to `inner` units and mixes it, by a learned gate, into what came from below. The
    sum starts as the last state alone: the way back to d starts at zero.
    """

    def __init__(self, rows: int, dim: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.rows, self.dropout = rows, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(rows))
        self.narrow = nn.ModuleList(nn.Linear(dim, inner) for _ in range(rows))
        self.blocks = nn.ModuleList(nn.Linear(inner, inner) for _ in range(rows))
        self.gates = nn.Parameter(torch.zeros(rows, inner))
        self.back = nn.Linear(inner, dim)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)

    def forward(self, states: Tensor) -> Tensor:
        h = torch.zeros((), dtype=states.dtype, device=states.device)
        for row in range(self.rows):
            own = self.narrow[row](self.norms[row](states[:, row]))
            gate = torch.sigmoid(self.gates[row])
            h = gate * own + (1 - gate) * h
            h = h + functional.gelu(self.blocks[row](functional.dropout(h, self.dropout, self.training)))
        return states[:, -1] + self.back(functional.dropout(h, self.dropout, self.training))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Side:
        """The network that saved parameters make."""
        rows = sum(name.startswith("narrow.") and name.endswith(".weight") for name in tensors)
        inner, dim = tensors["narrow.0.weight"].shape
        side = cls(rows, dim, inner)
        side.load_state_dict(dict(tensors))
        return side


class Finish(nn.Module):  # type: ignore[misc]
    """A side network, the model's dense layers and unit length: (b, r, d) pooled states -> (b, d) unit rows."""

    def __init__(self, side: Side, dense: nn.Module) -> None:
        super().__init__()
        self.side = side
        self.dense = dense

    def forward(self, states: Tensor) -> Tensor:
        return functional.normalize(self.dense(self.side(states)), p=2.0, dim=1)


class Beside(nn.Module):  # type: ignore[misc]
    """The whole way of a served model: (b, t) ids and mask -> (b, d) unit rows through the frozen model and its side.

    Attributes:
        core: the transformer.
        dense: its dense layers after the pooling.
    """

    def __init__(self, pooled: Any, pooling: str, side: Side) -> None:
        super().__init__()
        self.core = pooled.core
        self.dense = pooled.dense
        self.pooling = pooling
        self.finish = Finish(side, pooled.dense)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.finish(all_states(self.core, self.pooling, input_ids, attention_mask))


def all_states(core: Any, pooling: str, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """(b, r, d) float32: the mean over tokens of each layer's input, bottom first, then the pooled output."""
    found = core(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
    states = [pool(one.float(), attention_mask, "mean") for one in found.hidden_states[:-1]]
    return torch.stack([*states, pool(found.last_hidden_state.float(), attention_mask, pooling)], dim=1)


def read(folder: Path) -> dict[str, Tensor]:
    """The side network saved in a model's folder; empty where there is none."""
    from safetensors.torch import load_file

    return load_file(folder / FILE) if (folder / FILE).is_file() else {}
