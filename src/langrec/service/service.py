"""What the routes call: histories from the store make queries, blocks of queries make answers, answers are logged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from langrec.bounded import Bounded
from langrec.budget import STAGES, Budget, Habits, within
from langrec.data.items import Masks
from langrec.encoders.remembered import Held
from langrec.errors import LangrecError
from langrec.protocols import Progress, untold
from langrec.service.access.key_ring import KeyRing
from langrec.service.batching import Batcher, Busy
from langrec.service.impressions import ImpressionLog, Shown
from langrec.service.monitoring import tracing
from langrec.service.monitoring.stats import BUCKET_SECONDS, Stats
from langrec.service.ready import ReadyLists
from langrec.service.served.growing import Growth
from langrec.service.served.snapshot import Releases, Snapshot
from langrec.service.served.warming import warm
from langrec.service.store import event_rows
from langrec.service.store.once import RequestKey
from langrec.service.store.store import Store
from langrec.service.store.writer import Writer
from langrec.settings import ServeSettings
from langrec.types import Query, Recommendation

if TYPE_CHECKING:
    from langrec.recommender import Recommender

T = TypeVar("T")
_log = logging.getLogger("langrec.service")
_CACHE_SECONDS = 30.0
_MB = 1_000_000
_EXPORTS = 4  # that run at a time

# What a request asks for in place of the release's settings: (name, value) of `diversity` and `explore`.
Changes = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A list, with the query and the snapshot that it came from."""

    query: Query
    list: Recommendation
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class _Ask:
    kind: str  # recommend, search or starters
    query: Query
    known: bool  # the history comes from the store
    changed: Changes = ()
    traced: Any = None
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class _Call:
    work: Callable[[Snapshot, sa.Connection], Any]
    traced: Any = None
    since: float = 0.0


