"""The tower in PyTorch, for training: pre-norm causal self-attention over a history, and the vectors of the items.

`forward.py` is the same in NumPy, for answering; `tests/towers/test_forward.py` compares the two.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from langrec.settings import IdTowerSettings, TextTowerSettings, TowerSettings
from langrec.towers.forward import rotary
from langrec.towers.sequences import GAPS
from langrec.types import FloatMatrix


class Dropout(nn.Module):  # type: ignore[misc]
    """Dropout whose masks are random bytes: cheaper to draw than a number per unit; shares are multiples of 1/256.

    `draw` is set anew for each epoch: under one seed the masks are the same.
    """

    draw: np.random.Generator

    def __init__(self, share: float) -> None:
        super().__init__()
        self.left_out = min(round(share * 256), 255)
        self.draw = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.left_out:
            return x
        raw = np.frombuffer(self.draw.bytes(x.numel()), dtype=np.uint8).reshape(x.shape)
        kept = torch.from_numpy((raw >= self.left_out).view(np.uint8)).to(x.device)
        return x * (kept * (256 / (256 - self.left_out))).to(x.dtype)


class Block(nn.Module):  # type: ignore[misc]
    """One pre-norm transformer block (Xiong et al. 2020); every position sees itself and what lies before."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.feed_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor] | None) -> Tensor:
        """(b, l, d) -> (b, l, d); padding stands at the right, where the causal mask keeps it unseen."""
        b, length, d = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(b, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if turns is not None:
            q, k = _rotate(q, *turns), _rotate(k, *turns)
        # Written out: for histories of this length two small products, no fused kernel is needed.
        later = torch.full((length, length), -torch.inf, device=x.device).triu(1)
        weights = torch.softmax((q @ k.transpose(-1, -2)).float() * (d // self.heads) ** -0.5 + later, dim=-1)
        seen = weights.to(v.dtype) @ v
        x = x + self.dropout(self.out(seen.transpose(1, 2).reshape(b, length, d)))
        fed = self.down(functional.gelu(self.up(self.feed_norm(x)), approximate="tanh"))
        return x + self.dropout(fed)


class Network(nn.Module, ABC):  # type: ignore[misc]
    """Base of both towers: `item_vectors` differs, everything after it does not."""

    def __init__(self, settings: TowerSettings) -> None:
        super().__init__()
        self.settings = settings
        dim = settings.dim
        if settings.positions == "learned":
            self.position = nn.Parameter(torch.randn(settings.length, dim) * 0.02)
        if settings.gaps:
            self.gap = nn.Parameter(torch.randn(GAPS, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, settings.heads, settings.dropout) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(settings.dropout)

    @abstractmethod
    def item_vectors(self, nums: Tensor | None = None) -> Tensor:
        """(n, d) the items as targets, or (len(nums), d) some; `as_input` makes of them what the blocks read."""

    @abstractmethod
    def as_input(self, vectors: Tensor) -> Tensor:
        """(…, d) rows of `item_vectors` as the blocks read them."""

    def forward(self, vectors: Tensor, items: Tensor, gaps: Tensor) -> Tensor:
        """(b, l, d) what each position says about the next item.

        Args:
            vectors: (n, d) of `item_vectors`.
            items: (b, l) item numbers, -1 at the right where a row is shorter.
            gaps: (b, l) buckets of the time from each item to the next.
        """
        x = self.as_input(functional.embedding(items.clamp(min=0), vectors))
        length = items.shape[1]
        turns = None
        if self.settings.positions == "learned":
            x = x + self.position[:length]
        else:
            parts = rotary(length, self.settings.dim // self.settings.heads)
            turns = tuple(torch.from_numpy(part).to(x.device) for part in parts)
        if self.settings.gaps:
            x = x + functional.embedding(gaps, self.gap)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, turns)
        return self.norm(x)

    def scaled(self, states: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Both as their inner products are logits: cosines over the temperature, or as they are."""
        if self.settings.temperature > 0:
            states = functional.normalize(states, dim=-1) / self.settings.temperature
            vectors = functional.normalize(vectors, dim=-1)
        return states, vectors

    def reseed(self, *seed: int) -> None:
        """Every dropout draws from here on what it draws under this seed."""
        for place, part in enumerate(module for module in self.modules() if isinstance(module, Dropout)):
            part.draw = np.random.default_rng((*seed, place))

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """float32 parameters by name, as `forward.py` reads them."""
        return {name: value.detach().float().cpu().numpy().copy() for name, value in self.named_parameters()}


class IdNetwork(Network):
    """Items are rows of a table, tied at the input and the output."""

    def __init__(self, settings: IdTowerSettings, n_items: int) -> None:
        super().__init__(settings)
        self.table = nn.Parameter(torch.randn(n_items, settings.dim) * 0.02)
        self.dropped = Dropout(settings.drop_ids)

    def item_vectors(self, nums: Tensor | None = None) -> Tensor:
        return self.table if nums is None else functional.embedding(nums, self.table)

    def as_input(self, vectors: Tensor) -> Tensor:
        # A dropped row reads as an item of which nothing is known, which a filled vector is near to.
        read: Tensor = vectors * math.sqrt(self.settings.dim)
        if self.training and self.dropped.left_out:
            read = read * self.dropped(torch.ones((*read.shape[:-1], 1), dtype=read.dtype, device=read.device))
        return read


class TextNetwork(Network):
    """Items are what a 2-layer head makes of their shaped text vectors (WhitenRec); no id takes part."""

    texts: Tensor

    def __init__(self, settings: TextTowerSettings, shaped: FloatMatrix) -> None:
        super().__init__(settings)
        self.register_buffer("texts", torch.from_numpy(shaped), persistent=False)
        sizes = (shaped.shape[1], *settings.head, settings.dim)
        self.head = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head_dropout = Dropout(settings.head_dropout)
        self.input_norm = nn.LayerNorm(settings.dim)

    def item_vectors(self, nums: Tensor | None = None) -> Tensor:
        x = self.texts if nums is None else self.texts[nums]
        for layer in self.head[:-1]:
            x = self.head_dropout(functional.gelu(layer(x), approximate="tanh"))
        vectors: Tensor = self.head[-1](x)
        return vectors

    def as_input(self, vectors: Tensor) -> Tensor:
        normed: Tensor = self.input_norm(vectors)
        return normed


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
