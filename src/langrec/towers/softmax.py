"""Cross-entropy over a whole catalogue in one pass: the logits of a few rows at a time, and their gradients at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Logits that are worked on at a time, a few megabytes: they stay in the processor's cache until their gradients are
# taken. Fewer rows than LEAST make the products slow. On a graphics card each step is a call, so there are more.
AT_ONCE, LEAST, ON_CARD = 3 << 18, 32, 64
# What no softmax reaches.
NEVER = -1e4


def whole_softmax(
    states: Tensor, vectors: Tensor, right: Tensor, without: tuple[Tensor, Tensor] | None = None, smoothing: float = 0.0
) -> Tensor:
    """The mean cross-entropy of (m, d) states against (t, d) vectors, whose inner products are the logits.

    The same as `functional.cross_entropy(states @ vectors.T, right)`, without ever holding (m, t) numbers: with the
    softmax of a row at hand its gradient is known, so that nothing is kept for the way back (as in Wijmans et al. 2024,
    "Cut your losses in large-vocabulary language models"). Products are made in the type that autocast asks for.

    Args:
        right: (m,) the row of `vectors` that is right.
        without: rows, rising, and columns of logits that are left out of the softmax; none of them is right.
        smoothing: share of the label that is spread over all.
    """
    rows, columns = without or (right[:0], right[:0])
    loss: Tensor = _WholeSoftmax.apply(states, vectors, right, rows, columns, smoothing, product_type(states))
    return loss


def product_type(states: Tensor) -> torch.dtype:
    """What autocast makes products in; the states' own type where it is off."""
    device = states.device.type
    kind: torch.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
    return kind


class _WholeSoftmax(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        vectors: Tensor,
        right: Tensor,
        rows: Tensor,
        columns: Tensor,
        smoothing: float,
        kind: torch.dtype,
    ) -> Tensor:
        m, t = len(states), len(vectors)
        size = max(AT_ONCE * (1 if states.device.type == "cpu" else ON_CARD) // t, LEAST)
        by_state, by_vector = torch.empty_like(states), torch.zeros_like(vectors)
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        bounds = torch.arange(0, m + size, size, device=rows.device)
        ends = torch.searchsorted(rows, bounds).cpu().tolist()
        # Under autocast the products are of its own type, and all else is float32: nothing is cast on the way.
        low, table = states.to(kind), vectors.to(kind)
        for i, start in enumerate(range(0, m, size)):
            part, label = low[start : start + size], right[start : start + size, None]
            away = rows[ends[i] : ends[i + 1]] - start, columns[ends[i] : ends[i + 1]]
            x = (part @ table.T).float()
            x[away] = NEVER
            said = x.gather(1, label)
            if smoothing:
                said = (1 - smoothing) * said + smoothing * x.mean(1, keepdim=True)
            highest = x.amax(1, keepdim=True)
            x.sub_(highest).exp_()
            sums = x.sum(1, keepdim=True)
            total += (sums.log() + highest - said).sum()
            # From here on x is the gradient by the logits.
            x.div_(sums * m)
            x.scatter_add_(1, label, x.new_full(label.shape, -(1 - smoothing) / m))
            if smoothing:
                x.sub_(smoothing / (m * t))
                x[away] = 0.0
            x = x.to(kind)
            by_state[start : start + size] = x @ table
            by_vector += x.T @ part
        ctx.save_for_backward(by_state, by_vector)
        return total / max(m, 1)

    @staticmethod
    def backward(ctx: Any, by_loss: Tensor) -> Any:
        by_state, by_vector = ctx.saved_tensors
        return by_state * by_loss, by_vector * by_loss, None, None, None, None, None