class Service:
    """Serves one releases folder and one store; of this process.

    Args:
        releases: the releases folder.
        settings: of the service.
        progress: called while a release is imported into the store.
        tenant: whose service this is, on a server of tenants.
    """

    def __init__(
        self,
        releases: Path,
        settings: ServeSettings,
        *,
        progress: Progress = untold,
        tenant: str = "",
    ) -> None:
        self.settings = settings
        self.folder = releases
        self.store = Store(settings.store)
        self.stats = Stats(tenant)
        self.tracing = tracing.of_process()
        self.lists: Bounded[tuple[Any, ...], Recommendation] = Bounded(int(settings.lists_mb * _MB), _CACHE_SECONDS)
        texts: Held = Bounded(int(settings.texts_mb * _MB))
        self.ready = ReadyLists(int(settings.ready_mb * _MB), settings.max_age)
        masks: Masks = Bounded(int(settings.filters_mb * _MB))
        for name, cache in (("lists", self.lists), ("ready", self.ready), ("texts", texts), ("filters", masks)):
            self.stats.watch(name, cache)
        # A tenant that cannot be opened is tried again every few seconds, and must not gather connections.
        with contextlib.ExitStack() as undone:
            undone.callback(self.store.close)
            self.keys = KeyRing(settings, self.store)
            undone.callback(self.keys.close)
            self.releases = Releases(
                releases,
                self.store,
                popular_pause=settings.popular_seconds,
                texts=texts,
                masks=masks,
                progress=progress,
            )
            undone.pop_all()
        self.stats.serving(self.snapshot.stamp, len(self.snapshot.overlay))
        self.growth = Growth(self.releases, self.store, settings, self.stats)
        self._removals = self.snapshot.removals
        self.writer = Writer(self.store)
        self.shown = ImpressionLog(self.writer, self.stats, settings.max_impressions, self.stats.look_at_caches)
        self.batcher = Batcher(
            self._work,
            most_waiting=settings.max_queue,
            most_together=settings.max_block,
            seconds=settings.deadline_ms / 1000,
        )
        self.habits = Habits(
            {name: getattr(settings.budget, f"{name}_ms") / 1000 for name in STAGES}, self.stats.skipped
        )
        # An export holds a connection for as long as its client reads: slow ones must leave some to the others.
        self.exports = threading.BoundedSemaphore(_EXPORTS)
        self._latest = 0
        self.is_warm = False
        self.cold: str | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot in use; changes that nobody has asked for yet may be missing."""
        return self.releases.snapshot

    async def recommend(
        self,
        query: Query,
        *,
        history_known: bool = True,
        diversity: float | None = None,
        explore: int | None = None,
    ) -> Answer:
        """The best items for a query.

        Args:
            query: what is asked.
            history_known: read the user's history from the store.
            diversity: from 0 to 1, in place of the release's setting.
            explore: places that go to new or rare items, in place of the release's setting.
        """
        known = history_known and query.user is not None
        wanted = {"diversity": diversity, "explore": explore}
        changed = tuple((name, value) for name, value in wanted.items() if value is not None)
        answer: Answer = await self._ask(_Ask("recommend", query, known, changed))
        return answer

    async def search(self, query: Query) -> Answer:
        """Items that fit a text; a user's history counts as far as the query says."""
        answer: Answer = await self._ask(_Ask("search", query, query.user is not None and query.personal > 0))
        return answer

    async def starters(self, query: Query, *, history_known: bool = True) -> Answer:
        """Items to ask someone new about; what the history holds counts as liked.

        Args:
            history_known: read the user's history from the store.
        """
        answer: Answer = await self._ask(_Ask("starters", query, history_known and query.user is not None))
        return answer

    async def call(self, work: Callable[[Snapshot, sa.Connection], T], *, patient: bool = False) -> T:
        """The result of work on the fresh snapshot, in the scorer's thread.

        Args:
            work: given the snapshot and a connection that reads.
            patient: no deadline ends the wait: it is the server's own work, or an act that must be seen through.
        """
        result: T = await self._ask(_Call(work), patient=patient)
        return result

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """The result of a write, after it is durable."""
        with self.tracing.span("store.write"):
            return await self.writer.write(work)

    async def append(
        self, log: Sequence[event_rows.Event], *, overwrite: bool, request: RequestKey | None = None
    ) -> int:
        """Writes events; the number of them, after they are durable; what a request said before counts no more."""
        with self.tracing.span("store.write"):
            n = await asyncio.wrap_future(self.writer.append(log, overwrite=overwrite, request=request))
        for user in {event.user for event in log}:
            self.ready.forget(user)
        return n

    def known_history(self, query: Query, connection: sa.Connection) -> Query:
        """The query with the user's newest events as its history; a user without events is a new visitor."""
        now = self._now() if query.at is None else int(query.at.timestamp() * 1000)
        assert query.user is not None
        rows = event_rows.recent(connection, query.user, self.settings.history, now)[::-1]
        if not rows:
            # Without this the release would answer from what it was trained on, deleted users included.
            return replace(query, user=None, history=(), history_at=(), history_types=())
        if len(rows) == self.settings.history and query.filters.drop_seen:
            # What lies before the newest events shapes the list no more, but it is still seen.
            seen = event_rows.seen_items(connection, query.user, now, query.filters.seen_types)
            older = seen.difference(row[0] for row in rows)
            query = replace(query, filters=replace(query.filters, exclude=(*query.filters.exclude, *sorted(older))))
        return replace(
            query,
            history=tuple(row[0] for row in rows),
            history_at=tuple(row[2] for row in rows),
            history_types=tuple(row[1] for row in rows),
        )

    def budget(self, since: float) -> Budget:
        """The time of a request that arrived at a moment of time.monotonic()."""
        total = self.settings.budget.total_ms / 1000
        return Budget(self.habits, since + total if total > 0 else math.inf)

    async def warm_up(self) -> None:
        """Runs a query through every stage; `is_warm` is true from then on, `cold` says what stood in the way.

        The linear models are kept in step from its end on, however it ends.
        """
        try:
            await self.call(lambda snapshot, _: warm(snapshot.recommender), patient=True)
        except Exception as error:
            self.cold = f"a query of the warm-up failed ({type(error).__name__}); the log says more"
            _log.exception("the warm-up failed")
        else:
            self.is_warm, self.cold = True, None
        finally:
            # From here on: what it fits would take the processor from the queries that readiness waits for.
            self.growth.start()

    async def log_impression(self, request_id: str, kind: str, user: str | None, answer: Answer) -> None:
        """Notes a shown list; it is written after the reply, together with others."""
        if answer.list.ids:
            self.shown.note(self.record(kind, user, answer), request_id)

    def record(self, kind: str, user: str | None, answer: Answer) -> Shown:
        """What the log says of an answer."""
        return Shown.of(kind, user, answer.snapshot.stamp, answer.query.offset, answer.list)

    def note_shown(self, shown: Shown, request_id: str) -> None:
        """Notes that a kept list is shown again."""
        if shown.items != "[]":
            self.shown.note(shown, request_id)

    def _now(self) -> int:
        """The latest time that the clock has shown: one that is set back takes nothing out of anybody's history."""
        self._latest = max(self._latest, int(time.time() * 1000))
        return self._latest

    async def run(self) -> None:
        """Shares the statistics until it is cancelled."""
        while True:
            await asyncio.sleep(BUCKET_SECONDS - time.time() % BUCKET_SECONDS + 0.1)
            try:
                await self.writer.write(self.stats.flush)
                await self.writer.write(self.keys.flush)
            except LangrecError as error:
                _log.warning("statistics were not written: %s", error.message)

    async def follow(self) -> None:
        """Has another release, or what was deleted elsewhere, count though nobody asks, until it is cancelled."""
        while True:
            await asyncio.sleep(self.releases.pause)
            await asyncio.to_thread(self.releases.look)
            if self.releases.has_next:
                with contextlib.suppress(LangrecError):  # who asks is told what stands in the way
                    await self.call(lambda *_: None, patient=True)

    async def close(self) -> None:
        """Finishes what was begun."""
        await self.shown.close()
        await asyncio.to_thread(self.batcher.close)  # a block may be in work, and other tenants' requests go on
        with contextlib.suppress(LangrecError):
            await self.writer.write(self.keys.flush)
        await asyncio.to_thread(self.growth.close)
        await asyncio.to_thread(self.writer.close)
        self.keys.close()
        self.store.close()

    async def _ask(self, job: _Ask | _Call, *, patient: bool = False) -> Any:
        job = replace(job, traced=self.tracing.here(), since=time.monotonic())
        try:
            return await self.batcher.ask(job, patient=patient)
        except Busy as busy:
            self.stats.shed.inc()
            if busy.late:
                self.stats.late.inc()
            raise
        finally:
            self.stats.queue.set(self.batcher.queue)

    def _work(self, jobs: Sequence[_Ask | _Call]) -> list[Any]:
        """Runs in the scorer's thread: one result or exception per job."""
        started = time.time_ns()
        results: list[Any] = [None] * len(jobs)
        asks: dict[tuple[str, Changes], list[tuple[int, Query]]] = {}
        with self.store.read() as connection:
            snapshot = self.releases.fresh(connection)
            self.stats.serving(snapshot.stamp, len(snapshot.overlay))
            if snapshot.removals != self._removals:
                # What is kept may be of somebody who has been deleted.
                self.lists.clear()
                self.ready.clear()
                self._removals = snapshot.removals
            for i, job in enumerate(jobs):
                try:
                    if isinstance(job, _Call):
                        results[i] = job.work(snapshot, connection)
                    else:
                        query = self.known_history(job.query, connection) if job.known else job.query
                        asks.setdefault((job.kind, job.changed), []).append((i, query))
                except Exception as error:
                    results[i] = error
        read = time.time_ns()
        oldest = min(job.since for job in jobs)
        with within(self.budget(oldest)):
            for (kind, changed), asked in asks.items():
                self.stats.block.observe(len(asked))
                self._answer(kind, changed, asked, snapshot, results)
        self.stats.look_at_caches()
        self.tracing.block([job.traced for job in jobs], results, started, read, time.time_ns())
        return results

    def _answer(
        self,
        kind: str,
        changed: Changes,
        asked: Sequence[tuple[int, Query]],
        snapshot: Snapshot,
        results: list[Any],
    ) -> None:
        missing = []
        for i, query in asked:
            found = self._cached(_key(kind, changed, query, snapshot))
            if found is None:
                missing.append((i, query))
            else:
                results[i] = Answer(query, found, snapshot)
        if not missing:
            return
        recommender = _changed(snapshot.recommender, changed)
        kinds = {"recommend": recommender.recommend, "search": recommender.search, "starters": recommender.starters}
        answer = kinds[kind]
        try:
            lists = answer([query for _, query in missing])
        except Exception as error:
            if len(missing) == 1:
                results[missing[0][0]] = error
                return
            # One bad query must not fail its neighbours.
            for pair in missing:
                self._answer(kind, changed, [pair], snapshot, results)
            return
        for (i, query), found in zip(missing, lists, strict=True):
            results[i] = Answer(query, found, snapshot)
            self._remember(_key(kind, changed, query, snapshot), query, found)

    def _cached(self, key: tuple[Any, ...] | None) -> Recommendation | None:
        return None if key is None else self.lists.get(key)

    def _remember(self, key: tuple[Any, ...] | None, query: Query, found: Recommendation) -> None:
        # What was left out for want of time must not be missing for half a minute.
        if key is not None and not found.trace.skipped:
            self.lists.put(key, found, _size(query, found))


