"""The task pretrain: a model reads the domain's texts without labels.

A model with a head for masked tokens learns to fill them in (Devlin et al. 2019; Gururangan et al. 2020). Another
learns to know a text again when units and tokens of it are dropped (SimCSE, Gao et al. 2021). The objective gpl stands
in `gpl.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from langrec.errors import SettingsError
from langrec.lm.adapt import folder
from langrec.lm.adapt.examples import check_held_out, read_texts
from langrec.lm.adapt.job import Job, Result
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.loop import shuffled
from langrec.lm.adapt.states import TokenFeed
from langrec.lm.model import read_json
from langrec.lm.robust.augment import Varied
from langrec.lm.robust.keep import with_replay

Places = npt.NDArray[np.int64]
MASKED = 0.15  # share of tokens to fill in
DELETED = 0.1  # share of tokens missing from the second look at a text


class Contrast:
    """A text and itself with other units and tokens dropped: a softmax over the batch finds it again."""

    def __init__(self, adapted: Adapted, train: Sequence[str], valid: Sequence[str], test: Sequence[str] = ()) -> None:
        self.adapted = adapted
        self.feeds = {"train": adapted.feed_to_train(train), "valid": adapted.feed(valid)}
        if test:
            self.feeds["test"] = adapted.feed(test)
        self.heads = nn.ModuleDict()

    def batches(self, rng: np.random.Generator) -> list[Any]:
        """Rows in random order, alike in length."""
        found = shuffled(self.feeds["train"].lengths, self.adapted.settings.batch, rng)
        return [rows for rows in found if len(rows) > 1] or found

    def loss(self, rows: Places, part: str = "train") -> Tensor:
        """The mean cross-entropy of finding each text again."""
        feed = self.feeds[part]
        first, second = self.adapted.trained(*feed(rows)).float(), self.adapted.trained(*_deleted(feed, rows)).float()
        logits = first @ second.T / self.adapted.settings.temperature
        return functional.cross_entropy(logits, torch.arange(len(rows), device=logits.device))

    def judge(self, precision: str, part: str = "valid") -> tuple[float, dict[str, float]]:
        """Less the loss on the texts of a part, their units and tokens dropped alike each time."""
        feed = self.feeds[part]
        self.adapted.trained.train()
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            rng = np.random.default_rng(0)
            parts = shuffled(feed.lengths, self.adapted.settings.batch, rng)
            losses = [(float(self.loss(rows, part)), len(rows)) for rows in parts]
        self.adapted.trained.eval()
        loss = sum(value * n for value, n in losses) / max(1, sum(n for _, n in losses))
        return -loss, {"valid_loss": loss}

    def save(self, out: Path) -> None:
        """There is no head to keep."""


class Masked(Contrast):
    """A share of the tokens is hidden, and the model's own head fills them in."""

    def __init__(self, adapted: Adapted, train: Sequence[str], valid: Sequence[str], test: Sequence[str] = ()) -> None:
        super().__init__(adapted, train, valid, test)
        from transformers import AutoModelForMaskedLM

        self.whole = AutoModelForMaskedLM.from_pretrained(str(adapted.model.folder), dtype=torch.float32)
        setattr(self.whole, self.whole.base_model_prefix, _Lent(adapted.core))
        # Its output table is that of the tokens: trained where this one is.
        shared = adapted.core.get_input_embeddings().weight
        self.whole.get_output_embeddings().weight = shared
        self.whole.to(adapted.device)
        self.heads = nn.ModuleDict({"masked": self.whole})
        self.mask_id = int(adapted.tokens.number(mask_token(adapted.model.folder)))
        self.ordinary = torch.from_numpy(adapted.tokens.ordinary().astype(np.int64)).to(adapted.device)

    def loss(self, rows: Places, part: str = "train") -> Tensor:
        """The mean cross-entropy over hidden tokens."""
        ids, mask = self.feeds[part](rows)
        hidden = (torch.rand(ids.shape, device=ids.device) < MASKED) & torch.isin(ids, self.ordinary) & (mask > 0)
        if not bool(hidden.any()):
            hidden = (torch.isin(ids, self.ordinary) & (mask > 0)).cumsum(1) == 1
        # Of the hidden ones a tenth is another token and a tenth itself, as no text at work holds masks.
        draw = torch.rand(ids.shape, device=ids.device)
        other = self.ordinary[torch.randint(len(self.ordinary), ids.shape, device=ids.device)]
        shown = torch.where(hidden & (draw < 0.8), torch.full_like(ids, self.mask_id), ids)
        shown = torch.where(hidden & (draw >= 0.8) & (draw < 0.9), other, shown)
        logits = self.whole(input_ids=shown, attention_mask=mask).logits[hidden]
        return functional.cross_entropy(logits.float(), ids[hidden])

    def write(self, out: Path) -> None:
        """Writes the model with its head for masked tokens, so that it can be pre-trained again."""
        core = self.adapted.core
        core = copy.deepcopy(core).merge_and_unload() if hasattr(core, "merge_and_unload") else core
        setattr(self.whole, self.whole.base_model_prefix, core)
        folder.write(out, self.adapted.model, self.whole, self.adapted.module.dense, None, {})


