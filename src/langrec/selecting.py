"""How a request ends, whether all items were scored or candidates: filter, read again, select, fill, draw in, count."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from langrec.budget import stage, was_skipped
from langrec.ranking.cross import RERANK, look_again
from langrec.ranking.drawn import drawn_into
from langrec.ranking.fill import BY_NUMBER, with_more
from langrec.ranking.filters import allowed
from langrec.ranking.scored import Scored
from langrec.ranking.select import diverse_rows, top_k
from langrec.state import State
from langrec.types import IntVector, ItemList, Mask, Recommendation, Stage, Trace

# Of a list of item numbers, (n,) what may be shown, and how many are wanted: numbers of further allowed items.
Fill = Callable[[IntVector, Mask, int], IntVector]


def selected(
    state: State,
    scored: Scored,
    retrieved: tuple[Stage, ...],
    fill: Fill,
    rare: Callable[[], Mask],
    *,
    nums: IntVector | None = None,
    hidden: Mask | None = None,
) -> Recommendation:
    """The answer to one query.

    Args:
        scored: the query and what is said of n items.
        retrieved: the stages so far, for the trace.
        fill: asked where a list without a wish in words is short.
        rare: gives the (n,) items that few or none have met; asked where such are drawn into lists.
        nums: (n,) numbers of the items, rising; None = all of the catalogue.
        hidden: (n,) items that nobody is shown, where that is known already.
    """
    clock = time.perf_counter()
    query, asked = scored.query, scored.asked
    view = state.items if nums is None else state.items.among(nums)
    mask, dropped = allowed(view, view.hidden() if hidden is None else hidden, query.filters, asked.seen, asked.at)
    mask &= scored.matches
    filtered = time.perf_counter()
    again = None
    if state.cross is not None:
        again = look_again(state.cross, scored, mask, state.items, state.text_fields, nums)
        scored = again.scored
    scores = scored.scores
    wanted, amount, depth = query.k + query.offset, state.ranking.diversity, state.ranking.candidates
    # Items are places in `scores` until the end, where they become numbers.
    pool = top_k(np.where(mask & (scores > 0), scores, np.nan), max(wanted, depth if amount > 0 else 0))
    listed = ItemList(pool, scores[pool], scored.columns(pool))
    skipped = ["trees"] if was_skipped("trees") else []
    skipped += [RERANK] if again is not None and again.skipped else []
    if amount > 0:
        with stage("diversity") as has_room:
            if has_room:
                listed = _differing(state, listed, pool if nums is None else nums[pool], wanted)
            else:
                listed = listed.take(np.arange(min(wanted, len(listed))))
                skipped.append("diversity")
    found, filled = len(listed), {}
    if found < wanted and not scored.spoken:
        more = fill(listed.nums if nums is None else nums[listed.nums], mask, wanted)
        if nums is not None:
            nums, more = np.concatenate([nums, more]), np.arange(len(nums), len(nums) + len(more), dtype=np.int32)
        listed = with_more(listed, more)
        name = state.ranking.fallback if state.ranking.fallback in state.fusion.scorers else BY_NUMBER
        filled = {name: len(listed) - max(found, query.offset)}
    explored = drawn_into(state.exploring, scored, listed.nums, mask, rare, view)
    if explored is not None:
        beyond = 0 if nums is None else len(nums) - len(scores)
        listed = explored.joined(
            listed, np.append(scores, np.zeros(beyond, np.float32)), scored.columns(explored.drawn)
        )
    page = np.arange(query.offset, max(query.offset, min(wanted, len(listed))))
    listed = listed.take(page)
    done = time.perf_counter()
    matching, left = int(scored.matches.sum()), int(mask.sum())
    stages = (
        *retrieved,
        Stage("filter", matching, left, 1000 * (filtered - clock)),
        *(again.stages(left) if again is not None else ()),
        Stage("select", left, len(listed), 1000 * (done - filtered) - (again.ms if again is not None else 0.0)),
    )
    filled = {name: count for name, count in filled.items() if count > 0}
    answer = listed if nums is None else ItemList(nums[listed.nums].astype(np.int32), listed.scores, listed.columns)
    ids = state.items.ids.take(answer.nums)
    drawn = () if explored is None else tuple(ids[row] for row in np.flatnonzero(np.isin(listed.nums, explored.drawn)))
    trace = Trace(scored.reason, stages, dropped, filled, asked.unknown, state.release, drawn, tuple(skipped))
    chances = None if explored is None else explored.propensities[page]
    return Recommendation(ids, answer, trace, propensities=chances, level=scored.level)


def _differing(state: State, listed: ItemList, nums: IntVector, wanted: int) -> ItemList:
    """The list with items first that differ by their texts; where there are no vectors of these, nothing differs."""
    vectors, ranking = state.fusion.text_vectors, state.ranking
    if vectors is None:
        vectors = np.zeros((state.n_items, 1), np.float32)
    return diverse_rows(listed, vectors, nums, wanted, ranking.diversity, ranking.candidates)
