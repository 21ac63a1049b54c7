"""Why an item has its score: each scorer's exact part, and which history items carried it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from langrec.protocols import Additive
from langrec.ranking.cross import RERANK
from langrec.ranking.fusion import RANKER, Fusion
from langrec.types import FloatMatrix, FloatVector, IntVector, QueryBlock

# Scorers that read texts.
READING = ("bm25", "tfidf", "vectors", "tokens")


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


def history_shares(
    fusion: Fusion, block: QueryBlock, nums: IntVector, among: Collection[str] | None = None
) -> list[dict[str, FloatVector]]:
    """For each item, by signal name, the (h,) share of each history row in the signal's raw score; shares sum to 1.

    Signals that are no sum over the history, or say nothing for the item, are left out.

    Args:
        among: names of the signals that are looked at; None = all.
    """
    shares: list[dict[str, FloatVector]] = [{} for _ in nums]
    made: dict[tuple[Any, ...], FloatMatrix] = {}
    for signal in fusion.signals:
        scorer = fusion.at(signal)
        if not isinstance(scorer, Additive) or (among is not None and signal.name not in among):
            continue
        # A signal for rare items alone says of these what its scorer says.
        key = (signal.scorer, signal.params)
        if key not in made:
            made[key] = scorer.contributions(block, nums)
        raw = made[key]
        for row, total in enumerate(raw.sum(axis=0)):
            if total > 0:
                shares[row][signal.name] = raw[:, row] / total
    return shares


def reason_of(parts: Mapping[str, float], shares: Mapping[str, FloatVector], ids: tuple[str, ...]) -> Reason:
    """The short form: popularity where it brings more than half, else the strongest signal of the history.

    Up to two history items are named, those that carry most.

    Args:
        parts: contribution by signal.
        shares: as `history_shares` gives them.
        ids: (h,) ids of the history rows.
    """
    # The ranker weighs what the others say, and a rerank lifts whatever it looks at: they are no reasons of their own.
    for_it = {name: part for name, part in parts.items() if part > 0 and name not in (RANKER, RERANK)}
    if not for_it:
        return Reason("fallback", "")
    rows = np.zeros(len(ids), dtype=np.float32)
    for name, share in shares.items():
        rows += share * np.float32(for_it.get(name, 0.0))
    carried: dict[str, float] = {}
    for item, part in zip(ids, rows.tolist(), strict=True):
        carried[item] = carried.get(item, 0.0) + part
    popular = {name: part for name, part in for_it.items() if name.startswith("popular")}
    named = tuple(item for item in sorted(carried, key=lambda item: -carried[item])[:2] if carried[item] > 0)
    if sum(popular.values()) > sum(for_it.values()) / 2:
        best = max(popular, key=lambda name: popular[name])
        return Reason("popular" if ids else "new_visitor", _scorer(best))
    best = max(for_it.keys() - popular.keys(), key=lambda name: (for_it[name], name))
    if not named:
        return Reason("text_match" if _scorer(best) in READING else "because", _scorer(best))
    return Reason("similar_text" if _scorer(best) in READING else "because", _scorer(best), named)


def _scorer(signal: str) -> str:
    return signal.split("@")[0]
