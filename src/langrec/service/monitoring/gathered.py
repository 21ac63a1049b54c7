"""Prometheus metrics of all workers of a server: each writes its own into files of one folder, any can sum them.

The folder is named by PROMETHEUS_MULTIPROC_DIR, as prometheus_client has it; `langrec serve` makes it for its workers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, multiprocess
from prometheus_client.registry import Collector

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


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