class _Lent(nn.Module):  # type: ignore[misc]
    """Stands for a model without holding it: its parameters stay where they are."""

    def __init__(self, core: Any) -> None:
        super().__init__()
        self._core = [core]

    def forward(self, *args: Any, **named: Any) -> Any:
        return self._core[0](*args, **named)


def _deleted(feed: Any, rows: Places) -> tuple[Tensor, ...]:
    """The batch with a share of its tokens missing, the first and the last of each text never."""
    if isinstance(feed, Varied):
        return _deleted(feed.feed, feed.drawn(rows))
    if not isinstance(feed, TokenFeed):
        return feed(rows)  # type: ignore[no-any-return]
    numbers = []
    for row in rows:
        ids = feed.numbers[row]
        keep = torch.rand(len(ids)).numpy() >= DELETED
        keep[[0, -1]] = True
        numbers.append(ids[keep])
    return TokenFeed(numbers, feed.pad_id, feed.device)(np.arange(len(rows)))


def has_masked_head(place: Path) -> bool:
    """True where the model's folder holds a head for masked tokens."""
    names = read_json(place / "config.json").get("architectures") or []
    return any(name.endswith("ForMaskedLM") for name in names)


def mask_token(place: Path) -> str:
    """What stands for a hidden token in the model's vocabulary."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = read_json(place / name).get("mask_token")
        if token:
            return str(token["content"] if isinstance(token, dict) else token)
    return "[MASK]"


def build(adapted: Adapted, train: Sequence[str], valid: Sequence[str], test: Sequence[str] = ()) -> Contrast:
    """The objective that fits the model: masked tokens where it has a head for them, else contrast.

    Raises:
        SettingsError: the kind trains nothing of the encoder.
    """
    check_kind(adapted.settings.kind)
    able = has_masked_head(adapted.model.folder) and not adapted.kind.beside and not adapted.keeps
    return (Masked if able else Contrast)(adapted, train, valid, test)


def check_kind(kind: str) -> None:
    """Refuses a kind that leaves nothing of the encoder to train."""
    if kind == "head":
        raise SettingsError("--kind head: pretrain trains the encoder; choose full, lora or another", field="kind")


def run(job: Job) -> tuple[Result, Any]:
    """Reads the texts, trains, and measures."""
    settings, files = job.settings, job.files
    source = files.source()
    train = read_texts(source, files.text, None)
    valid = read_texts(files.valid, files.text, None) if files.valid else None
    test = read_texts(files.test, files.text, None) if files.test else None
    if settings.shots:
        picked = np.random.default_rng(settings.seed).permutation(len(train))[: settings.shots]
        train = train.take(np.sort(picked))
        job.notes.append(f"{len(train)} rows were drawn by seed {settings.seed}.")
    if valid is None:
        order = np.random.default_rng((settings.seed, 1)).permutation(len(train))
        n = max(1, round(settings.valid_share * len(train)))
        check_held_out(order[n:], order[:n], source)
        train, valid = train.take(np.sort(order[n:])), train.take(np.sort(order[:n]))
        job.notes.append(f"No validation file: {n} of {n + len(train)} training rows were held out.")
    train = with_replay(train, settings, lambda path: read_texts(path, files.text, None), job.notes)
    asked = test.texts if test else ()
    task: Any
    if settings.objective == "gpl":
        from langrec.lm.adapt import gpl

        check_kind(settings.kind)
        task, what = (
            gpl.build(job, train.texts, valid.texts, asked),
            "margins of a cross-encoder between passages (GPL)",
        )
    else:
        task = build(job.adapted, train.texts, valid.texts, asked)
        masked = isinstance(task, Masked)
        what = "filling in masked tokens" if masked else "contrast of a text with itself, parts dropped"
    job.notes.append(f"Objective: {what}.")
    job.fit_encoder(task)
    parts = {"valid": valid, **({"test": test} if test else {})}
    told = {name: task.judge(job.precision, name)[1] for name in parts}
    tested = {name.removeprefix("valid_"): value for name, value in told.get("test", {}).items()}
    rows = {name: len(part) for name, part in {"train": train, **parts}.items()}
    return Result(told["valid"], tested, pl.DataFrame({"row": (test or valid).rows}), None, rows), task
