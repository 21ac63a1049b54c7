"""Files to a dataset: find, read, number, clean and sort, in that order, on this page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import polars as pl

from langrec.data.catalogue import Catalogue
from langrec.data.cleaning import Ledger, clean_events, note_reading
from langrec.data.dataset import Dataset
from langrec.data.events import Events, empty_events
from langrec.data.ids import Ids
from langrec.data.item_table import read_items
from langrec.data.log import Log, event_columns, read_log
from langrec.data.near_duplicates import handle_near_duplicates, merge_ids
from langrec.data.profiles import profiles_in_log, profiles_of, read_profiles
from langrec.data.renaming import Renaming
from langrec.data.report import CleaningReport
from langrec.data.sources.folders import find_events, find_items, find_users, passed_over
from langrec.data.sources.frames import read_frame
from langrec.data.sources.movielens import is_movielens, read_movielens
from langrec.data.sources.table import Table
from langrec.data.sources.tables import Keep, read_table
from langrec.errors import DataError
from langrec.settings import DataSettings, Settings, section_of
from langrec.types import AnyPath, AnyTable

Tell = Callable[[str], None]
# Where data lies, or what was read of a data frame.
Source = Path | Table


def load_dataset(
    events: AnyTable | None,
    items: AnyTable | None = None,
    settings: DataSettings | Settings | None = None,
    *,
    users: AnyTable | None = None,
    rejected: AnyPath | None = None,
    progress: Tell | None = None,
) -> tuple[Dataset, CleaningReport]:
    """Reads and cleans events and items of any format that docs/data-formats.md lists, or data frames.

    Args:
        events: the events file, a data frame, or a folder with events and, where `items` is None, items; None = items
            only.
        items: the item file, a data frame, or a folder; None = the folder of the events, or items with only their ids.
        settings: the cleaning steps and the gains: all settings, or their section `data`.
        users: the users file, a data frame, or a folder; None = the folder of the events, or no fields of users but
            those that the events have themselves.
        rejected: where rows set aside are written (Parquet: file, row, reason, detail); None = not written.
        progress: is told the name of each step as it begins.

    Returns:
        The dataset (items numbered in the order of the item file, then others by first event; users by first event)
        and the report of what cleaning did.

    Raises:
        DataError: a file cannot be used; nothing is left; or in strict mode, rows would be set aside.
    """
    own = section_of(settings, DataSettings)
    ledger = Ledger(own.strict)
    rejected_path = None if rejected is None else Path(rejected)
    found = None
    try:
        sources = (
            _source(events, "events", Renaming(own.columns).keep(event_columns)),
            _source(items, "items"),
            _source(users, "users"),
        )
        found = load_into(ledger, *sources[:2], own, progress or (lambda _: None), sources[2])
        return found
    finally:
        refused = ledger.refused()
        if rejected_path is not None and (found is not None or len(refused)):
            rejected_path.parent.mkdir(parents=True, exist_ok=True)
            refused.write_parquet(rejected_path)


def _source(given: AnyTable | None, name: str, keep: Keep | None = None) -> Source | None:
    """Where data lies, or the table of a data frame."""
    if given is None:
        return None
    return Path(given) if isinstance(given, (str, PathLike)) else read_frame(given, name, keep)


def load_into(
    ledger: Ledger,
    events: Source | None,
    items: Source | None,
    settings: DataSettings,
    tell: Tell,
    users: Source | None = None,
) -> tuple[Dataset, CleaningReport]:
    """`load_dataset` with the caller's ledger, which holds the findings also where loading fails."""
    found = _found(events, items, users)
    for given, source in zip((events, items or events, users or events), found, strict=True):
        if isinstance(given, Path) and given.is_dir() and isinstance(source, Path):
            _note_passed_over(ledger, source)
    events, items, users_source = found
    naming = Renaming(settings.columns)
    tell("read items")
    merged: pl.DataFrame | None = None
    item_table = None if items is None else naming.of(_read_item_table(items, settings.encoding, naming))
    if item_table is not None:
        note_reading(ledger, item_table)
        tell("clean items")
        frame, texts = read_items(item_table, settings, ledger)
        if settings.near_duplicates != "off":
            tell("compare items")
            merge = settings.near_duplicates == "merge"
            frame, merged = handle_near_duplicates(frame, texts, merge, item_table, ledger)
    else:
        frame, texts = pl.DataFrame(schema={"item_id": pl.String, "title": pl.String}), ()
    if events is None:
        dataset = Dataset(Ids([]), Catalogue(frame, texts), empty_events((settings.default_type,)))
        rows_in = users_in = 0
    else:
        tell("read events")
        if isinstance(events, Path):
            events = read_table(events, naming.keep(event_columns), settings.encoding, naming.columns.values())
        table = naming.of(events)
        note_reading(ledger, table)
        rows_in = table.frame.height + len(table.refused)
        tell("number")
        log = read_log(table, settings.default_type)
        del table
        if merged is not None:
            codes, names = merge_ids(log.frame["item"], log.items, merged)
            log = replace(log, frame=log.frame.with_columns(codes.alias("item")), items=names)
        tell("clean events")
        known = log.items.is_in(frame["item_id"].implode()) if item_table is not None else None
        good = clean_events(log, settings, ledger, known)
        tell("sort and build")
        dataset = _build(log, good, frame, texts, settings)
        users_in = 0
        if users_source is not None:
            tell("read users")
            rows, users_in = read_profiles(
                users_source, ledger, naming, named=users is not None, encoding=settings.encoding
            )
            if rows is not None:
                names = pl.Series("user_id", dataset.users.names, dtype=pl.String)
                dataset = replace(dataset, profiles=profiles_of(names, rows, _path_of(users_source).name, ledger))
    naming.check()
    report = CleaningReport(
        rows_in=rows_in,
        events=len(dataset.events),
        items_in=item_table.frame.height + len(item_table.refused) if item_table is not None else 0,
        items=len(dataset.catalogue),
        users=len(dataset.users),
        users_in=users_in,
        steps=tuple(ledger.steps),
    )
    _check_left(report, *(None if source is None else _path_of(source) for source in (events, items)))
    return dataset, report


