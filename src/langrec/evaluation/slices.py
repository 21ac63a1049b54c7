"""Which part of the test a number speaks of: by the target's training, its popularity and the history's length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from langrec.evaluation.protocol import Targets
from langrec.settings import EvaluateSettings
from langrec.types import Mask

RARE = 5  # an item of at most so many training events is rare
FEW = 5  # a user with at most so many events is one of whom little is known

MEANING = {
    "all": "the whole test",
    "hot": "target has training events",
    "warm": "target has no training events but a text",
    "cold": "target has neither training events nor a text",
    "popular": "target is among the popular items, which hold the head's share of the training events",
    "tail": "target is outside the popular items",
    "rare": f"target has at most {RARE} training events, or none",
    "long": "history is long",
    "short": "history is short",
    "empty": "no history",
    "few": f"history has 1 to {FEW} events",
    "more": f"history has more than {FEW} events",
}


def slices(
    targets: Targets, counts: npt.NDArray[np.integer], has_text: Mask | None, settings: EvaluateSettings
) -> dict[str, Mask]:
    """(t,) which targets belong to each slice, by name; slices without a target are left out.

    A question with several targets is judged in a slice by those of its targets that belong to it.

    Args:
        targets: the questions.
        counts: (n,) training events of each item.
        has_text: (n,) whether the item has a text; None = every item has one.
        settings: `tail_share` and `short_history`.
    """
    trained = counts[targets.items] > 0
    text = np.ones(len(targets.items), dtype=np.bool_) if has_text is None else has_text[targets.items]
    head = popular_items(counts, settings.tail_share)[targets.items]
    length = np.repeat(np.diff(targets.block.offsets), np.diff(targets.offsets))
    parts = {
        "all": np.ones(len(targets.items), dtype=np.bool_),
        "hot": trained,
        "warm": ~trained & text,
        "cold": ~trained & ~text,
        "popular": head,
        "tail": ~head,
        "rare": counts[targets.items] <= RARE,
        "long": length > settings.short_history,
        "short": (length > 0) & (length <= settings.short_history),
        "empty": length == 0,
        "few": (length > 0) & (length <= FEW),
        "more": length > FEW,
    }
    return {name: mask for name, mask in parts.items() if mask.any() or name == "all"}


def popular_items(counts: npt.NDArray[np.integer], share: float) -> Mask:
    """(n,) True for the fewest items that together hold `share` of the training events; ties by number."""
    order = np.argsort(-counts.astype(np.int64), kind="stable")
    held = np.cumsum(counts[order].astype(np.float64))
    total = held[-1] if len(held) else 0.0
    # An item belongs to the head if those before it do not hold the share yet.
    before = held - counts[order]
    head = np.zeros(len(counts), dtype=np.bool_)
    head[order] = (before < share * total) & (counts[order] > 0)
    return head
