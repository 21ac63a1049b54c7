"""What is measured of a server, in order: time at a steady rate, the most it can do, search, ready lists, freshness."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from langrec.benching.serving.processes import (
    Server,
    ask,
    empty_server,
    get,
    langrec_server,
    load,
    post,
)
from langrec.benching.serving.world import World
from langrec.data.cache import remove_left

# Questions that are sent in turn: more than the caches' time would let repeat at a moderate rate.
_QUESTIONS = 20_000
_CONNECTIONS = 256
_SATURATING = 64
_SEARCHES_PER_S = 50.0
_FRESH = 20

Say = Callable[[str], None]


def measure_server(
    made: World,
    *,
    rate: float = 200.0,
    seconds: float = 60.0,
    workers: int = 1,
    seed: int = 0,
    settings: Sequence[str] = (),
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Starts the server over a world, drives it, and says what it did.

    Every list is asked for with its whole path: the user's history from the store, towers, retrieval, filters, ranker,
    diversity, JSON with the items' fields, each scorer's part and the trace, and the shown list logged. Reasons, which
    a page asks for where it shows them, are not among it. Users come as often as they have events.

    Args:
        made: what is served; its store is copied, so that the next run finds it as it was.
        rate: requests a second of the steady phase.
        seconds: of the steady phase; the others take at most 20 each.
        workers: processes of the server.
        settings: further ones, as `section.key=value`.
        say: is told what is being done.
    """
    remove_left(made.folder, "run-*")
    with tempfile.TemporaryDirectory(prefix="run-", dir=made.folder) as name:
        folder = Path(name)
        store = folder / "store.db"
        shutil.copyfile(made.store, store)
        with store.open("rb") as copied:
            os.fsync(copied.fileno())  # else the system writes it out while the server is measured, and commits wait
        say("starting the server")
        with langrec_server(made.releases, store, workers, folder, settings) as server:
            server.wait_for(workers)
            result = _driven(server, made, rate, seconds, seed, folder, say)
            say("stopping the server")
            result |= {"ready_s": round(server.ready_s, 1), "stop_status": server.stop()}
        say("an empty route")
        short = min(seconds, 10.0)
        with empty_server(workers, folder) as empty:
            bare = load(empty, [get("/api/recommend/u1?n=10")], short, folder, kind="closed", connections=_SATURATING)
    result["empty_route_per_s"] = round(bare["requests_per_s"], 1)
    result["cached_share_of_empty"] = round(result["cached_per_s"] / max(bare["requests_per_s"], 1e-9), 3)
    return {**result, "items": made.items, "users": made.users, "events": made.events, "workers": workers} | {
        "rate": rate,
        "seconds": seconds,
        "fill_s": made.fill_s,
    }


