"""One adaptation while it runs: its files, its model, its training, and what it came to."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from langrec.data.load import find_files
from langrec.data.sources.opening import hash_of
from langrec.errors import SettingsError
from langrec.lm.adapt.head import Head
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.loop import Epoch, Task, choose_precision, fit
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.model import TextModel, find_model, read_json
from langrec.lm.tracking import IDS, Tracker, check
from langrec.protocols import Progress

RUN, METRICS = "run.json", "metrics.json"


@dataclass(frozen=True, slots=True)
class Files:
    """What is read.

    Attributes:
        train: training rows; None for joint alone, whose files are in `more`.
        valid: validation rows; None holds out a share of training.
        test: test rows; None measures on validation only.
        text: column of the texts, where a task reads texts.
        label: column of the labels.
        more: joint: files of the further tasks, by name.
        events: recommend and pairs: a log to make the rows from, instead of training rows.
        items: the items of that log.

    Raises:
        SettingsError: a log and a file of rows.
    """

    train: Path | None
    valid: Path | None = None
    test: Path | None = None
    text: str = "text"
    label: str = "label"
    more: Mapping[str, Path] = field(default_factory=dict)
    events: Path | None = None
    items: Path | None = None

    def __post_init__(self) -> None:
        if self.events is not None:
            for name in ("train", "valid", "test"):
                if getattr(self, name) is not None:
                    raise SettingsError(
                        f"--{name} and --events: rows are read from files or made from a log; leave one away",
                        field=name,
                    )

    def source(self) -> Path:
        """The training rows.

        Raises:
            SettingsError: there are none.
        """
        if self.train is None:
            raise SettingsError("--train: is needed (recommend and pairs also take --events)", field="train")
        return self.train

    def named(self) -> dict[str, Path]:
        """The files that are there, by part."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test, **self.more}
        if self.events is not None:
            parts["events"], parts["items"] = find_files(self.events, self.items)
        return {name: path for name, path in parts.items() if path is not None}


def remove_results(out: Path) -> None:
    """Takes away what an earlier run came to: no number of it may stand beside another model, or none."""
    for name in (METRICS, "report.html", "predictions.parquet"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "model", ignore_errors=True)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a task came to.

    Attributes:
        valid: its numbers on validation.
        test: its numbers on the test; empty where there is none.
        predictions: one line per row of the test, or of validation where there is no test.
        head: the fitted head, where the task has one.
        rows: how many rows each part held.
    """

    valid: Mapping[str, Any]
    test: Mapping[str, Any]
    predictions: pl.DataFrame
    head: Head | None
    rows: Mapping[str, int]


class Job:
    """Settings, files, the output folder and the model; tasks ask it to train and tell it what is worth saying.

    Attributes:
        notes: what a reader of the numbers should know, one sentence each.
        epochs: rows of the training, as the loop gave them.
        board: takes the numbers of the training.
    """

    def __init__(
        self,
        name: str,
        settings: AdaptSettings,
        files: Files,
        out: Path,
        *,
        resume: bool = False,
        told: Progress | None = None,
        track: Sequence[str] = (),
    ) -> None:
        """Finds and loads the model.

        Args:
            track: what takes the numbers of the training beside TensorBoard: wandb, mlflow.

        Raises:
            SettingsError: there is no such model or tracker, or the folder holds a run with other settings.
            MissingExtra: torch, transformers, peft or a tracker's library is not installed.
        """
        trackers = check(track, "--track")
        self.files, self.out, self.told = files, out, told or (lambda *_: None)
        self.model: TextModel = find_model(name, settings.max_tokens)
        self.notes: list[str] = []
        self.epochs: list[Epoch] = []
        self._start = time.perf_counter()
        self._run = self._begin(settings, resume)
        shown = {"model": self.model.name, **asdict(settings)}
        self.board = Tracker(out, out.resolve().name, trackers, shown, board=out / "tensorboard")
        self.told("load the model", 0, 0)
        self.adapted = Adapted(self.model, settings)
        self.settings = self.adapted.settings
        self.precision = ""

    def _begin(self, settings: AdaptSettings, resume: bool) -> dict[str, Any]:
        """What the run is, as written in its folder: a run goes on only with the same settings, model and files."""
        now = {
            "settings": asdict(settings),
            "model": self.model.hash,
            "files": {name: hash_of(path) for name, path in self.files.named().items()},
            "columns": {"text": self.files.text, "label": self.files.label},
        }
        try:
            was = read_json(self.out / RUN) if resume else {}
        except SettingsError as error:
            raise SettingsError(f"--resume: {error.message}; start again without it", field="resume") from error
        changed = [name for name, value in now.items() if was and was.get(name) != value]
        if changed:
            raise SettingsError(
                f"--resume: {self.out} holds a run with other {' and '.join(changed)}; start again without it",
                field="resume",
            )
        if not was:
            for old in ("checkpoint", "tensorboard"):
                shutil.rmtree(self.out / old, ignore_errors=True)
            (self.out / IDS).unlink(missing_ok=True)  # another run, with numbers of its own
        for left in (self.out / "checkpoint").glob("*.half"):  # of a run that was killed
            left.unlink(missing_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        return {**now, **was}

    def fit(self, task: Task) -> None:
        """Trains a task; the precision that is measured is kept, so that a resumed run goes on in the same."""
        known = self._run.get("precision")
        if known is None:
            self.told("time the precision", 0, 0)
            known, seconds = choose_precision(self.adapted, task, self.settings.precision)
            self._run |= {"precision": known, "precision_seconds": seconds}
            # Not before: what is wrong with the rows has been said by now, and leaves the model of the run before.
            remove_results(self.out)
            half = self.out / f"{RUN}.half"
            half.write_text(json.dumps(self._run, indent=1), "utf-8")
            half.replace(self.out / RUN)
        self.precision = str(known)
        seconds = self._run.get("precision_seconds") or {}
        if seconds:
            said = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in seconds.items())
            self.notes.append(f"Trained in {known}: a step took {said}.")
        self.epochs = fit(
            self.adapted,
            task,
            precision=self.precision,
            folder=self.out / "checkpoint",
            board=self.board,
            told=self.told,
        )
        if self.settings.keep_interpolate < 1:
            share = self.settings.keep_interpolate
            self.notes.append(f"The weights lie {share:g} of the way from the model before training to the tuned one.")

    def fit_encoder(self, task: Task) -> None:
        """Trains a task, unless its kind leaves nothing of the encoder to train."""
        if any(value.requires_grad for value in self.adapted.trained.parameters()):
            self.fit(task)

    def share(self, task: Task) -> float:
        """Trained parameters over all."""
        return self.adapted.share(task.heads)

    def summary(self, result: Result, share: float) -> dict[str, Any]:
        """The content of metrics.json."""
        settings = self.settings
        return {
            "task": settings.task,
            "kind": settings.kind,
            "seed": settings.seed,
            "shots": settings.shots,
            "model": self.model.name,
            "trainable_share": share,
            "seconds": time.perf_counter() - self._start,
            "precision": self.precision,
            "epochs": [
                {name: value for name, value in asdict(row).items() if name != "valid"} | dict(row.valid)
                for row in self.epochs
            ],
            "rows": dict(result.rows),
            "valid": dict(result.valid),
            "test": dict(result.test),
            "predictions_of": "test" if result.test else "valid",
            "notes": self.notes,
            "settings": asdict(settings),
        }
