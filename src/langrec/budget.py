"""Time that a request may take: optional stages ask whether there is room for them before they begin.

A stage that is not necessary for an answer (the second look by trees, the rerank by a language model, diversity,
reasons) is skipped where its time is not there: what is left of the request's budget is less than the stage usually
takes, or it usually takes more than it may. Answers then come in time and a little plainer, and say so. Who sets no
budget has every stage run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

STAGES = ("trees", "rerank", "diversity", "reasons")
# How much the newest run of a stage says about the next.
_NEWEST = 0.2
# A stage that takes too long is tried again after so many refusals: it may have become quicker.
_TRY_AGAIN = 200


class Habits:
    """How long stages usually take; of a process, any thread may use it.

    Args:
        most: seconds that a stage may take, by name; absent or 0 = any.
        skipped: told the name of each stage that is skipped.
    """

    def __init__(self, most: Mapping[str, float], skipped: Callable[[str], None] = lambda _: None) -> None:
        self._most = dict(most)
        self._skipped = skipped
        self._usual: dict[str, float] = {}
        self._refused: dict[str, int] = {}
        self._lock = threading.Lock()

    def usual(self, stage: str) -> float:
        """Seconds that a stage usually takes; 0 before its first run."""
        return self._usual.get(stage, 0.0)

    def note(self, stage: str, seconds: float) -> None:
        """Learns from a run."""
        with self._lock:
            before = self._usual.get(stage)
            self._usual[stage] = seconds if before is None else before + _NEWEST * (seconds - before)

    def has_room(self, stage: str, left: float) -> bool:
        """Whether a stage may begin with so many seconds left; where not, that is counted."""
        usual = self.usual(stage)
        most = self._most.get(stage, 0.0)
        if usual <= left and (most <= 0 or usual <= most):
            return True
        with self._lock:
            self._refused[stage] = self._refused.get(stage, 0) + 1
            if left > 0 and self._refused[stage] % _TRY_AGAIN == 0:
                return True
        self._skipped(stage)
        return False


@dataclass(slots=True)
class Budget:
    """What one request, or one block of requests, may take.

    Attributes:
        habits: how long stages usually take.
        until: time.monotonic() at which the time is over; infinite = never.
        skipped: stages that were skipped, in order.
    """

    habits: Habits
    until: float = float("inf")
    skipped: list[str] = field(default_factory=list)

    def has_room(self, stage: str) -> bool:
        """Whether an optional stage may begin now."""
        return self.habits.has_room(stage, self.until - time.monotonic())


_CURRENT: ContextVar[Budget | None] = ContextVar("langrec_budget", default=None)


@contextmanager
def within(budget: Budget) -> Iterator[Budget]:
    """Has the stages that run inside ask this budget."""
    token = _CURRENT.set(budget)
    try:
        yield budget
    finally:
        _CURRENT.reset(token)


def was_skipped(name: str) -> bool:
    """Whether there was no room for a stage in what is being answered."""
    budget = _CURRENT.get()
    return budget is not None and name in budget.skipped


@contextmanager
def stage(name: str) -> Iterator[bool]:
    """Runs an optional stage: gives whether there is room for it, and notes how long it took.

    with stage("diversity") as has_room:
        if has_room:
            ...
    """
    budget = _CURRENT.get()
    if budget is None:
        yield True
        return
    if not budget.has_room(name):
        budget.skipped.append(name)
        yield False
        return
    started = time.monotonic()
    yield True
    budget.habits.note(name, time.monotonic() - started)
