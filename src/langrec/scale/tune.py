"""Trials of a study several at once: this process asks and tells, workers run."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langrec.errors import LangrecError, SettingsError
from langrec.scale.cluster import Cluster
from langrec.tuning.study import Asked, Course, Outcome, Subject, run_trial

# Seconds between two looks at what workers ask.
LOOK = 0.2


def at_once(cluster: Cluster) -> Callable[[Course], None]:
    """A course for `langrec.tuning.tune` that runs a trial on each worker of the cluster.

    The study stays in this process's SQLite file, which no worker opens. Which trials come before another depends on
    who is faster, so two runs of one seed may draw other trials; a space that is gone through whole comes to the same.

    Raises:
        SettingsError: a worker was lost.
    """

    def go(course: Course) -> None:
        crew = _Crew(cluster, course)
        try:
            crew.run()
        finally:
            crew.close()

    return go


class _Crew:
    """Workers, the trials that they run, and the desk where they ask whether to go on."""

    def __init__(self, cluster: Cluster, course: Course) -> None:
        import ray

        self._ray, self._course = ray, course
        self._desk = ray.remote(num_cpus=0, max_concurrency=1000)(_Desk).remote()
        subject = ray.put(_without_listener(course.subject))
        actor = ray.remote(**cluster.needs)(_Worker)
        self._idle = [actor.remote(subject, self._desk) for _ in range(cluster.workers)]
        self._all = list(self._idle)
        self._running: dict[Any, tuple[Asked, Any]] = {}

    def run(self) -> None:
        """Until no trial is left to ask for and none is under way."""
        more = True
        while more or self._running:
            while more and self._idle:
                asked = self._course.ask(len(self._running))
                if asked is None:
                    more = False
                    break
                worker = self._idle.pop()
                ref = worker.run.remote(asked.trial.number, asked.values, asked.folder)
                self._running[ref] = asked, worker
            if self._running:
                ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=LOOK)
                self._answer()
                for ref in ended:
                    asked, worker = self._running.pop(ref)
                    self._course.tell(asked, self._outcome(ref))
                    self._idle.append(worker)
                    more = True  # an even space may have had to wait for what was under way

    def _answer(self) -> None:
        """Says to every worker that asks whether its trial goes on."""
        by_number = {asked.trial.number: asked for asked, _ in self._running.values()}
        for number, epoch, value in self._ray.get(self._desk.asked.remote()):
            stop = number in by_number and by_number[number].judged(epoch, value)
            self._ray.get(self._desk.answer.remote(number, stop))

    def _outcome(self, ref: Any) -> Outcome:
        try:
            found = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            raise SettingsError(
                f"--workers: a worker was lost in a trial ({lines[-1] if lines else error}); a second call goes on",
                field="workers",
            ) from error
        if isinstance(found, str):
            raise SettingsError(found)
        outcome: Outcome = found
        return outcome

    def close(self) -> None:
        """Ends the workers."""
        for actor in (*self._all, self._desk):
            self._ray.kill(actor)


class _Desk:
    """Where a worker waits for whether its trial goes on; it lives beside the workers, as an actor."""

    def __init__(self) -> None:
        self._asked: list[tuple[int, int, float]] = []
        self._waiting: dict[int, asyncio.Future[bool]] = {}

    async def judged(self, number: int, epoch: int, value: float) -> bool:
        """What an epoch came to; answered with whether the trial is cut short."""
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._asked.append((number, epoch, value))
        return await self._waiting[number]

    async def asked(self) -> list[tuple[int, int, float]]:
        """What was asked since the last look."""
        asked, self._asked = self._asked, []
        return asked

    async def answer(self, number: int, stop: bool) -> None:
        """Lets a worker go on, or stop."""
        self._waiting.pop(number).set_result(stop)


class _Worker:
    """Runs trials, one at a time."""

    def __init__(self, subject: Subject, desk: Any) -> None:
        self._subject, self._desk = subject, desk

    def run(self, number: int, values: Mapping[str, str], folder: Path) -> Outcome | str:
        """How the trial ended; the message of an error that ends the study."""
        import ray

        def judged(epoch: int, value: float) -> bool:
            return bool(ray.get(self._desk.judged.remote(number, epoch, value)))

        try:
            return run_trial(self._subject, values, folder, judged)
        except FileNotFoundError:
            # Two trials may train the same tower at once; who ends first clears its checkpoints away.
            return run_trial(self._subject, values, folder, judged)
        except LangrecError as error:
            return error.message


def _without_listener(subject: Subject) -> Subject:
    """The subject as it is sent: who listens to its progress stays here."""
    sent = copy.copy(subject)
    if hasattr(sent, "_told"):
        sent._told = _unheard
    return sent


def _unheard(what: str, done: int = 0, total: int = 0) -> None:
    """Where nobody listens."""