def _changed(recommender: Recommender, changed: Changes) -> Recommender:
    """The recommender with the settings of a request."""
    for name, value in changed:
        if name == "explore":
            recommender = replace(recommender, exploring=replace(recommender.exploring, places=value))
        else:
            recommender = replace(recommender, ranking=replace(recommender.ranking, **{name: value}))
    return recommender


def _key(kind: str, changed: Changes, query: Query, snapshot: Snapshot) -> tuple[Any, ...] | None:
    """All that an answer depends on but the time; None where the query cannot be looked up."""
    explores = dict(changed).get("explore", snapshot.recommender.exploring.places)
    if query.vector is not None or query.at is not None or explores:
        return None
    try:
        key = (
            kind,
            changed,
            snapshot.stamp,
            snapshot.loaded_at,
            snapshot.revision,
            snapshot.counted,
            snapshot.grown,
            query,
        )
        hash(key)
    except TypeError:
        return None
    return key


def _size(query: Query, found: Recommendation) -> int:
    """About how many bytes a kept list takes, its query included."""
    words = sum(map(len, query.history)) + sum(map(len, query.filters.exclude)) + sum(map(len, found.ids))
    # A string of Python has about 50 bytes beside its letters, a time 32, an array 110, the objects around 1,500.
    objects = 50 * (len(query.history_types) + len(query.filters.exclude) + len(found.ids)) + 90 * len(query.history)
    arrays = found.items.nums.nbytes + found.items.scores.nbytes
    arrays += sum(column.nbytes + 110 for column in found.items.columns.values())
    return words + objects + arrays + 2 * len(query.text or "") + 1_500
