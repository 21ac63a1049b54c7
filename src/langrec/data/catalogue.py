"""The catalogue: items with their titles, texts, categories and the other fields that filters use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl

from langrec.data.ids import Ids
from langrec.errors import DataError
from langrec.types import IntVector, TimeVector

STANDARD_FIELDS = ("item_id", "title", "categories", "image", "price", "at")


class Catalogue:
    """Items in the order of their numbers.

    Args:
        frame: one row per item. `item_id` (str) and `title` (str, may be empty) always; `categories` (list of str);
            further str columns named in `text_fields` are texts to read; all other columns are kept for filters.
        text_fields: names of the further text columns, in reading order.

    Raises:
        DataError: a column that is always needed is absent; an id that occurs twice, at its first look-up (`Ids`).
    """

    def __init__(self, frame: pl.DataFrame, text_fields: Sequence[str] = ()) -> None:
        missing = [name for name in ("item_id", "title") if name not in frame.columns]
        if missing:
            raise DataError(f"the catalogue needs the columns {', '.join(missing)}", field=missing[0])
        if "categories" not in frame.columns:
            frame = frame.with_columns(pl.lit([], dtype=pl.List(pl.String)).alias("categories"))
        self.frame = frame
        self.text_fields = tuple(text_fields)

    def __len__(self) -> int:
        return self.frame.height

    def __repr__(self) -> str:
        return f"<Catalogue: {len(self):,} items with {', '.join(self.frame.columns)}>"

    @cached_property
    def ids(self) -> Ids:
        """Item ids and numbers."""
        return Ids(self.frame["item_id"].to_numpy())

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """n titles; an item without one shows its id."""
        return tuple(title or item for title, item in zip(self.frame["title"], self.frame["item_id"], strict=True))

    @cached_property
    def categories(self) -> tuple[tuple[str, ...], ...]:
        """n tuples of categories."""
        return tuple(tuple(row or ()) for row in self.frame["categories"].to_list())

    @cached_property
    def times(self) -> TimeVector:
        """(n,) int64 epoch milliseconds of the item's own time, -1 where unknown."""
        if "at" not in self.frame.columns:
            return np.full(len(self), -1, dtype=np.int64)
        return self.frame["at"].cast(pl.Int64).fill_null(-1).to_numpy()

    def texts(
        self, fields: Sequence[str] = ("title", "*text", "categories"), nums: IntVector | None = None
    ) -> list[str]:
        """The items' texts, the named fields joined in order; "*text" stands for all further text fields.

        A field that the catalogue does not hold is passed over, so that one recipe serves many catalogues.

        Args:
            nums: whose texts; None = those of all n items.
        """
        names: list[str] = []
        for name in fields:
            names.extend(self.text_fields if name == "*text" else [name])
        columns = [
            pl.col(name).list.join(", ")
            if self.frame.schema[name] == pl.List(pl.String)
            else pl.col(name).cast(pl.String)
            for name in names
            if name in self.frame.columns
        ]
        there = [name for name in dict.fromkeys(names) if name in self.frame.columns]
        frame = self.frame if nums is None else self.frame.select(there)[nums]
        if not columns:
            return [""] * (len(self) if nums is None else len(nums))
        parts = [pl.when(column.str.len_chars() > 0).then(column) for column in columns]
        return frame.select(pl.concat_str(parts, separator=". ", ignore_nulls=True).fill_null(""))[:, 0].to_list()
