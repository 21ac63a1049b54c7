"""The task classify: a text to one of n labels, with all labelled rows or with a few per label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from langrec.errors import DataError
from langrec.lm.adapt.examples import (
    Texts,
    check_held_out,
    check_labels,
    draw,
    hold_out,
    numbers_of,
    read_texts,
    spelled,
)
from langrec.lm.adapt.heads import LinearHead, best_regression, softened
from langrec.lm.adapt.job import Job, Result
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.loop import shuffled
from langrec.lm.adapt.metrics import calibration_error, interval, report
from langrec.lm.adapt.states import Rows
from langrec.lm.robust.augment import every
from langrec.lm.robust.keep import joined, with_replay

# Up to so many shots per label, contrastive pairs come before the head.
FEW = 64
# Texts of one label in a contrastive batch.
ALIKE = 4


class Classify:
    """Texts to labels by cross-entropy on a linear head, which starts as a logistic regression on the frozen vectors.

    Starting at that regression keeps the first gradients from tearing up what the model knew (Kumar et al. 2022).
    """

    def __init__(self, adapted: Adapted, train: Texts, valid: Texts | None, labels: Sequence[str], path: Path) -> None:
        """Fits the head to the vectors as they are.

        Args:
            labels: those of training.
            path: the file that the validation rows are from.

        Raises:
            DataError: a label of validation that training does not have.
        """
        self.adapted, self.labels = adapted, tuple(labels)
        self.feed = adapted.feed_to_train(train.texts)
        self.targets = torch.from_numpy(numbers_of(train.labels, labels, path, train.rows)).to(adapted.device)
        self.valid_feed = adapted.feed(valid.texts) if valid else None
        self.valid_targets = (
            torch.from_numpy(numbers_of(valid.labels, labels, path, valid.rows)).to(adapted.device) if valid else None
        )
        self.head = LinearHead(adapted.dim, len(labels)).to(adapted.device)
        self.heads = nn.ModuleDict({"classify": self.head})
        self.ridge = self.regress()

    def regress(self) -> float:
        """Sets the head to the regression on the vectors as they are now, and says its ridge."""
        valid = self.adapted.vectors(self.valid_feed) if self.valid_feed is not None else None
        feed, rows = every(self.feed)
        train, targets = self.adapted.vectors(feed), self.targets[rows]
        weight, bias, ridge = best_regression(train, targets, len(self.labels), valid, self.valid_targets)
        self.head.set(weight, bias)
        return ridge

    def batches(self, rng: np.random.Generator) -> list[Any]:
        """Rows in random order, alike in length."""
        return list(shuffled(self.feed.lengths, self.adapted.settings.batch, rng))

    def loss(self, rows: Rows) -> Tensor:
        """Cross-entropy of a batch, and the head's ridge."""
        logits = self.head(self.adapted.trained(*self.feed(rows)))
        # The regression's own ridge goes on, so that the head starts where its gradient is nothing.
        ridge = self.ridge * (self.head.linear.weight.float() ** 2).sum()
        return functional.cross_entropy(logits.float(), self.targets[rows]) + ridge

    def judge(self, precision: str) -> tuple[float, dict[str, float]]:
        """Less the log loss on validation at its best temperature, which few rows judge better than accuracy."""
        if self.valid_feed is None or self.valid_targets is None:
            return float("nan"), {}
        logits = self._logits(self.valid_feed, precision)
        loss = float(functional.cross_entropy(logits, self.valid_targets))
        temperature, calibrated = softened(logits, self.valid_targets)
        right, found = self.valid_targets.cpu().numpy(), logits.argmax(1).cpu().numpy()
        told = report(right, found, self.labels)
        numbers = {"valid_loss": loss, "calibrated_loss": calibrated, "temperature": temperature}
        return -calibrated, {**numbers, "accuracy": told["accuracy"], "macro_f1": told["macro"]["f1"]}

    def calibrate(self, precision: str) -> float:
        """Divides the logits by the temperature that validation asks for, and says it; 1 without validation."""
        if self.valid_feed is None or self.valid_targets is None:
            return 1.0
        temperature, _ = softened(self._logits(self.valid_feed, precision), self.valid_targets)
        self.head.soften(temperature)
        return temperature

    def _logits(self, feed: Any, precision: str) -> Tensor:
        self.head.eval()
        with torch.no_grad():
            logits: Tensor = self.head(self.adapted.vectors(feed, precision)).float()
        return logits

    def probabilities(self, texts: Sequence[str]) -> Any:
        """(n, labels) float32."""
        vectors = self.adapted.vectors(self.adapted.feed(texts)).cpu().numpy()
        return self.head.as_head(self.labels).probabilities(vectors)


