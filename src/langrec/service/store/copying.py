"""A whole store from one database or dump into another database, block by block, counted and compared.

The target says until the end that it is not whole, and no server opens it before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from langrec.errors import StoreError
from langrec.protocols import Progress, untold
from langrec.service.store import schema, tables
from langrec.service.store.store import COPYING, Store, get_meta, number, set_meta
from langrec.service.store.tables import Described

if TYPE_CHECKING:
    import polars as pl


class Source(Protocol):
    """Where rows come from: a store, or a dump."""

    name: str
    tables: list[Described]

    def count(self, table: Described) -> int:
        """How many rows a table has."""

    def blocks(self, table: Described, place: Any) -> Iterator[tuple[pl.DataFrame, Any]]:
        """The rows behind a place (None: all), in blocks, each with the place behind it."""


def copy_store(source_url: str, target_url: str, *, progress: Progress = untold) -> dict[str, int]:
    """Copies a store; a copy that was interrupted goes on. Stop its servers, or the sides differ in the end.

    Args:
        source_url: the store.
        target_url: a database that holds no store yet, or the beginning of this copy.
        progress: called with the table, rows done, and in all.

    Returns:
        Rows by table: counted and compared on both sides.

    Raises:
        StoreError: the target holds a store; or the sides differ in the end.
    """
    source, target = Store(source_url, create=None), Store(target_url, any_state=True)
    with closing(source), closing(target), source.read() as connection:
        return pour(_StoreSource(source, connection), target, progress)


def pour(source: Source, target: Store, progress: Progress) -> dict[str, int]:
    """Writes all rows of a source to a target, goes on where one stopped, and compares the two."""
    with target.write() as connection:
        state = get_meta(connection, COPYING)
        if state is None:
            _check_empty(connection, target)
            state = {"source": source.name, "done": [], "place": None}
            connection.execute(schema.meta.delete())
            set_meta(connection, COPYING, state)
    if state["source"] != source.name:
        raise StoreError(
            f"{target.shown}: holds the beginning of a copy of {state['source']}; go on with that, or clear it"
        )
    for table in source.tables:
        if table.name in state["done"]:
            continue
        total = source.count(table)
        with target.read() as connection:
            rows = tables.count(connection, table)
        for frame, place in source.blocks(table, state["place"]):
            with target.write() as connection:
                tables.append(connection, table, frame)
                state = {**state, "place": place}
                set_meta(connection, COPYING, state)
            rows += frame.height
            progress(table.name, rows, total)
        with target.write() as connection:
            state = {**state, "done": [*state["done"], table.name], "place": None}
            set_meta(connection, COPYING, state)
    counts = _compare(source, target, progress)
    with target.write() as connection:
        tables.set_sequences(connection, source.tables)
        connection.execute(schema.meta.delete().where(schema.meta.c.name == COPYING))
    return counts


def _check_empty(connection: sa.Connection, target: Store) -> None:
    if number(connection, "revision") or connection.execute(sa.select(schema.audit.c.seq).limit(1)).first():
        raise StoreError(
            f"{target.shown}: holds a store already, and no unfinished copy; name an empty database", field="store"
        )


def _compare(source: Source, target: Store, progress: Progress) -> dict[str, int]:
    counts = {}
    with target.read() as connection:
        for table in source.tables:
            total = source.count(table)
            progress(f"compare {table.name}", 0, total)
            theirs = tables.digest(frame for frame, _ in source.blocks(table, None))
            ours = tables.digest(tables.blocks(connection, table))
            if theirs != ours:
                raise StoreError(
                    f"{target.shown}: table {table.name} has {ours[0]} rows with checksum {ours[1]:x}, "
                    f"{source.name} has {theirs[0]} with {theirs[1]:x}: something wrote to one of them; "
                    "stop the servers and copy into an empty database"
                )
            counts[table.name] = ours[0]
            progress(f"compare {table.name}", total, total)
    return counts


class _StoreSource:
    """The rows of a store, in one state of it."""

    def __init__(self, store: Store, connection: sa.Connection) -> None:
        self.name = store.shown
        self.tables = tables.all_tables()
        self._connection = connection

    def count(self, table: Described) -> int:
        return tables.count(self._connection, table)

    def blocks(self, table: Described, place: Any) -> Iterator[tuple[pl.DataFrame, Any]]:
        for frame in tables.blocks(self._connection, table, place):
            yield frame, tables.last_key(table, frame.row(-1, named=True))
