"""Token states to one vector of a text."""

from __future__ import annotations

from typing import Any


def pool(states: Any, attention_mask: Any, pooling: str) -> Any:
    """Token states (b, t, d) to vectors (b, d) by one of the poolings, padding left out."""
    mask = attention_mask.unsqueeze(-1).to(states.dtype)
    if pooling == "cls":
        return states[:, 0]
    if pooling == "max":
        return (states + (mask - 1) * 1e9).amax(1)
    if pooling == "lasttoken":
        # Padding stands on the right: the last token is where the running count reaches its end.
        last = (mask.cumsum(1) == mask.sum(1, keepdim=True)) * mask
        return (states * last).sum(1)
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
