"""The events file as columns of known meaning: users and items numbered, times in milliseconds, nothing judged yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from langrec.data.aliases import EVENT_ROLES, find_roles, key
from langrec.data.aliases_abroad import RATING
from langrec.data.numbers import whole_numbers
from langrec.data.sources.table import Table
from langrec.data.times import to_millis
from langrec.errors import DataError

RATING_NAMES = frozenset(map(key, ("rating", "overall", "stars", "score", *RATING)))
MISSING_IDS = ("", "nan", "null", "none", "<na>")
NO_ID = -1
_USER_KEYS = frozenset(map(key, EVENT_ROLES["user"]))


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Events before cleaning.

    Attributes:
        table: where they come from.
        frame: user Int32 and item Int32 (places in the names; NO_ID where missing), at Int64 (null = unreadable),
            type Int8 (place in `type_names`), value Float32, row Int64.
        users: user ids in order of first appearance in the file.
        items: item ids, likewise.
        type_names: the event types.
        roles: role -> column of the file.
        rated: the values are ratings.
        has_time: the times are of the clock; False: positions within each user.
        placed: the file has times or positions; False: the order of its rows stands in for them.
        raw_times: the times as they stand in the file, for messages.
        raw_values: the values, likewise.
    """

    table: Table
    frame: pl.DataFrame
    users: pl.Series
    items: pl.Series
    type_names: tuple[str, ...]
    roles: dict[str, str]
    rated: bool
    has_time: bool
    placed: bool
    raw_times: pl.Series | None
    raw_values: pl.Series | None


def event_columns(names: list[str]) -> list[str]:
    """The columns of an events file that are worth reading; all, where a needed one is not among them."""
    roles = find_roles(names, EVENT_ROLES)
    if {"user", "item"} - roles.keys():
        return names
    return [name for name in names if name in roles.values() or is_user_field(name)]


def is_user_field(name: str) -> bool:
    """True for a column of an events file that may describe the user, by its name: user_age, and not user_id."""
    return key(name).startswith("user") and key(name) not in _USER_KEYS


def read_log(table: Table, default_type: str) -> Log:
    """Gives the columns their meaning and numbers the ids.

    Raises:
        DataError: the file has no user or no item column, or more than 127 event types.
    """
    roles = find_roles(table.frame.columns, EVENT_ROLES)
    for role, example in (("user", "user_id"), ("item", "item_id")):
        if role not in roles:
            found = ", ".join(table.frame.columns[:8])
            raise DataError(
                f"{table.path}: no {role} column among: {found}; call it {example}, or name it in data.columns "
                "(see docs/data-formats.md)",
                field=role,
            )
    table = table.with_single(set(roles.values()))
    frame = table.frame
    users, user_ids = number(frame[roles["user"]])
    items, item_ids = number(frame[roles["item"]])
    rated = "value" in roles and key(roles["value"]) in RATING_NAMES
    type_column = frame[roles["type"]] if "type" in roles else None
    types, type_names = _types(type_column, rated, default_type, frame.height, table.path)
    rows = table.row_numbers()
    has_time = "at" in roles
    raw_times = frame[roles["at"]] if has_time else None
    if raw_times is not None:
        at = to_millis(raw_times)
    elif "position" in roles:
        at = frame[roles["position"]].cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    else:
        at = rows
    raw_values = frame[roles["value"]] if "value" in roles else None
    value = (
        pl.Series("value", [None], dtype=pl.Float32).new_from_index(0, frame.height)
        if raw_values is None
        else _finite(whole_numbers(raw_values) if raw_values.dtype == pl.String else raw_values)
    )
    columns = [users.alias("user"), items.alias("item"), at.alias("at"), types, value.alias("value"), rows.alias("row")]
    placed = has_time or "position" in roles
    data = pl.DataFrame(columns)
    return Log(table, data, user_ids, item_ids, type_names, roles, rated, has_time, placed, raw_times, raw_values)


