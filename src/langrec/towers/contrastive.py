"""A tower's pre-training without labels: two altered views of a history find each other (CL4SRec, Xie et al. 2022).

A view is a piece of the history (crop), the history with some items left out (mask: a tower knows no token for what is
hidden), or with a piece in another order (reorder); which two, is drawn for each history and epoch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from langrec.lm.precision import autocast
from langrec.lm.schedule import Schedule
from langrec.settings import TowerSettings
from langrec.towers.network import Network
from langrec.towers.sequences import Sequences

Places = npt.NDArray[np.int64]
# Share of a history that a crop keeps, that a mask leaves out, and that is put in another order.
CROP, MASK, REORDER = 0.6, 0.3, 0.6
# Of the cosines between views; shortest history that has two views.
TEMPERATURE, SHORTEST = 0.1, 3


def pretrain(
    network: Network, sequences: Sequences, settings: TowerSettings, told: Callable[[int, float], None] | None = None
) -> list[float]:
    """Trains in place for `settings.pretrain_epochs`; gives the mean loss of each.

    Under one seed the result is the same in every process.

    Args:
        told: is told of each epoch and its loss.
    """
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    steps = settings.pretrain_epochs * len(_packs(sequences, settings, np.random.default_rng(0)))
    schedule, step, losses = Schedule(settings.rate, settings.warmup, steps), 0, []
    for epoch in range(settings.pretrain_epochs):
        torch.manual_seed(settings.seed * 100_003 + epoch)
        network.reseed(settings.seed, 1_000_000 + epoch)
        rng = np.random.default_rng((settings.seed, 1_000_000 + epoch))
        network.train()
        total, rows = 0.0, 0
        for windows in _packs(sequences, settings, rng):
            for group in optimiser.param_groups:
                group["lr"] = schedule(step)
            step += 1
            if len(windows) < 2:
                continue
            views = [[view(start, stop, rng) for start, stop in windows] for _ in range(2)]
            with autocast(settings.precision, device):
                vectors = network.item_vectors()
                first, second = (_read(network, vectors, sequences, some, device) for some in views)
                loss = info_nce(first, second)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            total, rows = total + float(loss.detach()) * len(windows), rows + len(windows)
        losses.append(total / max(rows, 1))
        if told is not None:
            told(epoch + 1, losses[-1])
    network.eval()
    return losses


def view(start: int, stop: int, rng: np.random.Generator) -> Places:
    """Rows of one view of the history start:stop: cropped, masked or reordered, by chance; never empty."""
    rows = np.arange(start, stop)
    way = rng.integers(3)
    if way == 1:
        kept = rows[rng.random(len(rows)) >= MASK]
        return kept if len(kept) else rows[rng.integers(len(rows))][None]
    size = max(1, round((CROP if way == 0 else REORDER) * len(rows)))
    first = int(rng.integers(len(rows) - size + 1))
    if way == 0:
        return rows[first : first + size]
    rows[first : first + size] = rng.permutation(rows[first : first + size])
    return rows


def info_nce(first: Tensor, second: Tensor) -> Tensor:
    """The mean cross-entropy of finding each row's other view among all rows of both: (b, d) each."""
    both = functional.normalize(torch.cat([first, second]).float(), dim=1)
    n = len(first)
    itself = torch.eye(2 * n, dtype=torch.bool, device=both.device)
    logits = (both @ both.T / TEMPERATURE).masked_fill(itself, -1e4)
    return functional.cross_entropy(logits, torch.arange(2 * n, device=both.device).roll(n))


def _packs(sequences: Sequences, settings: TowerSettings, rng: np.random.Generator) -> list[Places]:
    """(b, 2) first and last rows of histories alike in length, of at most `settings.tokens` places in both views."""
    windows = sequences.windows(settings.length, rng)
    windows = windows[windows[:, 1] - windows[:, 0] >= SHORTEST]
    sizes = windows[:, 1] - windows[:, 0]
    order = rng.permutation(len(windows))
    order = order[np.argsort(sizes[order] * rng.uniform(0.9, 1.1, len(order)), kind="stable")]
    packs, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and int(sizes[order[start : stop + 1]].max()) * (stop + 1 - start) <= settings.tokens:
            stop += 1
        packs.append(windows[order[start:stop]])
        start = stop
    return [packs[i] for i in rng.permutation(len(packs))]


def _read(network: Network, vectors: Tensor, sequences: Sequences, some: list[Places], device: torch.device) -> Tensor:
    """(b, d) what the tower says after the last item of each view."""
    lengths = np.array([len(rows) for rows in some])
    inside = np.arange(int(lengths.max())) < lengths[:, None]
    items, gaps = np.full(inside.shape, -1, dtype=np.int64), np.zeros(inside.shape, dtype=np.int64)
    items[inside] = sequences.items[np.concatenate(some)]
    gaps[inside] = sequences.gaps[np.concatenate(some)]
    states = network(vectors, torch.from_numpy(items).to(device), torch.from_numpy(gaps).to(device))
    found: Tensor = states[torch.arange(len(some), device=device), torch.from_numpy(lengths - 1).to(device)]
    return found
