"""Gains of items in time order, counted in any stretch of time; what a whole log holds is counted once and kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from langrec.retrieval.tally import Table, Tally
from langrec.types import FloatVector, IntVector, Mask, TimeVector

State = tuple[npt.NDArray[np.float64], float | None]
# A log up to this long is counted row by row; of a longer one a table is made, and used until so many rows of it have
# come in or gone out of the window.
FEW_ROWS = 5_000


@dataclass(frozen=True, eq=False)
class GainLog:
    """m gains, oldest first. It never changes, so that many scorers may hold one.

    Attributes:
        items: (m,) int32 items.
        at: (m,) int64 times.
        gains: (m,) float32.
    """

    items: IntVector
    at: TimeVector
    gains: FloatVector
    _faded: dict[float, State] = field(default_factory=dict, repr=False)
    _tables: dict[str, tuple[int, int, Table]] = field(default_factory=dict, repr=False)
    _tallies: dict[str, tuple[int, int, Tally]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, items: IntVector, at: TimeVector, gains: FloatVector) -> GainLog:
        """A log of gains in any order."""
        if len(at) > 1 and (np.diff(at) < 0).any():
            order = np.argsort(at, kind="stable")
            items, at, gains = items[order], at[order], gains[order]
        return cls(items, at, gains)

    def __len__(self) -> int:
        return len(self.items)

    def joined(self, other: GainLog) -> GainLog:
        """Both logs as one; sorting costs no more than the copy where one follows on the other."""
        return GainLog.of(
            np.concatenate([self.items, other.items]),
            np.concatenate([self.at, other.at]),
            np.concatenate([self.gains, other.gains]),
        )

    def without(self, items: IntVector, at: TimeVector, gains: FloatVector) -> tuple[GainLog, Mask]:
        """The log without one row for each of these, and (m,) True where there was one.

        A row is of the same item and time; of several it is that of the nearest gain, which may differ in its last
        digits, or by rules of weighing that have changed since.
        """
        found = np.zeros(len(items), dtype=np.bool_)
        stays = np.ones(len(self), dtype=np.bool_)
        first, last = np.searchsorted(self.at, at, side="left"), np.searchsorted(self.at, at, side="right")
        for i, (low, high) in enumerate(zip(first, last, strict=True)):
            same = np.flatnonzero(stays[low:high] & (self.items[low:high] == items[i]))
            if len(same):
                stays[low + same[np.argmin(np.abs(self.gains[low + same] - gains[i]))]] = False
                found[i] = True
        if not found.any():
            return self, found
        return GainLog(self.items[stays], self.at[stays], self.gains[stays]), found

    @cached_property
    def total(self) -> npt.NDArray[np.float64]:
        """(highest item + 1,) gains of the whole log."""
        return np.bincount(self.items, self.gains).astype(np.float64)

    def counted(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """(highest item + 1,) gains of the rows start:stop."""
        if start == 0 and stop == len(self):
            return self.total
        return np.bincount(self.items[start:stop], self.gains[start:stop]).astype(np.float64)

    def tally(self, name: str, start: int, stop: int) -> Tally:
        """Gains of the rows start:stop, in time that follows how far the bounds have moved since the name's last call.

        Args:
            name: of the window whose bounds these are.
        """
        last = self._tallies.get(name)
        if last is not None and last[:2] == (start, stop):
            return last[2]
        made = self._tallied(name, start, stop)
        self._tallies[name] = (start, stop, made)
        return made

    def _tallied(self, name: str, start: int, stop: int) -> Tally:
        if len(self) <= FEW_ROWS:
            return Tally.of_rows(None, self.items[start:stop], self.gains[start:stop].astype(np.float64))
        first, last, table = self._tables.get(name, (0, 0, None))
        if table is None or abs(start - first) + abs(stop - last) > FEW_ROWS:
            table = Table(self.counted(start, stop))
            self._tables[name] = (start, stop, table)
            first, last = start, stop
        moves = ((first, start, -1.0), (last, stop, 1.0))
        items = [self.items[min(old, new) : max(old, new)] for old, new, _ in moves]
        gains = [self.gains[min(old, new) : max(old, new)] * (sign if new > old else -sign) for old, new, sign in moves]
        return Tally.of_rows(table, np.concatenate(items), np.concatenate(gains).astype(np.float64))

    def faded_tally(self, efold: float) -> tuple[Tally, float | None]:
        """What is left of the whole log at its last event's time, and that time."""
        if not len(self):
            return Tally.of_rows(None, self.items, np.zeros(0)), None
        name = f"fading {efold}"
        kept = self._tallies.get(name)
        if kept is None:
            if len(self) > FEW_ROWS:
                made = Tally(Table(self._whole(efold)[0]), np.zeros(0, dtype=np.int32), np.zeros(0))
            else:
                made = Tally.of_rows(None, self.items, self.gains * np.exp((self.at - float(self.at[-1])) / efold))
            kept = (0, len(self), made)
            self._tallies[name] = kept
        return kept[2], float(self.at[-1])

    def fading(self, stops: TimeVector, efold: float) -> Iterator[State]:
        """For each stop, (highest item + 1,) what is left of the rows before it at the last one's time, and that time.

        An event older by `efold` weighs 1/e. One sweep over the log serves all stops; no row is before stop 0, whose
        time is None.

        Args:
            stops: (q,) rows, in rising order.
            efold: milliseconds.
        """
        state = self._nothing
        done = 0
        for stop in map(int, stops):
            if stop == len(self):
                yield self._whole(efold)
                continue
            if stop > done:
                state, done = self._fade(state, done, stop, efold), stop
            yield state

    @property
    def _nothing(self) -> State:
        return np.zeros(len(self.total), dtype=np.float64), None

    def _whole(self, efold: float) -> State:
        """The state after the last row, where nearly every request of a running system stands."""
        if efold not in self._faded:
            self._faded[efold] = self._fade(self._nothing, 0, len(self), efold)
        return self._faded[efold]

    def _fade(self, state: State, start: int, stop: int, efold: float) -> State:
        if stop == start:
            return state
        before, clock = state
        now = float(self.at[stop - 1])
        fresh = self.gains[start:stop] * np.exp((self.at[start:stop] - now) / efold)
        if clock is not None:
            before = before * np.exp((clock - now) / efold)
        return before + np.bincount(self.items[start:stop], fresh, minlength=len(before)), now
