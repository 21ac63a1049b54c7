"""The processes of a bench: the server as `langrec serve` starts it, an empty route beside it, and the generator."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langrec.ending import with_us
from langrec.errors import LangrecError

# What an empty route costs: the framework, the server and nothing else.
EMPTY = """
from fastapi import FastAPI
app = FastAPI()
@app.get("/api/recommend/{user}")
async def recommend(user: str, n: int = 10):
    return [str(i) for i in range(n)]
"""


class Server:
    """A server in a process group of its own.

    Args:
        command: what starts it.
        port: where it listens.
        ready: the path that answers 200 when it can be used.
        log: where its output goes.
        seconds: how long it may take to be ready.
    """

    def __init__(self, command: Sequence[str], port: int, ready: str, log: Path, seconds: float = 900) -> None:
        self.port = port
        started = time.perf_counter()
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                with_us(command), stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ.copy()
            )
        try:
            while not self._answers(ready):
                if self.process.poll() is not None or time.perf_counter() - started > seconds:
                    said = log.read_text("utf-8", "replace")[-2000:]
                    raise LangrecError(f"the server did not start; its output: {said}")
                time.sleep(0.1)
        except BaseException:
            self.close()
            raise
        self.ready_s = time.perf_counter() - started

    def wait_for(self, workers: int, seconds: float = 120) -> None:
        """Waits until so many workers take connections: one of them is ready before the others.

        Raises:
            LangrecError: they are not within that time.
        """
        names, end = set[str](), time.perf_counter() + seconds
        while len(names) < workers:
            if time.perf_counter() > end:
                raise LangrecError(f"of {workers} workers {len(names)} answered within {seconds:g} s")
            # A connection of its own each time, which any worker may take.
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health/stats", timeout=30) as answer:
                names.add(json.loads(answer.read())["worker"])

    def rss_mb(self) -> float:
        """Resident memory of the server and its workers; pages that they share count once for each."""
        import psutil

        try:
            parent = psutil.Process(self.process.pid)
            return sum(_rss(one) for one in [parent, *parent.children(recursive=True)]) / 1e6
        except psutil.NoSuchProcess:
            return 0.0

    def stop(self) -> int:
        """Ends it as a process manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.close()
            return -9

    def close(self) -> None:
        """Ends it and its workers at once, if they live."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


@contextlib.contextmanager
def langrec_server(
    releases: Path, store: Path, workers: int, folder: Path, settings: Sequence[str] = ()
) -> Iterator[Server]:
    """`langrec serve` over a release and a store, with settings written `section.key=value`."""
    port = free_port()
    command = [sys.executable, "-m", "langrec", "serve", "--releases", str(releases), "--store", f"sqlite:///{store}"]
    command += ["--port", str(port), "--workers", str(workers)]
    command += [part for setting in settings for part in ("--set", setting)]
    server = Server(command, port, "/api/health/ready", folder / "serve.log")
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def empty_server(workers: int, folder: Path) -> Iterator[Server]:
    """A FastAPI application with one route that does nothing, served in the same way."""
    (folder / "empty_route.py").write_text(EMPTY, "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), "empty_route:app", "--port", str(port)]
    command += ["--workers", str(workers), "--no-access-log", "--log-level", "warning", "--no-server-header"]
    server = Server(command, port, "/api/recommend/u0", folder / "empty.log")
    try:
        yield server
    finally:
        server.close()


def load(server: Server, requests: Sequence[bytes], seconds: float, folder: Path, **plan: Any) -> dict[str, Any]:
    """Runs the generator against a server; what it says, and the server's memory over the time.

    Args:
        requests: sent in turn.
        plan: kind, rate, connections and seed, as the generator reads them.
    """
    texts = [base64.b64encode(request).decode() for request in requests]
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=folder, delete=False) as stream:
        json.dump({"port": server.port, "seconds": seconds, "requests": texts, **plan}, stream)
    stop, memory = threading.Event(), []

    def watch() -> None:
        began = time.perf_counter()
        step = max(0.5, seconds / 60)
        while True:
            memory.append((round(time.perf_counter() - began, 1), round(server.rss_mb(), 1)))
            if stop.wait(step):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = subprocess.run(
            with_us([sys.executable, "-m", "langrec.benching.serving.generator", stream.name]),
            stdout=subprocess.PIPE,
            timeout=seconds + 180,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise LangrecError(f"the generator of load failed: {error}") from error
    finally:
        stop.set()
        watcher.join()
        Path(stream.name).unlink()
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "memory": memory}


def get(path: str) -> bytes:
    """A GET as bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: Any) -> bytes:
    """A POST of JSON as bytes."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    """The JSON of one request on a connection of its own, which any worker may take."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rss(process: Any) -> float:
    import psutil

    try:
        return float(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0.0
