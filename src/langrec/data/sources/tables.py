"""One file of any kind to a table: Parquet, JSON lines, RecBole or delimited text, by suffix and content."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import polars as pl

from langrec.data.sources.delimited import read_delimited
from langrec.data.sources.encodings import AUTO
from langrec.data.sources.opening import check_readable, read_bytes, suffixes
from langrec.data.sources.plain import plain_columns
from langrec.data.sources.recbole import SUFFIXES, read_atomic
from langrec.data.sources.table import Table
from langrec.errors import DataError

Keep = Callable[[list[str]], list[str]]


def read_table(path: Path, keep: Keep | None = None, encoding: str = AUTO, known: Collection[str] = ()) -> Table:
    """Reads a file.

    Args:
        path: the file; .gz is unpacked.
        keep: picks the columns that are worth reading from the names of all (Parquet only: other formats are read
            whole); None reads all.
        encoding: what a text is in that is not UTF-8; auto finds out.
        known: columns beside those that langrec knows, by which the delimiter of a text table is told.

    Raises:
        DataError: the file cannot be read or is not a table; the message names it and a way out.
    """
    check_readable(path)
    suffix = suffixes(path)
    head = read_bytes(path, 4096)
    if head[:4] == b"PAR1" or suffix == ".parquet":
        return _read_parquet(path, keep)
    if suffix in SUFFIXES:
        return read_atomic(path, encoding)
    if suffix in (".jsonl", ".ndjson", ".json") or head.lstrip()[:1] == b"{":
        from langrec.data.sources.amazon import read_amazon

        return read_amazon(path, encoding)
    return read_delimited(path, encoding=encoding, known=known)


def _read_parquet(path: Path, keep: Keep | None) -> Table:
    try:
        # A damaged page makes Polars panic, which is no Exception.
        names = list(pl.read_parquet_schema(path))
        frame = pl.read_parquet(path, columns=keep(names) if keep else None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file ({reason}); write it again") from error
    frame, notes = plain_columns(frame)
    return Table(path, frame, "parquet", notes=notes)
