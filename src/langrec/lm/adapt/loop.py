"""The training loop of every task and kind: short, in view, and able to go on after it was interrupted."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from langrec.lm.adapt import checkpoint
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.states import Rows
from langrec.lm.precision import autocast, faster_precision
from langrec.lm.ring import Ring
from langrec.lm.robust import keep
from langrec.lm.robust.adversarial import attack_of
from langrec.lm.schedule import Share
from langrec.lm.tracking import Tracker
from langrec.protocols import Progress

log = logging.getLogger(__name__)
# Batches whose texts are sorted by length together: enough that padding is small, few enough that order stays random.
WINDOW = 16


class Task(Protocol):
    """What a model is tuned for.

    Attributes:
        heads: what is trained besides the model, by name.
    """

    heads: nn.ModuleDict

    def batches(self, rng: np.random.Generator) -> list[Any]:
        """One epoch's batches; their number never changes."""
        ...

    def loss(self, batch: Any) -> Tensor:
        """The mean loss of a batch."""
        ...

    def judge(self, precision: str) -> tuple[float, dict[str, float]]:
        """How good it is on validation, higher is better, and the numbers to show; NaN where nothing judges."""
        ...


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to; `score` is NaN where nothing judged it."""

    epoch: int
    loss: float
    score: float
    rate: float
    seconds: float
    valid: Mapping[str, float]


def fit(
    adapted: Adapted,
    task: Task,
    *,
    precision: str,
    folder: Path | None = None,
    board: Tracker | None = None,
    told: Progress | None = None,
) -> list[Epoch]:
    """Trains in place for at most `settings.epochs`, and leaves model and heads as they were at the best epoch.

    An epoch depends on the seed and its number alone, so that a resumed training is the training that went through.
    Processes that train together (`Ring.here`) take the steps that one would take: each reads its part of the texts of
    a batch, and the first judges and keeps.

    Args:
        precision: fp32, bf16 or fp16.
        folder: keeps a checkpoint after each epoch; a second call with the same folder goes on after the last one.
        board: takes the numbers of every step and epoch.
        told: is told of every step, and of every epoch's score.

    Returns:
        One row per epoch, after a row 0 of what there was before training.
    """
    ring, settings, device = Ring.here(), adapted.settings, adapted.device
    modules: dict[str, nn.Module] = {"model": adapted.trained, "heads": task.heads}
    groups = adapted.groups()
    pull, attack = keep.Pull(groups, settings.keep_l2), attack_of(adapted)
    taken = {id(value) for group in groups for value in group["params"]}
    heads = [value for value in task.heads.parameters() if value.requires_grad and id(value) not in taken]
    groups.append({"params": heads, "rate": settings.head_rate, "weight_decay": 0.0})
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]], lr=1.0)
    everything = [value for group in optimiser.param_groups for value in group["params"]]
    per_epoch = math.ceil(len(task.batches(np.random.default_rng(settings.seed))) / settings.accumulate)
    steps = per_epoch * settings.epochs
    share = Share(settings.schedule, int(settings.warmup * steps), steps)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    adapted.begin(steps)
    start_of = checkpoint.trained(modules) if settings.keep_interpolate < 1 else {}
    start_of = {name: value.detach().clone() for name, value in start_of.items()}

    def losses_of(batch: Any) -> tuple[Tensor, Tensor]:
        with autocast(precision, device):
            loss = task.loss(batch)
        return loss + adapted.penalty(), loss.detach()

    ring.copy(None if folder is None else folder / checkpoint.FILE)
    history, best = _resume(folder, modules, optimiser, adapted, scaler)
    averaged = ring.averaged(losses_of, *modules.values())

    def backward(batch: Any, whole: int, part: float) -> Tensor:
        trained, loss = averaged(batch)
        # Every pass averages: what is not finite in one process makes all of them skip the step.
        ring.backward(scaler.scale(trained * part / whole))
        return loss

    with board or nullcontext(_untold) as write, ring.shared(adapted.trained):
        if not history:
            score, valid = ring.first(partial(task.judge, precision))
            history.append(Epoch(0, math.nan, score, 0.0, 0.0, valid))
        for epoch in range(len(history) - 1, settings.epochs):
            if _stale(history, settings.patience):
                break
            start, losses = time.perf_counter(), []
            torch.manual_seed(ring.seed(settings.seed * 100_003 + epoch))
            batches = task.batches(np.random.default_rng((settings.seed, epoch)))
            for module in modules.values():
                module.train()
            for i, batch in enumerate(batches):
                step, last = epoch * per_epoch + i // settings.accumulate, i + 1 == len(batches)
                # The last group of an epoch may be smaller: its mean is over what it holds.
                whole = min(settings.accumulate, len(batches) - i // settings.accumulate * settings.accumulate)
                losses.append(float(attack(partial(backward, batch, whole))))
                if (i + 1) % settings.accumulate and not last:
                    continue
                now = share(step, [past.score for past in history[1:]])
                for group in optimiser.param_groups:
                    group["lr"] = group["rate"] * now
                scaler.unscale_(optimiser)
                pull.add()
                if settings.clip:
                    torch.nn.utils.clip_grad_norm_(everything, settings.clip)
                scaler.step(optimiser)
                scaler.update()
                adapted.stepped(step)
                optimiser.zero_grad(set_to_none=True)
                write("train/loss", losses[-1], step)
                if told is not None:
                    told(f"epoch {epoch + 1} of {settings.epochs}", i + 1, len(batches))
            for module in modules.values():
                module.eval()
            seconds = time.perf_counter() - start
            score, valid = ring.first(partial(task.judge, precision))
            rate = float(optimiser.param_groups[0]["lr"])
            history.append(Epoch(epoch + 1, float(np.mean(losses)), score, rate, seconds, valid))
            log.info("epoch %d: loss %.4f, %s", epoch + 1, history[-1].loss, valid)
            for name, value in {"loss": history[-1].loss, "rate": rate, "seconds": seconds}.items():
                write(f"epoch/{name}", value, epoch + 1)
            for name, value in valid.items():
                write(f"valid/{name}", value, epoch + 1)
            if math.isnan(score) or score > max((past.score for past in history[:-1]), default=-math.inf):
                best = {name: value.detach().clone() for name, value in checkpoint.trained(modules).items()}
            _save(folder if ring.leads else None, modules, optimiser, best, adapted, scaler, history)
            if told is not None and not math.isnan(score):
                told(f"epoch {epoch + 1} judged: {score:.6g}", epoch + 1, settings.epochs)
    checkpoint.put(modules, keep.between(start_of, best, settings.keep_interpolate))
    for module in modules.values():
        module.eval()
    return history


def choose_precision(adapted: Adapted, task: Task, wanted: str) -> tuple[str, dict[str, float]]:
    """The precision to train in, and the seconds of a step of each that was timed: none where one is set."""
    if wanted != "auto":
        return wanted, {}
    batch = task.batches(np.random.default_rng(adapted.settings.seed))[0]

    def run(name: str) -> None:
        with autocast(name, adapted.device):
            loss = task.loss(batch)
        (loss + adapted.penalty()).backward()
        for module in (adapted.trained, task.heads):
            module.zero_grad(set_to_none=True)

    adapted.trained.train()
    among = ("fp32", "bf16", "fp16") if adapted.device.type == "cuda" else ("fp32", "bf16")
    with torch.random.fork_rng():
        name, seconds = Ring.here().first(partial(faster_precision, run, among=among))
    return name, seconds


def shuffled(lengths: Rows, size: int, rng: np.random.Generator) -> list[Rows]:
    """Row numbers of each batch: random, but of similar length within one, in random order."""
    order = rng.permutation(len(lengths))
    window = size * WINDOW
    parts = [order[i : i + window] for i in range(0, len(order), window)]
    ordered = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts]) if parts else order
    found = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    return [found[i] for i in rng.permutation(len(found))]


def _stale(history: Sequence[Epoch], patience: int) -> bool:
    """True where the best epoch lies at least `patience` epochs back."""
    scores = [-math.inf if math.isnan(row.score) else row.score for row in history]
    if not scores or math.isinf(max(scores)):
        return False
    return len(scores) - 1 - int(np.argmax(scores)) >= patience


def _save(
    folder: Path | None,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    adapted: Adapted,
    scaler: Any,
    history: Sequence[Epoch],
) -> None:
    if folder is not None:
        now, state = checkpoint.trained(modules), optimiser.state_dict()["state"]
        rows = [asdict(row) for row in history]
        checkpoint.save(folder, checkpoint.Saved(now, best, state, adapted.extra(), rows, scaler.state_dict()))


def _resume(
    folder: Path | None,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    adapted: Adapted,
    scaler: Any,
) -> tuple[list[Epoch], dict[str, Tensor]]:
    """The history so far and the best values; modules, optimiser and kind are put where they were."""
    saved = checkpoint.load(folder)
    if saved is None:
        return [], {name: value.detach().clone() for name, value in checkpoint.trained(modules).items()}
    checkpoint.put(modules, saved.now)
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": saved.optimiser, "param_groups": groups})
    adapted.set_extra(saved.extra)
    if saved.scale:
        scaler.load_state_dict(saved.scale)
    return [Epoch(**row) for row in saved.history], saved.best


def _untold(name: str, value: float, step: int) -> None:
    """Where no board is."""
