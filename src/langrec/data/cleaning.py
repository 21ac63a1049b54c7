"""Cleaning of events: which rows are set aside and why, each step counted, none of them silent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl

from langrec.data.events import DAY_MS
from langrec.data.log import MISSING_IDS, NO_ID, Log
from langrec.data.report import Action, Step
from langrec.data.sources.table import Refused, Table
from langrec.errors import DataError, SettingsError
from langrec.settings import DataSettings

EXAMPLES = 5
# Of rows that share their time, so many are looked at for an order by item id; from so many pairs on, and this share.
LOOKED_AT, ENOUGH, BY_ID = 1_000_000, 1_000, 0.95


class Ledger:
    """Collects the findings of one load: steps for the report and refused rows for the file.

    Args:
        strict: raise DataError at the first finding that sets rows aside or that made reading a guess.
    """

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.steps: list[Step] = []
        self._refused: list[pl.DataFrame] = []

    def note(
        self, name: str, count: int, action: Action, what: str, *, places: Sequence[str] = (), fix: str = ""
    ) -> None:
        """Adds a finding; a count of zero is none."""
        if not count:
            return
        step = Step(name, count, action, what, tuple(places[:EXAMPLES]), fix)
        if self.strict and (action == "refused" or name == "reading"):
            where = step.places[0] if step.places else "the data"
            raise DataError(f"{where}: {what} ({count:,} in all); {fix}", field=name)
        self.steps.append(step)

    def refuse(
        self, name: str, table: Table, rows: pl.Series, what: str, fix: str, details: pl.Series | None = None
    ) -> None:
        """Sets rows aside: counts them, names the first, and keeps all for the file of rejected rows."""
        if not len(rows):
            return
        texts = details.cast(pl.String) if details is not None else pl.Series([""], dtype=pl.String)
        shown = [
            f"{table.path.name} row {row}" + (f" ({text})" if text else "")
            for row, text in zip(rows[:EXAMPLES], _stretch(texts, len(rows))[:EXAMPLES], strict=True)
        ]
        self.note(name, len(rows), "refused", what, places=shown, fix=fix)
        self._refused.append(
            pl.DataFrame(
                {
                    "file": _stretch(pl.Series([table.path.name]), len(rows)),
                    "row": rows.cast(pl.Int64),
                    "reason": _stretch(pl.Series([name]), len(rows)),
                    "detail": _stretch(texts, len(rows)).fill_null(""),
                }
            )
        )

    def refused(self) -> pl.DataFrame:
        """All rows set aside: file, row, reason, detail."""
        schema = {"file": pl.String, "row": pl.Int64, "reason": pl.String, "detail": pl.String}
        return pl.concat([pl.DataFrame(schema=schema), *self._refused])


def note_reading(ledger: Ledger, table: Table) -> None:
    """Takes over what the reader of a file found."""
    for text in table.notes:
        ledger.note("reading", 1, "changed", text, places=[table.path.name], fix="then it reads alike everywhere")
    reasons: dict[str, list[Refused]] = {}
    for row in table.refused:
        reasons.setdefault(row.reason, []).append(row)
    for reason, rows in reasons.items():
        ledger.refuse(
            "unreadable",
            table,
            pl.Series([row.row for row in rows], dtype=pl.Int64),
            reason,
            "repair or delete the row",
            pl.Series([row.detail for row in rows], dtype=pl.String),
        )


def clean_events(log: Log, settings: DataSettings, ledger: Ledger, known_items: pl.Series | None) -> pl.DataFrame:
    """The log's good rows, oldest first, rows of one time in the order of the file or in one drawn.

    Args:
        log: the events as read.
        settings: which steps run.
        ledger: receives the findings.
        known_items: (len(log.items),) bool, whether the item file holds the item; None without an item file.
    """
    frame = log.frame
    for role, column in (("user", "user"), ("item", "item")):
        frame = _refuse(
            ledger,
            log,
            frame,
            pl.col(column) == NO_ID,
            f"missing_{role}",
            f"the row has no {role} id",
            f"fill the column {log.roles[role]}",
        )
    frame = _check_times(log, frame, settings, ledger)
    if known_items is not None:
        frame = _unknown_items(log, frame, ~known_items.gather(frame["item"]), settings, ledger, known_items)
    frame = frame.sort("at", maintain_order=True)
    # Where only the file's order stands in for times, equal rows are repeats: the file does not say that they are one.
    if settings.drop_duplicates and log.placed:
        same = ["user", "item", "type", "value", "at"]
        frame = _drop(ledger, log, frame, same, "first", "duplicate", "the row equals an earlier one")
    if settings.repeats != "all":
        what = f"the user has another {'earlier' if settings.repeats == 'first' else 'later'} event with this item"
        frame = _drop(ledger, log, frame, ["user", "item", "type"], settings.repeats, "repeat", what)
    _note_values(log, frame, ledger)
    if not log.has_time:
        return frame
    if settings.equal_times == "drawn":
        return _drawn(frame, ledger)
    _order_of_file(log, frame, ledger)
    return frame


def _drawn(frame: pl.DataFrame, ledger: Ledger) -> pl.DataFrame:
    """Rows of one time in an order drawn at random, which depends on nothing but how many rows there are."""
    at = frame["at"].to_numpy()
    places = _of_equal_times(at)
    keys = np.random.default_rng(0).random(len(places))
    order = np.arange(len(at))
    order[places] = places[np.lexsort((keys, at[places]))]
    again = len(places) - frame.select(pl.struct("user", "at").gather(places).n_unique()).item() if len(places) else 0
    what = "events follow another of the same user and time; the order of such events was drawn at random"
    fix = "nothing to do, or set data.equal_times=file to take the order of the file"
    ledger.note("equal_times", again, "changed", what, fix=fix)
    return frame[order]


def _order_of_file(log: Log, frame: pl.DataFrame, ledger: Ledger) -> None:
    """Notes where a user's events of one time stand by item id: which comes next then says nothing of the user."""
    at = frame["at"].to_numpy()
    places = _of_equal_times(at)[:LOOKED_AT]
    user, at = frame["user"].to_numpy()[places], at[places]
    order = np.lexsort((at, user))  # stable: rows of one user and time stay as they stand in the file
    user, at, item = user[order], at[order], frame["item"].to_numpy()[places][order]
    among = f" (of the first {LOOKED_AT:,} that share a time)" if len(places) == LOOKED_AT else ""
    follows = (user[1:] == user[:-1]) & (at[1:] == at[:-1]) & (item[1:] != item[:-1])
    count = int(follows.sum())
    if count < ENOUGH:
        return
    numbers = log.items.cast(pl.Int64, strict=False)
    names = (log.items if numbers.null_count() else numbers).rank("dense").to_numpy()
    rising = float((names[item[1:]] > names[item[:-1]])[follows].mean())
    if max(rising, 1 - rising) < BY_ID:
        return
    where = int(np.flatnonzero(follows)[0])
    rows = frame["row"].to_numpy()[places][order][where : where + 2]
    ledger.note(
        "order_of_file",
        count,
        "kept",
        f"events{among} follow another of the same user and time, and {max(rising, 1 - rising):.0%} of them stand "
        f"in {'rising' if rising > 0.5 else 'falling'} order of item ids: which comes next is the file's order",
        places=[f"{log.table.path.name} row {row}" for row in rows],
        fix="set data.equal_times=drawn, or give the events times of their own; else sequences and next-item tests "
        "learn and score that order",
    )


