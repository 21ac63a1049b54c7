"""The linear models between two trainings: what users did and took back is worked into them beside the requests.

One thread looks every few seconds for users whose events have changed, and makes the scorers that have a closed form
(`protocols.ClosedForm`) what a fit on the store's events would make them. What somebody deleted is taken out of the
popularity too. The next request finds the new scorers in the snapshot; no request waits for them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from langrec.data.events import empty_events
from langrec.errors import LangrecError
from langrec.service.monitoring.stats import Stats
from langrec.service.served.counting import recounted
from langrec.service.served.snapshot import Grown, Releases, Snapshot
from langrec.service.store.schema import events, users
from langrec.service.store.store import Store, number
from langrec.settings import ServeSettings
from langrec.types import IntVector, UserLogs

if TYPE_CHECKING:
    from langrec.data.events import Events

_log = logging.getLogger("langrec.service")
_CHUNK = 20_000

_columns = (events.c.seq, events.c.user_id, events.c.item_id, events.c.type, events.c.at, events.c.value)
_all = sa.select(*_columns).where(events.c.seq > sa.bindparam("after")).order_by(events.c.seq).limit(_CHUNK)
_fresh_users = sa.select(events.c.user_id).distinct().where(events.c.seq > sa.bindparam("after"))
_n_events = sa.cast(users.c.n_events, sa.Float)
_pairs = sa.select(sa.func.sum(_n_events * _n_events))
_touched_users = sa.select(users.c.user_id).where(users.c.revision > sa.bindparam("revision"))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Events of one user in the order of time, those of one time in the order of arrival."""

    items: IntVector
    at: Any
    gains: Any

    def __len__(self) -> int:
        return len(self.items)


_NOTHING = Rows(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32))


@dataclass(slots=True)
class Base:
    """What the scorers stand on now.

    Attributes:
        scorers: by name.
        rows: by user, the events that are in the scorers.
        place: events up to this place in the log have been looked at.
        revision: users that changed up to this revision have been looked at.
        waiting: users who have changed and are not in the scorers yet, in the order of their change.
    """

    scorers: Mapping[str, Any]
    rows: dict[str, Rows]
    place: int
    revision: int
    waiting: dict[str, None] = field(default_factory=dict)


class Growth:
    """Keeps a worker's linear models in step with the store.

    Args:
        releases: whose snapshot is served and grown.
        store: where events come from.
        settings: `update_seconds`, `update_users` and `update_pairs`.
        stats: takes the number of events that the linear models hold beyond the release's.
    """

    def __init__(self, releases: Releases, store: Store, settings: ServeSettings, stats: Stats | None = None) -> None:
        self._releases = releases
        self._store = store
        self._settings = settings
        self._stats = stats
        self._of: tuple[str, float] | None = None
        self._base: Base | None = None
        self._n_grown = 0
        self._removals = releases.snapshot.removals
        self._first = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.why_not = ""

    def start(self) -> None:
        """Looks for changes every `update_seconds` from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="langrec-growth", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stops after the step that is being made."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=60)

    @property
    def names(self) -> tuple[str, ...]:
        """The scorers that are kept in step; empty until they are, or where they are too large (`why_not`)."""
        return () if self._base is None else tuple(self._base.scorers)

    def is_without(self, user: str, revision: int) -> bool:
        """True where the models in step hold nothing of a user from before a revision of the store."""
        with self._lock:
            base = self._base
            if base is None:
                return True  # no model promised it
            # Somebody who came back is held again, by what they did since.
            return base.revision >= revision and user not in base.waiting

    def catch_up(self) -> bool:
        """Works in all that has changed; False where that failed. Any thread may call it and wait."""
        try:
            while self.step():
                pass
        except LangrecError as error:
            _log.warning("the linear models were not brought into step: %s", error.message)
            return False
        return True

    def step(self) -> bool:
        """One bounded step; True where there is more to do."""
        with self._lock:
            snapshot = self._releases.snapshot
            popular: Mapping[str, Any] | None = None
            counted = 0
            changed = False
            if (snapshot.stamp, snapshot.loaded_at) != self._of:
                self._begin(snapshot)
                changed = self._base is not None
            removals = self._now("removals")
            if removals > self._removals:
                with self._store.read() as connection:
                    popular, counted = recounted(connection, snapshot)
                self._removals = removals
                changed = True
            grown, more = self._grow(snapshot)
            if not (changed or grown):
                return False
            self._n_grown += 1
            scorers = {} if self._base is None else self._base.scorers
            self._releases.offer(
                Grown(
                    snapshot.stamp, snapshot.loaded_at, scorers, popular or {}, counted, self._removals, self._n_grown
                )
            )
            return more

    def _run(self) -> None:
        while not self._stopped:
            started = time.monotonic()
            try:
                more = self.step()
            except Exception:
                # The models stay as they were, and the next step tries again.
                _log.exception("the linear models were not brought into step")
                more = False
            # A pace: at most half of one core, whatever the number of changes.
            spent = time.monotonic() - started
            self._wake.wait(max(spent, 0.05) if more else max(self._settings.update_seconds, spent))
            self._wake.clear()

    def _now(self, counter: str) -> int:
        with self._store.read() as connection:
            return number(connection, counter)

    def _begin(self, snapshot: Snapshot) -> None:
        """Fits the scorers of a release anew on the store's events, keeping what their changes need."""
        from langrec.bundle import Bundle
        from langrec.data.fitting import FitData
        from langrec.registry import find, kind_of

        self._of, self._base = (snapshot.stamp, snapshot.loaded_at), None
        self._removals = snapshot.removals
        self.why_not = ""
        if self._settings.update == "off":
            self.why_not = "serve.update is off"
            return
        bundle = Bundle.open(snapshot.folder, verify=False)
        retrieval, n_items = bundle.settings.retrieval, snapshot.recommender.n_items
        kinds = {name: find("scorers", kind_of(name)[0]) for name in bundle.manifest["models"]}
        wanted = {
            name: kind for name, kind in kinds.items() if hasattr(kind, "with_logs") and kind.grows(n_items, retrieval)
        }
        if not wanted:
            self.why_not = "the release holds no scorer that a change can be worked into at this size"
            return
        with self._store.read() as connection:
            # Counted before anything is read: a log that is too large for this costs nothing but the sum.
            pairs = min(float(n_items) ** 2, float(connection.execute(_pairs).scalar() or 0.0))
            if pairs > self._settings.update_pairs:
                self.why_not = (
                    f"up to {pairs:,.0f} pairs of items stand together in histories, and serve.update_pairs is "
                    f"{self._settings.update_pairs:,}"
                )
                return
            revision = number(connection, "revision")
            log, names, rows, place = _read_all(connection, snapshot)
        data = FitData(log, max(len(names), 1), n_items, growing=True)
        scorers = {}
        for name, kind in wanted.items():
            params = bundle.manifest["models"][name]["params"]
            served = snapshot.recommender.fusion.scorers[name]
            scorers[name] = kind.fit(data, retrieval, **params).with_params(decay=getattr(served, "decay", 0.0))
        self._base = Base(scorers, rows, place, revision)
        self._first = len(log)
        self._note()

    def _grow(self, snapshot: Snapshot) -> tuple[bool, bool]:
        """Works some changed users into the scorers: whether there were any, and whether others wait."""
        base = self._base
        if base is None:
            return False, False
        with self._store.read() as connection:
            revision = number(connection, "revision")
            place = int(connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0)
            if place > base.place:
                base.waiting |= dict.fromkeys(connection.execute(_fresh_users, {"after": base.place}).scalars())
            if revision > base.revision:
                base.waiting |= dict.fromkeys(connection.execute(_touched_users, {"revision": base.revision}).scalars())
            base.place, base.revision = max(place, base.place), revision
            now = list(base.waiting)[: self._settings.update_users]
            if not now:
                return False, False
            after = _rows_of(connection, now, snapshot)
        before = {user: base.rows.get(user, _NOTHING) for user in now}
        gone, come = _logs(before), _logs(after)
        base.scorers = {name: scorer.with_logs(gone, come) for name, scorer in base.scorers.items()}
        for user in now:
            if len(after[user]):
                base.rows[user] = after[user]
            else:
                base.rows.pop(user, None)
            del base.waiting[user]
        self._note()
        return True, bool(base.waiting)

    def _note(self) -> None:
        if self._stats is not None and self._base is not None:
            self._stats.grown.set(sum(map(len, self._base.rows.values())) - self._first)
            self._stats.behind.set(len(self._base.waiting))


