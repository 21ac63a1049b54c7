"""A table in memory, as a notebook holds it: a data frame of Polars or pandas, or whatever hands out Arrow columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from langrec.data.sources.plain import plain_columns
from langrec.data.sources.table import Table
from langrec.data.sources.tables import Keep
from langrec.errors import DataError


def read_frame(given: Any, name: str, keep: Keep | None = None) -> Table:
    """The table of a data frame.

    Args:
        given: of Polars or pandas, or anything with `__arrow_c_stream__` (a pyarrow table, a DuckDB relation).
        name: what findings and errors call it.
        keep: picks the columns that are worth reading from the names of all; None reads all.

    Raises:
        DataError: it is none of these.
    """
    frame, notes = _as_polars(given, name)
    if keep is not None:
        frame = frame.select(keep(frame.columns))
    frame, more = plain_columns(frame)
    return Table(Path(name), frame, "data frame", notes=[*notes, *more])


def _as_polars(given: Any, name: str) -> tuple[pl.DataFrame, list[str]]:
    if isinstance(given, pl.DataFrame):
        return given, []
    if isinstance(given, pl.LazyFrame):
        raise DataError(f"{name}: is a lazy frame; give what its collect() makes")
    if type(given).__module__.partition(".")[0] == "pandas" and hasattr(given, "columns"):
        return _of_pandas(given)
    if hasattr(given, "__arrow_c_stream__"):
        return pl.DataFrame(given), []
    kind = type(given).__name__
    raise DataError(f"{name}: is a {kind}; give a path, or a data frame of Polars, pandas or Arrow")


def _of_pandas(given: Any) -> tuple[pl.DataFrame, list[str]]:
    """Column by column: what Polars itself does needs pyarrow, which pandas comes without."""
    named = [one for one in given.index.names if one is not None and one not in given.columns]
    if named:  # as groupby and set_index leave it: the index is a column that went aside
        given = given.reset_index(level=named)
    columns: dict[str, pl.Series] = {}
    notes = []
    for label, column in given.items():
        if str(label) in columns:
            notes.append(f"the column {label} is there more than once; the first is used")
        else:
            columns[str(label)] = _series(str(label), column)
    return pl.DataFrame(list(columns.values())), notes


def _series(name: str, column: Any) -> pl.Series:
    kind = getattr(column.dtype, "kind", "O")
    if kind == "M":
        if getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return pl.Series(name, column.to_numpy(dtype="datetime64[us]"))
    missing = column.isna().to_numpy()
    if kind in "iufb" and not missing.any():
        return pl.Series(name, column.to_numpy())
    if kind == "f":
        return pl.Series(name, column.to_numpy(dtype="float64", na_value=float("nan")), nan_to_null=True)
    values = [None if gone else value for value, gone in zip(column.astype(object), missing, strict=True)]
    # Of a column of several kinds Polars keeps the first and empties the others.
    if len({type(value) for value in values} - {type(None)}) > 1:
        values = [value if value is None or isinstance(value, (list, tuple, dict)) else str(value) for value in values]
    try:
        return pl.Series(name, values)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if value is None else str(value) for value in values])
