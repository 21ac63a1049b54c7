"""`langrec bench serve`: the generator charges what the server delays, and the bench gives every figure."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

REPLY = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def answering() -> Iterator[Callable[[Callable[[int], tuple[int, float]]], int]]:
    """Starts a server of one connection at a time that answers as a function of the request's number says."""
    listeners: list[socket.socket] = []

    def start(behave: Callable[[int], tuple[int, float]]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        number = [0]
        lock = threading.Lock()

        def serve(connection: socket.socket) -> None:
            rest = b""
            with connection:
                while True:
                    data = connection.recv(65536)
                    if not data:
                        return
                    rest += data
                    while b"\r\n\r\n" in rest:
                        _, _, rest = rest.partition(b"\r\n\r\n")
                        with lock:
                            status, pause = behave(number[0])
                            number[0] += 1
                            time.sleep(pause)
                        if status == 0:
                            return
                        connection.sendall(REPLY % status)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def run(tmp_path, port: int, **plan) -> dict:
    request = base64.b64encode(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").decode()
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"port": port, "connections": 64, "requests": [request], **plan}))
    command = [sys.executable, "-m", "langrec.benching.serving.generator", str(path)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600).stdout)


def test_requests_leave_in_time_and_a_standstill_is_charged_to_all_that_fell_into_it(answering, tmp_path):
    stood = 1.0
    port = answering(lambda n: (200, stood if n == 20 else 0.0))
    found = run(tmp_path, port, kind="open", rate=100, seconds=2)
    assert 140 < found["sent"] < 270 and found["answered"] == found["sent"] and found["errors"] == 0
    # About a hundred requests fell into the second: a generator that waits for answers would have charged one.
    assert found["p95_ms"] > 500 and found["max_ms"] >= 1000 * stood


def test_equal_seeds_send_at_equal_times(answering, tmp_path):
    port = answering(lambda n: (200, 0.0))
    sent = [run(tmp_path, port, kind="open", rate=200, seconds=1, seed=seed)["sent"] for seed in (1, 1, 2)]
    assert sent[0] == sent[1]


def test_refused_and_broken_answers_are_told_apart(answering, tmp_path):
    port = answering(lambda n: ({0: 429, 1: 500, 2: 0}.get(n % 10, 200), 0.0))
    found = run(tmp_path, port, kind="open", rate=100, seconds=1)
    assert found["answered"] + found["shed"] + found["errors"] == found["sent"]
    assert found["shed"] == pytest.approx(found["sent"] / 10, abs=2)
    assert found["errors"] == pytest.approx(found["sent"] / 5, abs=3)
    assert set(found["failed"]) == {"500", "connection lost"} and sum(found["failed"].values()) == found["errors"]


def test_each_request_that_finds_no_server_is_one_error(answering, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    found = run(tmp_path, port, kind="open", rate=100, seconds=1, seed=3)
    there = run(tmp_path, answering(lambda n: (200, 0.0)), kind="open", rate=100, seconds=1, seed=3)
    assert found["sent"] == found["answered"] == 0 and found["errors"] == there["sent"] > 50
    assert found["failed"] == {"not answered": found["errors"]} and there["failed"] == {}


def test_closed_connections_ask_as_soon_as_they_are_answered(answering, tmp_path):
    port = answering(lambda n: (200, 0.01))
    found = run(tmp_path, port, kind="closed", seconds=1, connections=4)
    # One at a time, each in 10 ms: at most a hundred in the second, and those that were on their way at its end.
    assert 4 < found["sent"] == found["answered"] <= 104, "who was answered asked again"
    assert found["connections"] == 4 and found["errors"] == 0


@pytest.mark.slow
def test_the_bench_gives_every_figure_and_reuses_its_world(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "serve.json"
    command = [
        "bench",
        "serve",
        "--items",
        "400",
        "--users",
        "60",
        "--events",
        "3000",
        "--rate",
        "20",
        "--seconds",
        "2",
    ]
    found = subprocess.run([sys.executable, "-m", "langrec", *command, "--json", str(out)], capture_output=True)
    assert found.returncode == 0, found.stderr.decode()
    figures = json.loads(out.read_text())
    wanted = "p50_ms p95_ms p99_ms requests_per_s errors shed rss_mb empty_route_per_s search_p99_ms cached_per_s"
    assert all(figures[name] is not None for name in wanted.split())
    assert figures["errors"] == 0 and figures["event_missed"] == 0 and figures["stop_status"] == 0
    assert figures["item_ms"] > 0 and len(figures["memory"]) > 2
    assert figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    (world,) = (tmp_path / "cache" / "bench-serve").iterdir()
    before = (world / "store.db").stat().st_mtime_ns
    assert not list(world.glob("run-*")), "what a run made is gone"
    assert (world / "store.db").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_bench_that_is_told_to_end_leaves_no_server_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "cache"))
    command = [sys.executable, "-m", "langrec", "bench", "serve", "--items", "400", "--users", "60", "--events", "3000"]
    with subprocess.Popen([*command, "--seconds", "300"], stderr=subprocess.DEVNULL) as bench:
        end, servers = time.monotonic() + 120, []
        while not servers and time.monotonic() < end:
            time.sleep(0.05)
            servers = [one for one in psutil.Process(bench.pid).children() if "--releases" in one.cmdline()]
        assert servers, "the bench started no server"
        bench.terminate()
        assert bench.wait(60) == 128 + signal.SIGTERM
    assert psutil.wait_procs(servers, timeout=60)[1] == []
    assert not list(tmp_path.glob("cache/bench-serve/*/run-*"))
