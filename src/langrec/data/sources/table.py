"""A table as a reader hands it on: raw columns, where they came from, and the rows that could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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

    def row_numbers(self) -> pl.Series:
        """(height,) Int64 0-based data rows."""
        if self.rows is not None:
            return self.rows.cast(pl.Int64)
        return pl.int_range(self.frame.height, dtype=pl.Int64, eager=True).alias("row")