def _read_all(connection: sa.Connection, snapshot: Snapshot) -> tuple[Events, list[str], dict[str, Rows], int]:
    """The store's events as a log in time order, the users' names by number, each user's rows, and the last place."""
    from langrec.data.events import Events

    ids, weights = snapshot.recommender.items.ids, snapshot.weights
    numbers: dict[str, int] = {}
    who: list[int] = []
    what: list[str] = []
    at: list[int] = []
    gains: list[float] = []
    after = 0
    while found := connection.execute(_all, {"after": after}).all():
        for row in found:
            who.append(numbers.setdefault(row.user_id, len(numbers)))
            what.append(row.item_id)
            at.append(row.at)
            gains.append(weights.gain(row.type, row.value))
        after = int(found[-1].seq)
        time.sleep(0)  # requests come first
    nums, time_of = ids.numbers(what), np.array(at, dtype=np.int64)
    order = np.argsort(time_of, kind="stable")
    order = order[nums[order] >= 0]
    m = len(order)
    bare = empty_events()
    log = Events(
        users=np.array(who, dtype=np.int32)[order],
        items=nums[order],
        at=time_of[order],
        types=np.zeros(m, dtype=np.int8),
        values=np.full(m, np.nan, dtype=np.float32),
        gains=np.array(gains, dtype=np.float32)[order],
        rows=np.arange(m, dtype=np.int64),
        type_names=bare.type_names,
    )
    names = list(numbers)
    grouped = log.by_user(len(names))
    gain = log.gains[grouped.order]
    rows = {
        name: Rows(grouped.items[lo:hi], grouped.at[lo:hi], gain[lo:hi])
        for name, lo, hi in zip(names, grouped.offsets[:-1], grouped.offsets[1:], strict=True)
        if hi > lo
    }
    return log, names, rows, after


def _rows_of(connection: sa.Connection, names: Sequence[str], snapshot: Snapshot) -> dict[str, Rows]:
    """Each user's rows as the store has them."""
    found = {}
    ids = snapshot.recommender.items.ids
    for name in names:
        mine = connection.execute(
            sa.select(*_columns).where(events.c.user_id == name).order_by(events.c.at, events.c.seq)
        ).all()
        nums = ids.numbers(row.item_id for row in mine)
        known = nums >= 0
        gains = np.array([snapshot.weights.gain(row.type, row.value) for row in mine], dtype=np.float32)
        at = np.array([row.at for row in mine], dtype=np.int64)
        found[name] = Rows(nums[known], at[known], gains[known])
    return found


def _logs(rows: Mapping[str, Rows]) -> UserLogs:
    """The users' rows one after another."""
    parts = list(rows.values())
    return UserLogs(
        np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts]),
        np.concatenate([_NOTHING.items, *(part.items for part in parts)]),
        np.concatenate([_NOTHING.at, *(part.at for part in parts)]),
        np.concatenate([_NOTHING.gains, *(part.gains for part in parts)]),
    )