def _finite(column: pl.Series) -> pl.Series:
    """Values as Float32; null for what is none or infinite, which would be the highest rating of all."""
    values = column.cast(pl.Float32, strict=False)
    return values.set(~values.is_finite().fill_null(True), None)


def number(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Ids as Int32 numbers by first appearance, NO_ID where there is none, and the distinct ids as strings.

    Surrounding spaces do not count; a whole float is the same id as the whole number.
    """
    distinct = column.unique(maintain_order=True)
    if column.dtype == pl.String:
        codes = column.cast(pl.Enum(distinct.drop_nulls())).to_physical()
        distinct = distinct.drop_nulls()
    else:
        lookup = pl.DataFrame({"id": distinct}).with_row_index("num")
        codes = column.to_frame("id").join(lookup, on="id", how="left", nulls_equal=True, maintain_order="left")["num"]
    codes = codes.cast(pl.Int32)
    names = as_ids(distinct)
    clean = names.str.strip_chars()
    missing = clean.is_null() | clean.str.to_lowercase().is_in(MISSING_IDS)
    if missing.any() or (clean != names).any():
        # Rare: spaces or missing ids. Number the cleaned names and send the first codes through a table.
        known = clean.filter(~missing).unique(maintain_order=True)
        lookup = pl.DataFrame({"id": known}).with_row_index("num")
        table = (
            pl.DataFrame({"id": clean.set(missing, None)})
            .join(lookup, on="id", how="left", maintain_order="left")["num"]
            .cast(pl.Int32)
            .fill_null(NO_ID)
        )
        codes, names = table.gather(codes), known
    return codes.fill_null(NO_ID), names.alias("id")


_WHOLE = r"^\s*\d+\.0\s*$"


def as_ids(column: pl.Series) -> pl.Series:
    """A column of any kind as id strings; whole floats and decimals lose their '.0', also where all are texts.

    A table of numbers with a gap is written so by much that writes text files.
    """
    if column.dtype == pl.String:
        pointed = column.str.contains(_WHOLE) if column.str.ends_with(".0").any() else None
        if pointed is None or not (pointed | column.str.strip_chars().str.to_lowercase().is_in(MISSING_IDS)).all():
            return column
        return column.str.strip_chars().str.strip_suffix(".0")
    if column.dtype.is_float():
        whole = column.fill_nan(None)
        as_int = whole.cast(pl.Int64, strict=False)
        text = whole.cast(pl.String)
        return text.zip_with((as_int.cast(pl.Float64) != whole).fill_null(True), as_int.cast(pl.String))
    if column.dtype.is_decimal():
        return column.cast(pl.String).str.replace(r"\.0+$", "")
    return column.cast(pl.String)


def _types(
    column: pl.Series | None, rated: bool, default_type: str, height: int, path: Path
) -> tuple[pl.Series, tuple[str, ...]]:
    default = "rating" if rated else default_type
    if column is None:
        return pl.Series("type", [0], dtype=pl.Int8).new_from_index(0, height), (default,)
    codes, names = number(column)
    # Names that differ in case alone are one type.
    lower = names.str.to_lowercase()
    type_names = tuple(lower.unique(maintain_order=True))
    if len(type_names) > 126:
        raise DataError(
            f"{path}: the type column {column.name} holds {len(type_names):,} kinds, such as {type_names[0]!r}; at "
            "most 126 make sense; rename it if it holds no types"
        )
    if len(type_names) < len(names):
        places = {name: place for place, name in enumerate(type_names)}
        table = pl.Series([*(places[name] for name in lower), NO_ID], dtype=pl.Int32)
        codes = table.gather(codes.set(codes == NO_ID, len(names)))
    if codes.min() == NO_ID:
        type_names = type_names if default in type_names else (*type_names, default)
        codes = codes.set(codes == NO_ID, type_names.index(default))
    return codes.cast(pl.Int8).alias("type"), type_names
