"""A planted world behind a live server: topics with words of their own, and users who each keep to one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

from forked import Started
from langrec.data.catalogue import Catalogue
from langrec.data.dataset import Dataset
from langrec.data.events import Events
from langrec.data.ids import Ids
from langrec.settings import EncoderSettings, EvaluateSettings, RetrievalSettings, ServeSettings, Settings
from langrec.training import train
from ports import free_port

TOPICS = {
    "sea": "ship harbour sailor whale anchor tide",
    "bread": "bakery flour oven dough yeast crust",
    "chess": "queen bishop gambit castle pawn endgame",
    "moon": "crater rocket orbit lunar astronaut gravity",
}
ITEMS_PER_TOPIC = 12
USERS_PER_TOPIC = 10
START = 1_700_000_000_000
AT = "2024-05-01T12:00:00Z"
# Seconds after which something hangs: a machine that is busy with other things takes its time, and no test asserts one.
PATIENCE = 120


def planted() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Items (sea00, sea01, ...) and events: user sea-u0 buys and clicks six sea items."""
    items = []
    for topic, words in TOPICS.items():
        for i in range(ITEMS_PER_TOPIC):
            some = words.split()
            items.append(
                {
                    "item_id": f"{topic}{i:02d}",
                    "title": f"{topic} {some[i % 6]} story {i}",
                    "description": f"About {some[i % 6]} and {some[(i + 1) % 6]} and {some[(i + 2) % 6]}.",
                    "categories": [topic, "even" if i % 2 == 0 else "odd"],
                    "price": float(5 + i),
                    "at": START + i * 86_400_000,
                }
            )
    events = []
    for t, topic in enumerate(TOPICS):
        for u in range(USERS_PER_TOPIC):
            for step in range(6):
                number = (u + 2 * step) % ITEMS_PER_TOPIC
                events.append(
                    {
                        "user_id": f"{topic}-u{u}",
                        "item_id": f"{topic}{number:02d}",
                        "type": "click" if step % 2 else "purchase",
                        "value": None if step % 2 else 2.0,
                        "at": START + 40 * 86_400_000 + (step * 100 + t * 10 + u) * 3_600_000,
                    }
                )
    frame = pl.DataFrame(events, schema_overrides={"value": pl.Float64}).sort("at", maintain_order=True)
    return pl.DataFrame(items), frame


def write_planted(folder: Path, frame: pl.DataFrame) -> Path:
    """A release trained on the planted world."""
    items, _ = planted()
    catalogue = Catalogue(items, ("description",))
    users = Ids(frame["user_id"].unique(maintain_order=True).to_numpy())
    kinds = ("click", "purchase")
    events = Events(
        users=users.numbers(frame["user_id"]),
        items=catalogue.ids.numbers(frame["item_id"]),
        at=frame["at"].to_numpy(),
        types=np.array([kinds.index(kind) for kind in frame["type"]], dtype=np.int8),
        values=frame["value"].cast(pl.Float32).fill_null(float("nan")).to_numpy(),
        gains=np.ones(frame.height, dtype=np.float32),
        rows=np.arange(frame.height),
        type_names=kinds,
    )
    settings = Settings(
        encoder=EncoderSettings(name="hashing"),
        retrieval=RetrievalSettings(
            scorers=("popular", "popular_decayed", "itemknn", "ease", "bm25", "vectors"), decay=(0.0, 0.1)
        ),
        evaluate=EvaluateSettings(bootstrap=50),
    )
    made, _ = train(Dataset(users, catalogue, events), settings, folder, steps=folder.parent / "steps")
    return made


class Live:
    """A server that answers, in a thread of this process, and a client for it."""

    def __init__(self, releases: Path, settings: ServeSettings) -> None:
        import uvicorn

        from langrec.service.http import create_app

        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.releases = releases
        self.settings = replace(settings, port=self.port)
        self.old, self.new = sorted(path.name for path in releases.iterdir() if path.is_dir())[-2:]
        self.app = create_app(releases, self.settings)
        self.service = self.app.state.service
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, log_level="warning", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE)
        wait_until(lambda: self._server.started)

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(timeout=PATIENCE)
        assert not self._thread.is_alive(), "the server did not stop"

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of another request that must succeed."""
        answer = self.client.request(method, path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def recommended(self, user: str, n: int = 10, **params: Any) -> list[str]:
        return list(self.get(f"/api/recommend/{user}", n=n, **params))


def wait_until(ready: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `ready` gives as soon as it is something."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = ready()
        except httpx.HTTPError:
            found = None
        if found:
            return found
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Process:
    """`langrec serve` as a process of its own."""

    def __init__(
        self, releases: Path, store: str, *arguments: str, port: int | None = None, without_releases: bool = False
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        words = ["serve", *([] if without_releases else ["--releases", str(releases)])]
        words += ["--store", store, "--port", str(self.port), *arguments]
        # A killed server leaves its temporary files: here they are the test's.
        self.process = Started(words, {**os.environ, "TMPDIR": str(releases.parent)})
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE)

    def wait(self) -> Process:
        def answers() -> bool:
            assert self.process.poll() is None, self.process.wait()
            return self.client.get("/api/health/ready").status_code == 200

        wait_until(answers)
        return self

    def killed_under_load(self, n_writers: int, enough: int) -> set[tuple[str, str]]:
        """Kills it while threads write events one by one; the user and item of those that it acknowledged."""
        acknowledged: list[tuple[str, str]] = []
        reached = threading.Event()

        def write(thread: int) -> None:
            with httpx.Client(base_url=self.url, timeout=PATIENCE) as client:
                for i in range(10_000):
                    user, item = f"t{thread}", f"i{i}"
                    event = {"FeedbackType": "click", "UserId": user, "ItemId": item, "Timestamp": AT}
                    try:
                        if client.post("/api/feedback", json=[event]).status_code != 200:
                            return
                    except httpx.HTTPError:
                        return
                    acknowledged.append((user, item))
                    if len(acknowledged) > enough:
                        reached.set()

        threads = [threading.Thread(target=write, args=(n,)) for n in range(n_writers)]
        for thread in threads:
            thread.start()
        assert reached.wait(PATIENCE)
        self.kill()
        for thread in threads:
            thread.join()
        assert len(acknowledged) > enough
        return set(acknowledged)

    def kill(self) -> None:
        """Kills it and its workers without a warning."""
        self.process.kill()

    def close(self) -> None:
        self.client.close()
        self.kill()