def _path_of(source: Source) -> Path:
    return source if isinstance(source, Path) else source.path


def dataset_of(
    ledger: Ledger, events: Table, items: pl.DataFrame, texts: tuple[str, ...], settings: DataSettings
) -> Dataset:
    """A dataset of tables in memory: events cleaned as those of a file, items as they are.

    Args:
        ledger: receives the findings.
        events: columns as in an events file.
        items: a catalogue's frame (see `Catalogue`).
        texts: its text fields.

    Raises:
        DataError: the columns of the events cannot be told.
    """
    log = read_log(events, settings.default_type)
    known = log.items.is_in(items["item_id"].implode())
    return _build(log, clean_events(log, settings, ledger, known), items, texts, settings)


def _found(
    events: Source | None, items: Source | None, users: Source | None
) -> tuple[Source | None, Source | None, Source | None]:
    """Events, items and users, folders looked into; a data frame is what it is."""
    folder = events if isinstance(events, Path) else None
    people = users if isinstance(users, Table) else find_users_file(folder, users)
    if not isinstance(events, Table) and not isinstance(items, Table):
        return *find_files(events, items), people
    log = find_files(events, None)[0] if isinstance(events, Path) else events
    catalogue = find_files(None, items)[1] if isinstance(items, Path) else items
    return log, catalogue, people


def find_files(events: Path | None, items: Path | None) -> tuple[Path | None, Path | None]:
    """The event file and the item file that two paths stand for, folders looked into.

    Raises:
        DataError: neither is given, or a folder holds no such file.
    """
    if events is None and items is None:
        raise DataError("no data: give an events file, an items file, or a folder with both")
    if events is not None and events.is_dir():
        folder, events = events, find_events(events)
        if events is None:
            names = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
            raise DataError(
                f"{folder}: no event file in this folder (it holds {names}); langrec looks for interactions, events, "
                "ratings, transactions or *.inter; name the file itself"
            )
        items = items or find_items(folder)
    if items is not None and items.is_dir():
        folder, items = items, find_items(items)
        if items is None:
            raise DataError(f"{folder}: no item file in this folder (items, movies, products, *.item); name the file")
    return events, items


def find_users_file(events: Path | None, users: Path | None) -> Path | None:
    """The users file that the paths stand for: the named one, or that in the folder of the events, if there is one.

    Raises:
        DataError: a folder was named that holds no such file.
    """
    if users is None:
        return find_users(events) if events is not None and events.is_dir() else None
    found = find_users(users) if users.is_dir() else users
    if found is None:
        raise DataError(f"{users}: no users file in this folder (users, customers, *.user); name the file")
    return found


