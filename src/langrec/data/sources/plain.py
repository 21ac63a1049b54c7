"""Columns of a typed table as the few kinds that are read on: strings, numbers, truth values, times, lists of these."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from langrec.data.sources.jsonl import flat


def plain_columns(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """The frame with plain columns, and a note for each column that had to be left out.

    Categories are strings; so are bytes, where they are UTF-8. An inner object is its JSON text, and a list of lists or
    of objects one flat list of strings, as in JSON lines.
    """
    columns: list[pl.Series] = []
    notes: list[str] = []
    for column in frame:
        try:
            columns.append(_plain(column))
        except pl.exceptions.ComputeError:  # of casts that lose values this one alone raises
            notes.append(f"the column {column.name} holds bytes that are no text; it is left out")
    return pl.DataFrame(columns), notes


def _plain(column: pl.Series) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, pl.Array):
        return _plain(column.arr.to_list())
    if isinstance(dtype, pl.Struct):
        return pl.Series(column.name, [_object(value) for value in column.to_list()], pl.String)
    if isinstance(dtype, pl.List):
        if dtype.inner.is_nested():
            values = [None if value is None else flat(_json(value)) for value in column.to_list()]
            return pl.Series(column.name, values, pl.List(pl.String))
        if dtype.inner.is_numeric() or dtype.inner in (pl.String, pl.Boolean):
            return column
        return column.list.eval(pl.element().cast(pl.String, strict=False))
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Binary, pl.Time)):
        return column.cast(pl.String, strict=False)
    if isinstance(dtype, pl.Duration):
        return column.dt.to_string("iso")
    return column


def _object(value: dict[str, Any] | None) -> str | None:
    if value is None or all(part is None for part in value.values()):
        return None
    return json.dumps(_json(value), ensure_ascii=False)


def _json(value: Any) -> Any:
    """A value as JSON knows it: what it does not know (dates, decimals) becomes a string."""
    return json.loads(json.dumps(value, ensure_ascii=False, default=str))
