"""Figures of the lists that were shown: who acts where, how much of the catalogue is shown, who got no own list."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval (Wilson 1927), of `n` cases; NaN without any.

    Attributes:
        place: of a list, from 1; 0 = all.
    """

    place: int
    n: int
    hits: int
    value: float
    low: float
    high: float


def rate(hits: int, n: int, place: int = 0) -> Rate:
    """The share hits / n with its interval."""
    if not n:
        nothing = float("nan")
        return Rate(place, 0, 0, nothing, nothing, nothing)
    z, p = 1.959964, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Rate(place, n, hits, p, max(middle - half, 0.0), min(middle + half, 1.0))


def rates(places: pl.DataFrame, most: int = 20) -> list[Rate]:
    """The share of shown places that were acted on: of all, and by place up to `most`.

    Args:
        places: of `join.joined`; rows without a user are left out, for nobody can act on them.
    """
    known = places.filter(pl.col("user").is_not_null())
    by_place = (
        known.filter(pl.col("place") <= most).group_by("place").agg(pl.len(), pl.col("acted").sum()).sort("place")
    )
    rows = [rate(int(acted), int(n), int(place)) for place, n, acted in by_place.iter_rows()]
    return [rate(int(known["acted"].sum()), known.height), *rows]


def coverage(places: pl.DataFrame, n_items: int, k: int) -> float:
    """Share of the catalogue that stood among the first k places of a list."""
    shown = places.filter(pl.col("place") <= k)["item"].n_unique() if places.height else 0
    return min(shown / n_items, 1.0) if n_items else 0.0
