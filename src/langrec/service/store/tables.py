"""Any table of the store as blocks of columns, the same from either database: what copies and dumps are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from langrec.service.store import schema
from langrec.service.store.bulk_rows import copy_rows
from langrec.service.store.store import COPYING

if TYPE_CHECKING:
    import polars as pl

# What a column holds, by the name that a dump has for it.
KINDS: dict[str, Any] = {
    "int": sa.BigInteger,
    "float": sa.Float,
    "bool": sa.Boolean,
    "bytes": sa.LargeBinary,
    "text": sa.Text,
    "json": sa.JSON,
}


@dataclass(frozen=True, slots=True)
class Described:
    """A table without its constraints.

    Attributes:
        name: the table's.
        columns: name -> int, float, bool, bytes, text or json.
        key: the columns of its primary key.
    """

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]

    def table(self) -> Any:
        """It, for statements."""
        return sa.table(self.name, *(sa.column(name, KINDS[kind]()) for name, kind in self.columns.items()))


def all_tables() -> list[Described]:
    """The tables of this langrec's schema; the last one says what copying is at."""
    found = [_described(table) for table in schema.metadata.sorted_tables if table is not schema.meta]
    return [*found, _described(schema.meta)]


def count(connection: sa.Connection, table: Described) -> int:
    """How many rows a table has, the mark of a copy left out."""
    source = table.table()
    return int(connection.execute(_kept(sa.select(sa.func.count()).select_from(source), source)).scalar_one())


def blocks(
    connection: sa.Connection, table: Described, after: Sequence[Any] | None = None, n: int = 20_000
) -> Iterator[pl.DataFrame]:
    """The rows in the order of their key, those behind one; JSON as its text."""
    source = table.table()
    key = sa.tuple_(*(source.c[name] for name in table.key))
    while True:
        query = _kept(sa.select(*(_read(source.c[name], kind) for name, kind in table.columns.items())), source)
        if after is not None:
            place = zip(table.key, after, strict=True)
            query = query.where(key > sa.tuple_(*(sa.literal(one, source.c[name].type) for name, one in place)))
        rows = connection.execute(query.order_by(*(source.c[name] for name in table.key)).limit(n)).all()
        if rows:
            yield frame_of(table, rows)
            after = last_key(table, rows[-1]._mapping)
        if len(rows) < n:
            return


def last_key(table: Described, row: Mapping[Any, Any]) -> list[Any]:
    """The key of a row."""
    return [row[name] for name in table.key]


def frame_of(table: Described, rows: Sequence[Any]) -> pl.DataFrame:
    """Rows as columns of the table's kinds."""
    import polars as pl

    kinds = {
        "int": pl.Int64,
        "float": pl.Float64,
        "bool": pl.Boolean,
        "bytes": pl.Binary,
        "text": pl.Utf8,
        "json": pl.Utf8,
    }
    wanted = {name: kinds[kind] for name, kind in table.columns.items()}
    return pl.DataFrame([tuple(row) for row in rows], schema=wanted, orient="row")


def append(connection: sa.Connection, table: Described, frame: pl.DataFrame) -> None:
    """Writes rows that are not there yet."""
    copy_rows(connection, table.name, list(table.columns), frame.iter_rows())


def digest(frames: Iterable[pl.DataFrame]) -> tuple[int, int]:
    """(rows, a sum over the rows' hashes), whatever their order; comparable within one process."""
    rows, total = 0, 0
    for frame in frames:
        rows += frame.height
        total = (total + sum(frame.hash_rows(seed=7).to_list())) % (1 << 64)
    return rows, total


def set_sequences(connection: sa.Connection, tables: Sequence[Described]) -> None:
    """Makes PostgreSQL's next numbers of arrival go on behind those that are there; SQLite sees to it itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables:
        if table.key == ("seq",):
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', 'seq'), "  # noqa: S608 - names of our tables
                f"(SELECT coalesce(max(seq), 0) + 1 FROM {table.name}), false)"
            )


def _described(table: sa.Table) -> Described:
    columns = {column.name: _kind(column.type) for column in table.columns}
    return Described(table.name, columns, tuple(column.name for column in table.primary_key.columns))


def _kind(type_: sa.types.TypeEngine[Any]) -> str:
    for name, kind in (
        ("bool", sa.Boolean),
        ("json", sa.JSON),
        ("bytes", sa.LargeBinary),
        ("float", sa.Float),
        ("int", sa.Integer),
    ):
        if isinstance(type_, kind):
            return name
    return "text"


def _kept(query: Any, source: Any) -> Any:
    return query.where(source.c.name != COPYING) if source.name == schema.meta.name else query


def _read(column: sa.ColumnElement[Any], kind: str) -> sa.ColumnElement[Any]:
    # The text as it stands: null as JSON and no value at all are two things.
    return sa.cast(column, sa.Text).label(column.name) if kind == "json" else column
