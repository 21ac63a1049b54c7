"""A large world ready to be served: a drawn release and a store filled from it, kept in the cache folder.

The distributions are those of `benching.shop`: how often an item is chosen is log-normal (spread 1.6 in the logarithm)
and so is how much a user does (spread 1.1), as in logs of shops and of films; users keep to a few topics; texts mix
words of their topic with common ones by a Zipf law. The store is filled sorted by user and time, which is quick; a
request reads a history from the index alone, so it does not matter where the rows of the table lie.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langrec.data.cache import cache_folder
from langrec.protocols import Progress, untold

if TYPE_CHECKING:
    from langrec.service.store.store import Store

# A change of what is drawn or stored: worlds of another format are made anew.
FORMAT = 4


_CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class World:
    """What can be served.

    Attributes:
        folder: of everything.
        releases: the releases folder.
        store: an SQLite file that holds the release, as a server leaves it.
        items: how many.
        users: how many; their ids are u0, u1, ...
        events: how many.
        fill_s: seconds that the making took.
    """

    folder: Path
    releases: Path
    store: Path
    items: int
    users: int
    events: int
    fill_s: float


def world(
    items: int,
    users: int,
    events: int,
    seed: int = 0,
    told: Progress = untold,
) -> World:
    """The world of these sizes: found in the cache, else made; equal arguments give equal worlds.

    Args:
        told: is told what is being made, how much is done, and of how much.
    """
    from langrec.manifest import FORMAT as RELEASES

    folder = cache_folder() / "bench-serve" / f"{items}-{users}-{events}-{seed}-f{FORMAT}.{RELEASES}"
    done = folder / "done.json"
    try:
        fill_s = float(json.loads(done.read_text("utf-8"))["fill_s"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or a killed run was just writing it
        started = time.perf_counter()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _make(folder, items, users, events, seed, told)
        fill_s = round(time.perf_counter() - started, 1)
        done.write_text(json.dumps({"fill_s": fill_s}), "utf-8")
    else:
        from langrec.service.store.migrating import migrate

        migrate(f"sqlite:///{folder / 'store.db'}")
    return World(folder, folder / "releases", folder / "store.db", items, users, events, fill_s)


def _make(folder: Path, items: int, users: int, events: int, seed: int, told: Progress) -> None:
    from langrec.benching.release import write_large_release
    from langrec.service.served.snapshot import Releases
    from langrec.service.store.store import Store

    release = write_large_release(folder / "releases", items, users, events, seed, told=told)
    store = Store(f"sqlite:///{folder / 'store.db'}")
    try:
        _fill(store, release, told)
        # What the server does at its start: finds all imported, and notes in which items the store differs.
        Releases(folder / "releases", store, progress=told)
        with store.write() as connection:
            connection.exec_driver_sql("ANALYZE")
    finally:
        store.close()
    _merge_log(folder / "store.db")


def _fill(store: Store, release: Path, told: Progress) -> None:
    """Puts all of a release into an empty store, and notes that it was imported."""
    import polars as pl

    from langrec.bundle import Bundle
    from langrec.service.store.filling import fill_events
    from langrec.service.store.importing import catalogue_items
    from langrec.service.store.item_rows import StoredItem, put_items
    from langrec.service.store.store import set_meta

    catalogue = Bundle.open(release).catalogue()
    for start in range(0, len(catalogue), _CHUNK):
        told("items", start, len(catalogue))
        with store.write() as connection:
            rows = [StoredItem(item) for item in catalogue_items(catalogue, start, start + _CHUNK)]
            put_items(connection, rows, source="release")
    log = pl.read_parquet(release / "catalog" / "events.parquet")
    key = ["user_id", "at", "item_id", "type"]
    log = log.unique(key).sort(key)
    frames = (log.slice(start, 10 * _CHUNK) for start in range(0, log.height, 10 * _CHUNK))
    filled = fill_events(store, frames, progress=lambda done: told("events", done, log.height))
    with store.write() as connection:
        sizes = {"items": len(catalogue), "users": 0, "events": filled}
        upto = connection.exec_driver_sql("SELECT max(seq) FROM events").scalar()
        set_meta(connection, f"import:{release.name}", {**sizes, "done": True, "upto": upto})


def _merge_log(file: Path) -> None:
    """Brings what SQLite keeps beside the file into it, so that the file alone can be copied."""
    import sqlite3

    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
