"""A generator of load, run as a process of its own: `python -m langrec.benching.serving.generator <plan.json>`.

Open loop: requests leave at times drawn beforehand (a Poisson process), whether or not earlier ones were answered, and
a request's time counts from the moment at which it should have left. So a server that stands still for a second is
charged with everything that would have been asked in it (no coordinated omission). Closed loop: a number of
connections each send the next request when the last was answered: what the server can do at most.

Connections are kept alive. A plan is a JSON object: port, kind (open or closed), rate, seconds, connections, seed, and
requests: a list of base64 HTTP requests that are sent in turn. The result is one JSON object on standard output; its
`failed` counts the errors by status, or by what became of the request.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

# Seconds after the last request in which answers are waited for.
_PATIENCE = 30.0
_OK, _SHED, _ERROR = 0, 1, 2


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request on its way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: Any = None
        self._buffer = b""
        self._needed = -1
        self._kind = _OK
        self._status = ""
        self._since = 0.0
        self.waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, request: bytes, since: float) -> None:
        """Sends a request whose time counts from a moment."""
        self.waits, self._since = True, since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._needed < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            status = head[9:12]
            self._status = status.decode("latin-1")
            self._kind = _OK if status[:1] == b"2" else _SHED if status == b"429" else _ERROR
            at = head.find(b"content-length:")
            self._needed = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else end + 4
        if len(self._buffer) >= self._needed:
            self._buffer, self._needed, self.waits = b"", -1, False
            self._load.answered(self, self._kind, self._since, self._status)

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost(self, self.waits, self._since)

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()


class Load:
    """A run of a plan."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._port = int(plan["port"])
        self._is_open = plan["kind"] == "open"
        self._rate, self._seconds = float(plan.get("rate", 0)), float(plan["seconds"])
        self._most = int(plan["connections"])
        self._random = random.Random(int(plan.get("seed", 0)))
        self._requests = [base64.b64decode(text) for text in plan["requests"]]
        self._next = 0
        self._idle: list[Connection] = []
        self._n_connections = 0
        self._late: deque[float] = deque()  # intended times of requests that wait for a connection
        self._sent = self._done = 0
        self._times: list[float] = []
        self._counts = [0, 0, 0]
        self._failed: Counter[str] = Counter()
        self._end = 0.0
        self._finished = asyncio.Event()

    async def run(self) -> dict[str, Any]:
        """Sends, waits for the answers, and says how long they took."""
        started = time.perf_counter()
        self._end = started + self._seconds
        for _ in range(self._most if not self._is_open else min(self._most, 8)):
            await self._connect()
        if self._is_open:
            await self._send_in_time()
        else:
            for one in list(self._idle):
                self._idle.remove(one)
                self._send(one, time.perf_counter())
        stopped = max(self._end, time.perf_counter())
        wait = self._seconds + _PATIENCE if not self._is_open else _PATIENCE
        try:
            await asyncio.wait_for(self._all_done(), wait)
        except TimeoutError:
            # What should have left and found no connection was not answered either.
            self._fail("not answered", self._sent - self._done + len(self._late))
        seconds = self._seconds if not self._is_open else stopped - started
        times = sorted(self._times)
        return {
            "sent": self._sent,
            "answered": self._counts[_OK],
            "shed": self._counts[_SHED],
            "errors": self._counts[_ERROR],
            "failed": dict(+self._failed),
            "seconds": seconds,
            "requests_per_s": self._counts[_OK] / seconds,
            **{f"p{q}_ms": _quantile(times, q / 100) for q in (50, 95, 99)},
            "max_ms": _quantile(times, 1.0),
            "connections": self._n_connections,
        }

    def answered(self, connection: Connection, kind: int, since: float, status: str) -> None:
        """Notes an answer, and gives its connection the next request."""
        now = time.perf_counter()
        self._counts[kind] += 1
        if kind == _ERROR:
            self._failed[status] += 1
        self._done += 1
        if kind == _OK:
            self._times.append(1000 * (now - since))
        if self._late:
            self._send(connection, self._late.popleft())
        elif not self._is_open and now < self._end:
            self._send(connection, now)
        else:
            self._idle.append(connection)
            self._look_whether_done()

    def lost(self, connection: Connection, waited: bool, _: float) -> None:
        """Notes that a connection is gone; with a request on its way that is an error."""
        self._n_connections -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if waited:
            self._fail("connection lost")
            self._done += 1
            self._look_whether_done()

    def _fail(self, why: str, n: int = 1) -> None:
        self._counts[_ERROR] += n
        self._failed[why] += n

    async def _send_in_time(self) -> None:
        at = self._end - self._seconds
        while True:
            at += self._random.expovariate(self._rate)
            if at >= self._end:
                return
            pause = at - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            # A timer may fire up to a millisecond early: a request's time counts from its leaving then.
            since = min(at, time.perf_counter())
            if self._idle:
                self._send(self._idle.pop(), since)
            elif self._n_connections < self._most:
                await self._connect()
                if self._idle:
                    self._send(self._idle.pop(), since)
                else:
                    self._late.append(since)
            else:
                self._late.append(since)

    def _send(self, connection: Connection, since: float) -> None:
        request = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        self._sent += 1
        connection.send(request, since)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
        except OSError:
            # In an open loop the request that wanted it waits for another, and is an error if none comes.
            if not self._is_open:
                self._fail("no connection")
            return
        self._n_connections += 1
        self._idle.append(made)

    async def _all_done(self) -> None:
        while self._done < self._sent or self._late or (not self._is_open and time.perf_counter() < self._end):
            if self._late and not self._n_connections and self._done >= self._sent:
                raise TimeoutError  # nobody is left who could send them
            self._finished.clear()
            try:
                await asyncio.wait_for(self._finished.wait(), 0.5)
            except TimeoutError:
                continue

    def _look_whether_done(self) -> None:
        if self._done >= self._sent:
            self._finished.set()


def _quantile(times: list[float], share: float) -> float | None:
    """The time below or at which a share of the answers came."""
    if not times:
        return None
    return round(times[min(len(times) - 1, max(0, int(share * len(times) + 0.999999) - 1))], 3)


def main() -> None:
    """Runs the plan that the command line names."""
    plan = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run

    async def go() -> dict[str, Any]:
        return await Load(plan).run()

    sys.stdout.write(json.dumps(run(go())) + "\n")


if __name__ == "__main__":
    main()