def _check_times(log: Log, frame: pl.DataFrame, settings: DataSettings, ledger: Ledger) -> pl.DataFrame:
    name = log.roles.get("at") or log.roles.get("position") or "row"
    fix = f"write the column {name} as epoch seconds, epoch milliseconds or ISO 8601"
    frame = _refuse(
        ledger, log, frame, pl.col("at").is_null(), "unreadable_time", "the time is missing or unreadable", fix
    )
    if not log.has_time:
        return frame
    try:
        earliest = datetime.fromisoformat(settings.min_time)
    except ValueError as error:
        raise SettingsError(
            f"data.min_time: {settings.min_time!r} is not an ISO date such as 1980-01-01", field="data.min_time"
        ) from error
    low = int((earliest if earliest.tzinfo else earliest.replace(tzinfo=UTC)).timestamp() * 1000)
    high = int(datetime.now(UTC).timestamp() * 1000 + settings.future_days * DAY_MS)
    bad = (pl.col("at") < low) | (pl.col("at") > high)
    what = f"the time lies before {settings.min_time} or more than {settings.future_days:g} days in the future"
    fix = f"correct the column {name}, or set data.min_time / data.future_days"
    return _refuse(ledger, log, frame, bad, "impossible_time", what, fix)


def _note_values(log: Log, frame: pl.DataFrame, ledger: Ledger) -> None:
    """Notes the values that are no numbers: their events count without them."""
    if log.raw_values is None:
        return
    rows = frame.filter(pl.col("value").is_null())["row"].sort()
    texts = log.raw_values.gather(log.table.row_numbers().search_sorted(rows)).cast(pl.String).str.strip_chars()
    said = ~(texts.is_null() | texts.str.to_lowercase().is_in(MISSING_IDS))
    if not said.any():
        return
    rows, texts = rows.filter(said), texts.filter(said)
    shown = zip(rows.head(EXAMPLES), texts.head(EXAMPLES), strict=True)
    ledger.note(
        "unreadable_value",
        len(rows),
        "kept",
        "the value is no number, or an infinite one; the event counts without it",
        places=[f"{log.table.path.name} row {row} ({text})" for row, text in shown],
        fix=f"write the column {log.roles['value']} as numbers",
    )


