"""The log of shown lists: noted in memory with the reply, written together a moment later, bounded while it waits."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from langrec.errors import LangrecError
from langrec.service.monitoring.stats import Stats
from langrec.service.store import event_rows, schema
from langrec.service.store.writer import Writer
from langrec.types import Recommendation

_log = logging.getLogger("langrec.service")
# Impressions that come within this time share a commit.
_GATHER_SECONDS = 0.05
_COLUMNS = ("request_id", "kind", "user_id", "at", "release", "offset", "items", "scores", "propensities")
# Past the expression language, which would cost as much again as the writing; the last three hold JSON already.
_INSERT = (
    'INSERT INTO impressions (request_id, kind, user_id, at, release, "offset", items, scores, propensities) '
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the log says of a list, whoever asked: the JSON columns are written as they are.

    Attributes:
        kind: recommend, session, search, popular, latest, neighbours or onboarding.
        user: null where none is named.
        release: the stamp of the release that answered.
        offset: the place of the list's start.
        items: JSON of its ids.
        scores: JSON of its scores.
        propensities: JSON of the chance of each item to be in it.
    """

    kind: str
    user: str | None
    release: str
    offset: int
    items: str
    scores: str
    propensities: str

    @classmethod
    def of(cls, kind: str, user: str | None, release: str, offset: int, found: Recommendation) -> Shown:
        """The record of a list."""
        scores = [None if score != score else score for score in np.round(found.items.scores, 6).tolist()]
        return cls(
            kind,
            user,
            release,
            offset,
            json.dumps(found.ids, ensure_ascii=False),
            json.dumps(scores),
            _ones(len(found)) if found.propensities is None else json.dumps(_rounded(found.propensities)),
        )

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 500 + len(self.items) + len(self.scores) + len(self.propensities)


class ImpressionLog:
    """Lists that were shown and wait to be written; of this process, used from its event loop.

    Args:
        writer: what writes.
        stats: counts what was written and what was lost.
        most: lists that may wait; further ones are dropped and counted as lost.
        tick: called before every writing.
    """

    def __init__(self, writer: Writer, stats: Stats, most: int, tick: Callable[[], None] = lambda: None) -> None:
        self._writer = writer
        self._stats = stats
        self._most = most
        self._tick = tick
        self._waiting: list[tuple[str, int, Shown]] = []
        self._writing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, shown: Shown, request_id: str) -> None:
        """Notes that a list is being shown now."""
        if len(self._waiting) >= self._most:
            self._stats.lost.inc()
            return
        self._waiting.append((request_id, int(time.time() * 1000), shown))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._gather())

    async def close(self) -> None:
        """Writes what waits."""
        if self._writing is not None:
            await self._writing
        await self._write()

    async def _gather(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_SECONDS)
            self._tick()
            await self._write()

    async def _write(self) -> None:
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        try:
            await self._writer.write(lambda connection: insert(connection, rows))
            self._stats.impressions.inc(len(rows))
        except LangrecError as error:
            self._stats.lost.inc(len(rows))
            _log.warning("%d impressions were not written: %s", len(rows), error.message)


def insert(connection: sa.Connection, rows: Sequence[tuple[str, int, Shown]]) -> None:
    """Writes shown lists with their request ids and times; those of a deleted user name nobody.

    A list that waited here while its user was deleted must not bring the name back.
    """
    gone = event_rows.deleted_among(connection, (s.user for _, _, s in rows if s.user is not None))
    values = [
        (
            request_id,
            s.kind,
            None if s.user in gone else s.user,
            at,
            s.release,
            s.offset,
            s.items,
            s.scores,
            s.propensities,
        )
        for request_id, at, s in rows
    ]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_INSERT, values)
        return
    as_json = {
        name: sa.cast(sa.bindparam(name, type_=sa.Text), sa.JSON) for name in ("items", "scores", "propensities")
    }
    statement = schema.impressions.insert().values({name: as_json.get(name, sa.bindparam(name)) for name in _COLUMNS})
    connection.execute(statement, [dict(zip(_COLUMNS, row, strict=True)) for row in values])


def _ones(n: int) -> str:
    """Without exploration a list is deterministic."""
    return "[" + ", ".join(["1.0"] * n) + "]"


def _rounded(chances: Any) -> list[float]:
    return [round(float(chance), 6) for chance in chances]
