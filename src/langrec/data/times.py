"""Times of every usual kind, as epoch milliseconds."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

# A whole number is read by its size: seconds reach 1e11 in the year 5138, milliseconds 1e14, microseconds 1e17.
_UNITS = ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (float("inf"), 1e-6))
_YEAR_1000 = -30_610_224_000_000
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m %d, %Y", "%B %d, %Y")
_CLOCKED = ("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y")  # days that a time of day may follow
_CHINESE = r"^(\d{4})年(\d{1,2})月(\d{1,2})日\s*"  # 2026年1月2日, with or without a time of day
_CLOCKS = (" %H:%M:%S%.f", " %H:%M")


def to_millis(column: pl.Series) -> pl.Series:
    """The column as Int64 epoch milliseconds; null where a value cannot be read.

    Numbers are seconds, milliseconds, microseconds or nanoseconds by the size of the column's median, so that one wild
    value does not change the unit of the others. Strings are numbers, ISO 8601 (with or without an offset; without one
    they are UTC), or one of a few common date formats. Whether the day or the month comes first in dates with slashes,
    those dates of the column tell that can be but one of them; where none does, the month.
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
    text = column.str.replace(_CHINESE, "${1}-${2}-${3} ").str.strip_chars()
    done = pl.Series("at", [None] * len(text), dtype=pl.Datetime("ms"))
    for attempt in _attempts(text):
        left = done.is_null().arg_true()
        if not len(left):
            break
        # scatter writes in place, and the column is ours.
        done.scatter(left, pl.DataFrame({"text": text.gather(left)}).select(attempt)[:, 0])
    millis = done.dt.epoch("ms").alias(column.name)
    # A year of two digits is read as one of antiquity.
    ancient = (millis < _YEAR_1000).fill_null(False)
    return millis.set(ancient, None) if ancient.any() else millis


def _attempts(text: pl.Series) -> Iterator[pl.Expr]:
    """Ways to read the column `text` as times without an offset, UTC; what a way cannot read is null."""
    yield _with_offset("%+")
    for mark in ("T", " "):
        for zone in ("", "Z", " UTC"):
            yield _plain(f"%Y-%m-%d{mark}%H:%M:%S%.f{zone}")
    for form in ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z", "%Y%m%dT%H%M%S%#z"):
        yield _with_offset(form)
    for form in ("%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", *_DAYS):
        yield _plain(form)
    slashed = "%d/%m/%Y" if _day_first(text) else "%m/%d/%Y"
    for form in (slashed, *(day + clock for day in (*_CLOCKED, slashed) for clock in _CLOCKS)):
        yield _plain(form)


def _plain(form: str) -> pl.Expr:
    text = pl.col("text")
    if "%H" not in form:
        return text.str.to_date(form, strict=False).cast(pl.Datetime("ms"))
    return text.str.to_datetime(form, strict=False, time_unit="ms")


def _with_offset(form: str) -> pl.Expr:
    found = pl.col("text").str.to_datetime(form, strict=False, time_unit="ms", time_zone="UTC")
    return found.dt.replace_time_zone(None)


def _day_first(text: pl.Series) -> bool:
    """Whether more dates with slashes can only be day/month/year than can only be month/day/year."""
    pair = text.str.extract_groups(r"^(\d{1,2})/(\d{1,2})/\d{4}\b").struct.unnest().cast(pl.Int8)
    first, second = ((pair.to_series(place) > 12).sum() for place in (0, 1))
    return first > second
