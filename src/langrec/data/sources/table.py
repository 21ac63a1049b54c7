"""A table as a reader hands it on: raw columns, where they came from, and the rows that could not be read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that a reader could not make sense of: its 0-based place among the file's data rows, and why."""

    row: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Raw columns of one file.

    Attributes:
        path: the file.
        frame: its columns as they were found; text files give strings.
        kind: the reader's name.
        rows: (height,) Int64 0-based data row of each line of the frame; None = 0, 1, 2, ...
        refused: rows that are not in the frame.
        notes: what was odd about the file as a whole (encoding, duplicate columns), one sentence each.
    """

    path: Path
    frame: pl.DataFrame
    kind: str
    rows: pl.Series | None = None
    refused: Sequence[Refused] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    def with_single(self, names: Collection[str]) -> Table:
        """The table whose columns of these names hold one value a row; lists become their parts with spaces between."""
        nested = [name for name in names if self.frame.schema[name].is_nested()]
        if not nested:
            return self
        columns = [_single(self.frame[name]) for name in nested]
        return replace(self, frame=self.frame.with_columns(columns))

    def row_numbers(self) -> pl.Series:
        """(height,) Int64 0-based data rows."""
        if self.rows is not None:
            return self.rows.cast(pl.Int64)
        return pl.int_range(self.frame.height, dtype=pl.Int64, eager=True).alias("row")


def _single(column: pl.Series) -> pl.Series:
    if column.dtype == pl.List(pl.String):
        return column.list.drop_nulls().list.join(" ")
    return pl.Series(column.name, [None if value is None else str(value) for value in column.to_list()], pl.String)
