"""Times of every usual kind, as epoch milliseconds."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from langrec.data.numbers import plain_digits

# A whole number is read by its size: seconds reach 1e11 in the year 5138, milliseconds 1e14, microseconds 1e17.
_UNITS = ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (float("inf"), 1e-6))
_YEAR_1000 = -30_610_224_000_000
_DAYS = ("%m %d, %Y", "%B %d, %Y")
# Compact dates, 20251231, which as seconds would all be of 1970.
_COMPACT = (18_000_101, 29_991_231)
# Years of the Buddhist calendar, which Thailand writes, of 1900 to 2100.
_BUDDHIST, _BEFORE_OURS = (2443, 2643), 543
_ISO, _SLASHED = r"^\d{4}-\d", r"^(\d{1,2})[/\-](\d{1,2})[/\-](\d{4})\b,?"
# How dates and times of day are written, and the same with the year first and figures alone.
_WRITTEN = (
    (r"^(\d{4})[./]\s?(\d{1,2})[./]\s?(\d{1,2})\b[.,]?", "${1}-${2}-${3}"),
    (r"^(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})\b,?", "${3}-${2}-${1}"),
)
_IN_CHARACTERS = (
    (r"^(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]\s*", "${1}-${2}-${3} "),
    (r"(\d{1,2})\s*[時时시点]\s*(\d{1,2})\s*[分분](?:\s*(\d{1,2})\s*[秒초])?", "${1}:${2}:${3}"),
    (r":$", ""),  # of no seconds
    (r"(?:午前|上午|오전)\s*(\d{1,2}:[\d:]+)", "${1} AM"),
    (r"(?:午後|下午|오후)\s*(\d{1,2}:[\d:]+)", "${1} PM"),
)
_HALVES = ((r"(?i)(\d)\s*a\.?\s?m\.?$", "${1} AM"), (r"(?i)(\d)\s*p\.?\s?m\.?$", "${1} PM"))


def to_millis(column: pl.Series) -> pl.Series:
    """The column as Int64 epoch milliseconds; null where a value cannot be read.

    Numbers are seconds, milliseconds, microseconds or nanoseconds by the size of the column's median, so that one wild
    value does not change the unit of the others. Strings are numbers, ISO 8601 (with or without an offset; without one
    they are UTC), or one of the usual ways to write a date. Whether the day or the month comes first in dates with
    slashes or dashes, those dates of the column tell that can be but one of them; where none does, the month. Where
    all years are from 2443 to 2643, they are of the Buddhist calendar.
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
    column = plain_digits(column).str.strip_chars()
    numbers = column.cast(pl.Float64, strict=False)
    n_known = len(column) - column.null_count()
    if len(column) - numbers.null_count() >= max(1, n_known / 2):
        exact = column.cast(pl.Int64, strict=False)
        return _from_number(exact if exact.null_count() == numbers.null_count() else numbers)
    return _from_text(column)


def _from_number(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        column = column.set(~column.is_finite(), None)
    sample = column.gather_every(max(1, len(column) // 10_000))
    middle = sample.filter(sample > 0).median()
    size = float(middle) if isinstance(middle, (int, float)) else 0.0
    if _COMPACT[0] <= size <= _COMPACT[1] and column.dtype.is_integer():
        days = column.cast(pl.String).str.replace(r"^(\d{4})(\d\d)(\d\d)$", "${1}-${2}-${3}")
        if (found := _from_text(days)).null_count() == column.null_count():
            return found
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
    text = _figures(column)
    done = _read(text)
    if done.count() and done.dt.year().is_between(*_BUDDHIST).all():
        for year in text.str.extract(r"^(2[456]\d\d)-").unique().drop_nulls():
            text = text.str.replace(f"^{year}", str(int(year) - _BEFORE_OURS))
        done = _read(text)
    millis = done.dt.epoch("ms").alias(column.name)
    # A year of two digits is read as one of antiquity.
    ancient = (millis < _YEAR_1000).fill_null(False)
    return millis.set(ancient, None) if ancient.any() else millis


def _figures(column: pl.Series) -> pl.Series:
    """Dates as year-month-day, whichever way they are written; those that are so already stay as they are."""
    others = (~column.str.contains(_ISO)).fill_null(False) | column.str.contains(r"[^\x00-\x7f]|[mM]\.?$").fill_null(
        False
    )
    if not others.any():
        return column
    text = column.filter(others)
    ways = list(_WRITTEN)
    ways += _IN_CHARACTERS if text.str.contains(r"[^\x00-\x7f]").any() else ()
    ways += _HALVES if text.str.contains(r"[mM]\.?$").any() else ()
    for written, figures in ways:
        text = text.str.replace(written, figures)
    text = text.str.replace(_SLASHED, "${3}-${2}-${1}" if _day_first(text) else "${3}-${1}-${2}").str.strip_chars()
    return column.clone().scatter(others.arg_true(), text)


def _read(text: pl.Series) -> pl.Series:
    done = pl.Series("at", [None] * len(text), dtype=pl.Datetime("ms"))
    first = text.drop_nulls().head(1)
    for attempt in _attempts("T" in first.to_list()[0] if len(first) else False):
        left = done.is_null().arg_true()
        if not len(left):
            break
        # scatter writes in place, and the column is ours.
        done.scatter(left, pl.DataFrame({"text": text.gather(left)}).select(attempt)[:, 0])
    return done


def _attempts(is_iso: bool) -> Iterator[pl.Expr]:
    """Ways to read the column `text` as times without an offset, UTC, the likeliest first; what one cannot is null."""
    usual = [_plain("%Y-%m-%d %H:%M:%S%.f"), _with_offset("%+")]
    yield from reversed(usual) if is_iso else usual
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f"):
        yield _plain(form)
    for mark in ("T", " "):
        for zone in ("Z", " UTC"):
            yield _plain(f"%Y-%m-%d{mark}%H:%M:%S%.f{zone}")
    for form in ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z", "%Y%m%dT%H%M%S%#z"):
        yield _with_offset(form)
    for form in ("%Y-%m-%dT%H:%M", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p", *_DAYS):
        yield _plain(form)


def _plain(form: str) -> pl.Expr:
    text = pl.col("text")
    if ":" not in form:
        return text.str.to_date(form, strict=False).cast(pl.Datetime("ms"))
    return text.str.to_datetime(form, strict=False, time_unit="ms")


def _with_offset(form: str) -> pl.Expr:
    found = pl.col("text").str.to_datetime(form, strict=False, time_unit="ms", time_zone="UTC")
    return found.dt.replace_time_zone(None)


def _day_first(text: pl.Series) -> bool:
    """Whether more dates with slashes can only be day/month/year than can only be month/day/year."""
    pair = text.str.extract_groups(_SLASHED).struct.unnest()[:, :2].cast(pl.Int8)
    first, second = ((pair.to_series(place) > 12).sum() for place in (0, 1))
    return first > second
