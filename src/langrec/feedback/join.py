"""Shown items joined with what their users did afterwards: one row per shown place."""

from __future__ import annotations

import polars as pl

SHOWN = {"list": pl.Int64, "user": pl.String, "at": pl.Int64, "item": pl.String, "place": pl.Int64}
ACTIONS = {"user": pl.String, "item": pl.String, "at": pl.Int64}


def joined(shown: pl.DataFrame, actions: pl.DataFrame, window: int) -> pl.DataFrame:
    """The shown places with a column `acted`: the user did something with the item within the window.

    An action counts once, for the last list before it that held the item.

    Args:
        shown: columns of SHOWN; `place` counts from 1.
        actions: columns of ACTIONS.
        window: milliseconds.
    """
    places = shown.with_row_index("row").sort("at", "list")
    said = actions.select(list(ACTIONS)).sort("at")
    # For each action the newest showing of its item to its user that is not later.
    found = said.join_asof(
        places.filter(pl.col("user").is_not_null()).select("user", "item", "at", "row", pl.col("at").alias("shown_at")),
        on="at",
        by=["user", "item"],
        strategy="backward",
        check_sortedness=False,
    )
    hit = found.filter(pl.col("row").is_not_null() & (pl.col("at") - pl.col("shown_at") <= window))["row"].unique()
    return places.with_columns(pl.col("row").is_in(hit.implode()).alias("acted")).sort("row").drop("row")
