"""A training run whose texts are read and whose towers are trained by several workers; the rest stays in one."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langrec import training
from langrec.data.cache import cache_folder
from langrec.data.dataset import Dataset
from langrec.data.fitting import FitData
from langrec.evaluation.report import Report
from langrec.protocols import Progress
from langrec.scale.blocks import read_by
from langrec.scale.cluster import Cluster
from langrec.scale.together import Say, together
from langrec.settings import Settings
from langrec.towers.kept import FITTED_BY, kept_files
from langrec.towers.tower import Tower


def train(
    dataset: Dataset,
    settings: Settings,
    releases: Path,
    cluster: Cluster,
    *,
    progress: Progress | None = None,
    steps: Path | None = None,
) -> tuple[Path, Report | None]:
    """`langrec.training.train` with the workers of the cluster; release and report are the same in kind.

    Vectors are those of one process, and so are towers without dropout, up to the order in which numbers are added.
    Linear scorers, the mix and the measuring stay in this process.

    Raises:
        LangrecError: as `langrec.training.train` raises it.
        SettingsError: the workers were lost more than twice; a second run goes on after the last finished epoch.
    """
    storage = (cache_folder() / "steps" if steps is None else steps) / "workers"
    with read_by(cluster), towers_by(cluster, storage):
        return training.train(dataset, settings, releases, progress=progress, steps=steps)


@contextmanager
def towers_by(cluster: Cluster, storage: Path) -> Iterator[None]:
    """While the block runs, every tower is trained by all workers of the cluster.

    Args:
        storage: where Ray Train keeps its run; on several machines a folder that all of them see.
    """

    def fit(kind: type[Tower], data: FitData, settings: Any, folder: Path | None, **params: Any) -> Any:
        def heard(name: str, values: tuple[Any, ...]) -> None:
            listener: Any = data.told if name == "told" else data.board
            if listener is not None:
                listener(*values)

        plain = dataclasses.replace(data, told=None, board=None, made={})
        where = None if folder is None else folder.resolve()
        given = (kind, plain, settings, where, params)
        return together(cluster, fit_share, *given, name=kind.name, storage=storage, heard=heard)

    token = FITTED_BY.set(fit)
    try:
        yield
    finally:
        FITTED_BY.reset(token)


def fit_share(
    rank: int, say: Say, kind: type[Tower], data: FitData, settings: Any, folder: Path | None, params: dict[str, Any]
) -> Any:
    """One worker's part of a tower's training; the first one judges, keeps and gives the tower."""
    from langrec.towers.fit import fit_tower

    if rank == 0:
        _hand_on(data.kept, params)
        data = dataclasses.replace(
            data,
            told=lambda what, done, total: say("told", (what, done, total)),
            board=lambda run, scalars, step: say("board", (run, dict(scalars), step)),
        )
        return fit_tower(kind, data, settings, folder, **params)
    with tempfile.TemporaryDirectory(prefix="langrec-") as name:
        own = Path(name)
        # It never judges, but must stop where the first one stops.
        judge = None if data.judge is None else lambda *_: math.nan
        data = dataclasses.replace(data, judge=judge, kept=None if data.kept is None else own)
        _hand_on(data.kept, params)
        fit_tower(kind, data, settings, None if folder is None else own / "own", **params)
    return None


def _hand_on(kept: Path | None, params: dict[str, Any]) -> None:
    """The kept tower to go on from, where the first worker has one, to all."""
    from langrec.lm.ring import Ring

    start = params.get("start")
    if kept is not None and start is not None:
        for name in Ring.here().first(lambda: kept_files(kept / start)):
            Ring.here().copy(kept / start / name)
