"""Files into the store and out of it: users, items or events in JSON lines or Parquet, block by block.

The place in a file is kept in the store, in the transaction of the block that was written: an import that was killed
goes on behind the last block, and no row is written twice. Rows that cannot be taken are kept with place and reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from langrec.errors import DataError
from langrec.protocols import Progress, untold
from langrec.service import bulk_shapes
from langrec.service.bulk_shapes import Refused
from langrec.service.store import event_rows, item_rows
from langrec.service.store.bulk_rows import put_many_events
from langrec.service.store.importing import text_fields_of
from langrec.service.store.schema import events, items, refused_rows, users
from langrec.service.store.store import Store, get_meta, set_meta, upsert

if TYPE_CHECKING:
    import polars as pl

KINDS = ("users", "items", "events")
_LONGEST = 2000  # characters of a refused row that are kept


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, the parts before an interruption included.

    Attributes:
        rows: rows of the file.
        refused: those that were not taken; `refused_of` gives them.
        source: under which name the store keeps them.
        again: False where the file had been imported wholly before and nothing was done.
    """

    rows: int
    refused: int
    source: str
    again: bool = True


def import_file(
    store: Store,
    path: Path,
    kind: str,
    *,
    block: int = 20_000,
    repeat: bool = False,
    progress: Progress = untold,
) -> Imported:
    """Imports a file; one that was interrupted goes on, one that is done is left alone.

    Args:
        store: where to.
        path: `.jsonl` (or `.ndjson`), or `.parquet`.
        kind: users, items or events. Rows are those of the bodies in docs/http.md, or have the columns of langrec's
            own files. What is there already is overwritten. Labels of items that are text fields of the release in the
            store are read as text, beside the usual ones.
        block: rows of a transaction.
        repeat: import a file again that was imported before.
        progress: called with what, bytes or rows done, and in all.

    Raises:
        DataError: the file is absent, or of another kind.
    """
    source, reader = _source(path, kind)
    name = f"bulk:{kind}:{source}"
    with store.write() as connection:
        state, text_fields = get_meta(connection, name), text_fields_of(connection)
        if state is None or (repeat and state["done"]):
            state = {"rows": 0, "place": 0, "refused": 0, "done": False}
            connection.execute(refused_rows.delete().where(refused_rows.c.source == name))
            set_meta(connection, name, state)
    if state["done"]:
        return Imported(state["rows"], state["refused"], name, again=False)
    total = reader.total()
    for number, rows, place in reader.blocks(state["rows"], state["place"], block):
        taken, refused = bulk_shapes.parse(kind, rows, number, text_fields)
        with store.write() as connection:
            if get_meta(connection, name) != state:
                raise DataError(
                    f"{path}: somebody else imports it at this moment; let one of the two go on", field="path"
                )
            put(connection, kind, taken)
            keep_refused(connection, name, refused)
            state = {
                "rows": state["rows"] + len(rows),
                "place": place,
                "refused": state["refused"] + len(refused),
                "done": False,
            }
            set_meta(connection, name, state)
        progress(f"import {kind}", place, total)
    with store.write() as connection:
        set_meta(connection, name, {**state, "done": True})
    return Imported(state["rows"], state["refused"], name)


def put(connection: sa.Connection, kind: str, taken: Sequence[Any]) -> int:
    """Writes parsed rows over what is there; how many."""
    if kind == "events":
        put_many_events(connection, taken)
    elif kind == "users":
        event_rows.put_users(connection, taken)
    else:
        item_rows.put_items(connection, taken)
    return len(taken)


def keep_refused(connection: sa.Connection, source: str, refused: Sequence[Refused]) -> None:
    """Notes the rows of a source that were not taken."""
    if refused:
        connection.execute(
            upsert(connection, refused_rows).on_conflict_do_nothing(),
            [{"source": source, "row": r.row, "reason": r.reason, "data": r.data[:_LONGEST]} for r in refused],
        )


def refused_of(connection: sa.Connection, source: str) -> list[Refused]:
    """The rows of a source that were not taken, in their order."""
    query = sa.select(refused_rows).where(refused_rows.c.source == source).order_by(refused_rows.c.row)
    return [Refused(row["row"], row["reason"], row["data"]) for row in connection.execute(query).mappings()]


def export_file(
    store: Store,
    path: Path,
    kind: str,
    *,
    block: int = 50_000,
    progress: Progress = untold,
) -> int:
    """Writes all users, items or events to a file, as one state of the store has them; it is there when it is whole.

    Args:
        store: where from.
        path: `.jsonl` or `.parquet`.
        kind: users, items or events.
        block: rows read at once.
        progress: called with what, rows done, and in all.

    Returns:
        How many rows were written.
    """
    _check(path, kind)
    part = path.with_name(f"{path.name}.part")
    done = 0
    table = {"users": users, "items": items, "events": events}[kind]
    try:
        with store.read() as connection:
            total = int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            with _writer_of(part, path.suffix, kind) as write:
                for rows in pages(connection, kind, block):
                    write(rows)
                    done += len(rows)
                    progress(f"export {kind}", done, max(total, done))
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
    return done


