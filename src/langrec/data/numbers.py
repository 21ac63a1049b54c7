"""Numbers as people write them: 1,299.50 and 1.299,50, with spaces or apostrophes between thousands."""

from __future__ import annotations

import re
import unicodedata

import polars as pl

_GAP = r"(\d)[ \x{00a0}\x{2009}\x{202f}'’](\d{3})\b"
# Three digits after a lone mark may be thousands or decimals; after a zero or four digits they can only be decimals.
_NUMBER = r"^[+\-]?\d[\d.,]*([ \x{00a0}\x{2009}\x{202f}'’]\d{3})*([.,]\d+)?$"
_EITHER = r"^[1-9]\d{0,2}[.,]\d{3}$"


# Of Japan, China and Korea: 3万円, 1億2000万, 5천원.
_GROUPS = {"億": 10**8, "亿": 10**8, "억": 10**8, "万": 10**4, "萬": 10**4, "만": 10**4, "천": 10**3}
_GROUP = re.compile(rf"(\d[\d,]*(?:\.\d+)?)\s*([{''.join(_GROUPS)}]?)")
_DIGITS = {chr(c): str(unicodedata.decimal(chr(c))) for c in range(0x80, 0x10000) if chr(c).isdecimal()}
_MARKS = {"\u066b": ".", "\u066c": ",", "．": ".", "，": ",", "－": "-", "\u2212": "-"}


def plain_digits(text: pl.Series) -> pl.Series:
    """Strings with digits of any script, Arabic and full-width marks and minus signs as those of ASCII."""
    if not (text.str.len_bytes() > text.str.len_chars()).any():
        return text
    table = _DIGITS | _MARKS
    return text.str.replace_many(list(table), list(table.values()))


def first_numbers(column: pl.Series) -> pl.Series:
    """The first number of each string as Float64, null where there is none: "1.299,00 €" is 1299.

    Of two kinds of marks the later one is the decimal mark, and a mark that comes twice divides thousands. A lone mark
    before three digits ("1.299") divides thousands too, unless it is the decimal mark of other values of the column.
    """
    text = plain_digits(column.cast(pl.String))
    if (grouped := text.str.contains(rf"\d\s*[{''.join(_GROUPS)}]").fill_null(False)).any():
        text = text.clone().scatter(grouped.arg_true(), [_ungrouped(one) for one in text.filter(grouped)])
    for _ in range(3):  # a match takes the digit that the next one would begin with
        text = text.str.replace_all(_GAP, "${1}${2}")
    text = text.str.extract(r"(\d[\d.,]*)").str.strip_chars_end(".,")
    commas, points = text.str.count_matches(",", literal=True), text.str.count_matches(".", literal=True)
    both, either = (commas > 0) & (points > 0), text.str.contains(_EITHER)
    comma = (both & text.str.contains(r",\d*$")) | ((commas == 1) & (points == 0) & ~either)
    point = (both & text.str.contains(r"\.\d*$")) | ((points == 1) & (commas == 0) & ~either)
    if comma.any() and not point.any():
        comma |= either & (commas == 1)
    if point.any():
        point |= either & (points == 1)
    digits = text.str.replace_all(r"[.,]", "")
    with_point = text.str.replace_all(",", "", literal=True)
    with_comma = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    found = with_point.zip_with(point.fill_null(False), digits)
    return with_comma.zip_with(comma.fill_null(False), found).cast(pl.Float64, strict=False)


def whole_numbers(column: pl.Series) -> pl.Series:
    """Strings that are a number and nothing else, as Float64; null for all others.

    A column of plain numbers, exponents and signs included, is read as it is; one with others as `first_numbers` does.
    """
    text = plain_digits(column.cast(pl.String)).str.strip_chars()
    plain = text.cast(pl.Float64, strict=False)
    if plain.null_count() == text.null_count() or not text.str.contains(_NUMBER).any():
        return plain
    local = first_numbers(text).set(~text.str.contains(_NUMBER).fill_null(False), None)
    local = local.zip_with(~text.str.starts_with("-").fill_null(False), -local)
    return local.zip_with(local.is_not_null(), plain)


def _ungrouped(text: str) -> str:
    """A number in ten thousands and their like as plain figures: 1億2000万 is 120000000."""
    parts = [(float(figures.replace(",", "")), _GROUPS.get(unit, 1)) for figures, unit in _GROUP.findall(text)]
    total = 0.0
    for figures, unit in parts:
        total += figures * unit
        if unit == 1:
            break
    return f"{total:.0f}" if total.is_integer() else str(total)
