"""Releases change under a running server: sound ones take over, damaged ones are refused by name."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import threading
import time
from pathlib import Path

import psutil
import pytest
from live_server import wait_until

from langrec.errors import BundleError
from langrec.service.served.snapshot import Grown, Releases
from langrec.service.service import Service
from langrec.service.store.store import Store
from langrec.settings import ServeSettings


def point_at(releases: Path, stamp: str) -> None:
    path = releases / "CURRENT.new"
    path.write_text(stamp + "\n", "utf-8")
    later = time.time() + 2
    os.utime(path, (later, later))
    path.replace(releases / "CURRENT")


def test_a_new_release_takes_over_without_a_restart(live):
    assert live.get("/api/release")["stamp"] == live.new
    point_at(live.releases, live.old)

    def taken_over() -> bool:
        trace = live.send("POST", "/api/recommend", {"user": "sea-u0"})["trace"]
        return bool(trace["release"] == live.old)

    wait_until(taken_over)
    assert live.get("/api/release")["stamp"] == live.old


def test_a_server_that_nobody_asks_follows_too(live):
    point_at(live.releases, live.old)
    wait_until(lambda: live.get("/api/release")["stamp"] == live.old)
    assert live.get("/api/health/ready")["Release"] == live.old
    assert f'langrec_release_info{{stamp="{live.old}"}} 1.0' in live.client.get("/metrics").text


def test_rolling_back_serves_the_release_before(live):
    assert live.send("POST", "/api/releases/rollback", {}) == {"stamp": live.old}
    assert live.send("POST", "/api/recommend", {"user": "sea-u0"})["trace"]["release"] == live.old
    assert [(one["stamp"], one["current"], one["ok"]) for one in live.get("/api/releases")] == [
        (live.new, False, True),
        (live.old, True, True),
    ]
    assert live.send("POST", "/api/releases/rollback", {"stamp": live.new}) == {"stamp": live.new}
    assert (live.releases / "CURRENT").read_text().strip() == live.new


def test_a_damaged_release_is_refused_by_name_and_serving_goes_on(live):
    damaged = live.releases / live.old / "catalog" / "items.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    point_at(live.releases, live.old)

    def noticed() -> str:
        live.recommended("sea-u0")
        return str(live.get("/api/release")["problem"] or "")

    problem = wait_until(noticed)
    assert "items.parquet" in problem and live.new in problem
    assert live.get("/api/health/ready")["Problem"] == problem
    assert live.send("POST", "/api/recommend", {"user": "sea-u0"})["trace"]["release"] == live.new
    refused = live.client.post("/api/releases/rollback", json={"stamp": live.old})
    assert refused.status_code == 409 and "items.parquet" in refused.json()["message"]
    rows = {one["stamp"]: one for one in live.get("/api/releases")}
    assert rows[live.new]["current"] and not rows[live.old]["ok"] and "items.parquet" in rows[live.old]["problem"]


def test_a_probe_alone_sees_that_another_release_was_refused_and_that_it_is_over(live):
    wait_until(lambda: live.service.is_warm)  # until then the probe has status 503
    (live.releases / live.old / "manifest.json").unlink()
    point_at(live.releases, live.old)
    problem = wait_until(lambda: live.get("/api/health/ready")["Problem"])
    assert problem.startswith(f"{live.old}/manifest.json")
    point_at(live.releases, live.new)
    os.utime(live.releases / "CURRENT")
    wait_until(lambda: live.get("/api/health/ready")["Problem"] is None)


def test_a_pointer_that_leaves_the_folder_or_is_no_text_names_no_release(live, tmp_path):
    shutil.copytree(live.releases / live.old, tmp_path / "another" / live.old)
    for said in (f"../another/{live.old}".encode(), str(tmp_path / "another" / live.old).encode(), b"\xff"):
        (live.releases / "CURRENT").write_bytes(said)
        problem = wait_until(lambda: live.service.releases.problem)
        assert "CURRENT" in problem and live.get("/api/release")["stamp"] == live.new
        point_at(live.releases, live.new)
        wait_until(lambda: live.service.releases.problem is None)


def test_a_server_starts_with_the_newest_sound_release(serve, releases):
    newest = max(path for path in releases.iterdir() if path.is_dir())
    (newest / "manifest.json").unlink()
    live = serve()
    assert live.get("/api/release")["stamp"] == live.old
    assert "manifest.json" in live.get("/api/release")["problem"]
    assert len(live.recommended("sea-u0")) == 10


def test_without_a_sound_release_nothing_starts(serve, releases):
    for path in releases.glob("*/catalog/events.parquet"):
        path.unlink()
    with pytest.raises(BundleError, match=r"events\.parquet"):
        serve()


def test_what_cannot_start_leaves_nothing_open(tmp_path):
    (tmp_path / "releases").mkdir()
    settings = ServeSettings(store=f"sqlite:///{tmp_path / 'store.db'}")
    before = psutil.Process().num_fds()
    gc.disable()  # which would close it some time
    try:
        for _ in range(5):
            with pytest.raises(BundleError, match="holds no release"):
                Service(tmp_path / "releases", settings)
        assert psutil.Process().num_fds() == before
    finally:
        gc.enable()


def test_what_was_written_survives_a_change_of_release(live):
    live.send("POST", "/api/item", {"ItemId": "kiln", "Comment": "porcelain kiln", "Categories": ["craft"]})
    live.send("PATCH", "/api/item/sea00", {"Title": "Zeppelin over the sea"})
    live.send("DELETE", "/api/item/sea01")
    live.send("DELETE", "/api/user/moon-u0")
    live.send("DELETE", "/api/feedback/moon-u1/moon01")
    events = live.get("/api/user/moon-u1/history")
    live.send("POST", "/api/releases/rollback", {"stamp": live.old})
    assert live.get("/api/release")["overlay_items"] == 3
    assert live.get("/api/search", q="porcelain", k=1)["items"][0]["id"] == "kiln"
    assert live.get("/api/search", q="zeppelin", k=1)["items"][0]["id"] == "sea00"
    assert "sea01" not in live.recommended("sea-u0", 49)
    assert live.client.get("/api/user/moon-u0").status_code == 404
    assert live.get("/api/user/moon-u1/history") == events


def test_requests_take_what_is_offered_while_a_release_is_loaded(releases, tmp_path, monkeypatch):
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    watched = Releases(releases, store)
    before = watched.snapshot
    began, loaded, answered = threading.Event(), threading.Event(), threading.Event()
    load = watched._load

    def slowly(*asked):
        began.set()
        assert loaded.wait(30)
        return load(*asked)

    def answer():
        watched.offer(Grown(before.stamp, before.loaded_at, {}, {}, 0, 0, 7))
        if watched.fresh().grown == 7:
            answered.set()

    monkeypatch.setattr(watched, "_load", slowly)
    (other,) = {path.name for path in releases.glob("2*")} - {before.stamp}
    point_at(releases, other)
    threads = [threading.Thread(target=watched.switch), threading.Thread(target=answer)]
    threads[0].start()
    assert began.wait(30)
    threads[1].start()
    try:
        assert answered.wait(60), "a request waits for the loading"
    finally:
        loaded.set()
        for thread in threads:
            thread.join(60)
    assert watched.fresh().stamp == other
    store.close()


def test_closing_lets_others_go_on_while_a_block_is_in_work(releases, tmp_path):
    async def close_in_the_middle():
        service = Service(releases, ServeSettings(store=f"sqlite:///{tmp_path / 'store.db'}"))
        began, went_on = threading.Event(), threading.Event()

        def work(*_):
            began.set()
            return went_on.wait(60)

        asked = asyncio.create_task(service.call(work))
        while not began.is_set():
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(service.close())
        await asyncio.sleep(0.1)
        went_on.set()  # somebody else's request is answered meanwhile
        await closing
        return await asked

    assert asyncio.run(close_in_the_middle()), "nothing else ran until the block was done"
