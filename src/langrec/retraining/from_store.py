"""The store as a data set: what is there now, without what somebody deleted."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from langrec.data.cleaning import Ledger
from langrec.data.dataset import Dataset
from langrec.data.events import DAY_MS
from langrec.data.load import dataset_of
from langrec.data.report import Step
from langrec.data.sources.table import Table
from langrec.service.store.item_rows import StoredItem, page_items
from langrec.service.store.schema import events, items
from langrec.service.store.store import Store, number
from langrec.settings import DataSettings

_CHUNK = 50_000
# What an interrupted run had taken is good for so long: a later run is there for what has come since.
KEPT_MS = DAY_MS
_OWN = ("item_id", "title", "categories", "image", "at", "hidden")


@dataclass(frozen=True, slots=True)
class Taken:
    """What of the store a data set holds.

    Attributes:
        revision: everything up to this revision.
        removals: what had been deleted up to this revision is not in it.
        n_events: events.
        newest: time of the newest event in epoch milliseconds; None without events.
        at: when it was taken.
        text_fields: of the items.
    """

    revision: int
    removals: int
    n_events: int
    newest: int | None
    at: int = 0
    text_fields: tuple[str, ...] = ()


def take(store: Store, folder: Path, text_fields: tuple[str, ...]) -> Taken:
    """Writes the store's items and events to a folder, as one state of it; an interrupted run goes on from there.

    A folder that holds such files already is left as it is, unless somebody deleted something since, other texts are
    wanted, or it is a day old.
    """
    now = int(time.time() * 1000)
    with store.read() as connection:
        removals = number(connection, "removals")
        about = _about(folder)
        same = about is not None and (about.removals, about.text_fields) == (removals, text_fields)
        if about is not None and same and 0 <= now - about.at < KEPT_MS:
            return about
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "about.json").unlink(missing_ok=True)
        revision = number(connection, "revision")
        frame = _items(_all_items(connection), text_fields)
        frame.write_parquet(folder / "items.parquet")
        log = _events(connection)
        log.write_parquet(folder / "events.parquet")
        newest = log["timestamp"].max()
    last = None if newest is None else int(newest)  # type: ignore[arg-type]
    taken = Taken(revision, removals, log.height, last, now, text_fields)
    (folder / "about.json").write_text(json.dumps({name: getattr(taken, name) for name in Taken.__slots__}), "utf-8")
    return taken


def read(folder: Path, text_fields: tuple[str, ...], settings: DataSettings) -> tuple[Dataset, tuple[Step, ...]]:
    """The data set of a folder that `take` wrote, cleaned by the settings, and what cleaning found."""
    ledger = Ledger(settings.strict)
    log = Table(folder / "events.parquet", pl.read_parquet(folder / "events.parquet"), "store")
    dataset = dataset_of(ledger, log, pl.read_parquet(folder / "items.parquet"), text_fields, settings)
    return dataset, tuple(ledger.steps)


def _about(folder: Path) -> Taken | None:
    try:
        found = Taken(**json.loads((folder / "about.json").read_text("utf-8")))
        return replace(found, text_fields=tuple(found.text_fields))
    except (OSError, ValueError, TypeError):
        return None


def _all_items(connection: sa.Connection) -> list[StoredItem]:
    found: list[StoredItem] = []
    while page := page_items(connection, found[-1].item.id if found else "", _CHUNK):
        found.extend(page)
    return found


def _items(stored: list[StoredItem], text_fields: tuple[str, ...]) -> pl.DataFrame:
    """One row per item; texts that are no field of the release stand among the others, and are not read."""
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for one in stored:
        item = one.item
        extra = {
            name: value
            for name, value in {**item.fields, **item.texts}.items()
            if name not in _OWN and name not in text_fields
        }
        names |= dict.fromkeys(extra)
        rows.append(
            {
                "item_id": item.id,
                "title": item.title,
                **{name: item.texts.get(name, "") for name in text_fields},
                "categories": list(item.categories),
                "image": item.image,
                "at": None if item.at == -1 else item.at,
                "hidden": item.hidden,
                **extra,
            }
        )
    schema: dict[str, Any] = {"item_id": pl.String, "title": pl.String}
    schema |= dict.fromkeys(text_fields, pl.String)
    schema |= {"categories": pl.List(pl.String), "image": pl.String, "at": pl.Int64, "hidden": pl.Boolean}
    columns: dict[str, pl.Series] = {
        name: pl.Series(name, [row[name] for row in rows], dtype=kind) for name, kind in schema.items()
    }
    for name in names:
        columns[name] = _column(name, [row.get(name) for row in rows])
    return pl.DataFrame(list(columns.values()))


def _column(name: str, values: list[Any]) -> pl.Series:
    """Values of one kind as they are; of several kinds as text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) <= 1 and kinds <= {str, bool}):
        return pl.Series(name, values, dtype=pl.Float64 if float in kinds else None, strict=False)
    if kinds == {list} and all(isinstance(part, str) for value in values if value for part in value):
        return pl.Series(name, values, dtype=pl.List(pl.String))
    shown = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(name, shown, dtype=pl.String)


def _events(connection: sa.Connection) -> pl.DataFrame:
    """The log in the order of time; events of items that somebody deleted are left out."""
    schema = {
        "user_id": pl.String,
        "item_id": pl.String,
        "type": pl.String,
        "timestamp": pl.Int64,
        "value": pl.Float64,
        "seq": pl.Int64,
    }
    columns = (events.c.user_id, events.c.item_id, events.c.type, events.c.at, events.c.value, events.c.seq)
    gone = sa.select(items.c.item_id).where(items.c.deleted == sa.true())
    parts, after = [pl.DataFrame(schema=schema)], 0
    while True:
        query = sa.select(*columns).where(events.c.seq > after, events.c.item_id.not_in(gone)).order_by(events.c.seq)
        rows = [tuple(row) for row in connection.execute(query.limit(_CHUNK))]
        if not rows:
            break
        parts.append(pl.DataFrame(rows, schema=schema, orient="row"))
        after = rows[-1][-1]
    return pl.concat(parts).sort("timestamp", "seq").drop("seq")
