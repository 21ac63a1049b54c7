"""The service against what stands below it, in one run: the bare framework, the recommender without HTTP, plain SQLite.

    python benches/bench_serve.py --requests 200

- import: users, items and events into a new store, against sqlite3's executemany of the same events into one table.
- recommend: requests a second over HTTP, against a bare FastAPI route with a constant list, and against the recommender
  called in this process, one query at a time.
- feedback: acknowledged (durable) events a second from 16 clients, against plain SQLite committing each event.
- freshness: milliseconds from posting an event to having the changed list.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import common
from langrec.bundle import Bundle
from langrec.data.catalogue import Catalogue
from langrec.data.dataset import Dataset
from langrec.data.events import Events
from langrec.data.ids import Ids
from langrec.service.http import calm_threads
from langrec.service.service import Service
from langrec.service.store.importing import import_release
from langrec.service.store.store import Store
from langrec.settings import EncoderSettings, EvaluateSettings, RetrievalSettings, ServeSettings, Settings
from langrec.training import train
from langrec.types import Query

N_ITEMS, N_USERS, N_EVENTS = 5_000, 1_000, 100_000
WORDS = [
    a + b for a in ("sea", "oak", "iron", "moon", "salt", "fire", "rain", "gold") for b in ("ship", "bird", "song")
]
BARE = """
from fastapi import FastAPI
app = FastAPI()
@app.get("/api/recommend/{user}")
async def recommend(user: str, n: int = 10, offset: int = 0):
    return [str(i) for i in range(n)]
"""


def world() -> Dataset:
    """Items with six random words, and users with a taste for one word."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, len(WORDS), (N_ITEMS, 6))
    frame = pl.DataFrame(
        {
            "item_id": [str(i) for i in range(N_ITEMS)],
            "title": [" ".join(WORDS[w] for w in row[:3]) for row in words],
            "description": [" ".join(WORDS[w] for w in row) for row in words],
            "categories": [[WORDS[row[0]]] for row in words],
        }
    )
    users = rng.integers(0, N_USERS, N_EVENTS)
    items = rng.integers(0, N_ITEMS, N_EVENTS)
    for u in range(N_USERS):
        mine = np.flatnonzero(users == u)
        liked = np.flatnonzero(words[:, 0] == u % len(WORDS))
        items[mine[: len(mine) // 2]] = rng.choice(liked, len(mine) // 2)
    at = np.sort(rng.integers(1_690_000_000_000, 1_710_000_000_000, N_EVENTS))
    ones, types = np.ones(N_EVENTS, np.float32), np.zeros(N_EVENTS, np.int8)
    users, items, rows = users.astype(np.int32), items.astype(np.int32), np.arange(N_EVENTS)
    events = Events(users, items, at, types, ones, ones, rows, ("click",))
    return Dataset(Ids([f"u{u}" for u in range(N_USERS)]), Catalogue(frame, ("description",)), events)


def make_release(folder: Path) -> None:
    settings = Settings(
        encoder=EncoderSettings(name="hashing"),
        retrieval=RetrievalSettings(
            scorers=("popular_decayed", "itemknn", "bm25", "vectors"),
            decay=(0.1,),
            popular_efold=(0.1,),
            itemknn_neighbours=(50,),
            itemknn_shrink=(20.0,),
        ),
        evaluate=EvaluateSettings(bootstrap=10),
    )
    train(world(), settings, folder, steps=folder.parent / "steps")


def bench_import(releases: Path, folder: Path) -> dict[str, Any]:
    bundle = Bundle.open(releases)
    catalogue = bundle.catalogue()
    ours, plain = [], []
    for turn in range(3):
        store = Store(f"sqlite:///{folder}/import{turn}.db")
        start = time.perf_counter()
        import_release(store, bundle.stamp, bundle.folder, catalogue)
        ours.append(time.perf_counter() - start)
        store.close()
        rows = pl.read_parquet(bundle.folder / "catalog" / "events.parquet").rows()
        connection = sqlite3.connect(folder / f"plain{turn}.db")
        connection.execute("CREATE TABLE events (user_id, item_id, type, value, at)")
        start = time.perf_counter()
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
        connection.commit()
        plain.append(time.perf_counter() - start)
        connection.close()
    return {"seconds": min(ours), "plain_sqlite_seconds": min(plain), "times_plain": min(ours) / min(plain)}


class Server:
    """A server as a process of its own."""

    def __init__(self, command: list[str], port: int, path: str) -> None:
        self.port = port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(600):
            try:
                asyncio.run(load(port, [get(path)], 1))
                return
            except (OSError, asyncio.IncompleteReadError):
                time.sleep(0.1)
        raise SystemExit("the server did not start")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: Any) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


async def load(port: int, requests: list[bytes], clients: int) -> dict[str, float]:
    """Requests a second and milliseconds, from clients that each wait for their answer."""
    times: list[float] = []

    async def client(mine: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in mine:
            start = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:20]:
                raise SystemExit(head.decode())
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            times.append(time.perf_counter() - start)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*[client(requests[i::clients]) for i in range(clients)])
    seconds = time.perf_counter() - start
    times.sort()
    return {
        "per_second": len(requests) / seconds,
        "p50_ms": 1000 * times[len(times) // 2],
        "p99_ms": 1000 * times[int(len(times) * 0.99)],
    }


def bench_http(releases: Path, folder: Path, n: int) -> dict[str, Any]:
    ports = [free_port(), free_port()]
    (folder / "bare.py").write_text(BARE)
    base = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), "--log-level", "warning", "bare:app"]
    bare = Server([*base, "--port", str(ports[0])], ports[0], "/api/recommend/u0")
    store = f"sqlite:///{folder}/serve.db"
    command = [sys.executable, "-m", "langrec", "serve", "--releases", str(releases), "--store", store]
    ours = Server([*command, "--port", str(ports[1])], ports[1], "/api/recommend/u0")
    out: dict[str, Any] = {}
    for clients in (1, 16):
        # Each user and offset once: nothing comes from the cache.
        asks = [get(f"/api/recommend/u{i % N_USERS}?n=10&offset={clients + i // N_USERS}") for i in range(n)]
        mine = asyncio.run(load(ports[1], asks, clients))
        theirs = asyncio.run(load(ports[0], asks, clients))
        out[f"recommend_{clients}"] = {**mine, "share_of_bare": mine["per_second"] / theirs["per_second"]}
    words = [get(f"/api/search?q={WORDS[i % 24]}+{WORDS[i // 24 % 24]}&k=10&offset={i // 576}") for i in range(n)]
    out["search_16"] = asyncio.run(load(ports[1], words, 16))
    asks = [post("/api/feedback", [event(i)]) for i in range(n)]
    writes = asyncio.run(load(ports[1], asks, 16))
    plain = plain_commits(folder / "commits.db", n)
    out["feedback_16"] = {**writes, "plain_sqlite_per_second": plain, "times_plain": writes["per_second"] / plain}
    fresh = []
    for i in range(30):
        pair = [post("/api/feedback", [event(i, f"new{i}")]), get(f"/api/recommend/new{i}")]
        start = time.perf_counter()
        asyncio.run(load(ports[1], pair, 1))
        fresh.append(1000 * (time.perf_counter() - start))
    out["freshness_ms"] = statistics.median(fresh)
    for server in (ours, bare):
        server.close()
    return out


