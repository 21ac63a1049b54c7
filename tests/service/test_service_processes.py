"""`langrec serve` as processes: several workers, sudden death, taken ports, Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
import pytest
from live_server import AT, PATIENCE, Process, wait_until

from forked import Started
from ports import free_port


def both_workers(url: str) -> set[str]:
    """Names of the two workers, when both answer: the second may start long after the first."""
    seen: set[str] = set()

    def both() -> bool:
        # Each request comes on a new connection, which either worker may take.
        answer = httpx.get(f"{url}/api/health/stats")
        assert answer.status_code == 200, answer.text
        seen.add(answer.json()["worker"])
        return len(seen) == 2

    wait_until(both)
    return seen


@pytest.fixture(scope="module")
def pair(two_releases, tmp_path_factory):
    """A server of two workers for several tests: what they count is counted from where it stood."""
    folder = tmp_path_factory.mktemp("pair")
    releases = Path(shutil.copytree(two_releases, folder / "releases"))
    server = Process(releases, f"sqlite:///{folder / 'store.db'}", "--workers", "2")
    yield server.wait()
    server.close()


@pytest.mark.slow
def test_two_workers_see_each_others_writes_at_once(pair):
    server = pair
    both_workers(server.url)
    for i in range(40):
        # Each request comes on a new connection, which either worker may take.
        user, item = f"visitor{i}", f"fresh{i}"
        event = {"FeedbackType": "click", "UserId": user, "ItemId": "chess00", "Timestamp": AT}
        assert httpx.post(f"{server.url}/api/feedback", json=[event]).status_code == 200
        found = httpx.get(f"{server.url}/api/recommend/{user}?n=47").json()
        assert "chess00" not in found and found[0].startswith("chess")
        body = {"ItemId": item, "Comment": f"chess xylophone{i} gambit", "Categories": ["chess"]}
        assert httpx.post(f"{server.url}/api/item", json=body).status_code == 200
        hits = httpx.get(f"{server.url}/api/search", params={"q": f"xylophone{i}", "k": 1}).json()["items"]
        assert [one["id"] for one in hits] == [item]
        assert item in httpx.get(f"{server.url}/api/recommend/{user}?n=200").json()
        assert httpx.delete(f"{server.url}/api/item/{item}").status_code == 200
        assert item not in httpx.get(f"{server.url}/api/recommend/{user}?n=200").json()


@pytest.mark.slow
def test_kept_alive_connections_are_shared_evenly(pair):
    both_workers(pair.url)
    host, port = pair.url.removeprefix("http://").split(":")
    held, by = [], Counter[str]()
    try:
        for _ in range(40):
            held.append(HTTPConnection(host, int(port), timeout=PATIENCE))
            held[-1].request("GET", "/api/health/stats")
            by[json.loads(held[-1].getresponse().read())["worker"]] += 1
    finally:
        for one in held:
            one.close()
    # Not to the last one: a worker that is busy for some milliseconds is not waited for.
    assert len(by) == 2 and min(by.values()) >= 12, by


def metrics(url: str) -> dict[str, float]:
    """Samples by name and labels, from any worker."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


COUNT = 'langrec_request_seconds_count{method="GET",route="/api/recommend/{user}",status="200"}'


def settled(url: str) -> dict[str, float]:
    """The metrics when nothing is on its way: a worker counts when it has answered, and logs a moment later."""
    before: list[dict[str, float]] = [{}]

    def same() -> dict[str, float] | None:
        found = metrics(url)
        still = all(found.get(name) == before[-1].get(name) for name in (COUNT, "langrec_impressions_total"))
        before.append(found)
        return found if still and found["langrec_impressions_total"] >= found.get(COUNT, 0) else None

    return wait_until(same)


