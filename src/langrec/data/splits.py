"""Training, validation and test: by time for all at once (the default), by each user's last events, or by user."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from langrec.data.events import Events
from langrec.errors import DataError, SettingsError
from langrec.settings import SplitSettings

LOO_LEAK = (
    "each user's last event is held out whatever its time, so training sees what other users did after it: "
    "popularity and co-occurrence of the future leak in; use it for comparison with papers only"
)
USER_LEAK = "training users' events may be later than the held-out users' histories, so the future leaks in"


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Three parts of one log; each keeps its events in time order.

    Attributes:
        train: what models are fitted on.
        valid: what settings are chosen on.
        test: what is reported.
        kind: time, loo, user, or given where the data names the parts itself.
        valid_from: epoch milliseconds from which events are validation, None unless `kind` is time.
        test_from: epoch milliseconds from which events are test, None unless `kind` is time.
        leaks: what this split lets training know that a running system could not; empty = nothing.
    """

    train: Events
    valid: Events
    test: Events
    kind: Literal["time", "loo", "user", "given"]
    valid_from: int | None = None
    test_from: int | None = None
    leaks: str = ""

    def hash(self) -> str:
        """sha256 of which event is in which part, in a log that is known."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid, self.test):
            digest.update(len(part).to_bytes(8, "little") + part.rows.tobytes())
        return digest.hexdigest()


def split_events(events: Events, n_users: int, settings: SplitSettings | None = None) -> Split:
    """Divides a log in time order.

    - time: an event is training before the time of the event at place int(cut[0] * m), validation before that at
      int(cut[1] * m), else test. Events of one time are never divided: those of a cut's time are in the later part.
    - loo: of each user with three events or more the last is test and the last but one validation.
    - user: whole users, chosen by a hash of their number; shares as in `cut`.

    Raises:
        SettingsError: a time split of a log that knows only an order within each user.
        DataError: a part would be empty.
    """
    settings = settings or SplitSettings()
    if not len(events):
        raise DataError("there are no events to split")
    if settings.kind == "loo":
        return _leave_one_out(events, n_users)
    if settings.kind == "user":
        return _by_user(events, n_users, settings.cut)
    return _by_time(events, settings.cut)


def _by_time(events: Events, cut: tuple[float, float]) -> Split:
    if not events.has_time:
        raise SettingsError(
            "split.kind=time: these events have positions within each user but no times; use --set split.kind=loo",
            field="split.kind",
        )
    m = len(events)
    valid_from, test_from = (int(events.at[int(share * m)]) for share in cut)
    first, second = np.searchsorted(events.at, [valid_from, test_from], side="left")
    for name, size in (("training", first), ("validation", second - first)):
        if not size:
            raise DataError(
                f"the cuts {cut[0]:g},{cut[1]:g} leave no {name} events: too few, or too many of one time; "
                "move split.cut, or use --set split.kind=loo"
            )
    train, valid, test = (events.take(slice(*bounds)) for bounds in ((0, first), (first, second), (second, m)))
    return Split(train, valid, test, "time", valid_from, test_from)


def _leave_one_out(events: Events, n_users: int) -> Split:
    # Place of each event from the end of its user's history: 0 is the last.
    order = np.argsort(events.users, kind="stable")
    counts = np.bincount(events.users, minlength=n_users)
    ends = np.cumsum(counts)
    from_end = np.empty(len(events), dtype=np.int64)
    from_end[order] = np.repeat(ends, counts) - 1 - np.arange(len(events))
    long = counts[events.users] >= 3
    test = long & (from_end == 0)
    valid = long & (from_end == 1)
    if not test.any():
        raise DataError(
            "no user has three events, so leave-one-out holds nothing out; use --set split.kind=user, or more data"
        )
    return Split(events.take(~(test | valid)), events.take(valid), events.take(test), "loo", leaks=LOO_LEAK)


def _by_user(events: Events, n_users: int, cut: tuple[float, float]) -> Split:
    share = _hash_share(np.arange(n_users, dtype=np.uint64))[events.users]
    parts = (share < cut[0], (share >= cut[0]) & (share < cut[1]), share >= cut[1])
    for name, mask in zip(("training", "validation", "test"), parts, strict=True):
        if not mask.any():
            raise DataError(f"the cuts {cut[0]:g},{cut[1]:g} leave no {name} users among {n_users}; move them")
    train, valid, test = (events.take(mask) for mask in parts)
    return Split(train, valid, test, "user", leaks=USER_LEAK)


def _hash_share(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Numbers to shares in [0, 1) that look random and never change (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53
