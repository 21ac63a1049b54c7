"""Times of every usual kind, as epoch milliseconds."""

from __future__ import annotations

import polars as pl

# A whole number is read by its size: seconds reach 1e11 in the year 5138, milliseconds 1e14, microseconds 1e17.
_UNITS = ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (float("inf"), 1e-6))
_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%m %d, %Y", "%B %d, %Y", "%Y-%m-%d %H:%M:%S%.f UTC")


def to_millis(column: pl.Series) -> pl.Series:
    """The column as Int64 epoch milliseconds; null where a value cannot be read.

    Numbers are seconds, milliseconds, microseconds or nanoseconds by the size of the column's median, so that one wild
    value does not change the unit of the others. Strings are numbers, ISO 8601 (with or without an offset; without one
    they are UTC), or one of a few common date formats.
    """
    kind = column.dtype
    if kind == pl.Date:
        return column.cast(pl.Datetime("ms")).dt.epoch("ms")
    if isinstance(kind, pl.Datetime):
        return column.dt.epoch("ms")
    if kind.is_numeric():
        return _from_number(column)
    if kind != pl.String:
        return pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
    n_known = len(column) - column.null_count()
    if len(column) - numbers.null_count() >= max(1, n_known / 2):
        exact = column.str.strip_chars().cast(pl.Int64, strict=False)
        return _from_number(exact if exact.null_count() == numbers.null_count() else numbers)
    return _from_text(column)


def _from_number(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        column = column.set(~column.is_finite(), None)
    sample = column.gather_every(max(1, len(column) // 10_000))
    middle = sample.filter(sample > 0).median()
    size = float(middle) if isinstance(middle, (int, float)) else 0.0
    factor = next(factor for limit, factor in _UNITS if size < limit)
    if column.dtype.is_integer():
        whole = column.cast(pl.Int64)
        if factor >= 1:
            # Beyond what int64 can hold in milliseconds a time is nonsense: null, and the cleaning names the row.
            limit = 2**62 // int(factor)
            wild = (whole > limit) | (whole < -limit)
            return (whole.set(wild, None) if wild.any() else whole) * int(factor)
        return whole // round(1 / factor)
    scaled = column * factor
    return scaled.set(scaled.abs() > 2.0**62, None).round().cast(pl.Int64, strict=False)


def _from_text(column: pl.Series) -> pl.Series:
    text = column.str.strip_chars()
    tries = [
        pl.col("text").str.to_datetime("%+", strict=False, time_unit="ms", time_zone="UTC").dt.replace_time_zone(None),
        *(
            pl.col("text").str.to_datetime(f"%Y-%m-%d{mark}%H:%M:%S%.f{zone}", strict=False, time_unit="ms")
            for mark in ("T", " ")
            for zone in ("", "Z")
        ),
        pl.col("text")
        .str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", strict=False, time_unit="ms", time_zone="UTC")
        .dt.replace_time_zone(None),
        *(pl.col("text").str.to_datetime(f"%Y-%m-%d{mark}%H:%M", strict=False, time_unit="ms") for mark in ("T", " ")),
        *(pl.col("text").str.to_date(form, strict=False).cast(pl.Datetime("ms")) for form in _FORMATS[:-1]),
        pl.col("text").str.to_datetime(_FORMATS[-1], strict=False, time_unit="ms"),
    ]
    done = pl.Series("at", [None] * len(text), dtype=pl.Datetime("ms"))
    for attempt in tries:
        if not done.null_count():
            break
        done = pl.DataFrame({"done": done, "text": text}).select(
            pl.when(pl.col("done").is_null()).then(attempt).otherwise(pl.col("done"))
        )[:, 0]
    return done.dt.epoch("ms").alias(column.name)
