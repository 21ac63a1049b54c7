"""An adaptation that several workers share: the same order, the same loop, each worker on its part of every batch."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langrec.lm.adapt.job import RUN, Files, Job
from langrec.lm.adapt.run import RUNS
from langrec.lm.adapt.run import adapt as alone
from langrec.lm.adapt.settings import AdaptSettings
from langrec.protocols import Progress
from langrec.scale.cluster import Cluster
from langrec.scale.together import Say, together, told_to


def adapt(
    model: str,
    settings: AdaptSettings,
    files: Files,
    out: Path,
    cluster: Cluster,
    *,
    resume: bool = False,
    told: Progress | None = None,
    track: Sequence[str] = (),
) -> dict[str, Any]:
    """`langrec.lm.adapt.run.adapt` by all workers of the cluster; what it writes and gives is the same.

    Every worker reads the files and holds the whole model; the first one judges, measures and writes. Without dropout
    the steps are those of one process, up to the order in which numbers are added. On several machines all of them must
    see the files, the model and `out` under the same paths.

    Raises:
        LangrecError: as `adapt` raises it.
        SettingsError: the workers were lost more than twice; with `resume` the run goes on after its last epoch.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        (out / RUN).unlink(missing_ok=True)
    return dict(
        together(
            cluster,
            _share,
            model,
            settings,
            files,
            out.resolve(),
            tuple(track),
            name="adapt",
            storage=out / "workers",
            heard=told_to(told),
        )
    )


def _share(
    rank: int, say: Say, model: str, settings: AdaptSettings, files: Files, out: Path, track: Sequence[str]
) -> dict[str, Any] | None:
    """One worker's part. It always goes on where a run stands: after a lost worker, that is this very run."""
    from langrec.lm.ring import Ring

    if rank == 0:
        Ring.here().copy(out / RUN)
        return alone(
            model,
            settings,
            files,
            out,
            resume=True,
            told=lambda what, done, total: say("told", (what, done, total)),
            track=track,
        )
    with tempfile.TemporaryDirectory(prefix="langrec-") as name:
        Ring.here().copy(Path(name) / RUN)
        with contextlib.suppress(_Trained):
            importlib.import_module(RUNS[settings.task]).run(_Beside(model, settings, files, Path(name), resume=True))
    return None


class _Trained(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The training that this worker took part in is over; what follows is the first one's."""


class _Beside(Job):
    """The job of a worker that only helps to train."""

    def fit(self, task: Any) -> None:
        super().fit(task)
        raise _Trained
