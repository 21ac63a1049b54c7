"""What an item, a user and an event take: bytes of release, store and memory, seconds to start, ms of a list.

    python benches/bench_sizing.py --items 50000 --times 2

Four drawn shops are served one after the other: a base, and the base with more items, more users or more events. What
the larger one takes beyond the base, divided by what it has beyond it, is the price of one.
`docs/sizing.md` multiplies.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import common
from bench_faults import Server
from langrec.benching.release import write_large_release
from langrec.data.once import size_of

PARTS = ("items", "users", "events")
TAKEN = ("release_bytes", "store_bytes", "memory_bytes", "import_s", "start_s", "list_ms", "search_ms")


@dataclass(frozen=True)
class Size:
    """How large a shop is."""

    items: int
    users: int
    events: int


def measured(size: Size, work: Path, requests: int) -> dict[str, float]:
    """What serving a shop of this size takes.

    Args:
        size: of the shop.
        work: an empty folder.
        requests: lists, and searches, that are timed one at a time.
    """
    folder = work / "releases"
    release = write_large_release(folder, items=size.items, users=size.users, events=size.events)
    server = Server(folder, work / "store.db")
    first = server.start()  # imports the release into the store
    server.kill()
    again = server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            users = [one["id"] for one in client.get("/api/users/suggest", params={"n": 50}).json()]
            rng = random.Random(1)
            lists = [_timed(client, {"user": rng.choice(users), "k": 10 + i}) for i in range(requests)]
            found = [
                _timed(client, {"text": f"{i} quiet story of the sea", "k": 10}) for i in range(requests)
            ]  # every text is another one
        memory = server.memory_mb() * 1e6
    finally:
        server.kill()
    with contextlib.closing(sqlite3.connect(work / "store.db")) as connection:
        # What a sudden end left in the log belongs into the file.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {
        "release_bytes": size_of(release),
        "store_bytes": sum(path.stat().st_size for path in work.glob("store.db*") if path.suffix != ".log"),
        "memory_bytes": memory,
        "import_s": max(0.0, first - again),
        "start_s": again,
        "list_ms": statistics.median(lists),
        "search_ms": statistics.median(found),
    }


def prices(base: Size, larger: dict[str, Size], taken: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """By part what one more of it takes, and under `rest` what is left of the base.

    Args:
        base: the smallest shop.
        larger: by part a shop with more of it alone.
        taken: of "base" and of each part what was measured.
    """
    per: dict[str, dict[str, float]] = {}
    for part in PARTS:
        more = getattr(larger[part], part) - getattr(base, part)
        per[part] = {name: max(0.0, (taken[part][name] - taken["base"][name]) / more) for name in TAKEN}
    per["rest"] = {
        name: max(0.0, taken["base"][name] - sum(per[part][name] * getattr(base, part) for part in PARTS))
        for name in TAKEN
    }
    return per


def _timed(client: httpx.Client, body: dict[str, Any]) -> float:
    started = time.perf_counter()
    client.post("/api/recommend", json=body).raise_for_status()
    return (time.perf_counter() - started) * 1000


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--items", type=int, default=50_000, help="items of the shop that is drawn")
    parser.add_argument("--users", type=int, default=20_000, help="users of that shop")
    parser.add_argument("--events", type=int, default=500_000, help="events of that shop")
    parser.add_argument("--times", type=int, default=4, help="how much larger the larger shops are")
    parser.add_argument("--requests", type=int, default=100, help="lists that are asked for")
    parser.add_argument("--json", type=Path, help="write here in place of benches/results/sizing.json")
    chosen = parser.parse_args()
    base = Size(chosen.items, chosen.users, chosen.events)
    larger = {
        "items": Size(base.items * chosen.times, base.users, base.events),
        "users": Size(base.items, base.users * chosen.times, base.events),
        "events": Size(base.items, base.users, base.events * chosen.times),
    }
    taken: dict[str, dict[str, float]] = {}
    for name, size in {"base": base, **larger}.items():
        with tempfile.TemporaryDirectory(prefix="langrec-sizing-") as work:
            taken[name] = measured(size, Path(work), chosen.requests)
        print(f"{name}: {size} {json.dumps({k: round(v, 3) for k, v in taken[name].items()})}", flush=True)
    result = {
        "size": vars(base),
        "times": chosen.times,
        "measured": taken,
        "per": prices(base, larger, taken),
    }
    if chosen.json is None:
        print(common.write("sizing", result))
    else:
        chosen.json.write_text(json.dumps({"machine": common.machine(), **result}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
