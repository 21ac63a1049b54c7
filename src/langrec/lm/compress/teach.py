"""Teaches a bi-encoder the order that a cross-encoder gives: margin-MSE or listwise KL on the teacher's scores.

For each first text of a pair the candidates are its partner and the texts that the bi-encoder itself finds nearest: the
hard ones. Margin-MSE (Hofstätter et al. 2020) asks for the teacher's differences between candidates, listwise KL
for its distribution over them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.errors import SettingsError
from langrec.lm.batches import pad
from langrec.lm.compress import read
from langrec.lm.compress.cross import load_cross
from langrec.lm.compress.folder import write_model
from langrec.lm.compress.steps import Step
from langrec.lm.compress.work import Work
from langrec.lm.device import device_of
from langrec.lm.machine import cores
from langrec.lm.model import TextModel
from langrec.lm.tokens import Tokens
from langrec.types import FloatMatrix

WAYS = ("kl", "margin")
# Candidates of a list, lists that are taught at most, lists in a batch, and where similarities start to be scaled from.
CANDIDATES, LISTS, BATCH, SCALE = 8, 2_000, 6, 20.0
RATE = 1e-4


def run(model: TextModel, step: Step, folder: Path, work: Work) -> tuple[TextModel, str]:
    """Writes the taught model; returns it and how near it came to its teacher, in words.

    Raises:
        SettingsError: no teacher was given, or the way does not exist.
    """
    import torch

    way = step.value or "kl"
    if way not in WAYS:
        raise SettingsError(f"--steps {step}: {way} is not one of {', '.join(WAYS)}", field="steps")
    if work.cross is None:
        raise SettingsError(f"--steps {step}: needs a cross-encoder; give its folder with --cross", field="cross")
    teacher = load_cross(work.cross, model.max_tokens)
    torch.set_num_threads(work.threads or cores())
    module = read.load_here(model)
    asked, lists, held = _lists(module, model, work)
    texts = list(work.corpus.found)
    taught = np.zeros(lists.shape, dtype=np.float32)
    for i, row in enumerate(lists):
        taught[i] = teacher.score([asked[i]] * len(row), [texts[j] for j in row])
        work.told("ask the cross-encoder", i, len(lists))
    spread = float(taught.std()) or 1.0
    taught = taught / spread
    before = agreement(module, model, asked, texts, lists, taught, held)
    epochs = max(1, min(work.healing.epochs, 10))
    _train(module, model, asked, texts, lists[~held], taught[~held], np.flatnonzero(~held), way, epochs, work)
    after = agreement(module, model, asked, texts, lists, taught, held)
    written = write_model(module.core, model, folder)
    return written, (
        f"taught {int((~held).sum())} lists of {lists.shape[1]} by {way}; rank correlation with the cross-encoder on "
        f"held-out lists {before:.3f} to {after:.3f}"
    )


def margin_mse(found: Any, wanted: Any) -> Any:
    """Mean squared difference of both models' margins between all candidates of a list: (b, m) scores each."""
    mine = found[:, :, None] - found[:, None, :]
    theirs = wanted[:, :, None] - wanted[:, None, :]
    return ((mine - theirs) ** 2).mean()


def listwise_kl(found: Any, wanted: Any) -> Any:
    """KL divergence of the student's distribution over a list from the teacher's: (b, m) scores each."""
    import torch

    theirs = torch.log_softmax(wanted, dim=1)
    return (theirs.exp() * (theirs - torch.log_softmax(found, dim=1))).sum(1).mean()


def agreement(
    module: Any,
    model: TextModel,
    asked: list[str],
    texts: list[str],
    lists: npt.NDArray[np.int64],
    taught: FloatMatrix,
    held: npt.NDArray[np.bool_],
) -> float:
    """Mean rank correlation of student and teacher within the held-out lists."""
    rows = np.flatnonzero(held)
    if not len(rows):
        rows = np.arange(len(lists))
    mine = read.read_torch(module, model, [asked[i] for i in rows])
    some, places = np.unique(lists[rows], return_inverse=True)
    theirs = read.read_torch(module, model, [texts[j] for j in some])[places.reshape(len(rows), -1)]
    scores = np.einsum("qd,qmd->qm", mine, theirs)
    ranks = [np.argsort(np.argsort(one, axis=1, kind="stable"), axis=1) for one in (scores, taught[rows])]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)]))


def _lists(module: Any, model: TextModel, work: Work) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """First texts, (q, CANDIDATES) numbers of second texts, the partner first, and which lists are held out."""
    corpus = work.corpus
    rows = np.random.default_rng(work.healing.seed).permutation(len(corpus))[:LISTS]
    work.told("look for hard candidates", 0, len(rows))
    found = read.read_torch(module, model, corpus.found)
    mine = read.read_torch(module, model, [corpus.asked[i] for i in rows])
    lists = np.zeros((len(rows), min(CANDIDATES, len(corpus))), dtype=np.int64)
    for i, row in enumerate(rows):
        near = np.argsort(-(found @ mine[i]), kind="stable")
        near = near[near != row]
        # Never a held-out text in a list that is trained on.
        near = near[~corpus.held[near]] if not corpus.held[row] else near
        chosen = np.concatenate([[row], near[: lists.shape[1] - 1]])
        lists[i] = np.resize(chosen, lists.shape[1])
    return [corpus.asked[i] for i in rows], lists, corpus.held[rows]


def _train(
    module: Any,
    model: TextModel,
    asked: list[str],
    texts: list[str],
    lists: npt.NDArray[np.int64],
    taught: FloatMatrix,
    rows: npt.NDArray[np.int64],
    way: str,
    epochs: int,
    work: Work,
) -> None:
    import torch

    from langrec.lm.compress.distil import trained_parts

    trained, device = trained_parts(module), device_of(module)
    scale = torch.nn.Parameter(torch.tensor(SCALE).to(device))
    optimiser = torch.optim.AdamW(
        [{"params": list(trained.values()), "lr": RATE}, {"params": [scale], "lr": 0.05, "weight_decay": 0.0}],
        weight_decay=0.01,
    )
    cut = dataclasses.replace(model, max_tokens=min(model.max_tokens, work.healing.longest))
    tokens, padding = Tokens.of_model(cut), read.pad_id(model)
    loss_of = margin_mse if way == "margin" else listwise_kl
    step, total = 0, epochs * -(-len(lists) // BATCH)
    for epoch in range(epochs):
        order = np.random.default_rng([work.healing.seed, epoch]).permutation(len(lists))
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            both = [asked[rows[i]] for i in some] + [texts[j] for i in some for j in lists[i]]
            ids, mask = pad(tokens(both), padding)
            vectors = read.run(module, ids, mask)
            mine, theirs = vectors[: len(some)], vectors[len(some) :].view(len(some), lists.shape[1], -1)
            loss = loss_of(scale * torch.einsum("qd,qmd->qm", mine, theirs), torch.from_numpy(taught[some]).to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimiser.step()
            step += 1
            work.told("teach", step, total)
