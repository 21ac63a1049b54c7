"""A worker of `langrec serve`: its death is noticed at once, and it says itself why it cannot serve."""

from __future__ import annotations

import sys
from socket import socket
from typing import ClassVar

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Process

from langrec.errors import LangrecError
from langrec.service.starting import load_code


class Worker(Process):
    """uvicorn's worker, replaced as soon as it dies, also while the process that watches awaits its answer.

    uvicorn keeps the worker's end of their pipe open in the process that watches. A worker that dies between the
    question whether it lives and its answer then never ends the pipe, and the whole time for an answer passes first:
    a minute here, since a worker that loads a large release cannot answer sooner.

    Attributes:
        is_first: it is one of those that the server starts with. Where such a one cannot serve, the server ends; where
            a later one cannot, those that live go on.
    """

    made: ClassVar[int] = 0

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        self.is_first = Worker.made < config.workers
        Worker.made += 1
        super().__init__(config, sockets)

    def start(self) -> None:
        super().start()
        self.child_conn.close()

    def target(self, sockets: list[socket] | None = None) -> None:
        load_code()
        try:
            super().target(sockets)
        except LangrecError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.exit(STARTUP_FAILURE if self.is_first else 1)
