"""Trains a model towards a teacher's vectors on texts alone: after layers or units were left out, or from the start.

The loss of a batch is 1 - cosine to the teacher's vector (Reimers & Gurevych 2020) plus the KL divergence between the
similarities that student and teacher give each text to the teacher's vectors of many others: which texts are near is
what retrieval needs, and cosine alone pulls towards a mean that is near to all. Of unlike widths, similarities within
the batch are compared instead. Embeddings stay frozen: they are most of the parameters, and the student has them from
its teacher.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langrec.errors import DataError
from langrec.lm.batches import pad
from langrec.lm.compress import read
from langrec.lm.compress.folder import write_model
from langrec.lm.compress.steps import HEAL, Step, number, whole
from langrec.lm.compress.work import Healing, Work
from langrec.lm.device import device_of
from langrec.lm.machine import cores
from langrec.lm.model import TextModel
from langrec.lm.tokens import Tokens
from langrec.sealed import file_is_sealed, seal, seal_file, sealed
from langrec.types import FloatMatrix, IntVector

# Sharpness of the similarities that are compared.
TEMPERATURE = 0.05
# Texts that each one's similarities are compared over, and the similarity from which a text is the same one.
BANK, ITSELF = 8_192, 0.995
WARM_UP = 0.06
# bf16 rounds; it must win by this much to be taken.
BF16_GAIN = 1.25
# Steps between two checkpoints within an epoch.
CHECKPOINT = 250
# An epoch must gain this much held-out likeness to count as a gain.
LEAST_GAIN = 1e-4
# Texts sorted by length together: batches hold like with like, and yet are others in each epoch.
WINDOW = 24


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to: mean loss in training, and likeness to the teacher on held-out texts."""

    loss: float
    likeness: float
    seconds: float


def run(model: TextModel, step: Step, folder: Path, work: Work) -> tuple[TextModel, str]:
    """Writes the trained model; returns it and how the training went, in words."""
    how = work.healing
    if step.value:
        how = dataclasses.replace(how, epochs=whole(step, step.value, 1, 1_000))
    if "rate" in step.options:
        how = dataclasses.replace(how, rate=number(step, step.options["rate"], 1e-8, 1.0))
    if "minutes" in step.options:
        how = dataclasses.replace(how, minutes=number(step, step.options["minutes"], 0.0, 1e6))
    module, epochs, precision = train(model, how, work)
    written = write_model(module.core, model, folder)
    best = max(epochs, key=lambda one: one.likeness)
    word = "healed" if step.kind == HEAL else "distilled"
    return written, (
        f"{word} in {len(epochs)} epochs, {sum(one.seconds for one in epochs):.0f} s in {precision}; likeness to the "
        f"teacher on held-out texts {best.likeness:.4f}"
    )