def event(i: int, user: str = "") -> dict[str, Any]:
    return {
        "FeedbackType": "click",
        "UserId": user or f"u{i % N_USERS}",
        "ItemId": str(i % N_ITEMS),
        "Timestamp": "2024-05-01T12:00:00Z",
    }


def plain_commits(path: Path, n: int) -> float:
    """Events a second that SQLite takes with a durable commit each."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE events (user_id, item_id, type, at, UNIQUE (user_id, at, item_id, type))")
    start = time.perf_counter()
    for i in range(n):
        one = event(i)
        connection.execute("INSERT OR IGNORE INTO events VALUES (?, ?, 'click', ?)", (one["UserId"], one["ItemId"], i))
    return n / (time.perf_counter() - start)


def bench_without_http(releases: Path, folder: Path) -> float:
    """Queries a second of the recommender alone, one at a time, histories from the store."""
    calm_threads(N_ITEMS)
    service = Service(releases, ServeSettings(store=f"sqlite:///{folder}/direct.db"))
    snapshot = service.releases.fresh()
    with service.store.read() as connection:
        start = time.perf_counter()
        for i in range(200):
            snapshot.recommender.recommend([service.known_history(Query(user=f"u{i}"), connection)])
        return 200 / (time.perf_counter() - start)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="requests of each measurement")
    n = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_release(folder / "releases")
        result = {"import": bench_import(folder / "releases", folder)}
        result |= bench_http(folder / "releases", folder, n)
        alone = bench_without_http(folder / "releases", folder)
        result["recommender_alone_per_second"] = alone
        result["recommend_16_times_alone"] = result["recommend_16"]["per_second"] / alone
    result["size"] = {"items": N_ITEMS, "users": N_USERS, "events": N_EVENTS, "requests": n}
    print(json.dumps(result, indent=1))
    common.write("serve", result)


if __name__ == "__main__":
    main()
