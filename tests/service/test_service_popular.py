"""Popularity while serving: new events count in everybody's lists, those of the release count once."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from live_server import wait_until

from langrec.bundle import Bundle
from langrec.service.served.counting import Weights, count_all, count_new
from langrec.service.served.snapshot import Releases
from langrec.service.store import event_rows
from langrec.service.store.event_rows import Event
from langrec.service.store.store import Store
from langrec.settings import DataSettings


@pytest.fixture
def store(tmp_path):
    opened = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def clicks(item, n, prefix="visitor", at=None, kind="click"):
    at = int(time.time() * 1000) - 1000 if at is None else at
    return [Event(f"{prefix}{i}", item, kind, at + i) for i in range(n)]


def put(store, events):
    with store.write() as connection:
        event_rows.put_events(connection, events, overwrite=True)


def logs(snapshot):
    return snapshot.recommender.fusion.scorers["popular"].logs


def late(snapshot):
    """Gains by item that came after the training."""
    ids = snapshot.recommender.items.ids
    found = {}
    for log in logs(snapshot)[1:]:
        for num, gain in zip(log.items, log.gains, strict=True):
            found[ids[int(num)]] = found.get(ids[int(num)], 0.0) + float(gain)
    return found


def test_many_clicks_on_a_tail_item_lift_it_in_a_new_visitors_list(serve):
    live = serve(popular_seconds=0.0)
    before = live.recommended("nobody", n=48)
    tail = before[-1]
    body = [{"FeedbackType": "purchase", "UserId": f"visitor{i}", "ItemId": tail} for i in range(150)]
    live.send("POST", "/api/feedback", body)
    after = live.recommended("nobody", n=48)
    assert after.index(tail) == 0 and sorted(after) == sorted(before)
    assert live.get("/api/popular", n=1)[0]["Id"] == tail


def test_a_new_item_becomes_popular_by_its_events(serve):
    live = serve(popular_seconds=0.0)
    live.send("POST", "/api/item", {"ItemId": "kiln", "Comment": "porcelain kiln"})
    assert "kiln" not in live.recommended("nobody", n=10)
    body = [{"FeedbackType": "purchase", "UserId": f"visitor{i}", "ItemId": "kiln"} for i in range(150)]
    live.send("POST", "/api/feedback", body)
    assert live.recommended("nobody", n=10)[0] == "kiln"


def test_one_click_long_after_the_training_does_not_push_all_else_aside(serve):
    live = serve(popular_seconds=0.0)
    before = live.recommended("nobody", n=48)
    live.send("POST", "/api/feedback", [{"FeedbackType": "click", "UserId": "ann", "ItemId": before[-1]}])
    after = live.recommended("nobody", n=48)
    assert after[:5] == before[:5]


@pytest.mark.slow
def test_every_worker_counts_what_any_of_them_was_told(start_process):
    server = start_process("--workers", "2", "--set", "serve.popular_seconds=0.1").wait()
    tail = httpx.get(f"{server.url}/api/recommend/nobody?n=48").json()[-1]
    body = [{"FeedbackType": "purchase", "UserId": f"visitor{i}", "ItemId": tail} for i in range(150)]
    assert httpx.post(f"{server.url}/api/feedback", json=body).status_code == 200

    def both() -> bool:
        # Each request comes on a new connection, which either worker may take.
        return all(httpx.get(f"{server.url}/api/recommend/nobody?n=1").json() == [tail] for _ in range(20))

    assert wait_until(both)


def test_the_events_of_the_release_are_not_counted_again(releases, store):
    watched = Releases(releases, store, popular_pause=0.0)
    assert len(logs(watched.snapshot)) == 1
    assert len(logs(watched.fresh())) == 1
    put(store, clicks("sea00", 3))
    assert late(watched.fresh()) == {"sea00": 1.5}
    assert late(watched.fresh()) == {"sea00": 1.5}
    put(store, clicks("sea00", 1, "other", kind="purchase"))
    assert late(watched.fresh()) == {"sea00": 2.5}


def test_a_restart_counts_what_came_since_the_release(releases, store):
    Releases(releases, store)
    put(store, clicks("sea00", 4))
    put(store, clicks("bread00", 2, "early", at=1_000_000_000_000))
    first = Releases(releases, store)
    assert late(first.snapshot) == {"sea00": 2.0, "bread00": 1.0}


def test_a_release_that_was_trained_on_events_from_the_store_counts_only_the_later_ones(two_releases, tmp_path, store):
    old, new = sorted(path for path in two_releases.iterdir() if path.is_dir())
    folder = tmp_path / "trained"
    folder.mkdir()
    shutil.copytree(old, folder / old.name)
    (folder / "CURRENT").write_text(old.name)
    Releases(folder, store)
    learned = pl.read_parquet(new / "catalog" / "events.parquet").tail(1).to_dicts()[0]
    put(store, [Event(learned["user_id"], learned["item_id"], learned["type"], learned["at"])])
    put(store, clicks("sea00", 2))
    weight = DataSettings().type_weights[learned["type"]]
    assert late(Releases(folder, store).snapshot) == {learned["item_id"]: weight, "sea00": 1.0}
    shutil.copytree(new, folder / new.name)
    (folder / "CURRENT").write_text(new.name)
    watched = Releases(folder, store, popular_pause=0.0)
    assert late(watched.snapshot) == {"sea00": 1.0}
    assert late(watched.fresh()) == {"sea00": 1.0}


def test_looks_for_new_events_are_seconds_apart(releases, store):
    watched = Releases(releases, store, popular_pause=3600.0)
    put(store, clicks("sea00", 1))
    assert late(watched.fresh()) == {}


def test_a_look_that_finds_nothing_is_one_look_by_the_key(releases, store):
    watched = Releases(releases, store, popular_pause=0.0)
    snapshot = watched.fresh()
    asked = []
    with store.read() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        same, place = count_new(connection, snapshot.recommender, snapshot.weights, snapshot.counted)
        assert same is snapshot.recommender and place == snapshot.counted
        [(statement, values)] = [(statement, values) for statement, values in asked if statement != "BEGIN"]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    assert "SEARCH events USING INTEGER PRIMARY KEY" in plan[0][-1]


def test_a_long_log_is_counted_in_parts(releases, store):
    watched = Releases(releases, store)
    put(store, clicks("sea00", 25))
    snapshot = watched.snapshot
    with store.read() as connection:
        counted, place = count_new(connection, snapshot.recommender, snapshot.weights, snapshot.counted, most=10)
        assert place == snapshot.counted + 10
        everything, _ = count_all(connection, snapshot.recommender, snapshot.weights, snapshot.folder, snapshot.stamp)
    assert sum(len(log) for log in counted.fusion.scorers["popular"].logs[1:]) == 10
    assert sum(len(log) for log in everything.fusion.scorers["popular"].logs[1:]) == 25


def test_an_event_without_weight_is_not_counted(releases, store):
    folder = Bundle.open(Path(releases)).folder
    assert Weights({"hide": 0.0}).gain("Hide", None) == 0.0
    watched = Releases(releases, store)
    put(store, clicks("sea00", 2, kind="hide"))
    with store.read() as connection:
        bare, place = count_new(
            connection, watched.snapshot.recommender, Weights({"hide": 0.0}), watched.snapshot.counted
        )
    assert place > watched.snapshot.counted and len(bare.fusion.scorers["popular"].logs) == 1
    assert Weights.of(DataSettings(), folder).top is None


def test_scaled_ratings_gain_by_their_value(releases):
    folder = Bundle.open(Path(releases)).folder
    weights = Weights.of(DataSettings(rating_gain="scaled"), folder)
    assert weights.top == 2.0
    gains = [weights.gain("rating", value) for value in (1.0, 2.0, 5.0, -1.0, None, float("nan"))]
    np.testing.assert_allclose(gains, [0.5, 1.0, 1.0, 0.0, 1.0, 1.0])
    assert weights.gain("click", 1.0) == 0.5