def _note_passed_over(ledger: Ledger, chosen: Path) -> None:
    others = passed_over(chosen)
    what = f"other files of the folder that {chosen.name} was preferred to; they are not read"
    places = [path.name for path in others]
    ledger.note("passed_over", len(others), "kept", what, places=places, fix="name the file that you mean")


def _read_item_table(source: Source, encoding: str, naming: Renaming) -> Table:
    if isinstance(source, Table):
        return source
    if is_movielens(source):
        return read_movielens(source, encoding)
    return read_table(source, encoding=encoding, known=naming.columns.values())


def _build(
    log: Log, good: pl.DataFrame, items: pl.DataFrame, texts: tuple[str, ...], settings: DataSettings
) -> Dataset:
    """Numbers users by first event, items in the catalogue's order, and makes the columns."""
    users, user_names = _renumber(good["user"].to_numpy(), log.users)
    used, item_names = _renumber(good["item"].to_numpy(), log.items)
    known = pl.DataFrame({"item_id": items["item_id"]}).with_row_index("num")
    places = pl.DataFrame({"item_id": item_names}).join(known, on="item_id", how="left", maintain_order="left")
    unknown = places["num"].is_null()
    nums = places["num"].fill_null(0).cast(pl.Int32).to_numpy().copy()
    new = unknown.to_numpy()
    nums[new] = items.height + np.arange(new.sum(), dtype=np.int32)
    if unknown.any():
        extra = pl.DataFrame({"item_id": item_names.filter(unknown)})
        items = pl.concat([items, extra], how="diagonal").with_columns(
            pl.col([name for name in ("title", "image", *texts) if name in items.columns]).fill_null("")
        )
        if "title_filled" in items.columns:
            items = items.with_columns(pl.col("title_filled").fill_null(False))
        if "categories" in items.columns:
            items = items.with_columns(pl.col("categories").fill_null([]))
    types = good["type"].to_numpy()
    values = good["value"].fill_null(float("nan")).to_numpy()
    events = Events(
        users=users,
        items=nums[used],
        at=good["at"].to_numpy(),
        types=types,
        values=values,
        gains=_gains(types, values, log, settings),
        rows=good["row"].to_numpy(),
        type_names=log.type_names,
        has_time=log.has_time,
    )
    profiles = profiles_in_log(log, good, user_names.alias("user_id"), pl.Series(users))
    return Dataset(Ids(user_names.to_numpy()), Catalogue(items, texts), events, profiles)


def _renumber(codes: np.ndarray, names: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """Numbers by first appearance among the codes, and the names that occur, in that order."""
    order = pl.Series(codes).unique(maintain_order=True).to_numpy()
    table = np.full(len(names), -1, dtype=np.int32)
    table[order] = np.arange(len(order), dtype=np.int32)
    return table[codes], names.gather(order)


def _gains(types: np.ndarray, values: np.ndarray, log: Log, settings: DataSettings) -> np.ndarray:
    """Type weight; under `scaled` times rating / highest rating, where an event without a rating counts fully."""
    weights = np.array([settings.type_weights.get(name, 1.0) for name in log.type_names] or [1.0], dtype=np.float32)
    gains = weights[types]
    if settings.rating_gain == "scaled" and log.rated and len(values):
        top = np.nanmax(values) if np.isfinite(values).any() else 1.0
        if top > 0:
            gains = gains * np.nan_to_num(values / np.float32(top), nan=1.0).clip(0.0)
    return np.asarray(gains, dtype=np.float32)


def _check_left(report: CleaningReport, events: Path | None, items: Path | None) -> None:
    if events is not None and not report.events:
        if not report.rows_in:
            raise DataError(f"{events}: holds a header and no rows; nothing to learn from")
        refused = [step for step in report.steps if step.action == "refused"]
        reasons = ", ".join(f"{step.what} ({step.count:,}: {', '.join(step.places[:1])})" for step in refused)
        fixes = "; ".join(dict.fromkeys(step.fix for step in refused))
        raise DataError(f"{events}: none of the {report.rows_in:,} rows can be used: {reasons}; {fixes}")
    if events is None and not report.items:
        raise DataError(f"{items}: holds no items")
