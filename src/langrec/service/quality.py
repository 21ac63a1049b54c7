"""Quality and drift from the log: worked out now and then by one worker, kept in the store, shown by all.

Over a long log that takes seconds of Python, in which no request of the same process could move: then a process of its
own does it, which stands back from all others.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
import sqlalchemy as sa

from langrec.data.events import DAY_MS
from langrec.data.items import item_text
from langrec.errors import LangrecError
from langrec.feedback.drift import CHOSEN, WEEK_MS
from langrec.feedback.join import ACTIONS, SHOWN
from langrec.feedback.report import Observed, report
from langrec.manifest import made_at, read_json
from langrec.service.store import browse_rows
from langrec.service.store.schema import events, impressions, items, leases, quality
from langrec.service.store.store import Store, upsert
from langrec.settings import FeedbackSettings
from langrec.types import FloatMatrix

if TYPE_CHECKING:
    from langrec.recommender import Recommender
    from langrec.service.service import Service

_log = logging.getLogger("langrec.service")
_LEASE = "quality"
_WEEKS = 13
_KEPT_DAYS = 90
# Texts and vectors of the training that new ones are compared with, evenly spread.
_SAMPLE = 20_000
_VECTORS = 5_000
_CHUNK = 500
_ROWS = 50_000  # of a result that are Python's objects at a time
# From so many events on a process of its own works the figures out; below, it would take longer to start.
APART = 200_000
PERSONAL = ("recommend", "session")
Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """What the figures need of a release as it is served: what came since its training is in no file.

    Attributes:
        folder: of the release.
        text_fields: what its encoder reads.
        silent: types of events that say nothing for an item.
        new_texts: of items that came since the training.
        trained_vectors: text vectors of the training's items, evenly spread; None without an encoder.
        new_vectors: of items that came since; likewise.
    """

    folder: Path
    text_fields: tuple[str, ...]
    silent: tuple[str, ...]
    new_texts: tuple[str, ...]
    trained_vectors: FloatMatrix | None
    new_vectors: FloatMatrix | None

    @classmethod
    def of(cls, recommender: Recommender, folder: Path) -> Live:
        """Of a recommender with the store's items laid over it."""
        trained, ids = int(read_json(folder / "manifest.json")["data"]["n_items"]), recommender.items.ids
        new = [recommender.view(ids[num]) for num in range(trained, len(ids))]
        fields = tuple(recommender.text_fields)
        texts = tuple(item_text(item, fields) for item in new if item is not None)
        silent = tuple(name for name in recommender.unsaying if name)
        return cls(folder, fields, silent, texts, *_vectors(recommender, trained))