class FewShot(Classify):
    """Texts of one label drawn together and of different labels pushed apart, before the head is fitted.

    The pairs are all pairs of a batch (supervised contrastive loss, Khosla et al. 2020); the head is a logistic
    regression on the tuned vectors, as in SetFit (Tunstall et al. 2022).
    """

    def batches(self, rng: np.random.Generator) -> list[Any]:
        """Batches of several labels with up to ALIKE texts each; each text comes once per epoch."""
        targets, size = self.targets.cpu().numpy(), self.adapted.settings.batch
        groups = []
        for label in np.unique(targets):
            rows = rng.permutation(np.flatnonzero(targets == label))
            groups += [rows[i : i + ALIKE] for i in range(0, len(rows), ALIKE)]
        per_batch = max(2, size // ALIKE)
        order = [groups[i] for i in rng.permutation(len(groups))]
        return [np.concatenate(order[i : i + per_batch]) for i in range(0, len(order), per_batch)]

    def loss(self, rows: Rows) -> Tensor:
        """The supervised contrastive loss of a batch."""
        vectors = self.adapted.trained(*self.feed(rows)).float()
        return contrastive(vectors, self.targets[rows], self.adapted.settings.temperature)

    def judge(self, precision: str) -> tuple[float, dict[str, float]]:
        """Less the log loss on validation of the regression on the vectors as they are."""
        if self.valid_feed is None:
            return float("nan"), {}
        self.regress()
        return super().judge(precision)


def contrastive(vectors: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The mean, over rows with a partner, of -log of the share that its partners have in its softmax."""
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    likeness = (vectors @ vectors.T / temperature).masked_fill(itself, -1e9)
    partner = (targets[:, None] == targets[None, :]) & ~itself
    logs = functional.log_softmax(likeness, dim=1)
    has = partner.any(1)
    each = -(logs * partner).sum(1) / partner.sum(1).clamp(min=1)
    # A batch without any two of one label teaches nothing, but keeps its place in the graph.
    return each[has].mean() if bool(has.any()) else vectors.sum() * 0.0


def run(job: Job) -> tuple[Result, Classify]:
    """Reads the rows, trains, and measures."""
    settings, files = job.settings, job.files
    source = files.source()
    train = read_texts(source, files.text, files.label)
    valid = read_texts(files.valid, files.text, files.label) if files.valid else None
    test = read_texts(files.test, files.text, files.label) if files.test else None
    few = 0 < settings.shots <= FEW
    if settings.shots:
        train = train.take(draw(train.labels, settings.shots, settings.seed))
        job.notes.append(f"{settings.shots} rows per label were drawn by seed {settings.seed}: {len(train)} rows.")
    if few and settings.label_names and len(names := spelled(sorted(set(train.labels)))):
        train = joined(train, names)
        job.notes.append(f"The names of {len(names)} labels are one more text of each.")
    if valid is None and not few:
        kept, held = hold_out(train.labels, settings.valid_share, settings.seed)
        check_held_out(kept, held, source)
        if len(train) == len(set(train.labels)):
            raise DataError(
                f"{source}: each label has one row, so that none can be held out; "
                "give more rows, --valid with validation rows, or --shots 1"
            )
        train, valid = train.take(kept), train.take(held)
        job.notes.append(f"No validation file: {len(held)} of {len(kept) + len(held)} training rows were held out.")
    elif valid is None:
        job.notes.append("No validation file and few rows: nothing was held out, and training went its whole length.")
    train = with_replay(train, settings, lambda path: read_texts(path, files.text, files.label), job.notes)
    check_labels(train.labels, source)
    labels = sorted(set(train.labels))
    job.told("read the texts", 0, 0)
    task = (FewShot if few else Classify)(job.adapted, train, valid, labels, files.valid or source)
    has_parts = any(value.requires_grad for value in job.adapted.trained.parameters())
    if has_parts or not few:
        job.fit(task)
    if few:
        task.regress()
    if (temperature := task.calibrate(job.precision or "fp32")) > 1.01:
        job.notes.append(f"Logits are divided by {temperature:.2f}, so that probabilities come true on validation.")
    if test is not None and (unknown := Counter(label for label in test.labels if label not in labels)):
        shown = ", ".join(f"{label} ({n})" for label, n in unknown.most_common(5))
        shown += f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        lost = f"{unknown.total()} of {len(test)} test rows"
        job.notes.append(f"{lost} have labels that training lacks and count as wrong: {shown}.")
    parts = {"valid": valid, "test": test}
    measured, frames = {}, {}
    for name, part in parts.items():
        if part is not None:
            job.told(f"measure on {name}", 0, 0)
            measured[name], frames[name] = measure(task, part)
    head = task.head.as_head(labels)
    # A label's name is no row of the file.
    rows = {name: int((part.rows >= 0).sum()) for name, part in {"train": train, **parts}.items() if part is not None}
    none = lines(train.take(np.arange(0)), np.zeros((0, len(labels)), np.float32), labels)
    predictions = frames.get("test", frames.get("valid", none))
    return Result(measured.get("valid", {}), measured.get("test", {}), predictions, head, rows), task


def measure(task: Classify, part: Texts) -> tuple[dict[str, Any], pl.DataFrame]:
    """The report on some rows, and a line for each; a label that training did not have is never predicted."""
    known = [*task.labels, *sorted(set(part.labels) - set(task.labels))]
    shares = task.probabilities(part.texts)
    found, right = shares.argmax(1), np.array([known.index(label) for label in part.labels])
    sure = shares.max(axis=1)
    told = report(right, found, known)
    told["accuracy_interval"] = list(interval((found == right).astype(float)))
    told["calibration_error"] = calibration_error(found == right, sure.astype(float))
    return told, lines(part, shares, task.labels)


def lines(part: Texts, shares: Any, labels: Sequence[str]) -> pl.DataFrame:
    """A line for each row: what is predicted of it, by the probability (n, labels) of each label."""
    return pl.DataFrame(
        {
            "row": part.rows,
            "label": pl.Series(part.labels, dtype=pl.String),
            "predicted": pl.Series([labels[i] for i in shares.argmax(axis=1)], dtype=pl.String),
            "probability": shares.max(axis=1),
            **{f"probability_{label}": shares[:, i] for i, label in enumerate(labels)},
        }
    )
