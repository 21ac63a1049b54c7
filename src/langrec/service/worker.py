"""A worker of `langrec serve`: its death is noticed at once, it says why it cannot serve, and takes its share."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from socket import socket
from typing import Any, ClassVar

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.server import Server
from uvicorn.supervisors.multiprocess import Process

from langrec.errors import LangrecError
from langrec.service.accepting import PLACES, VARIABLE, EvenServer, Holdings
from langrec.service.starting import load_code

_log = logging.getLogger("langrec.service")

# Seconds for which the workers that a server starts with wait for the first of them; a large release takes longer.
HEAD_START = 5.0


class Worker(Process):
    """uvicorn's worker, replaced as soon as it dies, also while the process that watches awaits its answer.

    uvicorn keeps the worker's end of their pipe open in the process that watches. A worker that dies between the
    question whether it lives and its answer then never ends the pipe, and the whole time for an answer passes first:
    a minute here, since a worker that loads a large release cannot answer sooner.

    Attributes:
        is_first: it is one of those that the server starts with. Where such a one cannot serve, the server ends; where
            a later one cannot, those that live go on.
        waits: it begins to load when another one serves.
    """

    made: ClassVar[int] = 0
    _taken: ClassVar[dict[int, Worker]] = {}

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        self.is_first = Worker.made < config.workers
        # Where all cannot run at once, one of them answers sooner when the others wait for it.
        self.waits = self.is_first and Worker.made > 0 and config.workers >= (os.cpu_count() or 1)
        Worker.made += 1
        super().__init__(config, sockets)
        self._place: int | None = None
        if named := os.environ.get(VARIABLE):
            self._place = next(i for i in range(PLACES) if i not in self._taken or self._taken[i].exitcode is not None)
            self._taken[self._place] = self
            Holdings(Path(named)).leave(self._place)  # whoever was here before is gone

    def start(self) -> None:
        super().start()
        self.child_conn.close()

    @property
    def server(self) -> Server:
        if self._server is None and self._place is not None:
            self._server = EvenServer(self.config, Holdings(Path(os.environ[VARIABLE])), self._place)
        return super().server

    def target(self, sockets: list[socket] | None = None) -> None:
        from langrec.service.monitoring.gathered import in_use, shared_folder

        folder = shared_folder()
        with contextlib.nullcontext() if folder is None else in_use(folder):
            self._serve(folder, sockets)

    def _serve(self, folder: Path | None, sockets: list[socket] | None) -> None:
        if folder is not None:
            mark = folder / "serving"
            if self.waits:
                _wait(mark, HEAD_START)
            threading.Thread(target=_mark, args=(self.server, mark), daemon=True).start()
        if parent := multiprocessing.parent_process():
            threading.Thread(target=_end_with, args=(self.server, parent), daemon=True).start()
        load_code()
        try:
            super().target(sockets)
        except LangrecError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.exit(STARTUP_FAILURE if self.is_first else 1)


def _mark(server: Server, mark: Path) -> None:
    """Makes a file when a server takes requests: unlike a lock, it means the same whoever is killed meanwhile."""
    while not server.started:
        time.sleep(0.02)
    mark.touch()


def _end_with(server: Server, parent: Any) -> None:
    """Ends a server in order when the process that watches it is gone: nobody could stop it, and it holds the port."""
    parent.join()
    _log.error("the process that watches this worker is gone: it finishes what it has and ends")
    server.should_exit = True


def _wait(mark: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not mark.exists() and time.monotonic() < end:
        time.sleep(0.02)
