"""The rows of a task for training, validation and test, from files or from an event log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from langrec.lm.adapt.examples import check_held_out
from langrec.lm.adapt.job import Job
from langrec.lm.robust.keep import with_replay

T = TypeVar("T", bound=Any)


def read_rows(
    job: Job,
    read: Callable[[Path], T],
    logged: Callable[[Any, str], T],
    hold_out: Callable[[T, float, int], tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]],
) -> tuple[T, T, T | None]:
    """Training, validation and test rows; what was drawn or held out is said in the job's notes.

    Args:
        read: reads a file of such rows.
        logged: of a `FromLog`, the rows named train, valid or test.
        hold_out: the places kept and held out of rows, by share and seed.
    """
    settings, files = job.settings, job.files
    valid: T | None
    test: T | None
    if files.events is not None:
        from langrec.lm.adapt.from_log import FromLog

        log = FromLog(files.events, files.items, settings.seed, settings.asks, settings.past)
        train, valid, test = (logged(log, name) for name in ("train", "valid", "test"))
        job.notes += log.notes
    else:
        train = read(files.source())
        valid = read(files.valid) if files.valid else None
        test = read(files.test) if files.test else None
    if settings.shots:
        picked = np.random.default_rng(settings.seed).permutation(len(train))[: settings.shots]
        train = train.take(np.sort(picked))
        job.notes.append(f"{len(train)} rows were drawn by seed {settings.seed}.")
    if valid is None:
        kept, held = hold_out(train, settings.valid_share, settings.seed)
        check_held_out(kept, held, files.source())
        train, valid = train.take(kept), train.take(held)
        job.notes.append(f"No validation file: {len(held)} of {len(kept) + len(held)} training rows were held out.")
    return with_replay(train, settings, read, job.notes), valid, test
