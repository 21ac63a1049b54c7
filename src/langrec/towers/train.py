"""The training of a tower: one visible loop, the same for both, that can be interrupted and goes on."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from langrec.errors import UNREADABLE
from langrec.lm import summed
from langrec.lm.precision import autocast
from langrec.lm.ring import Ring
from langrec.lm.schedule import Schedule
from langrec.settings import TowerSettings
from langrec.towers.contrastive import pretrain
from langrec.towers.network import Network
from langrec.towers.sequences import Sequences
from langrec.towers.softmax import whole_softmax
from langrec.types import IntMatrix, IntVector

Batch = tuple[IntMatrix, IntMatrix, IntMatrix]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to; `ndcg` is NaN where nothing judged it, `rate` is the last learning rate."""

    epoch: int
    loss: float
    ndcg: float
    seconds: float
    rate: float = math.nan


def train(
    network: Network,
    sequences: Sequences,
    trained: IntVector,
    counts: IntVector,
    settings: TowerSettings,
    *,
    stop: int,
    judge: Callable[[], float] | None = None,
    folder: Path | None = None,
    told: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Trains in place for at most `stop` epochs, and leaves the network as it was at its best one.

    Full cross-entropy over the trained items at every asked position (Klenitskiy & Vasilev 2023), or, for catalogues
    above `settings.full_below` items, over sampled negatives whose logits are corrected by -log Q. The learning rate
    rises for `warmup` steps and falls linearly to zero at `settings.epochs`, wherever the training stops. Under one
    seed, precision and number of threads the result is the same; processes that train together (`Ring.here`) take the
    steps that one would take, each on its part of every batch, and the first of them judges and keeps.

    Args:
        trained: (t,) numbers of the items that may be predicted: an item without an event is no negative.
        counts: (t,) their training events.
        stop: epochs, at most `settings.epochs`.
        judge: NDCG@10 of the network as it stands; None trains to the end.
        folder: keeps a checkpoint after each epoch; a second call with the same folder goes on after the last one.

    Returns:
        One row per epoch.
    """
    ring, parameters = Ring.here(), list(network.parameters())
    device = parameters[0].device
    candidate, place = places_of(trained, device)
    draw = negatives(counts, settings, device)
    # One pass over a large table instead of several: a tenth of the time, and other last digits.
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=settings.rate,
        betas=(0.9, 0.98),
        weight_decay=settings.weight_decay,
        fused=draw is not None,
    )
    per_epoch = len(sequences.batches(settings.length, settings.tokens, np.random.default_rng(settings.seed)))
    schedule = Schedule(settings.rate, settings.warmup, per_epoch * settings.epochs)
    saved = _Checkpoint(folder)
    ring.copy(saved.file)
    history, best = saved.resume(network, optimiser)
    if not history and settings.pretrain_epochs:
        pretrain(network, sequences, settings)

    def loss_of(batch: Batch) -> tuple[Tensor, int]:
        with autocast(settings.precision, device):
            return batch_loss(network, _own(batch, ring), candidate, place, settings, draw)

    averaged = ring.averaged(loss_of, network)
    for epoch in range(len(history), stop):
        if judge is not None and _stale(history, settings.patience):
            break
        start, total, asked = time.perf_counter(), 0.0, 0
        # One epoch depends on its number alone, so that a resumed training is the training that went through.
        torch.manual_seed(settings.seed * 100_003 + epoch)
        network.reseed(settings.seed, epoch, *ring.own)
        rng = np.random.default_rng((settings.seed, epoch))
        network.train()
        for step, batch in enumerate(sequences.batches(settings.length, settings.tokens, rng)):
            for group in optimiser.param_groups:
                group["lr"] = schedule(epoch * per_epoch + step)
            in_all = int((batch[2] >= 0).sum())
            if not in_all:
                continue
            loss, rows = averaged(batch)
            # The mean over the processes is the mean over the positions: each counts by how many it was asked.
            ring.backward(loss * (rows * ring.world / in_all))
            total, asked = total + float(loss.detach()) * rows, asked + rows
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        network.eval()
        ndcg = math.nan if judge is None else ring.first(judge)
        total, n_asked = ring.sum(total, asked)
        rate = float(optimiser.param_groups[0]["lr"])
        history.append(Epoch(epoch + 1, total / max(n_asked, 1), ndcg, time.perf_counter() - start, rate))
        if told is not None:
            told(history[-1])
        if judge is None or ndcg >= max((past.ndcg for past in history[:-1]), default=-1.0):
            best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        if ring.leads:
            saved.save(network, optimiser, best, history)
    network.load_state_dict(best)
    network.eval()
    return history


def places_of(trained: IntVector, device: torch.device) -> tuple[Tensor, Tensor]:
    """(t,) the numbers of the trained items, and by number their place among them; -1 for others."""
    candidate = torch.from_numpy(trained.astype(np.int64)).to(device)
    place = torch.full((int(trained.max(initial=0)) + 1,), -1, dtype=torch.long, device=device)
    place[candidate] = torch.arange(len(trained), device=device)
    return candidate, place


def _own(batch: Batch, ring: Ring) -> Batch:
    """This process's rows of a batch; one row that asks nothing where there is none for it."""
    if ring.world == 1:
        return batch
    items, gaps, targets = batch
    part = ring.part(len(items))
    if part.start == part.stop:
        return items[:1], gaps[:1], np.full_like(targets[:1], -1)
    return items[part], gaps[part], targets[part]


def batch_loss(
    network: Network,
    batch: Batch,
    candidate: Tensor,
    place: Tensor,
    settings: TowerSettings,
    draw: _Negatives | None,
) -> tuple[Tensor, int]:
    """Mean cross-entropy over the asked positions of a batch, and how many they are; padding never meets an item."""
    items, gaps, targets = (torch.from_numpy(part.astype(np.int64)).to(candidate.device) for part in batch)
    asked = targets >= 0
    rows = int(asked.sum())
    right = place[targets[asked]]
    if draw is not None:
        return _sampled_loss(network, items, gaps, asked, right, candidate, draw), rows
    vectors = network.item_vectors()
    states = network(vectors, items, gaps)[asked]
    states, vectors = network.scaled(states, vectors if len(candidate) == len(vectors) else vectors[candidate])
    without = _seen(items, asked, right, place) if settings.mask_seen else None
    return whole_softmax(states, vectors, right, without, settings.smoothing), rows


def _seen(items: Tensor, asked: Tensor, right: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the logits of the history's own items: they are no candidates when it comes to answering."""
    rows, steps = asked.nonzero(as_tuple=True)
    before = torch.arange(items.shape[1], device=items.device) <= steps[:, None]
    seen = place[items.clamp(min=0)][rows]
    before &= (items[rows] >= 0) & (seen != right[:, None]) & (seen >= 0)
    at, column = before.nonzero(as_tuple=True)
    return at.contiguous(), seen[at, column]


def negatives(counts: IntVector, settings: TowerSettings, device: torch.device) -> _Negatives | None:
    """What draws the negatives of a catalogue that is too large for the whole softmax; None for a smaller one.

    Args:
        counts: (t,) training events of the trained items.
        device: where they are drawn.
    """
    return None if len(counts) <= settings.full_below else _Negatives(counts, settings.negatives, device)


class _Negatives:
    """Draws negatives with probability by count ** 0.75, and knows log(expected count) of each."""

    def __init__(self, counts: IntVector, size: int, device: torch.device) -> None:
        share = np.maximum(counts, 1).astype(np.float64) ** 0.75
        self.share = torch.from_numpy(share / share.sum()).float().to(device)
        self.size = size
        self.log_expected = (self.share * size).log()

    def __call__(self) -> Tensor:
        return torch.multinomial(self.share, self.size, replacement=True)


def _sampled_loss(
    network: Network, items: Tensor, gaps: Tensor, asked: Tensor, right: Tensor, candidate: Tensor, draw: _Negatives
) -> Tensor:
    """Sampled softmax (Bengio & Senecal 2008): shared negatives, logits minus log Q, accidental hits out.

    Only the items that the batch meets become vectors: all of a large catalogue would take most of a step.
    """
    picked = draw()
    met = torch.unique(torch.cat([items[items >= 0], candidate[right], candidate[picked]]))
    vectors = network.item_vectors(met)
    states = network(vectors, torch.where(items >= 0, torch.searchsorted(met, items), items), gaps)[asked]
    own = vectors[torch.searchsorted(met, candidate[right])]
    others = vectors[torch.searchsorted(met, candidate[picked])]
    asked, targets = network.scaled(states, own)
    positive = (asked * targets).sum(-1).float() - draw.log_expected[right]
    asked, others = network.scaled(states, others)
    negative = (asked @ others.T).float() - draw.log_expected[picked]
    negative = negative.masked_fill(picked[None, :] == right[:, None], -1e4)
    logits = torch.cat([positive[:, None], negative], dim=1)
    right = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    # A sum, so that a part of a batch that asks nothing has a loss of nothing.
    return functional.cross_entropy(logits, right, reduction="sum") / max(len(logits), 1)


def _stale(history: list[Epoch], patience: int) -> bool:
    """True where the best epoch lies more than `patience` epochs back."""
    if not history:
        return False
    best = max(range(len(history)), key=lambda i: history[i].ndcg)
    return len(history) - 1 - best >= patience


class _Checkpoint:
    """A folder that holds the last finished epoch: network, optimiser, the best network, and the history."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.file = None if folder is None else folder / "checkpoint.safetensors"

    def save(self, network: Network, optimiser: torch.optim.Optimizer, best: dict[str, Tensor], history: Any) -> None:
        if self.folder is None or self.file is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state = optimiser.state_dict()["state"]
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        tensors |= {f"optimiser.{i}.{key}": value for i, part in state.items() for key, value in part.items()}
        tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        rows = json.dumps([[row.epoch, row.loss, row.ndcg, row.seconds, row.rate] for row in history])
        half = self.folder / f"checkpoint.{os.getpid()}.half"
        # One file holds all of it, so that no crash can leave tensors of one epoch beside the history of another.
        save_file(tensors, half, metadata={"history": rows, "sum": summed.sum_of(tensors)})
        half.replace(self.file)

    def resume(self, network: Network, optimiser: torch.optim.Optimizer) -> tuple[list[Epoch], dict[str, Tensor]]:
        """The history so far and the best state; the network and the optimiser are put where they were."""
        best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        path = self.file
        if path is None or not path.is_file():
            return [], best
        from safetensors import SafetensorError, safe_open

        try:
            device = next(network.parameters()).device
            loaded = load_file(path)
            with safe_open(path, "pt") as file:
                told = file.metadata()
            summed.check(loaded, told)
            history = [Epoch(*row) for row in json.loads(told["history"])]
            tensors = {name: value.to(device) for name, value in loaded.items()}
            network.load_state_dict(_under(tensors, "network."))
            best = _under(tensors, "best.")
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in _under(tensors, "optimiser.").items():
                i, _, key = name.partition(".")
                state.setdefault(int(i), {})[key] = value
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state, "param_groups": groups})
        except (*UNREADABLE, RuntimeError, SafetensorError):
            return [], best
        return history, best


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
