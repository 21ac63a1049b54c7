"""How long the store keeps what: old events, shown lists and remembered ids go, in steps between which others write."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from langrec.data.events import DAY_MS
from langrec.errors import LangrecError, SettingsError
from langrec.service.store.event_rows import forget_events
from langrec.service.store.schema import done_once, events, impressions, removed_events, users
from langrec.service.store.store import Store, get_meta, set_meta
from langrec.settings import StoreSettings

if TYPE_CHECKING:
    from langrec.service.service import Service

_log = logging.getLogger("langrec.service")
_STEP = 2000  # rows of a transaction
_MOST = 500_000  # rows that one run looks up at once; the next takes the rest
_POPULAR_DAYS = 30  # the longest window of popularity
_MARK = "compacted"

# A step deletes up to so many rows on an open connection and says how many.
Step = Callable[[sa.Connection], int]


def check(settings: StoreSettings, history: int) -> None:
    """Raises SettingsError where what histories or popularity read would be deleted.

    Args:
        settings: the section `store`.
        history: how many events of a user a request reads, `serve.history`.
    """
    if 0 < settings.events_per_user < history:
        raise SettingsError(
            f"store.events_per_user: {settings.events_per_user} is less than serve.history = {history}, "
            "which requests read",
            field="store.events_per_user",
        )
    if 0 < settings.events_days < _POPULAR_DAYS:
        raise SettingsError(
            f"store.events_days: {settings.events_days} is less than the {_POPULAR_DAYS} days that popularity counts",
            field="store.events_days",
        )


def compact(store: Store, settings: StoreSettings, *, now: int, vacuum: bool = False) -> dict[str, int]:
    """Deletes what is kept no longer; rows by table.

    Args:
        store: the store.
        settings: how long what is kept.
        now: epoch milliseconds.
        vacuum: give the freed space back to the disk too. SQLite writes the whole file anew meanwhile and nobody else
            can write; without it the space is used for what comes next.
    """
    gone = {}
    for table, steps in _work(store, settings, now):
        gone[table] = 0
        for step in steps:
            with store.write() as connection:
                gone[table] += step(connection)
    tidy(store, vacuum=vacuum)
    return gone


def tidy(store: Store, *, vacuum: bool = False) -> None:
    """Brings SQLite's log into its file as far as no reader needs it, without waiting for any."""
    if vacuum:
        store.run_alone("VACUUM" if store.is_sqlite else "VACUUM ANALYZE")
    if store.is_sqlite:
        store.run_alone("PRAGMA wal_checkpoint(TRUNCATE)" if vacuum else "PRAGMA wal_checkpoint(PASSIVE)")


class Keeper:
    """Compacts the store of a service every now and then, through its writer; of several workers one does it.

    Args:
        service: whose store.
        settings: how long what is kept, and how often this is done.
    """

    def __init__(self, service: Service, settings: StoreSettings) -> None:
        check(settings, service.settings.history)
        self._service = service
        self._settings = settings

    async def run(self) -> None:
        """Compacts until it is cancelled."""
        pause = self._settings.compact_minutes * 60
        while pause > 0:
            await asyncio.sleep(pause)
            try:
                await self.once(int(time.time() * 1000))
            except LangrecError as error:
                _log.warning("the store was not compacted: %s", error.message)

    async def once(self, now: int) -> dict[str, int]:
        """One run; nothing where another worker did it since half of the pause."""
        write: Callable[[Step], Awaitable[int]] = self._service.write
        pause = int(self._settings.compact_minutes * 60_000)
        if not await write(lambda connection: _mine(connection, now, pause)):
            return {}
        gone: dict[str, int] = {}
        work = await asyncio.to_thread(lambda: list(_work(self._service.store, self._settings, now)))
        for table, steps in work:
            gone[table] = 0
            for step in steps:
                gone[table] += await write(step)
        await asyncio.to_thread(tidy, self._service.store)
        return gone


def _mine(connection: sa.Connection, now: int, pause: int) -> int:
    last = get_meta(connection, _MARK)
    # A clock that was set back must not stop it for years.
    if last is not None and 0 <= now - last < pause / 2:
        return 0
    set_meta(connection, _MARK, now)
    return 1


def _work(store: Store, settings: StoreSettings, now: int) -> Iterator[tuple[str, list[Step]]]:
    """By table the steps that delete what is kept no longer; the rows are looked up here, outside of any write."""
    if settings.events_days or settings.events_per_user:
        yield "events", _event_steps(_old_events(store, settings, now))
    for table, column, key, days in (
        (impressions, impressions.c.at, impressions.c.seq, settings.impressions_days),
        (done_once, done_once.c.at, done_once.c.digest, settings.ids_days),
        (removed_events, removed_events.c.at, None, settings.removed_days),
    ):
        if days:
            before = now - int(days * DAY_MS)
            yield table.name, _steps_of(store, table, column, key, before)


def _old_events(store: Store, settings: StoreSettings, now: int) -> list[int]:
    found: set[int] = set()
    with store.read() as connection:
        if settings.events_days:
            old = events.c.at < now - int(settings.events_days * DAY_MS)
            found.update(connection.execute(sa.select(events.c.seq).where(old).limit(_MOST)).scalars())
        if settings.events_per_user:
            most = settings.events_per_user
            place = sa.func.row_number().over(
                partition_by=events.c.user_id, order_by=(events.c.at.desc(), events.c.seq.desc())
            )
            many = sa.select(users.c.user_id).where(users.c.n_events > most)
            ranked = sa.select(events.c.seq, place.label("place")).where(events.c.user_id.in_(many)).subquery()
            query = sa.select(ranked.c.seq).where(ranked.c.place > most).limit(_MOST)
            found.update(connection.execute(query).scalars())
    return sorted(found)


def _event_steps(found: list[int]) -> list[Step]:
    def step_of(some: list[int]) -> Step:
        return lambda connection: forget_events(connection, some)

    return [step_of(found[i : i + _STEP]) for i in range(0, len(found), _STEP)]


def _steps_of(store: Store, table: sa.Table, column: Any, key: Any, before: int) -> list[Step]:
    """Steps for a table whose rows nothing counts."""
    old = column < before
    if key is None:
        return [lambda connection: int(connection.execute(table.delete().where(old)).rowcount)]
    with store.read() as connection:
        found = list(connection.execute(sa.select(key).where(old).limit(_MOST)).scalars())

    def step_of(some: list[Any]) -> Step:
        return lambda connection: int(connection.execute(table.delete().where(key.in_(some))).rowcount)

    return [step_of(found[i : i + _STEP]) for i in range(0, len(found), _STEP)]
