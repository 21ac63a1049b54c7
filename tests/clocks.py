"""A clock that a test moves by hand, for what goes by seconds: nobody waits, and a slow machine changes nothing."""

from __future__ import annotations

import time
from typing import Any


class Clock:
    """Stands in for the module `time`: the real one, and what `passed` says is added to it.

    Attributes:
        passed: seconds that have passed beside the real ones.
        stands: seconds are counted by `passed` alone; the time of day goes on.
    """

    def __init__(self, *, stands: bool = False) -> None:
        self.passed = 0.0
        self.stands = stands

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return self.passed + time.time()

    def monotonic(self) -> float:
        return self.passed + (0.0 if self.stands else time.monotonic())

    def perf_counter(self) -> float:
        return self.passed + (0.0 if self.stands else time.perf_counter())
