"""The order of a request over a large catalogue, on one page: find, score, mix, filter, select, fill.

It answers as `recommender.py` does, from the best that each retriever finds instead of from every item.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.data.asked import Asked, block_of, nobody, number
from langrec.data.candidates import distinct, places_in, union, within
from langrec.explain.account import account
from langrec.explain.additive import Explanation
from langrec.ranking.cross import look_again
from langrec.ranking.fill import BY_NUMBER, Fallback
from langrec.ranking.filters import allowed
from langrec.ranking.narrow import narrowed
from langrec.ranking.near import Found, find, searched, total_of, weigh
from langrec.ranking.scored import Scored
from langrec.ranking.spoken import READERS, Spoken, speaks, spoken_block
from langrec.ranking.starters import candidates_for, liking, pick_starters
from langrec.selecting import selected
from langrec.state import State
from langrec.types import (
    Candidates,
    FloatVector,
    IntVector,
    ItemList,
    Mask,
    Query,
    QueryBlock,
    Recommendation,
    Stage,
    Trace,
)

# A filter that keeps at most so many items has all of them scored.
ALL_OF = 4_000
# Where probabilities are asked for, so many items of the sample are scored too: they stand for what was not found.
RATED = 256
# Queries scored at once.
TOGETHER = 32
# Who has seen, or leaves out, most of what was found is looked for again, so many times as deep.
DEEPER = (4, 16)


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A scored query over its candidates.

    Attributes:
        nums: (m,) the candidates, rising; columns of `scored` are theirs.
        scored: as over a whole catalogue.
        reached: (r,) those of them that retrievers found, rising; others stand for what was not found.
        found: how many each retriever found.
        whole: True where the candidates are all items that the filters let through.
        told: (n,) what the filters let through, where the retrievers were told of it.
        ms: what finding and scoring took.
    """

    nums: IntVector
    scored: Scored
    reached: IntVector
    found: dict[str, int]
    whole: bool
    told: Mask | None
    ms: float


def recommend(state: State, queries: Sequence[Query]) -> list[Recommendation]:
    """One answer per query, in order.

    Raises:
        DataError: as `Recommender.recommend`.
    """
    answers: list[Recommendation] = []
    for start in range(0, len(queries), TOGETHER):
        part = queries[start : start + TOGETHER]
        looked, depth = look(state, part), 1
        for times in DEEPER:
            short = [i for i, one in enumerate(looked) if _is_short(state, one, depth)]
            if not short:
                break
            for i, one in zip(short, look(state, [part[i] for i in short], times=times), strict=True):
                looked[i] = one
            depth = times
        answers += [_list(state, one) for one in looked]
    return answers


def _is_short(state: State, looked: Looked, times: int) -> bool:
    """Whether what a query leaves out leaves less than twice the wanted of what was found, and more may be found."""
    query, asked, scored = looked.scored.query, looked.scored.asked, looked.scored
    wanted, out = query.k + query.offset, len(asked.seen) + len(query.filters.exclude)
    if not out or looked.whole or len(looked.reached) - out >= 2 * wanted:
        return False
    if max(looked.found.values(), default=0) < times * _depth(state, query):
        return False  # no retriever has more
    good = scored.matches & (scored.scores > 0) & within(looked.nums, looked.reached)
    if int(good.sum()) < wanted:
        return False  # few answer the wish, whatever is left out
    view = state.items.among(looked.nums)
    mask, _ = allowed(view, view.hidden(), query.filters, asked.seen, asked.at)
    return int((mask & good).sum()) < min(2 * wanted, state.n_items - out)


def look(state: State, queries: Sequence[Query], also: IntVector | None = None, times: int = 1) -> list[Looked]:
    """The queries with their candidates scored.

    Args:
        also: numbers that are looked at whatever is found.
        times: retrievers find so many times as many candidates as usual.
    """
    asked = [number(query, state.items, state.unsaying) for query in queries]
    masks = [narrowed(state.items, query.filters, one.at) for query, one in zip(queries, asked, strict=True)]
    # Queries whose candidates are found alike share a block; a filter that the retrievers are told of has its own.
    groups: dict[tuple[int, int], list[int]] = {}
    for i, (query, mask) in enumerate(zip(queries, masks, strict=True)):
        groups.setdefault((-1 if mask is None else i, _depth(state, query)), []).append(i)
    out: dict[int, Looked] = {}
    for (_, k), places in groups.items():
        mask = masks[places[0]]
        some = _look(state, [queries[i] for i in places], [asked[i] for i in places], times * k, mask, also)
        out.update(zip(places, some, strict=True))
    return [out[i] for i in range(len(queries))]


