"""Where the numbers of a training go: TensorBoard always, Weights & Biases and MLflow where they are asked for by name.

Nothing leaves the machine and nothing is counted unless the user set it up: W&B runs offline where WANDB_MODE says
nothing else, MLflow writes a SQLite file beside the run where MLFLOW_TRACKING_URI says nothing else.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langrec.errors import MissingExtra, SettingsError
from langrec.lm.model import read_json

TENSORBOARD = "tensorboard"
# What must be importable for a name, and the extra that brings it. MLflow's SQLite needs alembic.
NEEDS = {
    TENSORBOARD: (("tensorboard",), "lm"),
    "wandb": (("wandb",), "wandb"),
    "mlflow": (("mlflow", "alembic"), "mlflow"),
}
# Ids under which a resumed training goes on in the runs that it began.
IDS = "tracking.json"
PROJECT = "langrec"
# MLflow takes at most so many numbers at once.
BATCH = 500


def check(names: Sequence[str], where: str) -> tuple[str, ...]:
    """The trackers named, each once, without TensorBoard, which is always there.

    Args:
        where: the option or setting that names them, for errors.

    Raises:
        SettingsError: nothing has that name.
        MissingExtra: its library is not installed.
    """
    for name in names:
        if name not in NEEDS:
            near = difflib.get_close_matches(name, NEEDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(NEEDS)}"
            raise SettingsError(f"{where} {name}: unknown ({hint})", field=where.lstrip("-"))
        modules, extra = NEEDS[name]
        if any(importlib.util.find_spec(module) is None for module in modules):
            raise MissingExtra(extra, f"{where} {name}")
    return tuple(name for name in dict.fromkeys(names) if name != TENSORBOARD)


class Tracker:
    """Takes numbers by name and step; `with` leaves all of them written, `close` ends the runs.

    Args:
        folder: TensorBoard's events, and the folders `wandb` and `mlflow` of what is named; made at the first number.
        run: name of the run, for people.
        names: as `check` gives them.
        told: settings of the run, by name.
        board: folder of TensorBoard's events where it is not `folder`.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        names: Sequence[str] = (),
        told: Mapping[str, Any] | None = None,
        board: Path | None = None,
    ) -> None:
        self._folder, self._run, self._names = folder, run, tuple(names)
        self._told, self._board = dict(told or {}), board or folder
        self._writers: list[Any] = []

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.flush()

    def __call__(self, name: str, value: float, step: int) -> None:
        """Adds a number; NaN is passed over."""
        if math.isnan(value):
            return
        for writer in self._open():
            writer.add(name, float(value), step)

    def end(self, numbers: Mapping[str, float]) -> None:
        """What the run came to: on the board's last place, and as the summary of a W&B or MLflow run."""
        kept = {name: float(value) for name, value in numbers.items() if not math.isnan(value)}
        for writer in self._open():
            writer.end(kept)

    def close(self, whole: bool = True) -> None:
        """Ends every run that was begun, as failed where it did not come to its end."""
        for writer in self._writers:
            writer.close(whole)
        self._writers = []

    def _open(self) -> list[Any]:
        if not self._writers:
            self._folder.mkdir(parents=True, exist_ok=True)
            ids = read_json(self._folder / IDS)
            self._writers = [_TensorBoard(self._board)]
            for name in self._names:
                kind = {"wandb": _Wandb, "mlflow": _MLflow}[name]
                self._writers.append(kind(self._folder, self._run, self._told, str(ids.get(name, ""))))
                ids[name] = self._writers[-1].id
            if self._names:
                (self._folder / IDS).write_text(json.dumps(ids), "utf-8")
        return self._writers


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def add(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def end(self, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, 0)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, whole: bool) -> None:
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases. Each group of names (`train/…`, `epoch/…`) counts steps of its own."""

    def __init__(self, folder: Path, run: str, told: Mapping[str, Any], known: str) -> None:
        # Reports of its own errors go to its makers; they stay here unless they were asked for.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=run,
            id=known or None,
            resume="allow" if known else None,
            dir=str(folder),
            mode=mode,
            config=dict(told),
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
            ),
        )
        self.id = str(self._run.id)
        self._groups: set[str] = set()

    def add(self, name: str, value: float, step: int) -> None:
        group = name.partition("/")[0] if "/" in name else "all"
        count = f"{group}_step"
        if group not in self._groups:
            self._groups.add(group)
            self._run.define_metric(f"{group}/*" if "/" in name else "*", step_metric=count)
        self._run.log({name: value, count: step})

    def end(self, numbers: Mapping[str, float]) -> None:
        self._run.summary.update(dict(numbers))

    def flush(self) -> None:
        """Its own process has what was logged."""

    def close(self, whole: bool) -> None:
        self._run.finish(exit_code=int(not whole))


class _MLflow:
    """A run of MLflow; numbers are sent some hundreds at a time, because each sending is a transaction."""

    def __init__(self, folder: Path, run: str, told: Mapping[str, Any], known: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        loud = logging.getLogger("mlflow")
        level = loud.level
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        loud.setLevel(logging.WARNING)  # it tells of each table that it makes
        place = folder.resolve() / "mlflow"
        theirs = os.environ.get("MLFLOW_TRACKING_URI")
        uri = theirs or f"sqlite:///{place / 'mlflow.db'}"
        if not theirs:
            place.mkdir(parents=True, exist_ok=True)
        self._metric, self._waiting = Metric, list[Any]()
        self._client = MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = self._client.get_experiment_by_name(name)
        own = None if theirs else (place / "artifacts").as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment(name, artifact_location=own)
        if known:
            self._client.update_run(known, status="RUNNING")
            self.id = known
        else:
            self.id = self._client.create_run(experiment, run_name=run).info.run_id
            told = {key: str(value)[:500] for key, value in told.items()}
            self._client.log_batch(self.id, params=[Param(key, value) for key, value in list(told.items())[:100]])
        loud.setLevel(level)

    def add(self, name: str, value: float, step: int) -> None:
        self._waiting.append(self._metric(_plain(name), value, int(1000 * time.time()), step))
        if len(self._waiting) >= BATCH:
            self.flush()

    def end(self, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self.add(name, value, 0)

    def flush(self) -> None:
        if self._waiting:
            self._client.log_batch(self.id, metrics=self._waiting)
            self._waiting = []

    def close(self, whole: bool) -> None:
        self.flush()
        self._client.set_terminated(self.id, "FINISHED" if whole else "FAILED")


def _plain(name: str) -> str:
    """The name in the letters that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in name)
