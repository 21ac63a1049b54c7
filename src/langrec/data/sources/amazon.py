"""Amazon review files (the 2014, 2018 and 2023 layouts): reviews as events, product metadata as items."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from langrec.data.sources.encodings import AUTO
from langrec.data.sources.jsonl import read_jsonl
from langrec.data.sources.table import Table

_IMAGES = ("imUrl", "imageURLHighRes", "imageURL", "images")
_SIZES = ("hi_res", "large", "thumb")


def read_amazon(path: Path, encoding: str = AUTO) -> Table:
    """Reads reviews or metadata, JSON lines, plain or .gz.

    Column names go through the usual aliases (reviewerID, asin, overall, unixReviewTime; user_id, parent_asin, rating,
    timestamp in milliseconds). Of a product's images the first address is kept.
    """
    return adapt_amazon(read_jsonl(path, encoding))


def adapt_amazon(table: Table) -> Table:
    """A JSON lines table with the one column that needs it, the images, made plain; other tables pass unchanged."""
    frame = table.frame
    if not {"asin", "parent_asin"} & set(frame.columns) or "image" in frame.columns:
        return table
    images = next((name for name in _IMAGES if name in frame.columns), None)
    if images is None:
        return table
    column = frame[images]
    if column.dtype == pl.List(pl.String):
        column = column.list.first()
    addresses = pl.Series("image", [_address(value) for value in column.cast(pl.String)], dtype=pl.String)
    frame = frame.drop(images).with_columns(addresses)
    return Table(table.path, frame, "amazon", table.rows, table.refused, table.notes)


def _address(value: str | None) -> str | None:
    """The largest picture of {"large": ..., "thumb": ...}, or the value itself where it is an address already."""
    if value is None or not value.startswith("{"):
        return value
    try:
        sizes = json.loads(value)
    except ValueError:
        return None
    return next((str(sizes[size]) for size in _SIZES if sizes.get(size)), None)
