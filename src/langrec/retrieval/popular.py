"""Popularity: how often an item was chosen, of all time, in a window, or with older events fading."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from langrec.data.candidates import best_of, once
from langrec.data.events import DAY_MS
from langrec.data.fitting import FitData
from langrec.data.mapped import array_at, put_array
from langrec.errors import UNREADABLE, BundleError
from langrec.retrieval.gain_log import GainLog
from langrec.retrieval.reached import permitted
from langrec.retrieval.tally import Tally, highest
from langrec.settings import RetrievalSettings
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Mask, Population, QueryBlock, TimeVector


@dataclass(frozen=True, eq=False)
class Popular:
    """Gains per item up to the query's "now".

    An empty window falls back smoothly: all-time popularity breaks ties, scaled below one event.

    Once later events are known, the training's age by the days on which something happened: after a year without any,
    the first click is not all that popularity knows.

    Attributes:
        logs: the training's gains, and those that came later, in logs of falling length. What is counted of a log is
            kept with it, so that a few new events cost what they are, not what the training was.
        n_items: width of the catalogue.
        days: window length; None = all time.
        efold_days: an event this old weighs 1/e; None = no fading. Not together with `days`.
        timed: count only what lies before a query's "now"; False counts everything.
        active: distinct days (since 1970) with later events, in order.
    """

    # Scores depend on a query's "now" and on nothing else of it.
    of_time_alone: ClassVar[bool] = True

    logs: tuple[GainLog, ...]
    n_items: int
    days: float | None = None
    efold_days: float | None = None
    timed: bool = True
    active: TimeVector = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, **params: Any) -> Self:
        events, days = data.events, params.get("days")
        log = GainLog(events.items, events.at, events.gains)
        return cls((log,), data.n_items, days=days, timed=events.has_time)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    def with_events(self, items: IntVector, at: TimeVector, gains: FloatVector) -> Self:
        """The same scorer knowing later events too, in any order; items beyond its width widen it.

        New events cost a copy of at most as many older ones, amortised over many calls: the logs after the training's
        are joined as their lengths meet, and the training's is left as it is.
        """
        if not len(items):
            return self
        logs = [*self.logs, GainLog.of(items, at, gains)]
        while len(logs) > 2 and len(logs[-2]) < 2 * len(logs[-1]):
            logs[-2:] = [logs[-2].joined(logs[-1])]
        width, active = max(self.n_items, int(items.max()) + 1), np.union1d(self.active, at // DAY_MS)
        return replace(self, logs=tuple(logs), n_items=width, active=active)

    def without_events(self, items: IntVector, at: TimeVector, gains: FloatVector) -> Self:
        """The same scorer not knowing these events, whichever log holds them; the fading time stays as it is."""
        logs = []
        for log in reversed(self.logs):
            left, found = log.without(items, at, gains)
            items, at, gains = items[~found], at[~found], gains[~found]
            logs.append(left)
        kept = (logs[-1], *(log for log in reversed(logs[:-1]) if len(log)))
        days = [log.at // DAY_MS for log in kept[1:]]
        active = np.unique(np.concatenate(days)) if days else np.zeros(0, dtype=np.int64)
        return replace(self, logs=kept, active=active)

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) popularity at each query's time; never NaN: every item can be counted."""
        if not self.timed:
            stops = np.repeat([[len(log)] for log in self.logs], len(block), axis=1)
            return self._windows(np.zeros_like(stops), stops)
        idle = self._idle(block.at)
        # Each log is asked about a time of its own: the training's clock stood still while nothing happened.
        now = np.repeat(block.at[None, :], len(self.logs), axis=0)
        now[0] -= idle
        stops = self._places(now)
        if self.efold_days is not None:
            return self._fading(stops, block.at, idle)
        if self.days is not None:
            return self._windows(self._places(now - int(self.days * DAY_MS)), stops)
        return self._windows(np.zeros_like(stops), stops)

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the same of each query's candidates."""
        rows, n = asked.rows(), self.n_items
        inside = asked.nums < n
        nums = np.where(inside, asked.nums, 0)
        out = np.empty(len(nums), dtype=np.float32)
        for queries, moment in self._moments(block):
            if moment is None:
                scores = self._past(block)
                mine = np.isin(rows, queries)
                out[mine] = scores[rows[mine], nums[mine]]
            elif len(queries) == len(block):
                out = moment.of(nums)
            else:
                mine = np.isin(rows, queries)
                out[mine] = moment.of(nums[mine])
        out[~inside] = np.nan
        return out

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) exact over all items; over others from their sample."""
        out = np.empty(len(block), dtype=np.float32)
        for queries, moment in self._moments(block):
            if moment is None:
                scores = self._past(block)[queries]
                members = among.holds(np.arange(self.n_items, dtype=np.int32))
                out[queries] = scores[:, members].sum(axis=1) / max(among.n, 1)
            elif among.members is None:
                out[queries] = moment.sum / max(among.n, 1)
            else:
                sample = among.sample[among.sample < self.n_items]
                scores = np.zeros((1, len(among.sample)), dtype=np.float32)
                scores[0, : len(sample)] = moment.of(sample)
                out[queries] = among.mean(scores)
        return out

    def retrieve(self, block: QueryBlock, k: int, allowed: Mask | None = None) -> Candidates:
        """The k most popular at each query's time; those that nobody chose are found last, by number."""
        found: list[IntVector] = [np.zeros(0, dtype=np.int32)] * len(block)
        for queries, moment in self._moments(block):
            if moment is not None and allowed is None:
                own = self._foremost(moment, k)
                for i in queries:
                    found[i] = own
                continue
            nums = np.arange(self.n_items, dtype=np.int32) if moment is None else moment.likely
            if allowed is not None:
                nums = nums[permitted(allowed, nums)]
                if moment is not None and len(nums) < k:
                    # Few of the most popular are allowed: then all that are allowed are counted.
                    nums = np.flatnonzero(allowed[: self.n_items]).astype(np.int32)
            for i in queries:
                scores = self._past(block)[i, nums] if moment is None else moment.of(nums)
                own = best_of(nums, scores, k)
                found[i] = own
                if moment is not None:  # of one moment all queries find the same
                    for other in queries:
                        found[other] = own
                    break
        return Candidates.of(found)

    def _foremost(self, moment: Moment, k: int) -> IntVector:
        """The k most popular of a moment; as long as nothing is counted anew, they are those of the last one."""
        key = [part for tally in (*moment.tallies, *moment.totals) for part in (tally.table, tally.items)]
        scales = [k, *(tally.scale for tally in moment.tallies)]
        kept = self._last.get("foremost")
        if kept is None or kept[1] != scales or any(a is not b for a, b in zip(kept[0], key, strict=True)):
            nums = moment.likely
            kept = (key, scales, best_of(nums, moment.of(nums), k))
            self._last["foremost"] = kept
        found: IntVector = kept[2]
        return found

    @cached_property
    def _last(self) -> dict[str, Any]:
        return {}

    def _moments(self, block: QueryBlock) -> list[tuple[npt.NDArray[np.intp], Moment | None]]:
        """Queries of one state of the logs with that state; None for queries that look back on fading gains."""
        moments: list[tuple[npt.NDArray[np.intp], Moment | None]] = block.keep(
            ("popular", id(self)), lambda: self._all_moments(block)
        )
        return moments

    def _all_moments(self, block: QueryBlock) -> list[tuple[npt.NDArray[np.intp], Moment | None]]:
        q = len(block)
        kept = self._last.get("moment")
        if kept is not None and q and kept[0] < block.at.min() and block.at.max() <= kept[1]:
            return [(np.arange(q), kept[2])]
        if not self.timed:
            stops = np.repeat([[len(log)] for log in self.logs], q, axis=1)
            starts, idle = np.zeros_like(stops), np.zeros(q, dtype=np.int64)
        else:
            idle = self._idle(block.at)
            now = np.repeat(block.at[None, :], len(self.logs), axis=0)
            now[0] -= idle
            stops = self._places(now)
            starts = np.zeros_like(stops) if self.days is None else self._places(now - int(self.days * DAY_MS))
        keys = np.concatenate([starts, stops, idle[None] if self.efold_days is not None else idle[None] * 0])
        if (keys == keys[:, :1]).all():  # queries of one time, or of times between which nothing happened
            distinct, which = keys[:, :1], np.zeros(q, dtype=np.intp)
        else:
            distinct, which = np.unique(keys, axis=1, return_inverse=True)
        if distinct.shape[1] == 1 and q:
            first, last = distinct[: len(self.logs), 0], distinct[len(self.logs) : -1, 0]
            moment = self._moment(first, last, int(distinct[-1, 0]))
            self._last["moment"] = (*self._lasting(first, last, block.at), moment)
            return [(np.arange(q), moment)]
        moments = []
        for place, key in enumerate(distinct.T):
            first, last = key[: len(self.logs)], key[len(self.logs) : -1]
            queries = np.flatnonzero(which.ravel() == place)
            moments.append((queries, self._moment(first, last, int(key[-1]))))
        return moments

    def _lasting(self, first: TimeVector, last: TimeVector, at: TimeVector) -> tuple[float, float]:
        """From after when until when queries see the rows that queries at these times see."""
        if not self.timed:
            return -np.inf, np.inf
        day = int(at[0]) // DAY_MS * DAY_MS
        idle, since, until = int(self._idle(at[:1])[0]), float(day - 1), float(day + DAY_MS - 1)
        for log, start, stop, by in zip(self.logs, first, last, [idle, *[0] * (len(self.logs) - 1)], strict=True):
            bounds = [(int(stop), by)]
            if self.days is not None:
                bounds.append((int(start), by + int(self.days * DAY_MS)))
            for row, later in bounds:
                if row > 0:
                    since = max(since, float(log.at[row - 1] + later))
                if row < len(log):
                    until = min(until, float(log.at[row] + later))
        return since, until

    def _moment(self, first: TimeVector, last: TimeVector, idle: int) -> Moment | None:
        whole = all(int(stop) == len(log) for log, stop in zip(self.logs, last, strict=True))
        if self.efold_days is not None and self.timed:
            if not whole:
                return None
            efold = float(self.efold_days or 1.0) * DAY_MS
            found = [log.faded_tally(efold) for log in self.logs]
            shift = [idle, *[0] * (len(found) - 1)]
            known = [(tally, clock + by) for (tally, clock), by in zip(found, shift, strict=True) if clock is not None]
            now = max((clock for _, clock in known), default=0.0)
            return Moment([tally.scaled(float(np.exp((clock - now) / efold))) for tally, clock in known], [], 0.0)
        name = f"{self.days}"
        tallies = [
            log.tally(name, int(start), int(stop)) for log, start, stop in zip(self.logs, first, last, strict=True)
        ]
        totals, top = self._totals
        return Moment(tallies, totals, 1e-3 / (top + 1.0))

    @cached_property
    def _totals(self) -> tuple[list[Tally], float]:
        """Gains of all time, and the highest."""
        totals = [log.tally("total", 0, len(log)) for log in self.logs]
        return totals, highest(totals)

    def _past(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) by a sweep over the log, for queries about a time before the last event."""
        scores: FloatMatrix = block.keep(("past", id(self)), lambda: self.score_block(block))
        return scores

    def _places(self, times: TimeVector) -> TimeVector:
        """(logs, q) the first row of each log that is not before its times."""
        found = [np.searchsorted(log.at, at, side="left") for log, at in zip(self.logs, times, strict=True)]
        return np.stack(found).astype(np.int64)

    def _idle(self, at: TimeVector) -> TimeVector:
        """(q,) milliseconds of whole days between the training's last event and a query on which nothing happened."""
        if len(self.logs) == 1 or not len(self.logs[0]):
            return np.zeros(len(at), dtype=np.int64)
        last, today = int(self.logs[0].at[-1]) // DAY_MS, at // DAY_MS
        active = np.searchsorted(self.active, today, side="left") - np.searchsorted(self.active, last, side="right")
        idle: TimeVector = np.maximum(today - last - 1 - np.maximum(active, 0), 0) * DAY_MS
        return idle

    def _windows(self, starts: TimeVector, stops: TimeVector) -> FloatMatrix:
        """(q, n_items) counts of the rows between (logs, q) bounds; those that see the same rows share one."""
        scores = np.empty((stops.shape[1], self.n_items), dtype=np.float32)
        tie = (self._total / (self._total.max(initial=0.0) + 1.0)).astype(np.float32) * np.float32(1e-3)
        bounds, which = np.unique(np.concatenate([starts, stops]), axis=1, return_inverse=True)
        for place, pair in enumerate(bounds.T):
            start, stop = pair[: len(self.logs)], pair[len(self.logs) :]
            parts = [log.counted(int(i), int(j)) for log, i, j in zip(self.logs, start, stop, strict=True)]
            scores[which.ravel() == place] = _sum(parts, self.n_items).astype(np.float32) + tie
        return scores

    def _fading(self, stops: TimeVector, at: TimeVector, idle: TimeVector) -> FloatMatrix:
        """(q, n_items) sums of exp(-age / efold) by one sweep over the queries in time order.

        Ages are those at the last event before each query, not at the query: that is one factor for all items, which
        would underflow years later.
        """
        scores = np.empty((len(at), self.n_items), dtype=np.float32)
        efold = float(self.efold_days or 1.0) * DAY_MS
        order = np.argsort(at, kind="stable")
        sweeps = [log.fading(stops[i, order], efold) for i, log in enumerate(self.logs)]
        for row, states in zip(order, zip(*sweeps, strict=True), strict=True):
            shift = [int(idle[row]), *[0] * (len(states) - 1)]
            known = [(left, clock + by) for (left, clock), by in zip(states, shift, strict=True) if clock is not None]
            now = max((clock for _, clock in known), default=0.0)
            scores[row] = _sum([left * np.exp((clock - now) / efold) for left, clock in known], self.n_items)
        return scores

    @cached_property
    def _total(self) -> npt.NDArray[np.float64]:
        """(n,) gains of all time."""
        return _sum([log.total for log in self.logs], self.n_items)

    def save(self, folder: Path) -> None:
        """Writes items.npy, at.npy, gains.npy and scorer.json; later events stand among the training's from then on."""
        folder.mkdir(parents=True, exist_ok=True)
        log = reduce(GainLog.joined, self.logs)
        for name in ("items", "at", "gains"):
            put_array(folder / f"{name}.npy", getattr(log, name))
        params = {"n_items": self.n_items, "days": self.days, "efold_days": self.efold_days, "timed": self.timed}
        (folder / "scorer.json").write_text(json.dumps(params))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            params = json.loads((folder / "scorer.json").read_text())
            items, at, gains = (array_at(folder / f"{name}.npy") for name in ("items", "at", "gains"))
            log = GainLog(items, at, gains)
            if not len(log.items) == len(log.at) == len(log.gains):
                raise ValueError("its arrays do not belong together")
            return cls((log,), **params)
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as popularity ({error})") from error


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """Popularity at one state of the logs.

    Attributes:
        tallies: of each log, what counts.
        totals: of each log, gains of all time; they break ties.
        tie: what a gain of all time adds.
    """

    tallies: list[Tally]
    totals: list[Tally]
    tie: float

    def of(self, nums: IntVector) -> FloatVector:
        """(len(nums),) scores."""
        out = np.zeros(len(nums), dtype=np.float64)
        for tally in self.tallies:
            out += tally.of(nums)
        if self.tie:
            out += self.tie * np.sum([tally.of(nums) for tally in self.totals], axis=0)
        return out.astype(np.float32)

    @property
    def sum(self) -> float:
        """Of all scores."""
        return sum(tally.sum for tally in self.tallies) + self.tie * sum(tally.sum for tally in self.totals)

    @property
    def likely(self) -> IntVector:
        """Items among which the most popular are, rising."""
        parts = [tally.likely for tally in (*self.tallies, *self.totals)]
        return once(np.concatenate([np.zeros(0, dtype=np.int32), *parts])).astype(np.int32, copy=False)


class PopularDecayed(Popular):
    """Popularity with older events fading; the e-folding time is a share of the log's span."""

    __slots__ = ()

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, share: float = 0.1, **_: Any) -> Self:
        events = data.events
        span = float(events.at[-1] - events.at[0]) / DAY_MS if len(events) else 1.0
        log = GainLog(events.items, events.at, events.gains)
        return cls((log,), data.n_items, efold_days=max(span * share, 1e-3), timed=events.has_time)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"share": share} for share in settings.popular_efold]


def _sum(parts: list[npt.NDArray[np.float64]], n: int) -> npt.NDArray[np.float64]:
    """(n,) the sum of arrays of at most n."""
    total = np.zeros(n, dtype=np.float64)
    for part in parts:
        total[: len(part)] += part
    return total
