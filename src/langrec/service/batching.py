"""Concurrent queries join one block: what arrives while a block is being scored makes up the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from langrec.errors import LangrecError

T = TypeVar("T")


class Busy(LangrecError):  # noqa: N818 - reads as a sentence where it is raised
    """More requests wait than the settings allow."""

    code = "busy"


class Batcher:
    """One thread that works on blocks of jobs; nothing waits for a block to fill.

    Args:
        work: takes jobs and gives one result, or one exception, per job; runs in the thread.
        most_waiting: jobs in the queue before `ask` raises Busy.
        most_together: jobs in one block.
    """

    def __init__(
        self, work: Callable[[Sequence[Any]], Sequence[Any]], *, most_waiting: int, most_together: int = 64
    ) -> None:
        self._work = work
        self._most_waiting = most_waiting
        self._most_together = most_together
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="langrec-scorer")
        self.shed = 0

    @property
    def queue(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    async def ask(self, job: Any) -> Any:
        """The result of a job; call it from one event loop only.

        Raises:
            Busy: the queue is full.
        """
        if len(self._waiting) >= self._most_waiting:
            self.shed += 1
            raise Busy("too many requests wait for an answer; try again in a second", field=None)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((job, future))
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._run(loop))
        return await future

    def close(self) -> None:
        """Ends the thread after the block in work."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            block = [pair for pair in self._waiting[: self._most_together] if not pair[1].done()]
            del self._waiting[: self._most_together]
            if not block:
                continue
            try:
                results = await loop.run_in_executor(self._thread, self._work, [job for job, _ in block])
            except BaseException as error:
                results = [error] * len(block)
                if not isinstance(error, Exception):
                    _give(block, [RuntimeError("the server is stopping")] * len(block))
                    raise
            _give(block, results)


def _give(block: Sequence[tuple[Any, asyncio.Future[Any]]], results: Sequence[Any]) -> None:
    for (_, future), result in zip(block, results, strict=True):
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
