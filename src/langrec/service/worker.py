"""A worker of `langrec serve` whose death is noticed at once."""

from __future__ import annotations

from uvicorn.supervisors.multiprocess import Process


class Worker(Process):
    """uvicorn's worker, replaced as soon as it dies, also while the process that watches awaits its answer.

    uvicorn keeps the worker's end of their pipe open in the process that watches. A worker that dies between the
    question whether it lives and its answer then never ends the pipe, and the whole time for an answer passes first:
    a minute here, since a worker that loads a large release cannot answer sooner.
    """

    def start(self) -> None:
        super().start()
        self.child_conn.close()
