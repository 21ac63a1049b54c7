"""The account of one item for one query: what each signal adds, its place, the rule that drops it, the short why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from langrec.data.asked import Asked
from langrec.data.items import Items
from langrec.explain.additive import Contribution, Explanation, Reason, history_shares, reason_of
from langrec.ranking.fill import Fallback, place
from langrec.ranking.filters import allowed
from langrec.ranking.fusion import Fusion
from langrec.ranking.scored import Scored
from langrec.ranking.spoken import READERS, speaks
from langrec.types import FloatVector, IntVector, ItemList, Query, QueryBlock

# The rule that drops what does not answer a wish in words.
UNMATCHED = "unmatched"


def account(
    item_id: str, scored: Scored, fusion: Fusion, items: Items, fallback: Fallback, nums: IntVector | None = None
) -> Explanation:
    """Everything about one item that the catalogue holds.

    Args:
        scored: the query with its scores.
        fallback: the order of items that no signal speaks for.
        nums: rising numbers of the items that were scored, the one in question among them; None = all.
    """
    num = items.ids.number(item_id)
    query, asked = scored.query, scored.asked
    view = items if nums is None else items.among(nums)
    mask, _ = allowed(view, view.hidden(), query.filters, asked.seen, asked.at)
    column_of = num if nums is None else int(np.searchsorted(nums, num))
    where = place(column_of, scored.scores, mask & scored.matches, None if scored.spoken else fallback)
    mine = {name: float(column[column_of]) for name, column in scored.parts.items()}
    shares = history_shares(fusion, scored.block, np.array([num], dtype=np.int32))[0]
    ids = items.ids.take(asked.history)
    # A wish is weighed by the request, and where only the fallback speaks it speaks alone: then no weight was learned.
    plain = scored.spoken or scored.silent
    situation = fusion.situations.of(scored.block)
    learned = zip(fusion.signals, fusion.mix.weights_in(situation)[:, 0], strict=True)
    weights = {} if plain else {signal.name: float(weight) for signal, weight in learned}
    carried = {
        name: _by_item(ids, shares[name] * column[column_of])
        for name, column in scored.by_history.items()
        if name in shares
    }
    contributions = tuple(
        Contribution(
            name,
            weights.get(name) or 1.0,
            mine[name] / (weights.get(name) or 1.0),
            mine[name],
            carried.get(name, ()),
        )
        for name in sorted(mine, key=lambda name: -abs(mine[name]))
    )
    score = float(scored.scores[column_of])
    return Explanation(
        item_id,
        score,
        where,
        _dropping_rule(num, items, query, asked) if where is None else None,
        contributions,
        _reason(query, mine if score > 0 else {}, shares, ids),
    )


def reasons(
    query: Query, asked: Asked, block: QueryBlock, fusion: Fusion, items: Items, listed: ItemList
) -> list[Reason]:
    """The short why of each item of a query's answer, from the answer's own columns.

    Args:
        query: as it was asked; `asked` is the same in numbers, `block` the same as a block of one.
        listed: the answer.
    """
    ids = items.ids.take(asked.history)
    # What adds to no item's score carries nothing.
    heard = {name for name, column in listed.columns.items() if (column > 0).any()}
    shares = history_shares(fusion, replace(block, kept={}), listed.nums, heard)
    columns = {name: column.tolist() for name, column in listed.columns.items()}
    return [
        _reason(query, {name: column[row] for name, column in columns.items()}, shares[row], ids)
        for row in range(len(listed))
    ]


def _reason(
    query: Query, parts: Mapping[str, float], shares: Mapping[str, FloatVector], ids: tuple[str, ...]
) -> Reason:
    """For a wish in words its strongest reader, else what `reason_of` finds in the history."""
    if speaks(query) and parts:
        best = max(parts, key=lambda name: parts[name])
        if parts[best] > 0 and best in READERS:
            return Reason("text_match" if best == "bm25" else "similar_text", best)
    return reason_of(parts, shares, ids)


def _dropping_rule(num: int, items: Items, query: Query, asked: Asked) -> str:
    """The first rule that drops the item; where none does, it does not match."""
    alone = items.among(np.array([num], dtype=np.int32))
    _, dropped = allowed(alone, alone.hidden(), query.filters, asked.seen, asked.at)
    if "hidden" in dropped:
        return "hidden"
    return next((name for name in dropped if name != "hidden"), UNMATCHED)


def _by_item(ids: tuple[str, ...], values: FloatVector) -> tuple[tuple[str, float], ...]:
    """What each history item carries, the largest first; an item that stands in the history twice is one."""
    sums: dict[str, float] = {}
    for name, value in zip(ids, values, strict=True):
        if value != 0:
            sums[name] = sums.get(name, 0.0) + float(value)
    return tuple(sorted(sums.items(), key=lambda pair: -abs(pair[1])))
