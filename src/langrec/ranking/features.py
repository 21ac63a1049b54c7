"""What the ranker looks at: one row of numbers per candidate, made by one function for training and serving.

docs/features.md tells the columns with their ranges. NaN says unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from langrec.data.events import DAY_MS
from langrec.data.rows import Growing, laid
from langrec.loops import compiled
from langrec.ranking.facts import Facts
from langrec.ranking.mix import Signals
from langrec.types import FloatMatrix, FloatVector, IntVector, QueryBlock, TimeVector

__all__ = ["Facts", "candidate_features", "feature_names"]

# A history item j steps back weighs exp(-DECAY * j) in the means of texts and categories, none past DEPTH.
DECAY = 0.1
DEPTH = 90
# How many of the newest history items say what the user's taste in popularity and fields is.
TASTE = 20
# How many of the newest history items a text is compared with one by one.
NEAR = 10
SECOND_MS, HOUR_MS = 1_000, 3_600_000
# 1970-01-01 was a Thursday; Monday is 0.
FIRST_WEEKDAY = 3
TREND = ("popular_7d", "popular_30d")

Column = npt.NDArray[np.float64] | npt.NDArray[np.float32]


def feature_names(facts: Facts, signals: Sequence[str], text: bool) -> tuple[str, ...]:
    """Names of the columns of `candidate_features`, in order.

    Args:
        signals: names of the mix's signals.
        text: whether text vectors are at hand.
    """
    return (
        # What is said of new items alone is the scorer's own score, and `unseen` tells these items.
        *(f"score:{name}" for name in signals if not name.endswith("@new")),
        *(f"rank:{name}" for name in signals if _is_base(name)),
        *("mix", "mix_rank", "mix_gap", "count", "unseen", "age_days", "since_last"),
        *(("trend",) if all(name in signals for name in TREND) else ()),
        *(("text_last", "text_mean", "text_max") if text else ()),
        *(("category_share", "category_last") if facts.categories else ()),
        *("repeats", "repeat_steps", "repeat_days", "history", "gap", "span", "hour", "weekday"),
        *("taste_count", "taste_gap", "taste_new"),
        *(f"field:{name}" for name in facts.item_fields),
        *(f"field_gap:{name}" for name in facts.item_fields),
        *(f"user:{name}" for name in facts.user_fields),
        *(f"match:{name}" for name in facts.shared),
    )


def candidate_features(
    facts: Facts,
    signals: Sequence[str],
    logs: Signals,
    mix: FloatMatrix,
    block: QueryBlock,
    candidates: Sequence[IntVector],
    vectors: Growing | None = None,
    wanted: Sequence[str] | None = None,
) -> FloatMatrix:
    """(m, f) float32 features of all candidates, those of the first query first, in the candidates' order.

    A query's rows do not depend on the other queries of the block.

    Args:
        facts: of at least the n items.
        signals: s names.
        logs: (s, q, n) the signals as `mix.log_features` gives them.
        mix: (q, n) mixed scores.
        candidates: q arrays of item numbers below n, each number once.
        vectors: (n', d) float32 centred unit text vectors, zero rows for items without text; None = no text features.
        wanted: the columns, in this order; None = all.
    """
    rows = np.repeat(np.arange(len(candidates)), [len(nums) for nums in candidates])
    items = np.concatenate([np.zeros(0, dtype=np.int32), *candidates])
    scores = logs[:, rows, items]
    found = features_of(facts, signals, scores, mix[rows, items], block, candidates, vectors, wanted)
    return np.ascontiguousarray(found)


def features_of(
    facts: Facts,
    signals: Sequence[str],
    scores: FloatMatrix,
    mixed: FloatVector,
    block: QueryBlock,
    candidates: Sequence[IntVector],
    vectors: Growing | None = None,
    wanted: Sequence[str] | None = None,
) -> FloatMatrix:
    """The same from (s, m) log features and (m,) mixed scores of the candidates alone; columns lie end to end."""
    names = feature_names(facts, signals, vectors is not None) if wanted is None else wanted
    asked = _Asked.of(facts, block, candidates)
    if not len(asked.items):
        return np.zeros((0, len(names)), dtype=np.float32)
    columns: dict[str, Column] = {}
    columns.update(_score_columns(asked, signals, scores, mixed))
    columns.update(_item_columns(asked))
    columns.update(_category_columns(asked))
    columns.update(_repeat_columns(asked))
    columns.update(_query_columns(asked))
    columns.update(_field_columns(asked))
    if vectors is not None:
        columns.update(_text_columns(asked, vectors, candidates))
    # Column by column: strided writes would cost more, and the trees ask one column after another.
    out = np.empty((len(names), len(asked.items)), dtype=np.float32)
    for row, name in enumerate(names):
        out[row] = columns[name]
    return out.T


@dataclass(frozen=True, eq=False)
class _Asked:
    """Candidates and histories of a block as flat columns.

    Attributes:
        rows, places, items: (m,) of each candidate its query, its place among the query's, its number.
        h_rows, h_items, h_steps, h_times: of each history row that the facts know its query, its item, how many steps
            back it lies, its time.
    """

    facts: Facts
    block: QueryBlock
    widest: int
    rows: npt.NDArray[np.intp]
    places: npt.NDArray[np.intp]
    items: IntVector
    h_rows: IntVector
    h_items: IntVector
    h_steps: IntVector
    h_times: TimeVector

    @classmethod
    def of(cls, facts: Facts, block: QueryBlock, candidates: Sequence[IntVector]) -> Self:
        lengths = np.array([len(nums) for nums in candidates], dtype=np.intp)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        items = np.concatenate([np.zeros(0, dtype=np.int32), *candidates])
        history = (block.rows(), block.items, block.steps_back(), block.times)
        known = block.items < len(facts)
        if not known.all():
            history = (history[0][known], history[1][known], history[2][known], history[3][known])
        return cls(facts, block, int(lengths.max(initial=0)), rows, places, items, *history)

    @property
    def q(self) -> int:
        return len(self.block)

    def newest(self, depth: int) -> tuple[IntVector, IntVector, IntVector]:
        """Queries, items and steps of the history rows at most so many steps back, oldest first."""
        near = self.h_steps < depth
        return self.h_rows[near], self.h_items[near], self.h_steps[near]

    @cached_property
    def taste(self) -> tuple[IntVector, IntVector]:
        """Queries and items of the newest history rows."""
        return self.newest(TASTE)[:2]


def _is_base(signal: str) -> bool:
    return "@" not in signal


def _score_columns(asked: _Asked, signals: Sequence[str], scores: FloatMatrix, mixed: FloatVector) -> dict[str, Column]:
    """Scores and ranks of every signal and of the mix."""
    base = [s for s, name in enumerate(signals) if _is_base(name)]
    ranked = np.concatenate([scores[base], mixed[None]])
    table = np.full((len(ranked), asked.q, asked.widest), -np.inf, dtype=np.float32)
    table[:, asked.rows, asked.places] = ranked
    ranks = _log_ranks(table)[:, asked.rows, asked.places]
    columns: dict[str, Column] = {f"score:{name}": scores[s] for s, name in enumerate(signals)}
    columns |= {f"rank:{signals[s]}": ranks[row] for row, s in enumerate(base)}
    columns |= {"mix": mixed, "mix_rank": ranks[-1], "mix_gap": mixed - table[-1].max(axis=1)[asked.rows]}
    if all(name in signals for name in TREND):
        columns["trend"] = scores[list(signals).index(TREND[0])] - scores[list(signals).index(TREND[1])]
    return columns


def _log_ranks(table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """log2(1 + rank) along the last axis; rank counts those that score as much or more, so that silence is last."""
    width = table.shape[-1]
    order = np.argsort(table, axis=-1)
    ordered = np.take_along_axis(table, order, axis=-1)
    begins = np.zeros(table.shape, dtype=np.int32)
    begins[..., 1:] = np.where(ordered[..., 1:] != ordered[..., :-1], np.arange(1, width, dtype=np.int32), 0)
    begins = np.maximum.accumulate(begins, axis=-1)
    values = np.log2(1.0 + width - np.arange(width)).astype(np.float32)
    out = np.empty(table.shape, dtype=np.float32)
    np.put_along_axis(out, order, values[begins], axis=-1)
    return out


def _item_columns(asked: _Asked) -> dict[str, Column]:
    """Popularity and age of the items, and what the user's usual popularity is."""
    facts, items = asked.facts, asked.items
    at = asked.block.at[asked.rows]
    counts = facts.counts_of(items)
    count = np.log1p(counts).astype(np.float32)
    rows, recent = asked.taste
    usual = facts.counts_of(recent)
    taste = _means(rows, np.log1p(usual).astype(np.float32), asked.q)[asked.rows]
    return {
        "count": count,
        "unseen": (counts == 0).astype(np.float32),
        "age_days": _log_since(at, facts.first_of(items), facts.timed),
        "since_last": _log_since(at, facts.last_of(items), facts.timed),
        "taste_count": taste,
        "taste_gap": count - taste,
        "taste_new": _means(rows, (usual == 0).astype(np.float32), asked.q)[asked.rows],
    }


def _category_columns(asked: _Asked) -> dict[str, Column]:
    """How much of the history lies in the item's categories, and how like the last item's they are."""
    facts, m = asked.facts, len(asked.items)
    if not facts.categories:
        return {}
    c = len(facts.categories)
    rows, items, steps = asked.newest(DEPTH)
    owner, cats = facts.categories_of(items)
    keys, inverse = np.unique(rows[owner].astype(np.int64) * c + cats, return_inverse=True)
    weight = np.exp(-DECAY * steps)
    own = facts.sizes_of(items)
    total = np.bincount(rows, weight * (own > 0), minlength=asked.q)
    share = np.bincount(inverse, weight[owner], minlength=len(keys))
    in_last = np.bincount(inverse, steps[owner] == 0, minlength=len(keys))
    size_last = np.bincount(rows, own * (steps == 0), minlength=asked.q)
    owner, cats = facts.categories_of(asked.items)
    place, found = _places(keys, asked.rows[owner] * c + cats)
    owner = owner[found]
    size = facts.sizes_of(asked.items)
    shared = np.bincount(owner, share[place], minlength=m)
    both = np.bincount(owner, in_last[place], minlength=m)
    size_last = size_last[asked.rows]
    mean = _ratio(shared, size * total[asked.rows])
    jaccard = _ratio(both, np.where((size > 0) & (size_last > 0), size + size_last - both, 0.0))
    return {"category_share": mean, "category_last": jaccard}


def _repeat_columns(asked: _Asked) -> dict[str, Column]:
    """How often and how long ago the user had the item."""
    n, m = np.int64(max(len(asked.facts), 1)), len(asked.items)
    # Newest first, so that the first of equal keys is the newest.
    keys, newest, counts = np.unique((asked.h_rows * n + asked.h_items)[::-1], return_index=True, return_counts=True)
    place, found = _places(keys, asked.rows * n + asked.items)
    newest = len(asked.h_rows) - 1 - newest[place]
    repeats, steps, days = np.zeros(m), np.full(m, np.nan), np.full(m, np.nan)
    repeats[found] = counts[place]
    steps[found] = np.log1p(asked.h_steps[newest])
    days[found] = _log_since(asked.block.at[asked.rows[found]], asked.h_times[newest], asked.facts.timed)
    return {"repeats": repeats, "repeat_steps": steps, "repeat_days": days}


def _query_columns(asked: _Asked) -> dict[str, Column]:
    """How long the history is and when it was, and the time of the question; one value per query."""
    block, timed = asked.block, asked.facts.timed
    starts, stops = block.offsets[:-1], block.offsets[1:]
    length = stops - starts
    gap, span = np.full(asked.q, np.nan), np.full(asked.q, np.nan)
    some = np.flatnonzero(length)
    if timed and len(some):
        newest, oldest = block.times[stops[some] - 1], block.times[starts[some]]
        gap[some] = np.log1p(np.maximum(block.at[some] - newest, 0) / SECOND_MS)
        span[some] = np.log1p(np.maximum(newest - oldest, 0) / DAY_MS)
    hour = np.where(timed, block.at // HOUR_MS % 24, np.nan)
    weekday = np.where(timed, (block.at // DAY_MS + FIRST_WEEKDAY) % 7, np.nan)
    values = {"history": np.log1p(length), "gap": gap, "span": span, "hour": hour, "weekday": weekday}
    return {name: column[asked.rows] for name, column in values.items()}


def _field_columns(asked: _Asked) -> dict[str, Column]:
    """Fields of items, their distance from the history's, fields of users, and fields that match."""
    facts, columns = asked.facts, dict[str, Column]()
    rows, recent = asked.taste
    values, usual = facts.values_of(asked.items), facts.values_of(recent)
    for place, name in enumerate(facts.item_fields):
        own = values[:, place]
        columns[f"field:{name}"] = own
        columns[f"field_gap:{name}"] = own - _means(rows, usual[:, place], asked.q)[asked.rows]
    users = asked.block.users
    known = (users >= 0) & (users < len(facts.user_values))
    for place, name in enumerate(facts.user_fields):
        told = np.full(asked.q, np.nan)
        told[known] = facts.user_values[users[known], place]
        columns[f"user:{name}"] = told[asked.rows]
    item_codes = facts.codes_of(asked.items)
    for place, name in enumerate(facts.shared):
        codes = np.full(asked.q, -1, dtype=np.int32)
        codes[known] = facts.user_codes[users[known], place]
        wanted, found = codes[asked.rows], item_codes[:, place]
        columns[f"match:{name}"] = np.where((wanted >= 0) & (found >= 0), wanted == found, np.nan)
    return columns


def _text_columns(asked: _Asked, vectors: Growing, candidates: Sequence[IntVector]) -> dict[str, Column]:
    """Cosines with the last item, with the decayed mean of the history, and the highest with one of the newest.

    Query by query: a product of one shape gives the same digits in every block, and the products are small.
    """
    steps, stop = asked.block.steps_back(), 0
    if (loops := compiled("picking")) is not None:
        weights = np.exp(-DECAY * steps).astype(np.float32)
        weights[steps >= DEPTH] = 0.0
        bounds = np.concatenate([[0], np.cumsum([len(nums) for nums in candidates])])
        history = (asked.block.items, asked.block.offsets, steps, weights, NEAR)
        cosines = loops.text_columns(*laid(vectors), asked.items, bounds, *history)
        return {"text_last": cosines[0], "text_mean": cosines[1], "text_max": cosines[2]}
    out = np.full((3, len(asked.items)), np.nan, dtype=np.float32)
    for i, nums in enumerate(candidates):
        start, stop = stop, stop + len(nums)
        lo, hi = asked.block.offsets[i], asked.block.offsets[i + 1]
        lo = max(lo, hi - DEPTH)
        items, back = asked.block.items[lo:hi], steps[lo:hi]
        known = items < len(vectors)
        items, back = items[known], back[known]
        read = vectors[items]
        written = _squares(read) > 0
        read, back = read[written], back[written]
        if not len(read) or not len(nums):
            continue
        weight = np.exp(-DECAY * back).astype(np.float32)
        mean = weight @ read
        mean /= max(float(np.sqrt(mean @ mean)), 1e-9)
        inside = nums < len(vectors)
        places = np.where(inside, nums, 0)
        rows = vectors[places]
        near = back < NEAR
        cosines = np.concatenate([mean[None], read[near]]) @ rows.T
        cosines[:, ~inside | (_squares(rows) == 0)] = np.nan
        out[1, start:stop] = cosines[0]
        if near.any():
            out[2, start:stop] = cosines[1:].max(axis=0)
        if back[-1] == 0:
            out[0, start:stop] = cosines[-1]
    return {"text_last": out[0], "text_mean": out[1], "text_max": out[2]}


def _squares(rows: FloatMatrix) -> npt.NDArray[np.float32]:
    squares: npt.NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return squares


def _log_since(at: TimeVector, then: TimeVector, timed: bool) -> npt.NDArray[np.float64]:
    """log(1 + days) from then to at, NaN where then is unknown (below zero) or the log has no times."""
    if not timed:
        return np.full(len(at), np.nan)
    days: npt.NDArray[np.float64] = np.log1p(np.maximum(at - then, 0) / DAY_MS)
    days[then < 0] = np.nan
    return days


def _means(rows: IntVector, values: npt.NDArray[np.float32], q: int) -> npt.NDArray[np.float64]:
    """(q,) means of the values of each query that are known; NaN where there are none."""
    known = ~np.isnan(values)
    sums = np.bincount(rows, np.where(known, values, 0.0), minlength=q)
    return _ratio(sums, np.bincount(rows, known, minlength=q))


def _ratio(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The quotient, NaN where `below` is not positive."""
    out: npt.NDArray[np.float64] = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _places(
    keys: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where wanted keys stand in the sorted keys, and which of the wanted were found; both (found,)."""
    if not len(keys):
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = np.flatnonzero(keys[place] == wanted)
    return place[found], found