@pytest.mark.slow
def test_metrics_count_the_requests_of_all_workers_whichever_answers(pair):
    server = pair
    both_workers(server.url)
    old = settled(server.url)
    for _ in range(30):
        assert httpx.get(f"{server.url}/api/recommend/sea-u0?n=3").status_code == 200
    wanted = old.get(COUNT, 0) + 30
    wait_until(lambda: metrics(server.url)[COUNT] == wanted)
    shown = old["langrec_impressions_total"] + 30
    wait_until(lambda: metrics(server.url)["langrec_impressions_total"] == shown)
    scrapes = [metrics(server.url) for _ in range(12)]
    assert {found[COUNT] for found in scrapes} == {wanted}
    looked = [f'langrec_cache_{name}_total{{cache="lists"}}' for name in ("hits", "misses")]
    lists = sum(old.get(name, 0) for name in looked) + 30
    assert {sum(found.get(name, 0) for name in looked) for found in scrapes} == {lists}
    assert {found['langrec_cache_bound_bytes{cache="lists"}'] for found in scrapes} == {2 * 32e6}
    assert {found["langrec_impressions_total"] for found in scrapes} == {shown}
    cache = [httpx.get(f"{server.url}/api/health/stats").json()["cache"] for _ in range(8)]
    assert {one["hits"] + one["misses"] for one in cache} == {lists}
    memory = [name for name in scrapes[0] if name.startswith("process_resident_memory_bytes{pid=")]
    assert len(memory) == 2 and all(scrapes[0][name] > 1e6 for name in memory)
    (release,) = [name for name in scrapes[0] if name.startswith("langrec_release_info")]
    assert scrapes[0][release] == 2, "both workers serve it"


@pytest.mark.slow
def test_what_a_worker_counted_outlives_it_and_its_process_does_not(pair):
    server = pair
    both_workers(server.url)
    for _ in range(20):
        httpx.get(f"{server.url}/api/recommend/sea-u0?n=3")
    before = settled(server.url)[COUNT]
    assert before >= 20
    dead = next(iter(both_workers(server.url))).split("-")[0]
    os.kill(int(dead), signal.SIGKILL)
    memory = f'process_resident_memory_bytes{{pid="{dead}"}}'
    after = wait_until(lambda: found if memory not in (found := metrics(server.url)) else None)
    assert after[COUNT] == before


@pytest.mark.slow
def test_workers_end_when_the_process_that_watches_them_is_killed(start_process):
    server = start_process("--workers", "2").wait()
    both_workers(server.url)
    os.kill(server.process.pid, signal.SIGKILL)

    def nobody_answers():
        try:
            httpx.get(server.url)
        except httpx.ConnectError:
            return True
        return False

    wait_until(nobody_answers)
    again = start_process("--workers", "2", port=server.port).wait()
    assert again.client.get("/api/users").status_code == 200, "the port and the store are free"


@pytest.mark.slow
def test_a_worker_that_dies_while_it_owes_an_answer_is_replaced_at_once(pair):
    dead = int(both_workers(pair.url).pop().split("-")[0])
    os.kill(dead, signal.SIGSTOP)
    # The process that watches asks twice a second: by now it waits for this one's answer, for up to a minute.
    time.sleep(2)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(dead), 50)  # sooner than that minute is over
    now = both_workers(pair.url)
    assert len(now) == 2 and dead not in {int(name.split("-")[0]) for name in now}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sudden_death_under_load_loses_no_acknowledged_write(start_process, tmp_path, workers):
    server = start_process("--workers", workers).wait()
    acknowledged = server.killed_under_load(n_writers=8, enough=300)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = set(connection.execute("SELECT user_id, item_id FROM events"))
    assert acknowledged <= kept
    again = start_process("--workers", workers).wait()
    assert len(again.client.get("/api/user/t0/feedback").json()) == sum(user == "t0" for user, _ in kept)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_stops_cleanly(start_process, tmp_path, workers):
    server = start_process("--workers", workers).wait()
    assert server.client.get("/api/recommend/sea-u0").status_code == 200
    server.process.send_signal(signal.SIGINT)
    ended = server.process.wait(PATIENCE)
    assert f"console: http://127.0.0.1:{server.port}/" in ended.stdout
    assert "Traceback" not in ended.stderr and ended.returncode in (0, 130)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0, "the port is free again"
    assert not list(tmp_path.glob("langrec-*")), "the folder of the workers' metrics is gone"


