"""The learning rate of a step: a linear rise, then a linear, cosine or plateau fall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of a step: a linear rise over `warmup` steps if any, then a linear fall to zero at `steps`."""

    rate: float
    warmup: int
    steps: int

    def __call__(self, step: int) -> float:
        warmup = max(1, min(self.warmup, self.steps // 10))
        return self.rate * min((step + 1) / warmup, max(0.0, (self.steps - step) / max(1, self.steps - warmup)))


@dataclass(frozen=True, slots=True)
class Share:
    """The share of its learning rate that a parameter gets at a step: a rise over `warmup` steps, then a fall.

    Attributes:
        kind: constant, linear or cosine (to zero at `steps`), or plateau (halved after each epoch that was no better
            than the best before it).
        warmup: steps of the rise; 0 = none.
        steps: steps of the whole training.
    """

    kind: str
    warmup: int
    steps: int

    def __call__(self, step: int, scores: Sequence[float] = ()) -> float:
        """The share at a step, from 0.

        Args:
            scores: validation of the finished epochs, higher is better; what a plateau looks at.
        """
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        left = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * left))
        if self.kind == "linear":
            return 1 - left
        if self.kind == "plateau":
            return float(0.5 ** sum(now <= max(scores[:i]) for i, now in enumerate(scores) if i))
        return 1.0
