"""RecBole atomic files: tab-separated, a header of `name:type`, no quoting."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from langrec.data.sources.delimited import read_delimited
from langrec.data.sources.encodings import AUTO
from langrec.data.sources.table import Table
from langrec.errors import DataError

SUFFIXES = (".inter", ".item", ".user")


def read_atomic(path: Path, encoding: str = AUTO) -> Table:
    """Reads one .inter, .item or .user file. Columns of the type token_seq become lists; all else stays a string.

    Titles and other free texts are token_seq too; they are put together again where they are read as texts.

    Raises:
        DataError: the header is not of the form `name:type`.
    """
    table = read_delimited(path, quotes=False, delimiter="\t", encoding=encoding)
    parts = (column.rpartition(":") for column in table.frame.columns)
    kinds = {name or kind: kind if name else "" for name, _, kind in parts}
    if not any(kinds.values()):
        raise DataError(f"{path}: not a RecBole file; its header needs name:type, such as user_id:token")
    frame = table.frame.rename({column: column.rsplit(":", 1)[0] for column in table.frame.columns})
    frame = frame.with_columns(
        pl.col(name).str.split(" ") for name, kind in kinds.items() if kind == "token_seq" and name not in _TEXTS
    )
    return Table(path, frame, "recbole", table.rows, table.refused, table.notes)


_TEXTS = ("movie_title", "title", "name", "description", "overview", "text", "brand")
