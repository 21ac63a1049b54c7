"""The task joint: several tasks and domains at once, one encoder, a head for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from langrec.errors import SettingsError
from langrec.lm.adapt.classify import Classify, measure
from langrec.lm.adapt.examples import check_held_out, check_labels, hold_out, hold_out_choices, read_choices, read_texts
from langrec.lm.adapt.job import Job, Result
from langrec.lm.adapt.pairs import PairsTask, hold_out_pairs, read_pairs
from langrec.lm.adapt.pretrain import build
from langrec.lm.adapt.recommend import Recommend

# What other tasks take and this one does not.
UNUSED = ("valid", "test", "events")
# A task of n batches is drawn with probability by n ** POWER: large ones less than by their size.
POWER = 0.5


class Joint:
    """Batches of several tasks in random order; the loss of each is weighed by a learned uncertainty.

    The weight of a loss is exp(-s), and s is added to it, s being learned (Kendall, Gal & Cipolla 2018).
    """

    def __init__(self, tasks: Mapping[str, Any], weigh: str, least: float) -> None:
        self.tasks = dict(tasks)
        self.weigh = weigh
        self.least = least
        self.heads = nn.ModuleDict({name.replace(".", "_"): task.heads for name, task in self.tasks.items()})
        self.doubt = nn.ParameterDict({name.replace(".", "_"): nn.Parameter(torch.zeros(())) for name in self.tasks})
        if weigh == "uncertainty":
            self.heads["doubt"] = self.doubt

    def batches(self, rng: np.random.Generator) -> list[Any]:
        """As many (task, rows) as the tasks have batches, drawn by size; each task gets its least share."""
        own = {name: task.batches(rng) for name, task in self.tasks.items()}
        total = sum(len(batches) for batches in own.values())
        share = np.array([len(batches) ** POWER for batches in own.values()], dtype=float)
        share = np.maximum(share / share.sum(), min(self.least, 1 / len(own)))
        names = list(own)
        drawn = rng.choice(len(names), size=total, p=share / share.sum())
        seen = dict.fromkeys(names, 0)
        found = []
        for name in (names[i] for i in drawn):
            found.append((name, own[name][seen[name] % len(own[name])]))
            seen[name] += 1
        return found

    def loss(self, batch: Any) -> Tensor:
        """The weighed loss of one task's batch."""
        name, rows = batch
        loss: Tensor = self.tasks[name].loss(rows)
        if self.weigh == "equal":
            return loss
        doubt = self.doubt[name.replace(".", "_")]
        return torch.exp(-doubt) * loss + doubt

    def judge(self, precision: str) -> tuple[float, dict[str, float]]:
        """The mean of the tasks' scores, and every number under its task's name."""
        scores: list[float] = []
        told: dict[str, float] = {}
        for name, task in self.tasks.items():
            score, numbers = task.judge(precision)
            scores.append(score)
            told |= {f"{name}.{metric}": value for metric, value in numbers.items()}
        return float(np.mean(scores)), told


def run(job: Job) -> tuple[Result, Joint]:
    """Builds each task from its file, trains all, and measures each.

    Raises:
        SettingsError: fewer than two tasks, or one that joint does not know.
    """
    files = dict(job.files.more)
    if len(files) < 2:
        raise SettingsError("--task joint: needs two or more --also task=file", field="also")
    given = {"shots": job.settings.shots, **{name: name in job.files.named() for name in ("train", *UNUSED)}}
    for name in (name for name, there in given.items() if there):
        raise SettingsError(f"--task joint: takes no --{name}; each task holds out rows of its --also file", field=name)
    job.told("read the texts", 0, 0)
    made = {name: _task(job, name, path) for name, path in files.items()}
    tasks = {name: task for name, (task, _, _) in made.items()}
    joint = Joint(tasks, job.settings.weigh, job.settings.replay)
    job.fit_encoder(joint)
    for task in tasks.values():
        if isinstance(task, Classify):
            task.calibrate(job.precision)
    measured = {name: _measure(task, job.precision) for name, task in tasks.items()}
    valid = {f"{name}.{metric}": value for name, numbers in measured.items() for metric, value in numbers.items()}
    doubts = {name: float(torch.exp(-value.detach())) for name, value in joint.doubt.items()}
    if job.settings.weigh == "uncertainty":
        job.notes.append("Weights learned: " + ", ".join(f"{name} {value:.3f}" for name, value in doubts.items()) + ".")
    rows = {name: n for name, (_, _, n) in made.items()}
    frames = [_predicted(name, task, held) for name, (task, held, _) in made.items()]
    return Result(valid, {}, pl.concat(frames), None, rows), joint


def _task(job: Job, name: str, path: Path) -> tuple[Any, Any, int]:
    """One task from its file, the rows held out, and how many it learns from; `name` is a task, or task.anything."""
    settings, adapted, task = job.settings, job.adapted, name.partition(".")[0]
    share, seed = settings.valid_share, settings.seed
    if task == "classify":
        texts = read_texts(path, job.files.text, job.files.label)
        kept, held = hold_out(texts.labels, share, seed)
        check_held_out(kept, held, path)
        check_labels(texts.labels, path)
        away = texts.take(held)
        return Classify(adapted, texts.take(kept), away, sorted(set(texts.labels)), path), away, len(kept)
    if task == "recommend":
        choices = read_choices(path)
        kept, held = hold_out_choices(choices, share, seed)
        check_held_out(kept, held, path)
        return Recommend(adapted, choices.take(kept), choices.take(held), None, settings.floor), None, len(kept)
    if task == "pairs":
        pairs = read_pairs(path)
        kept, held = hold_out_pairs(pairs, share, seed)
        check_held_out(kept, held, path)
        return PairsTask(adapted, pairs.take(kept), pairs.take(held)), pairs.take(held), len(kept)
    if task == "pretrain":
        texts = read_texts(path, job.files.text, None)
        order = np.random.default_rng((seed, 1)).permutation(len(texts))
        n = max(1, round(share * len(texts)))
        check_held_out(order[n:], order[:n], path)
        return build(adapted, texts.take(order[n:]).texts, texts.take(order[:n]).texts), None, len(order) - n
    raise SettingsError(f"--also {name}: not a task of joint (classify, recommend, pairs, pretrain)", field="also")


def _measure(task: Any, precision: str) -> dict[str, Any]:
    """The plain numbers of a task on what was held out."""
    told = task.measure("valid")[0] if isinstance(task, Recommend) else task.judge(precision)[1]
    return {name: value for name, value in told.items() if isinstance(value, float)}


def _predicted(name: str, task: Any, held: Any) -> pl.DataFrame:
    """A line for each row held out of a task; none of a task that predicts nothing."""
    frame = pl.DataFrame(
        schema={"row": pl.Int64, "label": pl.String, "predicted": pl.String, "probability": pl.Float32}
    )
    if isinstance(task, Classify):
        frame = measure(task, held)[1]
    elif isinstance(task, PairsTask):
        frame = task.measure(held)[1]
    elif isinstance(task, Recommend):
        # Whole labels as they are predicted, 1 and not 1.0; graded ones as they are.
        frame = task.measure("valid")[1].with_columns(pl.col("label").cast(pl.String).str.strip_suffix(".0"))
    text = (pl.col(column).cast(pl.String) for column in ("label", "predicted"))
    return frame.select(
        pl.lit(name).alias("task"), pl.col("row").cast(pl.Int64), *text, pl.col("probability").cast(pl.Float32)
    )
