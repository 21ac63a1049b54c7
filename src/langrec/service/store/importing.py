"""Brings a release's items, users and events into the store: in chunks, each with its progress in one transaction.

An interrupted import goes on where it stopped, two at once share the work, and a second one has nothing to do. What
somebody wrote or deleted in the store since stays as it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from langrec.errors import BundleError
from langrec.protocols import Progress, untold
from langrec.service.store.item_rows import StoredItem, put_items
from langrec.service.store.schema import events, items, removed_events, users
from langrec.service.store.store import Store, get_meta, next_number, set_meta, set_number, upsert
from langrec.types import Item

if TYPE_CHECKING:
    import polars as pl

    from langrec.data.catalogue import Catalogue

_TEXT_FIELDS = "text_fields"
# Not for filters: what an item has as its own, and marks of the cleaning.
_OWN_COLUMNS = ("item_id", "title", "categories", "image", "at", "hidden", "title_filled")


def import_release(
    store: Store,
    stamp: str,
    folder: Path,
    catalogue: Catalogue,
    *,
    chunk: int = 20_000,
    pause: float = 0.0,
    progress: Progress = untold,
) -> bool:
    """Imports a release, if the store has not got it yet.

    Args:
        stamp: the release's name.
        folder: its folder, with catalog/users.parquet and catalog/events.parquet.
        catalogue: its items.
        chunk: events, users or counts of a transaction; of items, which take longer, a quarter.
        pause: seconds between two transactions. Who waits for SQLite's lock looks every tenth of a second whether it is
            free: without a pause others would hardly ever get to write.
        progress: called with the part's name, rows done and rows in all.

    Returns:
        True where there was something to do.

    Raises:
        BundleError: a file is missing or unreadable.
    """
    name = f"import:{stamp}"
    with store.read() as connection:
        state = get_meta(connection, name)
    if state is not None and state.get("done"):
        return False
    logs = {part: _read(folder / "catalog" / f"{part}.parquet") for part in ("users", "events")}
    sizes = {"items": len(catalogue), "users": logs["users"].height, "events": logs["events"].height}
    for part, total in sizes.items():
        done = int((state or {}).get(part, 0))
        while done < total:
            stop = min(done + (chunk if part in logs else math.ceil(chunk / 4)), total)
            rows = logs[part].slice(done, stop - done) if part in logs else None
            stored = [StoredItem(item) for item in catalogue_items(catalogue, done, stop)] if rows is None else []
            with store.write() as connection:
                state = get_meta(connection, name) or {}
                if int(state.get(part, 0)) == done:  # another has not done it meanwhile
                    if rows is None:
                        put_items(connection, stored, source="release")
                    elif part == "users":
                        _put_users(connection, rows)
                    else:
                        _put_events(connection, rows)
                    set_meta(connection, name, {**state, part: stop})
                    done = stop
                else:
                    done = int(state[part])
            progress(part, done, total)
            time.sleep(pause)
    for table, key in ((users, users.c.user_id), (items, items.c.item_id)):
        after: str | None = ""
        while after is not None:
            with store.write() as connection:
                after = _count_again(connection, table, key, after, chunk)
            time.sleep(pause)
    with store.write() as connection:
        if not (get_meta(connection, name) or {}).get("done"):
            upto = connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0
            set_meta(connection, name, {**sizes, "done": True, "upto": int(upto)})
            set_meta(connection, _TEXT_FIELDS, list(catalogue.text_fields))
    return True


def is_imported(connection: sa.Connection, stamp: str) -> bool:
    """Whether the store holds the whole of a release."""
    return bool((get_meta(connection, f"import:{stamp}") or {}).get("done"))


def text_fields_of(connection: sa.Connection) -> tuple[str, ...]:
    """The text fields of the release that was imported last; none before the first."""
    return tuple(get_meta(connection, _TEXT_FIELDS) or ())


def imported_up_to(connection: sa.Connection, stamp: str) -> int:
    """The place in the log where the import of a release ended: what stands behind it is not the release's."""
    state = get_meta(connection, f"import:{stamp}") or {}
    if "upto" in state:
        return int(state["upto"])
    # An import that began before such places were noted: all that is there now may be its own.
    return int(connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0)