class Quality:
    """Works the figures out for one service, unless another worker did so lately.

    Args:
        service: whose.
        settings: how often, and what is beyond the usual.
        apart: from so many events in the store on a process of its own does it.
    """

    def __init__(self, service: Service, settings: FeedbackSettings, apart: int = APART) -> None:
        self._service = service
        self._settings = settings
        self._apart = apart
        self._process: BaseProcess | None = None
        self._starting = threading.Lock()
        self._ending = False

    async def run(self) -> None:
        """Works them out every `feedback.seconds` until it is cancelled."""
        while self._settings.seconds > 0:
            await asyncio.sleep(min(self._settings.seconds, 30.0))  # a start has more urgent work
            try:
                await asyncio.to_thread(self.look)
            except asyncio.CancelledError:
                with self._starting:  # a process that is half started cannot be ended
                    self._ending = True
                    if self._process is not None:  # the thread that waits for it would hold up the server's end
                        self._process.terminate()
                raise
            except LangrecError as error:
                _log.warning("quality was not worked out: %s", error.message)
            except Exception:
                _log.exception("quality was not worked out")

    def look(self) -> dict[str, Any] | None:
        """The newest report, worked out here where it is time; this worker's metrics follow it."""
        store, seconds = self._service.store, self._settings.seconds
        with store.read() as connection:
            found = newest(connection)
            many = (connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0) >= self._apart
        now = int(time.time() * 1000)
        if (found is None or now - found["at"] >= seconds * 1000) and _take_turn(store, now, seconds):
            snapshot = self._service.snapshot
            live = Live.of(snapshot.recommender, snapshot.folder)
            found = self._elsewhere(live, now) if many else work_out(store, live, self._settings, now)
            with store.write() as connection:
                keep(connection, found)
        if found is not None:
            self._service.stats.quality(found)
        return found

    def _elsewhere(self, live: Live, now: int) -> dict[str, Any]:
        """`work_out` in a process of its own.

        Raises:
            LangrecError: it ended without an answer, or says what went wrong, or the server ends.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        url = self._service.store.url
        process = context.Process(
            target=_work_apart, args=(theirs, url, live, self._settings, now), name="langrec-quality", daemon=True
        )
        with self._starting:
            if self._ending:
                raise LangrecError("the server ends")
            process.start()
            self._process = process
        theirs.close()
        try:
            found = ours.recv()
        except EOFError as error:
            raise LangrecError("the process that works quality out ended without an answer") from error
        finally:
            process.join()
            with self._starting:
                self._process = None
        if isinstance(found, str):
            raise LangrecError(found)
        answer: dict[str, Any] = found
        return answer


def _work_apart(pipe: Connection, url: str, live: Live, settings: FeedbackSettings, now: int) -> None:
    """In a process of its own: sends the report, or what went wrong, through the pipe."""
    os.nice(19)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, which ends this
    try:
        store = Store(url, create=None)
        try:
            pipe.send(work_out(store, live, settings, now))
        finally:
            store.close()
    except LangrecError as error:
        pipe.send(error.message)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def work_out(store: Store, live: Live, settings: FeedbackSettings, now: int) -> dict[str, Any]:
    """The report of the store's log as it is, beside a release as it is served."""
    with store.read() as connection:
        seen = observe(connection, live, settings, now)
    return report(seen, settings)


