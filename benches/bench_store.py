"""How many events a second go into the store: bulk import and filling an empty one, beside executemany and COPY.

    python benches/bench_store.py --events 500000

`--postgres URL` names an empty database; without it the bench starts a server of its own, as the tests do, and leaves
PostgreSQL out where there is none. `--events N` sets the size; what 500,000 gave goes to results/store.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa

import common
from langrec.service.bulk import import_file
from langrec.service.store.bulk_rows import copy_rows
from langrec.service.store.filling import fill_events
from langrec.service.store.schema import events
from langrec.service.store.store import Store

COLUMNS = ("user_id", "item_id", "type", "at", "value", "comment", "revision")
BLOCK = 20_000
_EVENTS = 500_000


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--events", type=int, default=_EVENTS, help="another size is shown and not written down")
    parser.add_argument("--postgres", default="", help="URL of an empty database")
    chosen = parser.parse_args()
    frame = drawn(chosen.events)
    result: dict[str, Any] = {"events": frame.height, "block": BLOCK}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbers = iter(range(1000))
        result["sqlite"] = measured(lambda: f"sqlite:///{folder / f'{next(numbers)}.db'}", frame, folder)
        with databases(chosen.postgres) as made:
            if made is not None:
                result["postgresql"] = measured(made, frame, folder)
    print(json.dumps(result, indent=1))
    if chosen.events == _EVENTS:
        print(common.write("store", result))


def drawn(n: int) -> pl.DataFrame:
    """Events of users and items whose activity and popularity fall off as 1 / rank, in the order of time."""
    rng = np.random.default_rng(7)
    users, items = max(n // 50, 10), max(n // 200, 10)
    some = (1 / np.arange(1, users + 1) ** 0.7, 1 / np.arange(1, items + 1) ** 0.8)
    user, item = (rng.choice(len(w), n, p=w / w.sum()) for w in some)
    at = np.sort(rng.integers(1_600_000_000_000, 1_700_000_000_000, n))
    frame = pl.DataFrame({"user": user, "item": item, "at": at})
    return frame.select(
        pl.format("user-{}", "user").alias("user_id"),
        pl.format("item-{}", "item").alias("item_id"),
        pl.lit("click").alias("type"),
        "at",
        pl.lit(1.0).alias("value"),
    ).unique(["user_id", "item_id", "at"], maintain_order=True)


def measured(new: Callable[[], str], frame: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """Events a second of every way into a new store, and the ratios of ours to the plain ones."""
    lines, parquet = folder / "events.jsonl", folder / "events.parquet"
    frame.rename({"at": "timestamp"}).write_ndjson(lines)
    frame.rename({"at": "timestamp"}).write_parquet(parquet)
    ordered = frame.sort("user_id", "at", "item_id", "type")
    ways: dict[str, Callable[[Store], object]] = {
        "plain": lambda store: plain(store, frame),
        "plain_sorted": lambda store: plain(store, ordered),
        "import_jsonl": lambda store: import_file(store, lines, "events"),
        "import_parquet": lambda store: import_file(store, parquet, "events"),
        "fill": lambda store: fill_events(store, ordered.iter_slices(200_000)),
    }
    rates = {}
    for name, way in ways.items():
        store = Store(new())
        started = time.perf_counter()
        way(store)
        rates[name] = frame.height / (time.perf_counter() - started)
        with store.read() as connection:
            found = connection.execute(sa.select(sa.func.count()).select_from(events)).scalar_one()
        assert found == frame.height, (name, found)
        store.close()
    return {
        **{f"{name}_per_s": round(rate) for name, rate in rates.items()},
        "import_jsonl_to_plain": round(rates["import_jsonl"] / rates["plain"], 3),
        "fill_to_plain_sorted": round(rates["fill"] / rates["plain_sorted"], 3),
    }


def plain(store: Store, frame: pl.DataFrame) -> None:
    """What a program would do that knows the table: executemany in SQLite, COPY in PostgreSQL; no users, no counts."""
    for part in frame.iter_slices(BLOCK):
        rows = part.select(*COLUMNS[:5], pl.lit("").alias("comment"), pl.lit(1).alias("revision"))
        with store.write() as connection:
            copy_rows(connection, "events", COLUMNS, rows.iter_rows())


class databases:  # noqa: N801 - reads as what it gives
    """A maker of empty PostgreSQL databases while the block runs; None where there is no server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._server: Any = None

    def __enter__(self) -> Callable[[], str] | None:
        if self._url:
            return self._cleared
        tests = Path(__file__).parents[1] / "tests"
        sys.path[:0] = [str(tests), str(tests / "service")]
        from postgres_server import SETTINGS, PostgresServer, binaries

        if binaries() is None:
            print("no PostgreSQL server on this machine: left out", file=sys.stderr)
            return None
        SETTINGS["fsync"] = "on"
        self._server = PostgresServer()
        return self._server.new_database  # type: ignore[no-any-return]

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    def _cleared(self) -> str:
        engine = sa.create_engine(sa.make_url(self._url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()
        return self._url


if __name__ == "__main__":
    main()
