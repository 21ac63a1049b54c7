"""Popularity: how often an item was chosen, of all time, in a window, or with older events fading."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from langrec.data.events import DAY_MS
from langrec.errors import BundleError
from langrec.retrieval.fitting import FitData
from langrec.retrieval.saved import UNREADABLE
from langrec.settings import RetrievalSettings
from langrec.types import FloatMatrix, FloatVector, IntVector, QueryBlock, TimeVector


@dataclass(frozen=True, slots=True, eq=False)
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
        total = self._count(0, len(self.at))
        tie = (total / (total.max(initial=0.0) + 1.0)).astype(np.float32) * np.float32(1e-3)
        bounds, which = np.unique(np.stack([starts, stops], axis=1), axis=0, return_inverse=True)
        for row, (start, stop) in enumerate(bounds):
            scores[which.ravel() == row] = self._count(int(start), int(stop)) + tie

    def _fading(self, scores: FloatMatrix, stops: TimeVector) -> None:
        """Fills rows with sums of exp(-age / efold) by one sweep over the queries in time order."""
        efold = float(self.efold_days or 1.0) * DAY_MS
        state = np.zeros(self.n_items, dtype=np.float64)
        done, clock = 0, float(self.at[0]) if len(self.at) else 0.0
        for row in np.argsort(stops, kind="stable"):
            stop = int(stops[row])
            if stop > done:
                now = float(self.at[stop - 1])
                state *= np.exp((clock - now) / efold)
                fresh = self.gains[done:stop] * np.exp((self.at[done:stop] - now) / efold)
                state += np.bincount(self.items[done:stop], fresh, minlength=self.n_items)
                done, clock = stop, now
            # Not faded further to the query's time: one factor for all items, which would underflow years later.
            scores[row] = state

    def _count(self, start: int, stop: int) -> FloatVector:
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
