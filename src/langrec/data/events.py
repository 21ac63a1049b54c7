"""Events: who did what with which item and when, as columns in time order."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.types import FloatVector, IntVector, TimeVector

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """m events, oldest first; events of one time in the order of their file, or as `data.equal_times` drew it.

    Attributes:
        users: (m,) int32 user numbers.
        items: (m,) int32 item numbers.
        at: (m,) int64 epoch milliseconds, or each user's own positions where `has_time` is False.
        types: (m,) int8, places in `type_names`.
        values: (m,) float32 as given (a rating, a count), NaN where the file has none.
        gains: (m,) float32 how much the event says for the item: type weight times the rating's gain.
        rows: (m,) int64 0-based row in the events file.
        type_names: the event types.
        has_time: False where the log has only an order within each user: then nothing can be compared across users.
    """

    users: IntVector
    items: IntVector
    at: TimeVector
    types: npt.NDArray[np.int8]
    values: FloatVector
    gains: FloatVector
    rows: TimeVector
    type_names: tuple[str, ...]
    has_time: bool = True

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return f"<Events: {self.told()}>"

    def told(self) -> str:
        """How many there are, of what types, and from when to when."""
        said = f"{len(self):,} events ({', '.join(self.type_names)})"
        if not len(self) or not self.has_time:
            return said
        first, last = (str(np.datetime64(int(at), "ms").astype("datetime64[D]")) for at in (self.at[0], self.at[-1]))
        return f"{said} from {first} to {last}"

    def take(self, rows: npt.NDArray[Any] | slice) -> Events:
        """The events picked by index, mask or slice."""
        columns = {
            f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in ("type_names", "has_time")
        }
        return Events(**columns, type_names=self.type_names, has_time=self.has_time)

    def by_user(self, n_users: int) -> Histories:
        """The events grouped by user, each user's oldest first."""
        order = np.argsort(self.users, kind="stable")
        offsets = np.zeros(n_users + 1, dtype=np.int64)
        np.cumsum(np.bincount(self.users, minlength=n_users), out=offsets[1:])
        return Histories(offsets, self.items[order], self.at[order], order)


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """Events by user: those of user u are rows offsets[u]:offsets[u + 1], oldest first.

    Attributes:
        offsets: (n_users + 1,) int64.
        items: (m,) int32 item numbers.
        at: (m,) int64 times.
        order: (m,) place of each row in the events it came from.
    """

    offsets: TimeVector
    items: IntVector
    at: TimeVector
    order: npt.NDArray[np.intp]

    def of(self, user: int) -> IntVector:
        """Item numbers of one user, oldest first; empty for -1."""
        if user < 0:
            return self.items[:0]
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def lengths(self) -> TimeVector:
        """(n_users,) events per user."""
        return np.diff(self.offsets)


def joined(first: Events, second: Events) -> Events:
    """Both logs as one, in time order, of one time those of the first before those of the second.

    They number the same users, items and types. Each log keeps its own order of equal times.
    """
    order = np.argsort(np.concatenate([first.at, second.at]), kind="stable")
    columns = {
        f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)])[order]
        for f in fields(first)
        if f.name not in ("type_names", "has_time")
    }
    return Events(**columns, type_names=first.type_names, has_time=first.has_time)


def empty_events(type_names: tuple[str, ...] = ("click",)) -> Events:
    """A log of no events."""
    i32, i64, f32 = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32)
    return Events(i32, i32, i64, np.zeros(0, np.int8), f32, f32, i64, type_names)
