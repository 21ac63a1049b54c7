"""Workers that take connections evenly: a worker leaves a waiting one to another that has fewer.

Workers listen at one socket. Whichever wakes first takes what waits there, and takes all that waits: one
worker may hold most of the kept-alive connections and be asked more than it can do while the others idle. So each
worker says in a shared file how many it holds, and looks at the others' numbers before it takes one more. One that
still runs its first queries takes none while there is another to take them.
"""

from __future__ import annotations

import asyncio
import functools
import mmap
import os
import socket
import ssl
import struct
import time
from pathlib import Path
from typing import Any

from uvicorn.config import Config
from uvicorn.server import Server

VARIABLE = "LANGREC_CONNECTIONS_FILE"
# In the state of an application's lifespan: says whether its first queries are done; without it they are.
WARM = "langrec_warm"
PLACES = 256
_HELD = struct.Struct("<id")  # connections, and the second at which that was told, by the clock of all processes
_ABSENT = -1
# A connection waits for another worker at most so often, so many seconds: one that is busy takes none. What waits so
# many seconds later is another one.
_LEFT, _PAUSE, _LATER = 8, 0.001, 0.1
# Until its first queries are done a worker looks so often whether another takes what waits.
_WARMING = 0.05
# Who was silent for so many seconds is dead or hangs.
_SILENT = 1.0
# Seconds without taking a connection after an error such as too many open files, and for greeting those just taken.
_RECOVERY = 1.0


class Holdings:
    """How many connections each worker holds, told ten times a second in a file that all of them map.

    Args:
        path: the file, made where it is absent.
    """

    def __init__(self, path: Path) -> None:
        size = PLACES * _HELD.size
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            is_new = os.fstat(file).st_size < size
            if is_new:
                os.ftruncate(file, size)
            self._map = mmap.mmap(file, size)
        finally:
            os.close(file)
        if is_new:
            self._map[:] = _HELD.pack(_ABSENT, 0.0) * PLACES

    def put(self, place: int, count: int) -> None:
        """Says how many connections the worker at a place holds."""
        _HELD.pack_into(self._map, place * _HELD.size, count, time.monotonic())

    def leave(self, place: int) -> None:
        """Says that nobody at this place takes connections."""
        self.put(place, _ABSENT)

    def fewest(self) -> int | None:
        """The fewest that any worker holds; None where none takes connections."""
        since = time.monotonic() - _SILENT
        told = (count for count, at in _HELD.iter_unpack(self._map[:]) if count != _ABSENT and at > since)
        return min(told, default=None)


class EvenServer(Server):
    """uvicorn's server in a worker that takes no connection while another worker holds fewer.

    Args:
        config: uvicorn's.
        holdings: what all workers hold.
        place: this worker's.
    """

    def __init__(self, config: Config, holdings: Holdings, place: int) -> None:
        super().__init__(config)
        self._holdings, self._place = holdings, place
        self._greeting: set[asyncio.Task[None]] = set()
        self._left, self._left_at = 0, 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the application, then listens."""
        await super().startup(sockets=[])
        for sock in sockets or []:
            sock.setblocking(False)
            sock.listen(self.config.backlog)
            self._listen(sock)
        self._tell()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: what ended meanwhile is told."""
        self._tell()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leaves what waits to others, and finishes what was taken."""
        self.should_exit = True
        self._holdings.leave(self._place)
        for sock in sockets or []:
            asyncio.get_running_loop().remove_reader(sock)
        if self._greeting:  # so that they are among those that are told of the end
            await asyncio.wait(self._greeting, timeout=_RECOVERY)
        await super().shutdown(sockets)

    def _tell(self) -> int:
        held = len(self.server_state.connections) + len(self._greeting)
        if not self.should_exit and self._is_warm():
            self._holdings.put(self._place, held)
        return held

    def _is_warm(self) -> bool:
        told = self.lifespan.state.get(WARM)
        return told is None or bool(told())

    def _listen(self, sock: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(sock, self._look, sock)

    def _pause(self, sock: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.call_later(seconds, self._listen, sock)

    def _look(self, sock: socket.socket) -> None:
        """Takes one of the connections that wait, or leaves them to a worker that holds fewer."""
        fewest = self._holdings.fewest()
        if fewest is not None and not self._is_warm():
            self._pause(sock, _WARMING)
            return
        now = time.monotonic()
        if now > self._left_at + _LATER:
            self._left = 0
        if fewest is not None and fewest < self._tell() and self._left < _LEFT:
            self._left, self._left_at = self._left + 1, now
            self._pause(sock, _PAUSE)
            return
        self._left = 0
        try:
            connection, _ = sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was sooner, or the client thought better of it
        except OSError:
            self._pause(sock, _RECOVERY)
            return
        task = asyncio.get_running_loop().create_task(self._greet(connection))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)
        self._tell()

    async def _greet(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        made: Any = self.config.http_protocol_class
        protocol = functools.partial(
            made, config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
        )
        try:
            connection.setblocking(False)
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(protocol, connection, ssl=self.config.ssl)
        except (OSError, ssl.SSLError):  # gone already, or it does not speak TLS
            connection.close()
