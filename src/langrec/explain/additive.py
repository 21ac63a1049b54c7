"""Why an item has its score: each scorer's exact part, and which history items carried it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from langrec.protocols import Additive
from langrec.ranking.fusion import Fusion
from langrec.types import FloatVector, IntVector, QueryBlock


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one scorer adds to the score.

    Attributes:
        scorer: its name; `transitions@1` is `transitions` looking at the newest items only.
        weight: its weight in the mix.
        value: its feature (see `ranking.mix.Mix`).
        contribution: weight * value; over all scorers they sum to the score.
        history: item ids of the history with their shares of the contribution, largest first; empty where the scorer
            does not read the history, or is not a sum over it.
    """

    scorer: str
    weight: float
    value: float
    contribution: float
    history: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence's worth of why: the kind, the scorer that counts most, and the history items behind it."""

    kind: str
    scorer: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole account of one item for one query.

    Attributes:
        item: its id.
        score: the sum of the contributions.
        position: its 1-based place among all allowed items, None where a rule drops it.
        dropped_by: the rule that keeps it out of the list, None where none does.
        contributions: largest first.
        reason: the short form.
    """

    item: str
    score: float
    position: int | None
    dropped_by: str | None
    contributions: tuple[Contribution, ...]
    reason: Reason


def history_shares(fusion: Fusion, block: QueryBlock, nums: IntVector) -> list[dict[str, FloatVector]]:
    """For each item, by signal name, the (h,) share of each history row in the signal's raw score; shares sum to 1.

    Signals that are no sum over the history, or say nothing for the item, are left out.
    """
    shares: list[dict[str, FloatVector]] = [{} for _ in nums]
    for signal in fusion.signals:
        scorer = fusion.at(signal)
        if isinstance(scorer, Additive):
            raw = scorer.contributions(block, nums)
            for row, total in enumerate(raw.sum(axis=0)):
                if total > 0:
                    shares[row][signal.name] = raw[:, row] / total
    return shares


def reason_of(parts: Mapping[str, float], shares: Mapping[str, FloatVector], ids: tuple[str, ...]) -> Reason:
    """The short form: the strongest signal decides the kind; up to two history items are named.

    Args:
        parts: contribution by signal.
        shares: as `history_shares` gives them.
        ids: (h,) ids of the history rows.
    """
    if not parts or max(parts.values()) <= 0:
        return Reason("fallback", "")
    best = max(parts, key=lambda name: parts[name])
    scorer = best.split("@")[0]
    if scorer.startswith("popular") and not shares:
        return Reason("popular" if len(ids) else "new_visitor", scorer)
    carried = np.zeros(len(ids), dtype=np.float32)
    for name, share in shares.items():
        carried += share * np.float32(max(parts.get(name, 0.0), 0.0))
    if not carried.any():
        return Reason("text_match" if scorer in ("bm25", "tfidf") else "popular", scorer)
    order = [int(row) for row in np.argsort(-carried, kind="stable")[:2] if carried[row] > 0]
    named = tuple(dict.fromkeys(ids[row] for row in order))
    reading = ("bm25", "tfidf", "vectors", "tokens")
    return Reason("similar_text" if scorer in reading else "because", scorer, named)