def catalogue_items(catalogue: Catalogue, start: int = 0, stop: int | None = None) -> Iterator[Item]:
    """The catalogue's rows as items, in the order of their numbers; empty fields are left out."""
    rows = catalogue.frame.slice(start, None if stop is None else stop - start)
    texts = set(catalogue.text_fields)
    rest = [name for name in rows.columns if name not in _OWN_COLUMNS and name not in texts]
    for row in rows.iter_rows(named=True):
        yield Item(
            id=row["item_id"],
            title=row["title"] or "",
            texts={name: row[name] for name in catalogue.text_fields if row.get(name)},
            categories=tuple(row["categories"] or ()),
            image=row.get("image") or "",
            at=-1 if row.get("at") is None else int(row["at"]),
            hidden=bool(row.get("hidden")),
            fields={name: value for name in rest if (value := plain(row[name])) is not None},
        )


def plain(value: Any) -> Any:
    """A field's value as JSON knows it; NaN and infinity are no values."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _read(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error


def _put_users(connection: sa.Connection, rows: pl.DataFrame) -> None:
    """Makes the users that are unknown; their fields become labels, also of a known one who has none yet."""
    if not rows.height:
        return
    revision = next_number(connection)
    statement = upsert(connection, users)
    bare = sa.or_(users.c.labels.is_(sa.null()), sa.cast(users.c.labels, sa.Text) == "null")
    told = sa.cast(statement.excluded.labels, sa.Text) != "null"
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"labels": statement.excluded.labels, "revision": statement.excluded.revision},
            where=sa.and_(users.c.deleted == sa.false(), bare, told),
        ),
        [
            {
                "user_id": row.pop("user_id"),
                "labels": {name: known for name, value in row.items() if (known := plain(value)) is not None} or None,
                "comment": "",
                "n_events": 0,
                "deleted": False,
                "revision": revision,
            }
            for row in rows.iter_rows(named=True)
        ],
    )


def _put_events(connection: sa.Connection, rows: pl.DataFrame) -> None:
    gone = set(connection.execute(sa.select(users.c.user_id).where(users.c.deleted == sa.true())).scalars())
    removed = {tuple(key) for key in connection.execute(sa.select(removed_events))}
    revision = next_number(connection)
    columns = [rows[name].to_list() for name in ("user_id", "item_id", "type", "value", "at")]
    new = [
        (user, item, kind, at, None if value is None or math.isnan(value) else value, "", revision)
        for user, item, kind, value, at in zip(*columns, strict=True)
        if user not in gone and (user, item, kind, at) not in removed
    ]
    if new:
        names = ("user_id", "item_id", "type", "at", "value", "comment", "revision")
        if connection.dialect.name == "sqlite":
            # Past the expression language: it would cost as much again as the writing.
            marks = ", ".join("?" * len(names))
            statement = f"INSERT OR IGNORE INTO events ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - constants
            connection.exec_driver_sql(statement, new)
        else:
            rows_of = [dict(zip(names, row, strict=True)) for row in new]
            connection.execute(upsert(connection, events).on_conflict_do_nothing(), rows_of)
        set_number(connection, "events", revision)


def _count_again(connection: sa.Connection, table: sa.Table, key: sa.Column[Any], after: str, n: int) -> str | None:
    """Counts the events of up to n users or items whose ids come after one; the last of these, None at the end."""
    ids = sa.select(key).where(key > after).order_by(key).limit(n).subquery()
    last = connection.execute(sa.select(sa.func.max(ids.c[key.name]))).scalar()
    if last is None:
        return None
    column = events.c[key.name]
    total = sa.select(sa.func.count()).select_from(events).where(column == key).scalar_subquery()
    connection.execute(table.update().where(key > after, key <= last, table.c.n_events != total).values(n_events=total))
    return str(last)
