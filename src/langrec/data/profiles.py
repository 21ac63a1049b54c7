"""What the data says of its users: a users file, or columns of the events file that are the same in all their rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from langrec.data.aliases import EVENT_ROLES, find_roles
from langrec.data.cleaning import EXAMPLES, Ledger, note_reading
from langrec.data.item_table import typed
from langrec.data.log import MISSING_IDS, Log, as_ids, is_user_field
from langrec.data.renaming import Renaming
from langrec.data.sources.encodings import AUTO
from langrec.data.sources.table import Table
from langrec.data.sources.tables import read_table
from langrec.errors import DataError

USER_ROLE = {"user": (*EVENT_ROLES["user"], "id")}


def read_profiles(
    source: Path | Table, ledger: Ledger, naming: Renaming, *, named: bool, encoding: str = AUTO
) -> tuple[pl.DataFrame | None, int]:
    """The rows of a users file that have an id, each id once, and the number of its data rows.

    Args:
        source: the file, or a table that was read already.
        ledger: receives the findings.
        naming: what `data.columns` says of the names of columns.
        named: somebody named the file. One that merely lies in the folder and cannot be used is passed over with a
            finding, so that it does not keep events and items from being used.
        encoding: what a text is in that is not UTF-8; auto finds out.

    Returns:
        `user_id` (str) and the other columns as they are, numbers and truth values where all values are such; None
        where the file cannot be used.

    Raises:
        DataError: the named file cannot be read or has no user column.
    """
    try:
        if isinstance(source, Path):
            table = naming.of(read_table(source, encoding=encoding, known=naming.columns.values()))
        else:
            table = naming.of(source)
        return _identified(table, ledger), table.frame.height + len(table.refused)
    except DataError as error:
        if named or isinstance(source, Table):
            raise
        what = f"the users file cannot be used and is left out ({error.message})"
        ledger.note("reading", 1, "kept", what, places=[source.name], fix="repair it, or name another with --users")
        return None, 0


def profiles_of(users: pl.Series, rows: pl.DataFrame, name: str, ledger: Ledger) -> pl.DataFrame | None:
    """One row per user in the order of their numbers; nulls where the file has no row for a user.

    Args:
        users: (n,) ids in the order of their numbers.
        rows: as `read_profiles` gives them.
        name: the file's name, for the findings.
        ledger: receives how many users of the file have no event (they get no number), and how many have no row.

    Returns:
        None where the file says nothing of any user.
    """
    extra = rows.filter(~pl.col("user_id").is_in(users.implode()))["user_id"]
    what = "users of the users file without an event; they get no number and are left out"
    _note(ledger, "user_without_events", extra, what, name, "nothing to do")
    bare = users.filter(~users.is_in(rows["user_id"].implode()))
    what = "users with events whom the users file does not hold; their fields stay empty"
    _note(ledger, "user_without_row", bare, what, name, "add them to the users file")
    if len(rows.columns) == 1 or len(bare) == len(users):
        return None
    return pl.DataFrame({"user_id": users}).join(rows, on="user_id", how="left", maintain_order="left")


def profiles_in_log(log: Log, good: pl.DataFrame, users: pl.Series, numbers: pl.Series) -> pl.DataFrame | None:
    """User fields from the events file: its columns `user_<field>` with at most one value per user.

    A column that differs between a user's rows (a session, a device) describes events and is left alone.

    Args:
        log: the events as read.
        good: the rows that cleaning left.
        users: (n,) ids in the order of their numbers.
        numbers: (len(good),) number of each row's user.
    """
    used = set(log.roles.values())
    names = [name for name in log.table.frame.columns if is_user_field(name) and name not in used]
    if not names:
        return None
    places = log.table.row_numbers().search_sorted(good["row"])
    found = pl.DataFrame({"user_id": users})
    for name in names:
        values = pl.DataFrame({"num": numbers, name: log.table.frame[name].gather(places)}).drop_nulls().unique()
        if not values.height or values["num"].n_unique() < values.height:
            continue
        known = pl.DataFrame({"num": pl.int_range(len(users), eager=True).cast(numbers.dtype)})
        column = known.join(values, on="num", how="left", maintain_order="left")[name]
        found = found.with_columns(typed(column).alias(name))
    return found if len(found.columns) > 1 else None


def _identified(table: Table, ledger: Ledger) -> pl.DataFrame:
    column = find_roles(table.frame.columns, USER_ROLE).get("user")
    if column is None:
        found = ", ".join(table.frame.columns[:8])
        raise DataError(
            f"{table.path}: no user column among: {found}; call it user_id, or name it in data.columns "
            "(docs/data-formats.md lists the names)",
            field="user",
        )
    note_reading(ledger, table)
    ids = as_ids(table.frame[column]).str.strip_chars()
    rows = table.row_numbers()
    missing = ids.is_null() | ids.str.to_lowercase().is_in(MISSING_IDS)
    what = "the row of the users file has no user id"
    ledger.refuse("missing_user", table, rows.filter(missing), what, f"fill the column {column}")
    first = ids.is_first_distinct() | missing
    what = "the user occurs again; the first row is used"
    ledger.refuse("user_twice", table, rows.filter(~first), what, "keep one row per user", ids.filter(~first))
    kept = first & ~missing
    # A column called user_id is preferred as the id, so no other column can have that name.
    others = [typed(table.frame[name].filter(kept)) for name in table.frame.columns if name != column]
    return pl.DataFrame([ids.filter(kept).alias("user_id"), *others])


def _note(ledger: Ledger, name: str, ids: pl.Series, what: str, file: str, fix: str) -> None:
    places = [f"{file}: user {one}" for one in ids.head(EXAMPLES)]
    ledger.note(name, len(ids), "kept", what, places=places, fix=fix)
