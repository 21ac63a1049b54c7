"""Runs a function in two processes that torch.distributed joins through a file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, multiprocessing

from forked import one_thread


def in_two(work, folder: Path, *args) -> None:
    """`work(rank, *args)` in each of two processes; they are joined when it is called."""
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    with one_thread():
        multiprocessing.start_processes(_each, (work, str(meeting), args), nprocs=2, start_method="forkserver")


def _each(rank: int, work, meeting: str, args) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    try:
        work(rank, *args)
    finally:
        distributed.destroy_process_group()
