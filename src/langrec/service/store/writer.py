"""Group commit: writes that arrive while a commit is on its way to the disk share the next one."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa

from langrec.errors import StoreError
from langrec.service.store.event_rows import Event, put_events
from langrec.service.store.once import RequestKey, new_request
from langrec.service.store.store import Store, in_transaction

T = TypeVar("T")


def _nothing(_: sa.Connection) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[sa.Connection], Any] = _nothing
    log: Sequence[Event] = ()
    overwrite: bool = False
    request: RequestKey | None = None
    done: Future[Any] = field(default_factory=Future)


class Writer:
    """One thread that does all of a process's writes.

    Args:
        store: where to write.
        most: jobs that share a transaction at most.
    """

    def __init__(self, store: Store, most: int = 256) -> None:
        self._store = store
        self._most = most
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="langrec-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[sa.Connection], T]) -> Future[T]:
        """Does `work` in a transaction; the future is done after the commit is durable.

        A job that raises is undone alone: the others of its transaction stand.
        """
        return self._put(_Job(work))

    def append(self, log: Sequence[Event], *, overwrite: bool, request: RequestKey | None = None) -> Future[int]:
        """Writes events (see `put_events`); those of callers that come together are written together.

        Args:
            log: the events.
            overwrite: see `put_events`.
            request: whose events these are; if it was made before, its events count no more.
        """
        return self._put(_Job(log=log, overwrite=overwrite, request=request))

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """`submit`, awaited."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """Finishes what was submitted and ends the thread."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join(timeout=30)

    def _put(self, job: _Job) -> Future[Any]:
        if self._closed:
            raise StoreError("the server is stopping; the write was not made")
        self._jobs.put(job)
        return job.done

    def _run(self) -> None:
        last = False
        while not last:
            jobs: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) >= self._most:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            last = job is None
            if jobs:
                self._commit(jobs)

    def _commit(self, jobs: Sequence[_Job]) -> None:
        # A caller that went away before its turn is passed over; from here on nobody can cancel.
        jobs = [job for job in jobs if job.done.set_running_or_notify_cancel()]
        outcomes: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            with self._store.write() as connection:
                for group in _joined(jobs):
                    outcomes.extend(_done(connection, group))
                if not in_transaction(connection):
                    raise _ended(outcomes, self._store.errors)
        except Exception as error:
            for job in jobs:
                job.done.set_exception(error)
            return
        for job, result, failure in outcomes:
            if isinstance(failure, self._store.errors):
                job.done.set_exception(self._store.failure("writing", failure))
            elif failure is not None:
                job.done.set_exception(failure)
            else:
                job.done.set_result(result)


def _ended(
    outcomes: Sequence[tuple[_Job, Any, BaseException | None]], errors: tuple[type[Exception], ...]
) -> BaseException:
    """Why the database ended the transaction: nothing of it stands."""
    found = (failure for _, _, failure in outcomes if isinstance(failure, errors))
    return next(found, StoreError("the database ended the transaction; nothing was written"))


def _joined(jobs: Sequence[_Job]) -> list[list[_Job]]:
    """Jobs in order; neighbours that append events in the same way are written together."""
    groups: list[list[_Job]] = []
    for job in jobs:
        if groups and job.log and groups[-1][0].log and job.overwrite == groups[-1][0].overwrite:
            groups[-1].append(job)
        else:
            groups.append([job])
    return groups


def _done(connection: sa.Connection, group: Sequence[_Job]) -> list[tuple[_Job, Any, BaseException | None]]:
    """Does one job, or the events of several at once; what fails is undone."""
    if not in_transaction(connection):
        return [(job, None, StoreError("not written: the database ended the transaction")) for job in group]
    try:
        with connection.begin_nested():
            if group[0].log:
                new = [job for job in group if job.request is None or new_request(connection, job.request)]
                log = [event for job in new for event in job.log]
                put_events(connection, log, overwrite=group[0].overwrite)
                return [(job, len(job.log), None) for job in group]
            return [(group[0], group[0].work(connection), None)]
    except Exception as error:  # the caller gets it; the others of the batch go on
        if len(group) == 1 or not in_transaction(connection):
            return [(job, None, error) for job in group]
        return [outcome for job in group for outcome in _done(connection, [job])]