def observe(connection: sa.Connection, live: Live, settings: FeedbackSettings, now: int) -> Observed:
    """What a report is made of."""
    shown, strangers, personal = _shown(connection, settings, now)
    start = now if not shown.height else int(shown["at"].min())  # type: ignore[arg-type]
    columns = (events.c.user_id, events.c.item_id, events.c.at)
    said = sa.select(*columns).where(events.c.at >= start, sa.func.lower(events.c.type).not_in(live.silent))
    week = (events.c.at // WEEK_MS * WEEK_MS).label("week")
    weeks = (
        sa.select(week, events.c.item_id, sa.func.count())
        .where(events.c.at >= now - _WEEKS * WEEK_MS, events.c.at <= now)
        .group_by(week, events.c.item_id)
    )
    there = sa.select(sa.func.count()).select_from(items).where(items.c.deleted == sa.false())
    event_at, item_at = browse_rows.newest(connection)
    return Observed(
        now=now,
        shown=shown,
        strangers=strangers,
        personal=personal,
        actions=_frame(connection, said, ACTIONS),
        weeks=_frame(connection, weeks, CHOSEN),
        n_items=int(connection.execute(there).scalar_one()),
        newest={"event": event_at, "item": item_at, "release": made_at(read_json(live.folder / "manifest.json"))},
        trained_texts=_trained_texts(live),
        new_texts=live.new_texts,
        trained_vectors=live.trained_vectors,
        new_vectors=live.new_vectors,
    )


def _frame(connection: sa.Connection, query: sa.Select[Any], schema: Schema) -> pl.DataFrame:
    """A result as columns, without holding all of its rows as Python's objects."""
    found = connection.execute(query.execution_options(yield_per=_ROWS))
    parts = [pl.DataFrame([tuple(row) for row in part], schema=schema, orient="row") for part in found.partitions()]
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def newest(connection: sa.Connection) -> dict[str, Any] | None:
    """The report that was worked out last."""
    found: dict[str, Any] | None = connection.execute(
        sa.select(quality.c.report).order_by(quality.c.at.desc()).limit(1)
    ).scalar()
    return found


def history(connection: sa.Connection, most: int = 200) -> list[dict[str, Any]]:
    """What moved, oldest first: of many reports evenly spread ones, with the newest."""
    # Three months of them are tens of thousands: only those that are shown are read.
    times = list(connection.execute(sa.select(quality.c.at).order_by(quality.c.at.desc())).scalars())
    shown = times[:: -(-len(times) // most) or 1]
    found = connection.execute(sa.select(quality.c.report).where(quality.c.at.in_(shown)).order_by(quality.c.at))
    return [
        {
            "at": one["at"],
            "click_through": one["click_through"]["value"],
            "fallback": one["fallback"]["value"],
            "coverage": one["coverage"]["10"],
        }
        for one in found.scalars()
    ]


def keep(connection: sa.Connection, found: dict[str, Any]) -> None:
    """Keeps a report, and forgets those that are too old."""
    row = {"at": found["at"], "report": found}
    statement = upsert(connection, quality).values(**row)
    connection.execute(statement.on_conflict_do_update(index_elements=["at"], set_={"report": found}))
    connection.execute(quality.delete().where(quality.c.at < found["at"] - _KEPT_DAYS * DAY_MS))


def _take_turn(store: Store, now: int, seconds: float) -> bool:
    """Whether this worker is the one; its turn ends by itself."""
    with store.write() as connection:
        values = {"name": _LEASE, "holder": "", "until": now + int(min(seconds, 600.0) * 1000)}
        statement = upsert(connection, leases).values(**values)
        taken = statement.on_conflict_do_update(index_elements=["name"], set_=values, where=leases.c.until <= now)
        return bool(connection.execute(taken.returning(leases.c.name)).scalar())


def _shown(
    connection: sa.Connection, settings: FeedbackSettings, now: int
) -> tuple[pl.DataFrame, frozenset[int], frozenset[int]]:
    """Shown places of the newest lists, and the numbers of the lists for strangers and of those for somebody."""
    lists = connection.execute(
        sa.select(impressions)
        .where(impressions.c.at >= now - int(settings.days * DAY_MS), impressions.c.at <= now)
        .order_by(impressions.c.at.desc())
        .limit(settings.most_lists)
    ).mappings()
    rows: list[tuple[int, str | None, int, str, int]] = []
    asked: list[tuple[int, str | None, int]] = []
    for one in lists:
        rows.extend(
            (one["seq"], one["user_id"], one["at"], item, one["offset"] + place)
            for place, item in enumerate(one["items"], 1)
        )
        if one["kind"] in PERSONAL and not one["offset"]:
            asked.append((one["seq"], one["user_id"], one["at"]))
    since = _first_events(connection, sorted({user for _, user, _ in asked if user is not None}))
    strangers = frozenset(seq for seq, user, at in asked if user is None or since.get(user, at) >= at)
    return pl.DataFrame(rows, schema=SHOWN, orient="row"), strangers, frozenset(seq for seq, _, _ in asked)


def _first_events(connection: sa.Connection, users: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(users), _CHUNK):
        query = sa.select(events.c.user_id, sa.func.min(events.c.at)).where(
            events.c.user_id.in_(users[start : start + _CHUNK])
        )
        found |= {user: int(at) for user, at in connection.execute(query.group_by(events.c.user_id))}
    return found


def _trained_texts(live: Live) -> list[str]:
    """Texts of items that were there at the training, evenly spread."""
    from langrec.data.catalogue import Catalogue

    frame = pl.read_parquet(live.folder / "catalog" / "items.parquet")
    spread = frame.gather_every(-(-frame.height // _SAMPLE) or 1)
    return list(
        Catalogue(spread, read_json(live.folder / "manifest.json")["data"]["text_fields"]).texts(live.text_fields)
    )


def _vectors(recommender: Recommender, trained: int) -> tuple[FloatMatrix | None, FloatMatrix | None]:
    """Text vectors of the training's items, evenly spread, and of those that came since; without rows of no text."""
    vectors = recommender.fusion.text_vectors
    if vectors is None:
        return None, None
    every = -(-trained // _VECTORS) or 1
    nums = (np.arange(0, min(trained, len(vectors)), every), np.arange(trained, len(vectors)))
    known, new = (np.asarray(vectors[one.astype(np.int32)]) for one in nums)
    return known[np.abs(known).sum(axis=1) > 0], new[np.abs(new).sum(axis=1) > 0]
