"""Popularity: how often an item was chosen, of all time, in a window, or with older events fading."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from langrec.data.events import DAY_MS
from langrec.errors import BundleError
from langrec.retrieval.fitting import FitData
from langrec.retrieval.saved import UNREADABLE
from langrec.settings import RetrievalSettings
from langrec.types import FloatMatrix, FloatVector, IntVector, QueryBlock, TimeVector


@dataclass(frozen=True, eq=False)
class Popular:
    """Gains per item up to the query's "now".

    An empty window falls back smoothly: all-time popularity breaks ties, scaled below one event.

    Attributes:
        items: (m,) int32 items of the events, oldest first.
        at: (m,) int64 their times.
        gains: (m,) float32.
        n_items: width of the catalogue.
        days: window length; None = all time.
        efold_days: an event this old weighs 1/e; None = no fading. Not together with `days`.
        timed: count only what lies before a query's "now"; False counts the whole training log.
    """

    items: IntVector
    at: TimeVector
    gains: FloatVector
    n_items: int
    days: float | None = None
    efold_days: float | None = None
    timed: bool = True

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, **params: Any) -> Self:
        events = data.events
        days = params.get("days")
        return cls(events.items, events.at, events.gains, data.n_items, days=days, timed=events.has_time)

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{}]

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    def with_events(self, items: IntVector, at: TimeVector, gains: FloatVector) -> Self:
        """The same scorer knowing later events too; items it does not hold are passed over."""
        keep = items < self.n_items
        at_all = np.concatenate([self.at, at[keep]])
        order = np.argsort(at_all, kind="stable")
        return replace(
            self,
            items=np.concatenate([self.items, items[keep]])[order],
            at=at_all[order],
            gains=np.concatenate([self.gains, gains[keep]])[order],
        )

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) popularity at each query's time; never NaN: every item can be counted."""
        scores = np.empty((len(block), self.n_items), dtype=np.float32)
        stops = np.searchsorted(self.at, block.at, side="left") if self.timed else np.full(len(block), len(self.at))
        if self.days is not None and self.timed:
            starts = np.searchsorted(self.at, block.at - int(self.days * DAY_MS), side="left")
            self._windows(scores, starts, stops)
        elif self.efold_days is not None and self.timed:
            self._fading(scores, stops)
        else:
            self._windows(scores, np.zeros_like(stops), stops)
        return scores

    def _windows(self, scores: FloatMatrix, starts: TimeVector, stops: TimeVector) -> None:
        """Fills rows with window counts; queries that see the same events are counted once."""
        tie = (self._total / (self._total.max(initial=0.0) + 1.0)).astype(np.float32) * np.float32(1e-3)
        bounds, which = np.unique(np.stack([starts, stops], axis=1), axis=0, return_inverse=True)
        for row, (start, stop) in enumerate(bounds):
            scores[which.ravel() == row] = self._count(int(start), int(stop)) + tie

    def _fading(self, scores: FloatMatrix, stops: TimeVector) -> None:
        """Fills rows with sums of exp(-age / efold) by one sweep over the queries in time order."""
        state, done, clock = np.zeros(self.n_items, dtype=np.float64), 0, None
        for row in np.argsort(stops, kind="stable"):
            stop = int(stops[row])
            if stop == len(self.at):
                scores[row] = self._faded
                continue
            if stop > done:
                state, clock = self._fade(state, done, stop, clock)
                done = stop
            # Not faded further to the query's time: one factor for all items, which would underflow years later.
            scores[row] = state

    @cached_property
    def _total(self) -> FloatVector:
        """(n,) gains of all time."""
        counted = np.bincount(self.items, self.gains, minlength=self.n_items)
        return counted.astype(np.float32)

    @cached_property
    def _faded(self) -> FloatVector:
        """(n,) fading gains after the last event, where nearly every request of a running system stands."""
        return self._fade(np.zeros(self.n_items, dtype=np.float64), 0, len(self.at), None)[0].astype(np.float32)

    def _fade(
        self, state: npt.NDArray[np.float64], start: int, stop: int, clock: float | None
    ) -> tuple[npt.NDArray[np.float64], float]:
        """The state after events start:stop, and the time it stands at; `clock` is the time it stood at before."""
        efold = float(self.efold_days or 1.0) * DAY_MS
        now = float(self.at[stop - 1]) if stop else 0.0
        fresh = self.gains[start:stop] * np.exp((self.at[start:stop] - now) / efold)
        before = state * np.exp((clock - now) / efold) if clock is not None else state
        return before + np.bincount(self.items[start:stop], fresh, minlength=self.n_items), now

    def _count(self, start: int, stop: int) -> FloatVector:
        if start == 0 and stop == len(self.at):
            return self._total
        counted = np.bincount(self.items[start:stop], self.gains[start:stop], minlength=self.n_items)
        return counted.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes events.npz and scorer.json."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "events.npz", items=self.items, at=self.at, gains=self.gains)
        params = {"n_items": self.n_items, "days": self.days, "efold_days": self.efold_days, "timed": self.timed}
        (folder / "scorer.json").write_text(json.dumps(params))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            params = json.loads((folder / "scorer.json").read_text())
            with np.load(folder / "events.npz", allow_pickle=False) as file:
                return cls(file["items"], file["at"], file["gains"], **params)
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as popularity ({error})") from error


class PopularDecayed(Popular):
    """Popularity with older events fading; the e-folding time is a share of the log's span."""

    __slots__ = ()

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, share: float = 0.1, **_: Any) -> Self:
        events = data.events
        span = float(events.at[-1] - events.at[0]) / DAY_MS if len(events) else 1.0
        return cls(
            events.items,
            events.at,
            events.gains,
            data.n_items,
            efold_days=max(span * share, 1e-3),
            timed=events.has_time,
        )

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]:
        return [{"share": share} for share in settings.popular_efold]