def _unknown_items(
    log: Log, frame: pl.DataFrame, unknown: pl.Series, settings: DataSettings, ledger: Ledger, known: pl.Series
) -> pl.DataFrame:
    if settings.unknown_items == "reject":
        what, fix = "the item file does not hold the item", "add the item, or set data.unknown_items=keep"
        return _refuse(ledger, log, frame, unknown, "unknown_item", what, fix, log.items)
    rows = frame.filter(unknown)
    if rows.height:
        names = log.items.filter(~known).head(EXAMPLES).to_list()
        ledger.note(
            "unknown_item",
            rows.height,
            "kept",
            f"events of {rows['item'].n_unique():,} items that the item file does not hold",
            places=[f"{log.table.path.name}: item {name}" for name in names],
            fix="add the items, or set data.unknown_items=reject",
        )
    return frame


def _refuse(
    ledger: Ledger,
    log: Log,
    frame: pl.DataFrame,
    bad: pl.Expr | pl.Series,
    name: str,
    what: str,
    fix: str,
    item_names: pl.Series | None = None,
) -> pl.DataFrame:
    mask = frame.select(bad)[:, 0] if isinstance(bad, pl.Expr) else bad
    mask = mask.fill_null(False)
    if not mask.any():
        return frame
    rows = frame.filter(mask)
    details = None
    if item_names is not None:
        details = item_names.gather(rows["item"])
    elif log.raw_times is not None and name.endswith("_time"):
        # Times are looked up in the file's own words; the frame holds the place of each row in it.
        places = log.table.row_numbers().search_sorted(rows["row"])
        details = log.raw_times.gather(places).cast(pl.String)
    ledger.refuse(name, log.table, rows["row"], what, fix, details)
    return frame.filter(~mask)


def _drop(
    ledger: Ledger, log: Log, frame: pl.DataFrame, same: list[str], keep: str, name: str, what: str
) -> pl.DataFrame:
    key = pl.struct(same)
    if "at" in same:
        # Equal rows are of one time, and the frame is in time order: only rows with such a neighbour are compared.
        places = pl.Series(_of_equal_times(frame["at"].to_numpy()))
        first = frame.select(pl.col(same).gather(places)).select(key.is_first_distinct())[:, 0]
        gone = places.filter(~first)
    else:
        kept = frame.select(key.is_first_distinct() if keep == "first" else key.is_last_distinct())[:, 0]
        gone = (~kept).arg_true()
    if not len(gone):
        return frame
    setting = "data.drop_duplicates=false" if name == "duplicate" else "data.repeats=all"
    rows = frame["row"].gather(gone).sort()
    ledger.refuse(name, log.table, rows, what, f"nothing to do, or set {setting} to keep such rows")
    left = np.ones(frame.height, dtype=np.bool_)
    left[gone.to_numpy()] = False
    return frame.filter(pl.Series(left))


def _of_equal_times(at: np.ndarray) -> np.ndarray:
    """Places of the rows whose time another row shares; `at` rises."""
    equal = at[1:] == at[:-1]
    return np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))


def _stretch(column: pl.Series, height: int) -> pl.Series:
    return column if len(column) == height else column.new_from_index(0, height)