def train(model: TextModel, how: Healing, work: Work) -> tuple[Any, list[Epoch], str]:
    """The trained module, its epochs and the precision; an interrupted run goes on from its last checkpoint.

    Raises:
        DataError: there are no texts to train on.
    """
    import torch

    torch.set_num_threads(work.threads or cores())
    texts, held = work.corpus.training(), work.corpus.held_out()
    if len(texts) < 2 or not held:
        raise DataError(f"{work.corpus.source or 'texts'}: too few to train on; give more with --texts", field="texts")
    wanted, wanted_held = work.vectors(texts), work.vectors(held)
    cut = dataclasses.replace(model, max_tokens=min(model.max_tokens, how.longest))
    numbers, padding = Tokens.of_model(cut)(texts), read.pad_id(model)
    module = read.load_here(model)
    trained = trained_parts(module)
    # Dropout stays off (the module is in evaluation mode): the teacher's vectors were made without it.
    optimiser = torch.optim.AdamW(trained.values(), lr=how.rate, weight_decay=0.01)
    some = np.random.default_rng(how.seed).permutation(len(texts))[:BANK]
    bank = torch.from_numpy(wanted[np.sort(some)]).to(device_of(module))
    total = how.epochs * len(list(_batches(numbers, how, 0)))
    place = work.kept / f"training-{_key(model, how, work)}"
    state = _resume(place, trained, optimiser)
    precision = state.get("precision") or _precision(module, numbers, wanted, how, padding)
    epochs = [Epoch(**one) for one in state.get("epochs", [])]
    step = int(state.get("step", 0))
    so_far = {"precision": precision, "epochs": state.get("epochs", [])}
    started = time.perf_counter()
    for epoch in range(len(epochs), how.epochs):
        best = max(range(len(epochs)), key=lambda i: epochs[i].likeness, default=-1)
        if epochs and len(epochs) - 1 - best >= how.patience:
            break
        if how.minutes and epochs and time.perf_counter() - started > how.minutes * 60:
            break
        begun, losses = time.perf_counter(), list(state.pop("losses", []))
        for place_in_epoch, rows in enumerate(_batches(numbers, how, epoch)):
            if place_in_epoch < len(losses):  # done before the run was killed
                continue
            for group in optimiser.param_groups:
                group["lr"] = how.rate * _pace(step / max(total, 1))
            ids, mask = pad([numbers[i] for i in rows], padding)
            losses.append(_step(module, optimiser, trained, ids, mask, wanted[rows], bank, precision))
            step += 1
            work.told("train towards the teacher", step, total)
            if step % CHECKPOINT == 0:
                _keep(place, trained, optimiser, {**so_far, "step": step, "losses": losses})
        like = likeness(read.read_torch(module, model, held, how.longest), wanted_held)
        epochs.append(Epoch(float(np.mean(losses)), like, time.perf_counter() - begun))
        if like >= max((one.likeness for one in epochs[:-1]), default=-2.0) + LEAST_GAIN or len(epochs) == 1:
            _save(place / "best.safetensors", {name: one.detach() for name, one in trained.items()})
        else:
            epochs[-1] = dataclasses.replace(epochs[-1], likeness=min(like, max(one.likeness for one in epochs[:-1])))
        so_far = {"precision": precision, "epochs": [dataclasses.asdict(one) for one in epochs]}
        _keep(place, trained, optimiser, {**so_far, "step": step})
    _load(place / "best.safetensors", trained)
    return module, epochs, str(precision)


def likeness(found: FloatMatrix, wanted: FloatMatrix) -> float:
    """Mean cosine of like rows; of unlike widths, the correlation of the similarities within each."""
    if found.shape[1] == wanted.shape[1]:
        return float((found * wanted).sum(1).mean())
    upper = np.triu_indices(len(found), 1)
    return float(np.corrcoef((found @ found.T)[upper], (wanted @ wanted.T)[upper])[0, 1])


def loss_of(found: Any, wanted: Any, bank: Any = None) -> Any:
    """The loss of a batch of unit vectors (b, d) that should be like the teacher's (b, d').

    Args:
        found: the student's.
        wanted: the teacher's of the same texts.
        bank: (n, d') the teacher's vectors of many texts; None, or other widths, compare within the batch.
    """
    import torch

    same = found.shape[1] == wanted.shape[1]
    if same and bank is not None:
        mine, theirs = found @ bank.T, wanted @ bank.T
        # The text itself would be all that the teacher's distribution looks at.
        own = theirs > ITSELF
    else:
        mine, theirs = found @ found.T, wanted @ wanted.T
        own = torch.eye(len(found), dtype=torch.bool, device=found.device)
    hidden = torch.finfo(torch.float32).min
    mine = torch.log_softmax((mine / TEMPERATURE).masked_fill(own, hidden), dim=1)
    theirs = torch.log_softmax((theirs / TEMPERATURE).masked_fill(own, hidden), dim=1)
    # A row with nothing but itself has no neighbours to compare.
    relation = (theirs.exp() * (theirs - mine)).masked_fill(own, 0.0).sum(1).mean()
    return (1 - (found * wanted).sum(1)).mean() + relation if same else relation


def _step(
    module: Any, optimiser: Any, trained: dict[str, Any], ids: Any, mask: Any, wanted: Any, bank: Any, how: str
) -> float:
    import torch

    from langrec.lm.precision import autocast

    device = device_of(module)
    with autocast(how, device):
        found = read.run(module, ids, mask)
    loss = loss_of(found.float(), torch.from_numpy(wanted).to(device), bank)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
    optimiser.step()
    return float(loss.detach())


def trained_parts(module: Any) -> dict[str, Any]:
    """What is trained, by name: all but the embedding tables and what the vector does not depend on."""
    import torch

    tables = {id(one.weight) for one in module.modules() if isinstance(one, torch.nn.Embedding)}
    found = {}
    for name, one in module.named_parameters():
        one.requires_grad_(id(one) not in tables and ".pooler." not in name)
        if one.requires_grad:
            found[name] = one
    return found