def _depth(state: State, query: Query) -> int:
    """How many candidates each retriever finds for a query: twice what is wanted, in steps that double.

    Scores of the mix depend a little on what was found: pages that are found alike are parts of one list.
    """
    wanted, k = min(query.k + query.offset, state.n_items), max(state.ranking.retrieved, 1)
    while k < 2 * wanted:
        k *= 2
    return k


def _look(
    state: State, queries: Sequence[Query], asked: Sequence[Asked], k: int, mask: Mask | None, also: IntVector | None
) -> list[Looked]:
    clock = time.perf_counter()
    fusion, q = state.fusion, len(queries)
    block = replace(block_of(queries, asked, state.users), kept={})
    spoken = replace(spoken_block(queries, block.at, state.encoder), kept={}) if any(map(speaks, queries)) else None
    talking = np.array([i for i, query in enumerate(queries) if speaks(query)], dtype=np.intp)
    whole = mask is not None and int(mask.sum()) <= ALL_OF
    if whole and mask is not None:
        every = np.flatnonzero(mask).astype(np.int32)
        found = Found(Candidates.of([every] * q), {"filter": np.full(q, len(every))})
    else:
        found = find(fusion, block, k, mask)
        if spoken is not None:
            found = _spoken_too(state, spoken, talking, found, max(k, state.ranking.candidates), mask)
    parts = [found.asked]
    again = [one.shown_again(query.filters) for query, one in zip(queries, asked, strict=True)]
    if any(map(len, again)):
        parts.append(Candidates.of([np.unique(nums).astype(np.int32) for nums in again]))
    if also is not None:
        parts.append(Candidates.of([also] * q))
    assert fusion.near is not None
    rest = fusion.near.everyone.sample[:: max(1, len(fusion.near.everyone.sample) // RATED)]
    rated = state.calibration is not None
    if rated:
        parts.append(Candidates.of([rest] * q))
    candidates = union(parts) if len(parts) > 1 else found.asked
    weighed = weigh(fusion, block, candidates)
    levels = total_of(union(parts[:-1]), candidates, weighed.mixed, block, state.n_items) if rated else None
    said = _said(state, spoken, talking, candidates) if spoken is not None else {}
    rare = None
    if state.exploring.places:
        named = [s for s, signal in enumerate(fusion.signals) if signal.only == "rare"]
        told = weighed.logs[named].sum(axis=0) if named else np.zeros_like(weighed.mixed)
        rare = np.where(told > 0, told, np.float32(np.nan))
    ms = 1000.0 * (time.perf_counter() - clock) / max(q, 1)
    out = []
    for i, (lo, hi) in enumerate(pairwise(candidates.offsets)):
        nums, own, total = candidates.nums[lo:hi], weighed.parts[:, lo:hi], weighed.mixed[lo:hi]
        if len(again[i]) and not weighed.silent[i]:
            there = places_in(nums, distinct(again[i])[0])
            own = fusion.with_repeats(own, there[0][there[1]].astype(np.int32))
            total = own.sum(axis=0)
        one = block.slice(i, i + 1)
        scored = Scored.of(
            queries[i], asked[i], one, fusion.part_names, own, total, said.get(i), bool(weighed.silent[i])
        )
        scored = replace(
            scored,
            rare=None if rare is None else rare[lo:hi],
            level=float("nan") if levels is None else float(levels[i]),
        )
        counts = {name: int(count[i]) for name, count in found.counts.items()}
        out.append(Looked(nums, scored, found.asked[i], counts, whole, mask, ms))
    return out


def _spoken_too(
    state: State, spoken: QueryBlock, talking: npt.NDArray[np.intp], found: Found, k: int, mask: Mask | None
) -> Found:
    """What was found, and what the readers of wishes find for those who speak."""
    fusion, q = state.fusion, len(found.asked)
    assert fusion.near is not None
    parts, counts = [found.asked], dict(found.counts)
    for name in READERS:
        if name not in fusion.scorers:
            continue
        scorer: Any = fusion.scorers[name]
        if name in fusion.near.indexes:
            own = searched(fusion.near.indexes[name], scorer.index_queries(spoken), k, mask)
        else:
            own = scorer.retrieve(spoken, k, mask)
        rows: list[IntVector] = [np.zeros(0, dtype=np.int32)] * q
        for place, i in enumerate(talking):
            rows[i] = own[place]
        parts.append(Candidates.of(rows))
        counts[f"{name} of the wish"] = np.diff(parts[-1].offsets)
    return Found(union(parts), counts)


def _said(state: State, spoken: QueryBlock, talking: npt.NDArray[np.intp], candidates: Candidates) -> dict[int, Spoken]:
    """By place of a query that speaks, what each reader says of its candidates; 0 where it has nothing to say."""
    asked = Candidates.of([candidates[i] for i in talking])
    out: dict[int, dict[str, FloatVector]] = {int(i): {} for i in talking}
    for name in READERS:
        if name in state.fusion.scorers:
            scorer: Any = state.fusion.scorers[name]
            scores = np.nan_to_num(scorer.score_items(spoken, asked))
            for place, i in enumerate(talking):
                out[int(i)][name] = scores[asked.offsets[place] : asked.offsets[place + 1]]
    return dict(out)


def _list(state: State, looked: Looked) -> Recommendation:
    """Filters, selects, fills and accounts for one query."""
    near = state.fusion.near
    assert near is not None
    retrieved = (
        Stage("retrieve", state.n_items, int(looked.scored.matches.sum()), looked.ms),
        *(Stage(f"retrieve {name}", state.n_items, count, 0.0) for name, count in looked.found.items()),
    )
    return selected(
        state,
        looked.scored,
        retrieved,
        lambda listed, mask, wanted: _filling(state, looked, listed, mask, wanted),
        lambda: near.rare.holds(looked.nums),
        nums=looked.nums,
    )


def _filling(state: State, looked: Looked, listed: IntVector, mask: Mask, wanted: int) -> IntVector:
    """Further allowed items that fill a list up to `wanted`, in the order of the fallback scorer."""
    query, asked = looked.scored.query, looked.scored.asked
    nums = _in_order(state, looked.nums[mask], asked.at) if looked.whole else _popular(state, looked, asked, wanted)
    nums = nums[~np.isin(nums, listed)]
    view = state.items.among(nums)
    return nums[allowed(view, view.hidden(), query.filters, asked.seen, asked.at)[0]][: wanted - len(listed)]


def _popular(state: State, looked: Looked, asked: Asked, wanted: int) -> IntVector:
    """Items in the order of the fallback scorer, enough that those left out leave `wanted`; then any others."""
    scorer: Any = state.fusion.scorers.get(state.ranking.fallback)
    filters = looked.scored.query.filters
    size = 2 * (min(wanted, state.n_items) + len(asked.seen) + len(filters.exclude))
    found = np.zeros(0, dtype=np.int32)
    while scorer is not None:
        block = replace(nobody(asked.at), kept={})
        found = scorer.retrieve(block, size, looked.told)[0]
        view = state.items.among(found)
        # A filter that keeps most items was told to nobody, and may yet drop the popular ones.
        if len(found) >= size and int(allowed(view, view.hidden(), filters, asked.seen, asked.at)[0].sum()) < wanted:
            size *= 4
            continue
        found = _in_order(state, found, asked.at)
        if len(found) >= size:
            return found
        break
    # Few items were ever chosen: the others follow in the order of their numbers.
    pool = np.arange(state.n_items) if looked.told is None else np.flatnonzero(looked.told)
    others = pool[~np.isin(pool, found)].astype(np.int32)
    view = state.items.among(others)
    keep = allowed(view, view.hidden(), filters, asked.seen, asked.at)[0]
    return np.concatenate([found, others[keep][:wanted]]).astype(np.int32)


def _in_order(state: State, nums: IntVector, at: int) -> IntVector:
    """Items in the order of the fallback scorer, equal ones by number."""
    scorer: Any = state.fusion.scorers.get(state.ranking.fallback)
    if scorer is None:
        return np.sort(nums)
    scores = np.nan_to_num(scorer.score_items(replace(nobody(at), kept={}), Candidates.of([np.sort(nums)])))
    nums = np.sort(nums)
    return nums[np.lexsort((nums, -scores))]


# ---- other questions -------------------------------------------------------------------------------------------------

# Starters are judged by what they say of so many of the most popular items.
SPOKEN_FOR = 1_000


def account_of(state: State, query: Query, item_id: str) -> Explanation:
    """The exact account of one item's score for a query; its place is the one among the candidates."""
    num = state.items.ids.number(item_id)
    looked = look(state, [query], np.array([num], dtype=np.int32))[0]
    if state.cross is not None:
        view, own = state.items.among(looked.nums), looked.scored
        mask, _ = allowed(view, view.hidden(), query.filters, own.asked.seen, own.asked.at)
        again = look_again(state.cross, own, mask & own.matches, state.items, state.text_fields, looked.nums)
        looked = replace(looked, scored=again.scored)
    at = looked.scored.asked.at
    order = np.zeros(len(looked.nums), dtype=np.float32)
    scorer: Any = state.fusion.scorers.get(state.ranking.fallback)
    if scorer is not None:
        order = np.nan_to_num(scorer.score_items(replace(nobody(at), kept={}), Candidates.of([looked.nums])))
    name = state.ranking.fallback if scorer is not None else BY_NUMBER
    return account(item_id, looked.scored, state.fusion, state.items, Fallback(name, order), looked.nums)


def starters_of(state: State, queries: Sequence[Query]) -> list[Recommendation]:
    """As `Recommender.starters`, over the most popular items."""
    return [_starters(state, query) for query in queries]


def _starters(state: State, query: Query) -> Recommendation:
    clock, items = time.perf_counter(), state.items
    asked, wanted = number(query, items, state.unsaying), min(query.k + query.offset, state.n_items)
    told = narrowed(items, query.filters, asked.at)
    block = replace(nobody(asked.at), kept={})
    scorer: Any = state.fusion.scorers.get(state.ranking.fallback)
    size = max(SPOKEN_FOR, 2 * candidates_for(wanted))
    known = np.zeros(0, dtype=np.int32) if scorer is None else scorer.retrieve(block, size, None)[0]
    mine = known if told is None or scorer is None else scorer.retrieve(block, size, told)[0]
    ordered = _in_order(state, mine, asked.at)
    view = items.among(ordered)
    mask, dropped = allowed(view, view.hidden(), query.filters, asked.seen, asked.at)
    among = ordered[mask][: candidates_for(wanted)]
    liked = np.unique(asked.history).astype(np.int32)
    universe = np.unique(np.concatenate([known, among, liked])).astype(np.int32)
    near = _affinities(state, np.concatenate([among, liked]), universe, asked.at)
    popularity = np.zeros(len(universe), dtype=np.float32)
    if scorer is not None:
        popularity = np.nan_to_num(scorer.score_items(block, Candidates.of([universe])))
    places = np.searchsorted(universe, among).astype(np.int32)
    best = pick_starters(near[: len(among)], places, np.maximum(popularity, 0.0), near[len(among) :], wanted)
    listed = ItemList(universe[best.nums[query.offset :]], best.gains[query.offset :])
    stages = (
        Stage("filter", state.n_items, int(mask.sum()), 0.0),
        Stage("select", len(among), len(listed), 1000 * (time.perf_counter() - clock)),
    )
    trace = Trace("starters", stages, dropped, unknown=asked.unknown, release=state.release)
    return Recommendation(items.ids.take(listed.nums), listed, trace)


def _affinities(state: State, nums: IntVector, universe: IntVector, at: int) -> npt.NDArray[np.float32]:
    """(len(nums), len(universe)) as `starters.affinities`, of some items alone."""
    fusion, q = state.fusion.without_popularity(), len(nums)
    out = np.zeros((q, len(universe)), dtype=np.float32)
    for start in range(0, q, TOGETHER):
        part = nums[start : start + TOGETHER]
        block = replace(liking(part, at), kept={})
        weighed = weigh(fusion, block, Candidates.of([universe] * len(part)))
        scores = weighed.mixed.reshape(len(part), len(universe))
        out[start : start + TOGETHER] = np.where(weighed.silent[:, None], 0.0, np.maximum(scores, 0.0))
    own = (np.arange(q), np.searchsorted(universe, nums))
    out[own] = 0.0
    out /= np.maximum(out.max(axis=1, keepdims=True, initial=0.0), 1e-9)
    out[own] = 1.0
    return out


def latest_of(state: State, query: Query) -> tuple[ItemList, Mapping[str, int]]:
    """As `newest.newest`, looking at no more of the newest than the page needs."""
    items, asked = state.items, number(query, state.items)
    newer = np.union1d(items.changed_nums, np.arange(len(items.catalogue), len(items))).astype(np.int32)
    base = items.by_time[~np.isin(items.by_time, newer)] if len(newer) else items.by_time
    told = narrowed(items, query.filters, asked.at)
    base = base if told is None else base[told[base]]
    wanted, size = query.k + query.offset, query.k + query.offset + len(asked.seen) + 64
    while True:
        nums = np.concatenate([base[:size], newer]).astype(np.int32)
        view = items.among(nums)
        times = view.times()
        mask, dropped = allowed(view, view.hidden(), query.filters, asked.seen, asked.at)
        # Newest first; those without a time last, of these the last added first.
        best = np.lexsort((np.where(times >= 0, nums, -nums), -np.maximum(times, -1)))
        best = best[mask[best]]
        if int(mask[: len(nums) - len(newer)].sum()) >= wanted or size >= len(base):
            break
        size *= 4
    page = best[query.offset : wanted]
    return ItemList(nums[page], (np.maximum(times[page], 0) / 1000.0).astype(np.float32)), dropped
