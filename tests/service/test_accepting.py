"""What workers tell each other of the connections they hold."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
import uvicorn

from langrec.service import accepting
from langrec.service.accepting import EvenServer, Holdings


def test_the_fewest_are_those_of_a_worker_that_takes_connections_and_was_heard(tmp_path, monkeypatch):
    mine, others = (Holdings(tmp_path / "held") for _ in range(2))
    assert others.fewest() is None
    mine.put(0, 7)
    mine.put(3, 2)
    assert others.fewest() == 2
    mine.leave(3)
    assert others.fewest() == 7
    now = time.monotonic() + 2.0
    monkeypatch.setattr(accepting.time, "monotonic", lambda: now)
    assert others.fewest() is None  # silent for two seconds
    others.put(5, 9)
    assert mine.fewest() == 9


async def _hello(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _asked(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("other", [None, 0, 100])
def test_a_server_answers_whatever_another_worker_says_it_holds(tmp_path: Path, other: int | None):
    """One that holds fewer and never takes what waits is waited for a little, not for ever."""

    async def go() -> None:
        holdings = Holdings(tmp_path / "held")
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        config = uvicorn.Config(_hello, lifespan="off", log_level="error")
        server = EvenServer(config, holdings, 0)
        running = asyncio.create_task(server.serve([sock]))
        while not server.started:
            await asyncio.sleep(0.01)
        kept = [await asyncio.open_connection("127.0.0.1", sock.getsockname()[1]) for _ in range(3)]
        for _ in range(4):
            if other is not None:
                holdings.put(1, other)
            assert (await _asked(sock.getsockname()[1])).endswith(b"ok")
        holdings.leave(1)
        while holdings.fewest() != 3:  # those that ended are told a moment later
            await asyncio.sleep(0.01)
        for _, writer in kept:
            writer.close()
        server.should_exit = True
        await running
        holdings.leave(1)
        assert holdings.fewest() is None
        assert sock.fileno() == -1

    asyncio.run(asyncio.wait_for(go(), 60))


def test_a_worker_that_runs_its_first_queries_leaves_connections_to_one_that_has_run_them(tmp_path: Path) -> None:
    warm = False

    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            return await _hello(scope, receive, send)
        while True:
            kind = (await receive())["type"]
            scope["state"][accepting.WARM] = lambda: warm
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return None

    async def go() -> None:
        nonlocal warm
        holdings = Holdings(tmp_path / "held")
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = EvenServer(uvicorn.Config(app, lifespan="on", log_level="error"), holdings, 0)
        running = asyncio.create_task(server.serve([sock]))
        while not server.started:
            await asyncio.sleep(0.01)
        port = sock.getsockname()[1]
        assert holdings.fewest() is None
        assert (await _asked(port)).endswith(b"ok")  # there is nobody else: it says itself that it is not ready

        async def other() -> None:
            while True:
                holdings.put(1, 50)
                await asyncio.sleep(0.1)

        beside = asyncio.create_task(other())
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(_asked(port))
        await asyncio.sleep(0.4)
        assert not waiting.done()
        warm = True
        assert (await waiting).endswith(b"ok")
        beside.cancel()
        holdings.leave(1)
        while holdings.fewest() != 0:
            await asyncio.sleep(0.01)
        server.should_exit = True
        await running

    asyncio.run(asyncio.wait_for(go(), 60))
