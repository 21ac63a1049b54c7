"""An end that a process manager asks for, as an ordinary end: what was opened is closed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

# What a shell says of a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM


@contextlib.contextmanager
def ending_well(status: int) -> Iterator[None]:
    """Makes SIGTERM leave with a status, through every `finally` on the way; in the main thread only."""

    def leave(*_: Any) -> None:
        raise SystemExit(status)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
