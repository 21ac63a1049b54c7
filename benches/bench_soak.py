"""A server under steady load for half an hour: its memory over time, which has to stay flat, and no error.

    python benches/bench_soak.py --minutes 30

Lists, searches, ready lists, events and new items come mixed, from users and words that do not repeat soon, so every
cache is filled to its bound and pushes out. Memory counts as flat where the median of the last third lies at most 5 %
above that of the middle third: the first third is when caches fill.
"""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

import common
from langrec.benching.serving.measured import drawn_questions
from langrec.benching.serving.processes import get, langrec_server, load, post
from langrec.benching.serving.world import World, world

GROWTH = 1.05


def requests_of(made: World, seed: int) -> list[bytes]:
    """What visitors and shops ask: of ten requests six lists, one ready list, one search, one event, one item."""
    users, titles = drawn_questions(made, seed)
    rng = random.Random(seed)
    out: list[bytes] = []
    for i, (user, title) in enumerate(zip(users, titles, strict=True)):
        words = " ".join(rng.sample(title.split(), min(2, len(title.split())))) + f" {i}"
        kind = i % 10
        if kind < 6:
            out.append(post("/api/recommend", {"user": user, "k": 10, "diversity": 0.2, "explain": False}))
        elif kind == 6:
            out.append(get(f"/api/recommend/{user}?n=10&max-age=60"))
        elif kind == 7:
            out.append(get(f"/api/search?q={urllib.parse.quote(words)}&k=10"))
        elif kind == 8:
            event = {"FeedbackType": "click", "UserId": user, "ItemId": f"p{rng.randrange(made.items)}"}
            out.append(post("/api/feedback", [event]))
        else:
            # A few items change again and again: a catalogue that grew would need more memory by right.
            out.append(
                post("/api/item", {"ItemId": f"soak-{i // 10 % 50}", "Comment": title, "Categories": ["kind 1"]})
            )
    return out


def soaked(made: World, minutes: float, rate: float, workers: int, settings: list[str]) -> dict[str, Any]:
    """Drives a server over the world, and says what its memory did."""
    with tempfile.TemporaryDirectory(prefix="soak-", dir=made.folder) as name:
        folder = Path(name)
        store = folder / "store.db"
        shutil.copyfile(made.store, store)
        with langrec_server(made.releases, store, workers, folder, settings) as server:
            found = load(
                server, requests_of(made, 0), 60 * minutes, folder, kind="open", rate=rate, connections=128, seed=0
            )
            status = server.stop()
    memory = found.pop("memory")
    third = max(1, len(memory) // 3)
    middle = statistics.median(mb for _, mb in memory[third : 2 * third] or memory)
    last = statistics.median(mb for _, mb in memory[2 * third :] or memory)
    growth = last / middle
    return {
        **found,
        "minutes": minutes,
        "rate": rate,
        "workers": workers,
        "items": made.items,
        "rss_first_mb": memory[0][1],
        "rss_middle_mb": middle,
        "rss_last_mb": last,
        "growth": round(growth, 4),
        "flat": growth <= GROWTH,
        "stop_status": status,
        "memory": memory,
    }


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long it runs")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")
    parser.add_argument("--items", type=int, default=20_000, help="items of the shop that is drawn")
    parser.add_argument("--users", type=int, default=5_000, help="users of that shop")
    parser.add_argument("--events", type=int, default=200_000, help="events of that shop")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="section.key=value for the server")
    asked = parser.parse_args()
    made = world(asked.items, asked.users, asked.events)
    result = soaked(made, asked.minutes, asked.rate, asked.workers, asked.settings)
    for at, mb in result["memory"]:
        print(f"{at / 60:6.1f} min  {mb:9.1f} MB")
    print({name: value for name, value in result.items() if name != "memory"})
    common.write("soak", result)


if __name__ == "__main__":
    main()