def _batches(numbers: list[IntVector], how: Healing, epoch: int) -> Iterator[np.ndarray]:
    """Rows of each batch of an epoch: the same for the same seed and epoch."""
    rng = np.random.default_rng([how.seed, epoch])
    order = rng.permutation(len(numbers))
    lengths = np.array([len(one) for one in numbers])
    found = []
    for start in range(0, len(order), WINDOW * how.batch):
        window = order[start : start + WINDOW * how.batch]
        window = window[np.argsort(lengths[window], kind="stable")]
        begin = 0
        for stop in range(1, len(window) + 1):
            full = stop == len(window) or stop - begin >= how.batch
            if full or (stop + 1 - begin) * lengths[window[stop]] > how.tokens:
                found.append(window[begin:stop])
                begin = stop
    for i in rng.permutation(len(found)):
        yield found[i]


def _pace(share: float) -> float:
    """The learning rate over its highest: up in a line, down in a half cosine."""
    if share < WARM_UP:
        return (share + 1e-3) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (share - WARM_UP) / (1 - WARM_UP))))


def _precision(module: Any, numbers: list[IntVector], wanted: FloatMatrix, how: Healing, padding: int) -> str:
    """bf16 where a few timed forward and backward passes are clearly faster with it, else fp32."""
    import torch

    from langrec.lm.precision import autocast

    if how.precision != "auto":
        return how.precision
    rows = [batch for _, batch in zip(range(4), _batches(numbers, how, 0), strict=False)]
    seconds, device = {}, device_of(module)
    for name in ("fp32", "bf16"):
        for turn in range(len(rows)):
            if turn == 1:
                begun = time.perf_counter()
            ids, mask = pad([numbers[i] for i in rows[turn]], padding)
            with autocast(name, device):
                found = read.run(module, ids, mask)
            loss = loss_of(found.float(), torch.from_numpy(wanted[rows[turn]]).to(device))
            if getattr(loss, "requires_grad", False):
                loss.backward()
            if device.type == "cuda":  # it returns before the work is done
                torch.cuda.synchronize()
        seconds[name] = time.perf_counter() - begun if len(rows) > 1 else 0.0
    module.zero_grad(set_to_none=True)
    return "bf16" if seconds["bf16"] * BF16_GAIN < seconds["fp32"] else "fp32"


# ---- what a killed run goes on from ---------------------------------------------------------------------------------


def _key(model: TextModel, how: Healing, work: Work) -> str:
    parts = [model.hash, work.teacher.hash, work.corpus.hash(), json.dumps(dataclasses.asdict(how), sort_keys=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _keep(place: Path, trained: dict[str, Any], optimiser: Any, state: dict[str, Any]) -> None:
    """Writes the state beside the last one, then takes its place: a kill leaves one of both whole."""
    new, old = place / "state.part", place / "state"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    tensors = {f"weight/{name}": one.detach() for name, one in trained.items()}
    for name, one in trained.items():
        tensors |= {f"{key}/{name}": value for key, value in optimiser.state[one].items() if key != "step"}
    _save(new / "state.safetensors", tensors)
    seal(new, ["state.safetensors"], state=state)
    shutil.rmtree(old, ignore_errors=True)
    new.replace(old)


def _resume(place: Path, trained: dict[str, Any], optimiser: Any) -> dict[str, Any]:
    """Puts weights and optimiser back to where the last checkpoint left them; empty where none is as it was written."""
    import torch
    from safetensors.torch import load_file

    # A kill between removing the old state and renaming the new one leaves a whole new one.
    folder, told = next(
        ((folder, told) for folder in (place / "state", place / "state.part") if (told := sealed(folder))), (place, {})
    )
    state: dict[str, Any] = told.get("state", {})
    if not state or (state["epochs"] and not file_is_sealed(place / "best.safetensors")):
        return {}
    tensors = load_file(folder / "state.safetensors")
    with torch.no_grad():
        for name, one in trained.items():
            one.copy_(tensors[f"weight/{name}"])
            moments = {key: tensors[f"{key}/{name}"].to(one.device) for key in ("exp_avg", "exp_avg_sq")}
            optimiser.state[one] = {"step": torch.tensor(float(state["step"])), **moments}
    return state


def _save(file: Path, tensors: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    save_file({name: one.contiguous().clone() for name, one in tensors.items()}, part)
    seal_file(file, part)
    part.replace(file)


def _load(file: Path, trained: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(file)
    with torch.no_grad():
        for name, one in trained.items():
            one.copy_(tensors[name])
