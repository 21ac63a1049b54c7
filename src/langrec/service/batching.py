"""Concurrent queries join one block: what arrives while a block is being scored makes up the next one.

The queue is bounded in length and in time. What finds it full is refused at once, and what has waited past its deadline
is given up instead of computed: under more load than the machine can bear, those that are answered come in time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from langrec.errors import LangrecError

# How much the newest block says about the time of a job.
_NEWEST = 0.2
# A block is to take at most this share of the time that a job may wait: what comes meanwhile waits for its end.
_SHARE = 0.25


class Busy(LangrecError):  # noqa: N818 - reads as a sentence where it is raised
    """More requests wait than the settings allow, or this one waited past its deadline.

    Args:
        message: as for every error.
        retry_after: whole seconds after which the queue will have been worked off.
        late: the request was in the queue and its deadline passed.
    """

    code = "busy"

    def __init__(self, message: str, *, retry_after: int = 1, late: bool = False) -> None:
        super().__init__(message, field=None)
        self.retry_after = retry_after
        self.late = late


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    job: Any
    until: float  # time.monotonic() of the deadline
    future: asyncio.Future[Any]


class Batcher:
    """One thread that works on blocks of jobs; nothing waits for a block to fill.

    Args:
        work: takes jobs and gives one result, or one exception, per job; runs in the thread.
        most_waiting: jobs in the queue before `ask` raises Busy.
        most_together: jobs in one block; fewer where they would take a large part of `seconds`.
        seconds: how long a job may wait for its block before it is given up; 0 = for ever.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Any]], Sequence[Any]],
        *,
        most_waiting: int,
        most_together: int = 64,
        seconds: float = 0.0,
    ) -> None:
        self._work = work
        self._most_waiting = most_waiting
        self._most_together = most_together
        self._patience = seconds if seconds > 0 else math.inf
        self._waiting: deque[_Waiting] = deque()
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="langrec-scorer")
        self._seconds_a_job = 0.0

    @property
    def queue(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    async def ask(self, job: Any, *, patient: bool = False) -> Any:
        """The result of a job; call it from one event loop only.

        Args:
            job: what `work` is given.
            patient: it waits for its block however long that takes and however many wait before it; it is work that
                nobody can ask for again.

        Raises:
            Busy: the queue is full, or the job's deadline passed in it.
        """
        if len(self._waiting) >= self._most_waiting and not patient:
            raise Busy(f"too many requests wait for an answer; try again {self._when()}", retry_after=self._clear_in())
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Waiting(job, math.inf if patient else time.monotonic() + self._patience, future))
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._run(loop))
        return await future

    def close(self) -> None:
        """Ends the thread after the block in work."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            block = self._next_block()
            if not block:
                continue
            started = time.monotonic()
            try:
                results = await loop.run_in_executor(self._thread, self._work, [one.job for one in block])
            except BaseException as error:
                results = [error] * len(block)
                if not isinstance(error, Exception):
                    _give(block, [RuntimeError("the server is stopping")] * len(block))
                    raise
            each = (time.monotonic() - started) / len(block)
            self._seconds_a_job += _NEWEST * (each - self._seconds_a_job)
            _give(block, results)

    def _next_block(self) -> list[_Waiting]:
        """The oldest jobs that are still wanted; those past their deadline are given up on the way."""
        block: list[_Waiting] = []
        now = time.monotonic()
        most = self._most_together
        if self._seconds_a_job * most > _SHARE * self._patience:
            most = max(1, int(_SHARE * self._patience / self._seconds_a_job))
        while self._waiting and len(block) < most:
            one = self._waiting.popleft()
            if one.future.done():  # the caller went away
                continue
            if one.until < now:
                late = f"the answer would come too late; try again {self._when()}"
                one.future.set_exception(Busy(late, retry_after=self._clear_in(), late=True))
                continue
            block.append(one)
        return block

    def _clear_in(self) -> int:
        """Whole seconds in which the queue, as it is, will have been worked off."""
        return min(60, max(1, math.ceil(len(self._waiting) * self._seconds_a_job)))

    def _when(self) -> str:
        seconds = self._clear_in()
        return "in a second" if seconds == 1 else f"in {seconds} seconds"


def _give(block: Sequence[_Waiting], results: Sequence[Any]) -> None:
    for one, result in zip(block, results, strict=True):
        if one.future.done():
            continue
        if isinstance(result, BaseException):
            one.future.set_exception(result)
        else:
            one.future.set_result(result)