@pytest.mark.slow
def test_a_connection_without_a_request_is_closed_when_the_setting_says(start_process):
    server = start_process("--set", "serve.keep_alive=1").wait()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as idle:
        idle.sendall(b"GET /api/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        while part := idle.recv(65_536):
            said += part
    assert said.startswith(b"HTTP/1.1 200"), "answered, and closed by the server though nobody asked for that"
    assert b"connection: close" not in said.lower()


@pytest.mark.slow
def test_a_taken_port_is_one_line_and_status_2(start_process, releases):
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        server = start_process(port=port)
        ended = server.process.wait(PATIENCE)
    err = ended.stderr
    assert ended.returncode == 2
    assert len(err.strip().splitlines()) == 1 and f"127.0.0.1:{port}" in err and "--port" in err


@pytest.mark.slow
def test_an_open_address_without_keys_is_one_line_and_status_2(start_process):
    server = start_process("--host", "0.0.0.0")
    ended = server.process.wait(PATIENCE)
    err = ended.stderr
    assert ended.returncode == 2
    assert len(err.strip().splitlines()) == 1 and "keys" in err


@pytest.mark.slow
def test_a_folder_without_releases_is_one_line_and_status_2(tmp_path):
    words = ["serve", "--releases", tmp_path, "--port", free_port(), "--store", f"sqlite:///{tmp_path / 'x.db'}"]
    done = Started(words).wait(PATIENCE)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "langrec train" in done.stderr


@pytest.mark.slow
def test_a_release_that_the_store_holds_but_no_worker_can_load_ends_the_server_with_why(start_process, releases):
    stamp = (releases / "CURRENT").read_text("utf-8").strip()
    for other in releases.iterdir():
        if other.is_dir() and other.name != stamp:
            shutil.rmtree(other)
    server = start_process("--workers", "2").wait()
    server.close()
    # Sound by its hashes, and of another version: a worker finds that out when it loads it.
    folder = releases / stamp
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "ranking" / "mix.json").write_text("{}", "utf-8")
    manifest["files"]["ranking/mix.json"] = {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    again = start_process("--workers", "2")
    ended = again.process.wait(PATIENCE)
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.strip().splitlines() if line.startswith("BundleError")]
    assert lines and all("mix.json" in line for line in lines) and "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stopped_server_finishes_what_it_accepted_logs_it_and_ends_with_0(start_process, tmp_path, workers):
    server = start_process("--workers", workers).wait()
    shown: list[str] = []
    written: list[str] = []
    failed: list[int] = []
    enough = threading.Event()

    def load(thread: int) -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
            for i in range(100_000):
                try:
                    user = f"t{thread}-{i}"
                    event = {"FeedbackType": "click", "UserId": user, "ItemId": "sea00", "Timestamp": AT}
                    wrote = client.post("/api/feedback", json=[event])
                    if wrote.status_code == 200:
                        written.append(user)
                    answer = client.get(f"/api/recommend/{user}?n=3")
                except httpx.HTTPError:
                    return  # it accepts nothing any more
                if answer.status_code == 200:
                    shown.append(answer.headers["x-request-id"])
                failed.extend(one.status_code for one in (wrote, answer) if one.status_code != 200)
                if len(shown) > 200:
                    enough.set()

    threads = [threading.Thread(target=load, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(PATIENCE)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE).returncode == 0
    for thread in threads:
        thread.join()
    assert failed == [], "nothing that was accepted was refused or cut"
    with sqlite3.connect(tmp_path / "store.db") as connection:
        logged = {row[0] for row in connection.execute("SELECT request_id FROM impressions")}
        users = {row[0] for row in connection.execute("SELECT user_id FROM events")}
    assert set(shown) <= logged, "every list that was shown is in the log"
    assert set(written) <= users