def _driven(
    server: Server, made: World, rate: float, seconds: float, seed: int, folder: Path, say: Say
) -> dict[str, Any]:
    short = min(seconds, 20.0)
    users, titles = drawn_questions(made, seed)
    lists = [post("/api/recommend", {"user": user, "k": 10, "diversity": 0.2, "explain": False}) for user in users]
    words = [get(f"/api/search?q={urllib.parse.quote(title)}&k=10") for title in titles]
    ready = [get(f"/api/recommend/{user}?n=10&max-age=3600") for user in list(dict.fromkeys(users))[:100]]
    say(f"{rate:g} lists a second for {seconds:g} s")
    start_mb = server.rss_mb()
    steady = load(server, lists, seconds, folder, kind="open", rate=rate, connections=_CONNECTIONS, seed=seed)
    say("as many lists as it can")
    most = load(server, lists[::-1], short, folder, kind="closed", connections=_SATURATING)
    say("searches in words")
    search = load(server, words, short, folder, kind="open", rate=_SEARCHES_PER_S, connections=_CONNECTIONS, seed=seed)
    say("lists that may be seconds old")
    # Each list comes to each worker a few times, and is ready in all of them before it is counted.
    load(server, ready, min(8.0, short), folder, kind="closed", connections=16)
    cached = load(server, ready, min(10.0, short), folder, kind="closed", connections=_SATURATING)
    say("freshness")
    fresh = _event_freshness(server, users) | _item_freshness(server)
    phases = (steady, most, search, cached)
    return {
        **{key: steady[key] for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")},
        "sent": steady["sent"],
        "requests_per_s": round(most["requests_per_s"], 1),
        "saturated_p99_ms": most["p99_ms"],
        "errors": sum(phase["errors"] for phase in phases),
        "failed": dict(sum((Counter(phase["failed"]) for phase in phases), Counter[str]())),
        "shed": steady["shed"],
        "shed_in_all": sum(phase["shed"] for phase in phases),
        "search_p50_ms": search["p50_ms"],
        "search_p99_ms": search["p99_ms"],
        "cached_per_s": round(cached["requests_per_s"], 1),
        "cached_p99_ms": cached["p99_ms"],
        **fresh,
        "start_mb": round(start_mb, 1),
        "rss_mb": round(server.rss_mb(), 1),
        "memory": steady["memory"],
    }


def drawn_questions(made: World, seed: int, n: int = _QUESTIONS) -> tuple[list[str], list[str]]:
    """Users, as often as they have events, and titles to search for, as often as an item is chosen."""
    folder = next(path for path in (made.releases).iterdir() if path.is_dir())
    events = pl.scan_parquet(folder / "catalog" / "events.parquet").select("user_id", "item_id")
    rows = np.sort(np.random.default_rng(seed).integers(0, made.events, n))
    wanted = pl.DataFrame({"row": rows.astype(np.uint32)}).lazy()
    drawn = wanted.join(events.with_row_index("row"), on="row", how="left").collect()
    drawn = drawn.sample(fraction=1.0, shuffle=True, seed=seed)
    titles = pl.scan_parquet(folder / "catalog" / "items.parquet").select("item_id", "title")
    said = drawn.lazy().select("item_id").join(titles, on="item_id", how="left").collect()["title"].to_list()
    return drawn["user_id"].to_list(), [title or "text" for title in said]


def _event_freshness(server: Server, users: Sequence[str]) -> dict[str, Any]:
    """Whether the next list of a user minds an event that somebody posted a moment before, on any worker."""
    missed, times = 0, []
    for user in list(dict.fromkeys(users))[:_FRESH]:
        first = ask(server.port, "GET", f"/api/recommend/{user}?n=1")
        event = {"FeedbackType": "click", "UserId": user, "ItemId": first[0]}
        ask(server.port, "POST", "/api/feedback", [event])
        acknowledged = time.perf_counter()
        # Each request has a connection of its own: with several workers some of them go to each.
        seen = [first[0] not in ask(server.port, "GET", f"/api/recommend/{user}?n=10") for _ in range(3)]
        times.append(1000 * (time.perf_counter() - acknowledged) / len(seen))
        missed += seen.count(False)
    return {"event_missed": missed, "event_next_list_ms": round(statistics.median(times), 2)}


def _item_freshness(server: Server) -> dict[str, Any]:
    """Milliseconds from the acknowledgement of a new item to the end of the request that recommends it."""
    times = []
    for i in range(_FRESH):
        item, words = f"fresh-{i}", f"zyxwv{i} quiet lantern harbour"
        ask(server.port, "POST", "/api/item", {"ItemId": item, "Comment": words, "Categories": ["kind 1"]})
        acknowledged = time.perf_counter()
        wish = {"text": f"zyxwv{i} lantern", "k": 10}
        while item not in [one["id"] for one in ask(server.port, "POST", "/api/recommend", wish)["items"]]:
            if time.perf_counter() - acknowledged > 10:
                break
        times.append(1000 * (time.perf_counter() - acknowledged))
    return {"item_ms": round(statistics.median(times), 2), "item_max_ms": round(max(times), 2)}
