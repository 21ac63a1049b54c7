"""Faults of the store: gone and back, slow, full, taken twice, a clock that jumps. No acknowledged write is lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time

import httpx
import pytest
from live_server import PATIENCE, wait_until

from langrec.errors import StoreError
from langrec.service import service
from langrec.service.store import event_rows
from langrec.service.store.event_rows import Event
from langrec.service.store.lease import only_server
from langrec.service.store.store import Store
from langrec.service.store.writer import Writer
from ports import free_port

AT = "2024-05-01T12:00:00Z"


def event(user: str, item: str) -> dict[str, object]:
    return {
        "FeedbackType": "click",
        "UserId": user,
        "ItemId": item,
        "Timestamp": AT,
        "Value": 1,
        "EventId": f"{user} {item}",
    }


def stored(store: Store) -> set[tuple[str, str]]:
    with store.read() as connection:
        return {(one.user, one.item) for one in event_rows.find_events(connection)}


@pytest.mark.slow
def test_a_store_that_goes_and_comes_back_loses_nothing_and_needs_no_restart(serve, postgres):
    live = serve(store=postgres.new_database())
    assert live.recommended("sea-u0", 5)
    acknowledged: list[tuple[str, str]] = []
    statuses: set[int] = set()
    down, done = threading.Event(), threading.Event()

    def write(thread: int) -> None:
        with httpx.Client(base_url=live.url, timeout=PATIENCE) as client:
            i = 0
            while not done.is_set():
                user, item = f"t{thread}", f"i{i}"
                answer = client.post("/api/feedback", json=[event(user, item)])
                if answer.status_code == 200:
                    acknowledged.append((user, item))
                    i += 1
                else:
                    # The same again, as a client does: it counts once.
                    statuses.add(answer.status_code)
                    assert answer.json()["code"] in ("store", "busy")
                    time.sleep(0.05)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(acknowledged) > 40)
        postgres.stop("immediate")
        down.set()
        answer = wait_until(
            lambda: (found := live.client.get("/api/recommend/sea-u0?n=5")).status_code == 503 and found
        )
        assert answer.json()["code"] == "store" and "Retry-After" in answer.headers
        wait_until(lambda: 503 in statuses)
        before = len(acknowledged)
    finally:
        postgres.start()
    try:
        wait_until(lambda: len(acknowledged) > before + 40)
        wait_until(lambda: live.client.get("/api/recommend/sea-u0?n=5").status_code == 200)
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert statuses == {503}
    store = Store(live.settings.store)
    assert set(acknowledged) <= stored(store)
    with store.read() as connection:
        ours = [one for one in event_rows.find_events(connection) if one.user.startswith("t")]
    assert {one.value for one in ours} == {1.0}, "what was sent again counts once"
    store.close()


@pytest.mark.slow
def test_a_release_that_comes_while_the_store_is_away_takes_over_when_it_is_back(serve, postgres, monkeypatch):
    monkeypatch.setattr("langrec.service.served.snapshot._AGAIN", 0.5)
    live = serve(store=postgres.new_database())
    (live.releases / "CURRENT").write_text(live.old, "utf-8")
    wait_until(lambda: live.get("/api/release")["stamp"] == live.old)
    postgres.stop("immediate")
    try:
        (live.releases / "CURRENT").write_text(live.new, "utf-8")
        problem = wait_until(lambda: live.client.get("/api/health/live").json()["Problem"])
        assert f"serving goes on with {live.old}" in problem
    finally:
        postgres.start()
    wait_until(lambda: live.get("/api/release")["stamp"] == live.new)
    assert live.get("/api/health/ready")["Problem"] is None


def test_what_a_database_says_reaches_only_whoever_runs_the_server(serve, postgres):
    live = serve(store=postgres.new_database(), keys="read:reader,admin:chief")
    postgres.stop("immediate")
    try:
        told = {}
        for key in ("reader", "chief", ""):
            headers = {"X-API-Key": key} if key else {}
            if key:
                answer = live.client.get("/api/users", headers=headers)
                assert answer.status_code == 503 and answer.json()["code"] == "store"
                told[key] = answer.json()["message"]
            health = live.client.get("/api/health/ready", headers=headers)
            assert health.status_code == 503 and not health.json()["DataStoreConnected"]
            told[f"health {key}"] = health.json()["DataStoreError"]
    finally:
        postgres.start()
    who = {name for name, text in told.items() if str(postgres.port) in text}
    assert who == {"chief", "health chief"}, told


def test_a_full_disk_keeps_what_was_acknowledged_and_goes_on_when_there_is_space(live):
    """SQLite's own limit of pages stands for the disk's end."""

    def limit(pages: int) -> int:
        def set_limit(connection):
            return connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()

        return live.service.writer.submit(set_limit).result(PATIENCE)

    with live.service.store.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    assert limit(pages + 8) == pages + 8
    acknowledged, refused = [], None
    for i in range(400):
        body = [event(f"u{i}-{j}", "chess00" + "x" * 200) for j in range(20)]
        answer = live.client.post("/api/feedback", json=body)
        if answer.status_code != 200:
            refused = answer
            break
        acknowledged += [(one["UserId"], one["ItemId"]) for one in body]
    assert refused is not None and refused.status_code == 503, refused
    assert refused.json()["code"] == "store"
    assert "disk is full" in refused.json()["message"] and "free some space" in refused.json()["message"]
    assert acknowledged and set(acknowledged) <= stored(live.service.store)
    assert not {one["UserId"] for one in body} & {user for user, _ in stored(live.service.store)}
    assert live.recommended("sea-u0", 5), "reading goes on"
    limit(pages + 100_000)
    assert live.client.post("/api/feedback", json=body).status_code == 200
    assert {(one["UserId"], one["ItemId"]) for one in body} <= stored(live.service.store)


def test_jobs_of_one_transaction_fail_together_where_the_disk_is_full(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    writer = Writer(store)
    gate = threading.Event()
    pages = writer.submit(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar()).result(PATIENCE)
    writer.submit(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}").scalar()).result(PATIENCE)
    writer.submit(lambda c: gate.wait(PATIENCE))
    log = [Event(f"u{i}", "i" * 500, "t", 1) for i in range(200)]
    futures = [writer.append(log[i : i + 50], overwrite=False) for i in range(0, 200, 50)]
    gate.set()
    outcomes = [future.exception(PATIENCE) for future in futures]
    assert any(outcomes) and all(isinstance(one, StoreError) for one in outcomes if one)
    kept = {user for user, _ in stored(store)}
    for future, start in zip(futures, range(0, 200, 50), strict=True):
        names = {one.user for one in log[start : start + 50]}
        assert names <= kept if future.exception() is None else not names & kept
    writer.close()
    store.close()


def test_a_slow_store_delays_writes_and_no_reading(live, tmp_path):
    with sqlite3.connect(tmp_path / "store.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        answers: list[httpx.Response] = []
        waiting = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{live.url}/api/feedback", json=[event("ann", "chess00")], timeout=PATIENCE)
            )
        )
        waiting.start()
        for _ in range(20):
            assert len(live.recommended("sea-u0", 5)) == 5
        assert not answers, "nothing is acknowledged before it is written"
        other.execute("COMMIT")
        waiting.join(PATIENCE)
    assert answers[0].status_code == 200
    assert "chess00" not in live.recommended("ann", 40)


def test_a_clock_that_jumps_hides_no_event(live, monkeypatch):
    real = time.time

    class Clock:
        """The time module with a clock of its own."""

        shift = 0.0

        def __getattr__(self, name: str):
            return getattr(time, name)

        def time(self) -> float:
            return real() + self.shift

    clock = Clock()
    monkeypatch.setattr(service, "time", clock)
    monkeypatch.setattr("langrec.service.bodies.time", clock)
    body = {"FeedbackType": "click", "UserId": "ann"}
    for shift, item in ((0, "chess00"), (86_400, "chess02"), (-86_400 * 30, "chess04"), (0, "chess06")):
        clock.shift = shift
        live.send("POST", "/api/feedback", [body | {"ItemId": item}])
        assert item not in live.recommended("ann", 48)
        live.send("POST", "/api/item", {"ItemId": f"new{shift}", "Comment": f"chess gambit {shift}"})
        assert f"new{shift}" in live.recommended("ann", 60)
    shown = live.recommended("ann", 60)
    assert not {"chess00", "chess02", "chess04", "chess06"} & set(shown)


def test_of_two_servers_on_one_file_the_second_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with only_server(url):
        with (
            pytest.raises(
                StoreError, match=rf"another server uses it \(process {os.getpid()} on .* since .*PostgreSQL"
            ),
            only_server(url),
        ):
            pass
        (tmp_path / "link.db").symlink_to(tmp_path / "store.db")
        with pytest.raises(StoreError, match="another server"), only_server(f"sqlite:///{tmp_path / 'link.db'}"):
            pass
        with only_server(f"sqlite:///{tmp_path / 'other.db'}"), only_server("postgresql://nobody@nowhere/x"):
            pass
    with only_server(url):
        pass


def test_the_lock_of_a_server_that_died_is_free(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    script = (
        "import sys, time\nfrom langrec.service.store.lease import only_server\n"
        "with only_server(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)\n"
        "with only_server(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match=f"process {holder.pid} "), only_server(url):
        pass
    holder.kill()
    holder.wait()
    assert (tmp_path / "store.db.server").read_text("utf-8").startswith(f"process {holder.pid} ")
    with only_server(url):
        pass


@pytest.mark.slow
def test_a_second_server_process_is_one_line_and_status_2(start_process):
    first = start_process("--workers", "2").wait()
    second = start_process(port=free_port())
    ended = second.process.wait(PATIENCE)
    error = ended.stderr
    assert ended.returncode == 2
    assert len(error.strip().splitlines()) == 1 and "another server uses it" in error
    assert f"process {first.process.pid} " in error
    assert first.client.get("/api/health/ready").status_code == 200
    first.kill()
    again = start_process().wait()
    assert json.loads(again.client.get("/api/recommend/sea-u0?n=3").text)
