"""Quality and drift from the log: worked out now and then by one worker, kept in the store, shown by all."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import sqlalchemy as sa

from langrec.data.items import item_text
from langrec.errors import LangrecError
from langrec.feedback.drift import WEEK_MS
from langrec.feedback.join import ACTIONS, SHOWN
from langrec.feedback.report import DAY_MS, Observed, report
from langrec.service.store import browse_rows
from langrec.service.store.schema import events, impressions, items, leases, quality
from langrec.service.store.store import Store, upsert
from langrec.settings import FeedbackSettings

if TYPE_CHECKING:
    from langrec.recommender import Recommender
    from langrec.service.service import Service

_log = logging.getLogger("langrec.service")
_LEASE = "quality"
_WEEKS = 13
_KEPT_DAYS = 90
# Texts and vectors of the training that new ones are compared with, evenly spread.
_SAMPLE = 20_000
_CHUNK = 500
PERSONAL = ("recommend", "session")


class Quality:
    """Works the figures out for one service, unless another worker did so lately."""

    def __init__(self, service: Service, settings: FeedbackSettings) -> None:
        self._service = service
        self._settings = settings

    async def run(self) -> None:
        """Works them out every `feedback.seconds` until it is cancelled."""
        while self._settings.seconds > 0:
            await asyncio.sleep(min(self._settings.seconds, 30.0))  # a start has more urgent work
            try:
                await asyncio.to_thread(self.look)
            except LangrecError as error:
                _log.warning("quality was not worked out: %s", error.message)
            except Exception:
                _log.exception("quality was not worked out")

    def look(self) -> dict[str, Any] | None:
        """The newest report, worked out here where it is time; this worker's metrics follow it."""
        store, seconds = self._service.store, self._settings.seconds
        with store.read() as connection:
            found = newest(connection)
        now = int(time.time() * 1000)
        if (found is None or now - found["at"] >= seconds * 1000) and _take_turn(store, now, seconds):
            snapshot = self._service.snapshot
            found = work_out(store, snapshot.recommender, snapshot.folder, self._settings, now)
            with store.write() as connection:
                keep(connection, found)
        if found is not None:
            self._service.stats.quality(found)
        return found


def work_out(
    store: Store, recommender: Recommender, folder: Path, settings: FeedbackSettings, now: int
) -> dict[str, Any]:
    """The report of the store's log as it is, with the release in a folder as what was trained on."""
    with store.read() as connection:
        seen = observe(connection, recommender, folder, settings, now)
    return report(seen, settings)


def observe(
    connection: sa.Connection, recommender: Recommender, folder: Path, settings: FeedbackSettings, now: int
) -> Observed:
    """What a report is made of."""
    shown, strangers, personal = _shown(connection, settings, now)
    start = now if not shown.height else int(shown["at"].min())  # type: ignore[arg-type]
    silent = [name for name in recommender.unsaying if name]
    columns = (events.c.user_id, events.c.item_id, events.c.at)
    said = connection.execute(sa.select(*columns).where(events.c.at >= start, events.c.type.not_in(silent))).all()
    weeks = connection.execute(
        sa.select(events.c.item_id, events.c.at).where(events.c.at >= now - _WEEKS * WEEK_MS, events.c.at <= now)
    ).all()
    there = sa.select(sa.func.count()).select_from(items).where(items.c.deleted == sa.false())
    event_at, item_at = browse_rows.newest(connection)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    trained, new = _texts(recommender, folder, manifest)
    known, come = _vectors(recommender, int(manifest["data"]["n_items"]))
    return Observed(
        now=now,
        shown=shown,
        strangers=strangers,
        personal=personal,
        actions=pl.DataFrame([tuple(row) for row in said], schema=ACTIONS, orient="row"),
        events=pl.DataFrame([tuple(row) for row in weeks], schema={"item": pl.String, "at": pl.Int64}, orient="row"),
        n_items=int(connection.execute(there).scalar_one()),
        newest={"event": event_at, "item": item_at, "release": _made_at(manifest)},
        trained_texts=trained,
        new_texts=new,
        trained_vectors=known,
        new_vectors=come,
    )


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


def _texts(recommender: Recommender, folder: Path, manifest: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Texts of items that were there at the training, evenly spread, and of those that came since."""
    from langrec.data.catalogue import Catalogue

    frame = pl.read_parquet(folder / "catalog" / "items.parquet")
    texts = Catalogue(frame, manifest["data"]["text_fields"]).texts(recommender.text_fields)
    ids = recommender.items.ids
    new = [recommender.view(ids[num]) for num in range(frame.height, len(ids))]
    every = -(-len(texts) // _SAMPLE) or 1
    return texts[::every], [item_text(item, recommender.text_fields) for item in new if item is not None]


def _vectors(recommender: Recommender, trained: int) -> tuple[Any, Any]:
    """Text vectors of the training's items, evenly spread, and of those that came since; without rows of no text."""
    vectors = recommender.fusion.text_vectors
    if vectors is None:
        return None, None
    every = -(-trained // _SAMPLE) or 1
    nums = (np.arange(0, min(trained, len(vectors)), every), np.arange(trained, len(vectors)))
    known, new = (np.asarray(vectors[one.astype(np.int32)]) for one in nums)
    return known[np.abs(known).sum(axis=1) > 0], new[np.abs(new).sum(axis=1) > 0]


def _made_at(manifest: dict[str, Any]) -> int | None:
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(manifest["made_at"]).timestamp() * 1000)
    except (KeyError, TypeError, ValueError):
        return None
