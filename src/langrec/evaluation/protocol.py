"""Which questions a test asks: events turned into numbered queries with their targets.

- *next item*: each event whose item is new to its user is one question; its history is all that the user did before
  it, events of the same period included; the model stays as it was trained.
- *per user*: one list per user at the cut; the targets are all the user's later items that are not in the history.

The catalogue is never sampled, and items of the history are not candidates (Krichene & Rendle 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from langrec.data.events import Events
from langrec.types import IntVector, QueryBlock, TimeVector

Question = Literal["next item", "per user"]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Questions and right answers.

    Attributes:
        question: what is asked.
        block: q queries; `block.users` are user numbers.
        offsets: (q + 1,) int64; the targets of query i are items[offsets[i]:offsets[i + 1]].
        items: (t,) int32 target item numbers.
        events: (q,) int64 row of the target in the events file, -1 for one list per user.
    """

    question: Question
    block: QueryBlock
    offsets: TimeVector
    items: IntVector
    events: TimeVector

    def __len__(self) -> int:
        return len(self.block)

    def take(self, rows: npt.NDArray[np.intp]) -> Targets:
        """The questions at these places, in this order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        places = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Targets(self.question, self.block.take(rows), offsets, self.items[places], self.events[rows])

    def slice(self, start: int, stop: int) -> Targets:
        """Questions start to stop."""
        lo, hi = self.offsets[start], self.offsets[min(stop, len(self))]
        return Targets(
            self.question,
            self.block.slice(start, stop),
            self.offsets[start : stop + 1] - lo,
            self.items[lo:hi],
            self.events[start:stop],
        )


def next_item(before: Events, asked: Events, n_users: int, limit: int | None = None, seed: int = 0) -> Targets:
    """One question per event of `asked` whose item is new to its user.

    Args:
        before: events that come earlier; only histories are made of them.
        asked: the period under test; its events join the histories of later ones.
        limit: ask at most so many questions, drawn at random under `seed`, in time order.
    """
    before, asked = before.take(before.gains > 0), asked.take(asked.gains > 0)
    users = np.concatenate([before.users, asked.users])
    items = np.concatenate([before.items, asked.items])
    at = np.concatenate([before.at, asked.at])
    order = np.argsort(users, kind="stable")
    users, items, at = users[order], items[order], at[order]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    asked_place = place[len(before) :]
    starts = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(users, minlength=n_users), out=starts[1:])
    first = _first_of_pair(users, items)
    chosen = np.flatnonzero(first[asked_place])
    if limit is not None and len(chosen) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, limit, replace=False))
    stop = asked_place[chosen]
    block = _block(users[stop], starts[users[stop]], stop, items, at, at[stop])
    return Targets("next item", block, np.arange(len(stop) + 1, dtype=np.int64), items[stop], asked.rows[chosen])


def per_user(before: Events, asked: Events, n_users: int) -> Targets:
    """One question per user with new items in `asked`, asked at its first event's time."""
    before, asked = before.take(before.gains > 0), asked.take(asked.gains > 0)
    histories = before.by_user(n_users)
    owner = np.repeat(np.arange(n_users, dtype=np.int64), histories.lengths())
    width = int(max(before.items.max(initial=0), asked.items.max(initial=0))) + 1
    pairs = np.unique(asked.users.astype(np.int64) * width + asked.items)
    pairs = pairs[~np.isin(pairs, owner * width + histories.items)]
    users, counts = np.unique(pairs // width, return_counts=True)
    cut = asked.at.min(initial=np.iinfo(np.int64).max) if len(asked) else np.int64(0)
    block = _block(
        users.astype(np.int32),
        histories.offsets[users],
        histories.offsets[users + 1],
        histories.items,
        histories.at,
        np.full(len(users), cut, dtype=np.int64),
    )
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Targets("per user", block, offsets, (pairs % width).astype(np.int32), np.full(len(users), -1, np.int64))


def newest_histories(events: Events, n_users: int, most: int, length: int, seed: int = 0) -> QueryBlock:
    """Some users as they would ask at the end of a log: at most `most`, each with at most `length` newest items."""
    liked = events.take(events.gains > 0)
    histories = liked.by_user(n_users)
    users = np.flatnonzero(histories.lengths() > 0)
    if len(users) > most:
        users = np.sort(np.random.default_rng(seed).choice(users, most, replace=False))
    stops = histories.offsets[users + 1]
    starts = np.maximum(histories.offsets[users], stops - length)
    now = np.full(len(users), liked.at.max(initial=0), dtype=np.int64)
    return _block(users.astype(np.int32), starts, stops, histories.items, histories.at, now)


def target_ranks(scores: npt.NDArray[np.float32], targets: Targets) -> npt.NDArray[np.int64]:
    """(q,) rank of each query's single target among all items that are not in its history, 1 = best.

    Items of one score rank by their number; items that cannot be scored (NaN) rank behind every other, by number too.
    """
    n = scores.shape[1]
    filled = np.where(np.isnan(scores), -np.inf, scores)
    target = targets.items.astype(np.int64)
    own = filled[np.arange(len(target)), target][:, None]
    # NaN equals nothing and is above nothing: items of the history are counted nowhere.
    known = targets.block.items < n
    filled[targets.block.rows()[known], targets.block.items[known]] = np.nan
    before = np.arange(n)[None, :] < target[:, None]
    ranks: npt.NDArray[np.int64] = 1 + (filled > own).sum(axis=1) + ((filled == own) & before).sum(axis=1)
    return ranks


def _first_of_pair(users: IntVector, items: IntVector) -> npt.NDArray[np.bool_]:
    """(m,) True where a row is the first of its user and item; rows are grouped by user, oldest first."""
    key = users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items
    _, places = np.unique(key, return_index=True)
    first = np.zeros(len(users), dtype=np.bool_)
    first[places] = True
    return first


def _block(
    users: IntVector, starts: TimeVector, stops: TimeVector, items: IntVector, at: TimeVector, now: TimeVector
) -> QueryBlock:
    """A block whose histories are rows starts[i]:stops[i] of the given columns."""
    lengths = stops - starts
    offsets = np.zeros(len(users) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    rows = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return QueryBlock(users.astype(np.int32), offsets, items[rows], at[rows], now, (None,) * len(users))