def pages(connection: sa.Connection, kind: str, block: int) -> Iterator[list[dict[str, Any]]]:
    """All rows of a kind as JSON, in blocks: events in the order of arrival, users and items in that of their ids."""
    after: Any = 0 if kind == "events" else ""
    while True:
        if kind == "events":
            found: Sequence[Any] = event_rows.find_events(connection, after=after, n=block)
        elif kind == "users":
            found = event_rows.page_users(connection, after, block)
        else:
            found = item_rows.page_items(connection, after, block)
        if found:
            yield [bulk_shapes.shown(kind, one) for one in found]
        if len(found) < block:
            return
        after = found[-1].seq if kind == "events" else found[-1].item.id if kind == "items" else found[-1].id


@dataclass(frozen=True, slots=True)
class _JsonLines:
    path: Path

    def total(self) -> int:
        return self.path.stat().st_size

    def blocks(self, rows: int, place: int, block: int) -> Iterator[tuple[int, list[tuple[Any, str]], int]]:
        """(number of the first row, rows, place behind them) from a place on."""
        with self.path.open("rb") as file:
            file.seek(place)
            while lines := list(islice(file, block)):
                place += sum(map(len, lines))
                yield rows + 1, [bulk_shapes.parse_line(line) for line in lines], place
                rows += len(lines)


@dataclass(frozen=True, slots=True)
class _Parquet:
    path: Path

    def total(self) -> int:
        import polars as pl

        return int(pl.scan_parquet(self.path).select(pl.len()).collect().item())

    def blocks(self, rows: int, place: int, block: int) -> Iterator[tuple[int, list[tuple[Any, str]], int]]:
        import polars as pl

        # JSON columns of an export say so in the file's own words.
        packed = json.loads(pl.read_parquet_metadata(self.path).get("langrec_json", "[]"))
        for start in range(place, self.total(), block):
            frame = pl.scan_parquet(self.path).slice(start, block).collect()
            found = []
            for row in frame.iter_rows(named=True):
                row.update({name: json.loads(row[name]) for name in packed if row.get(name) is not None})
                found.append((row, ""))
            yield start + 1, found, start + len(found)


def _source(path: Path, kind: str) -> tuple[str, _JsonLines | _Parquet]:
    """What tells a file from others, and who reads it."""
    _check(path, kind)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file", field="path")
    known = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        known.update(file.read(1 << 20))
    found = path.stat()
    # A line that was mended in place leaves the size as it was.
    known.update(f"{found.st_size} {found.st_mtime_ns}".encode())
    reader = _Parquet(path) if path.suffix == ".parquet" else _JsonLines(path)
    return f"{path.resolve()}:{known.hexdigest()}", reader


def _check(path: Path, kind: str) -> None:
    if kind not in KINDS:
        raise DataError(f"kind: {kind!r} is not one of {', '.join(KINDS)}", field="kind")
    if path.suffix not in (".jsonl", ".ndjson", ".parquet"):
        raise DataError(
            f"{path}: ends with none of .jsonl, .ndjson, .parquet; write it as JSON lines or Parquet", field="path"
        )


@contextlib.contextmanager
def _writer_of(path: Path, suffix: str, kind: str) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """What appends rows to a new file."""
    if suffix == ".parquet":
        import polars as pl

        packed = [name for name in ("Labels", "Texts", "Fields") if name in bulk_shapes.columns(kind)]
        # A Parquet file cannot grow: blocks are files of their own until all are there.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            numbers = count()
            first = Path(folder) / f"{next(numbers):06d}.parquet"
            _frame([], kind, packed).write_parquet(first)
            yield lambda rows: _frame(rows, kind, packed).write_parquet(Path(folder) / f"{next(numbers):06d}.parquet")
            found = pl.scan_parquet(sorted(Path(folder).glob("*.parquet")))
            found.sink_parquet(path, metadata={"langrec_json": json.dumps(packed)})
        return
    with path.open("wb") as file:
        yield lambda rows: file.writelines(line_of(row) for row in rows)


def line_of(row: dict[str, Any]) -> bytes:
    """A row of JSON lines."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def _frame(rows: list[dict[str, Any]], kind: str, packed: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    typed: dict[str, Any] = {"Value": pl.Float64, "IsHidden": pl.Boolean, "Categories": pl.List(pl.Utf8)}
    schema = {name: typed.get(name, pl.Utf8) for name in bulk_shapes.columns(kind)}
    plain = [{**row, **{name: json.dumps(row[name], ensure_ascii=False) for name in packed}} for row in rows]
    return pl.DataFrame(plain, schema=schema)
