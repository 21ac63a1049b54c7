"""Many users in blocks of like histories, on several threads, and back in the order in which they were asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

# Of many users so many are looked at together for those of like history.
WINDOW = 2048

T = TypeVar("T")
Places = npt.NDArray[np.intp]


def in_windows(
    lengths: npt.NDArray[np.integer], work: Callable[[Places], T], together: int, threads: int = 1
) -> Iterator[tuple[Places, list[T]]]:
    """Window by window, (w,) the places of its users in what `work` made of its blocks, and that, block after block.

    A tower reads as many places for each of a block as its longest history has, so that users of like length go
    together.

    Args:
        lengths: (u,) of the histories.
        work: makes something of a block, given the places of its users.
        together: users of a block.
        threads: blocks that are worked on at a time.
    """
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        ahead: deque[tuple[Places, list[Future[T]]]] = deque()
        for start in range(0, len(lengths), WINDOW):
            rows = np.arange(start, min(start + WINDOW, len(lengths)))
            order = rows[np.argsort(-lengths[rows], kind="stable")]
            # The longest first: what is left when the threads run out of work is soon done.
            jobs = [pool.submit(work, order[lo : lo + together]) for lo in range(0, len(order), together)]
            ahead.append((np.argsort(order), jobs))
            if len(ahead) > 1:  # one window is worked on while the one before it is taken
                yield _taken(*ahead.popleft())
        while ahead:
            yield _taken(*ahead.popleft())


def _taken(places: Places, jobs: list[Future[T]]) -> tuple[Places, list[T]]:
    return places, [job.result() for job in jobs]
