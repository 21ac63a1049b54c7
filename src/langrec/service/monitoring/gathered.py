"""Prometheus metrics of all workers of a server: each writes its own into files of one folder, any can sum them.

The folder is named by PROMETHEUS_MULTIPROC_DIR, as prometheus_client has it; `langrec serve` makes it for its workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, multiprocess
from prometheus_client.registry import Collector

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Of the temporary folders that servers make.
PREFIX = "langrec-metrics-"
_HELD = "server"  # a file that each process of the folder's server has locked while it lives


def shared_folder() -> Path | None:
    """The folder of the workers' metrics; None where a process counts for itself alone."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def gathered(folder: Path) -> CollectorRegistry:
    """Counters and times of all workers that ever wrote into the folder, and the processes of those that live."""
    alive = _forget_dead(folder)
    registry = CollectorRegistry()
    registry.register(_Written(folder))
    registry.register(_Processes(alive))
    return registry


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keeps `clear_left_behind` off the folder for as long as the block runs in this or any other process."""
    path = folder / _HELD
    if path.exists():
        file = os.open(path, os.O_RDONLY)
        fcntl.flock(file, fcntl.LOCK_SH)
    else:
        # It has its name when it is locked: nobody may take it for one that was left behind.
        new = folder / f".{_HELD}"
        file = os.open(new, os.O_RDONLY | os.O_CREAT, 0o600)
        fcntl.flock(file, fcntl.LOCK_SH)
        new.rename(path)
    try:
        yield
    finally:
        os.close(file)


def clear_left_behind(parent: Path) -> None:
    """Removes the folders of servers that were killed; those in which any process lives stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another's folder, or somebody else removes it
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            file = os.open(folder / _HELD, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(file)


class _Written(Collector):
    """What workers wrote. A file is empty for a moment when it is made, and for good where its worker died in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        written = [str(path) for path in self._folder.glob("*.db") if _size(path)]
        found: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(written)  # type: ignore[no-untyped-call]
        return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Processes(Collector):
    """Memory, processor time and open files of processes, each with its `pid`."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for pid in self._pids:
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                whole = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    whole.add_sample(sample.name, {**sample.labels, "pid": str(pid)}, sample.value)
        yield from found.values()


def _forget_dead(folder: Path) -> list[int]:
    """Takes the states of ended workers out of the folder (what they counted stays); the pids of those that live."""
    import psutil

    pids = {int(path.stem.rpartition("_")[2]) for path in folder.glob("*_*.db")}
    alive = sorted(pid for pid in pids if psutil.pid_exists(pid))
    for pid in pids.difference(alive):
        for path in folder.glob(f"gauge_live*_{pid}.db"):
            # Another worker may be at the same.
            path.unlink(missing_ok=True)
    return alive
