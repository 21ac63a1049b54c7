"""Gains of items in time order, counted in any stretch of time; what a whole log holds is counted once and kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from langrec.types import FloatVector, IntVector, Mask, TimeVector

State = tuple[npt.NDArray[np.float64], float | None]


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
