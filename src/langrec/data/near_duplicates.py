"""Items that say the same: equal texts once case, punctuation, accents' spelling and spaces no longer count."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from langrec.data.cleaning import EXAMPLES, Ledger
from langrec.data.log import NO_ID, number
from langrec.data.sources.table import Table

_NOISE = r"[^\p{L}\p{N}]+"


def find_near_duplicates(items: pl.DataFrame, texts: Sequence[str]) -> pl.DataFrame:
    """`item_id` and `first`: each item whose normalised text an earlier item has, and that earlier item.

    The text is the title with all text fields and the release year where there is one. Items without a text, and those
    whose title was filled from other fields, are never duplicates: many products share a department.
    """
    parts = [pl.col("title"), *(pl.col(name) for name in texts)]
    if "release_year" in items.columns:
        parts.append(pl.col("release_year").cast(pl.String))
    text = pl.concat_str([part.fill_null("") for part in parts], separator=" ")
    words = text.str.normalize("NFKC").str.to_lowercase().str.replace_all(_NOISE, " ").str.strip_chars()
    own = pl.col("title").str.len_chars() > 0
    if "title_filled" in items.columns:
        own = own & ~pl.col("title_filled")
    return (
        items.select("item_id", words.alias("words"), own.alias("own"))
        .filter(pl.col("own") & (pl.col("words").str.len_chars() > 0))
        .with_columns(pl.col("item_id").first().over("words").alias("first"))
        .filter(pl.col("item_id") != pl.col("first"))
        .select("item_id", "first")
    )


def handle_near_duplicates(
    items: pl.DataFrame, texts: Sequence[str], merge: bool, table: Table, ledger: Ledger
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reports near duplicates and, where `merge`, takes them out.

    Returns:
        The items that stay, and the merged ones as `item_id` and `first` (empty unless `merge`).
    """
    found = find_near_duplicates(items, texts)
    places = [f"{table.path.name}: item {item} = item {first}" for item, first in found.head(EXAMPLES).iter_rows()]
    what = "items with the same text as an earlier item"
    if not merge:
        fix = "nothing to do, or set data.near_duplicates=merge to move their events to the earlier item"
        ledger.note("near_duplicate", found.height, "kept", what, places=places, fix=fix)
        return items, found.clear()
    fix = "nothing to do, or set data.near_duplicates=report to keep them apart"
    ledger.note("near_duplicate", found.height, "changed", f"{what}; merged into it", places=places, fix=fix)
    return items.join(found, on="item_id", how="anti", maintain_order="left"), found


def merge_ids(codes: pl.Series, names: pl.Series, merged: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Item numbers and ids of a log with merged items replaced by the item that stays."""
    if not merged.height or not len(names):
        return codes, names
    table, kept = number(names.replace(merged["item_id"], merged["first"]))
    return table.gather(codes.set(codes == NO_ID, None)).fill_null(NO_ID), kept.alias(names.name)
