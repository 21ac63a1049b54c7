"""The task recommend: will a user with this history like this candidate? Labels in [0, 1], few rows or many."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from langrec.errors import DataError, SettingsError
from langrec.lm.adapt.examples import Choices, hold_out_choices, read_choices
from langrec.lm.adapt.head import CONFIG, FILE
from langrec.lm.adapt.heads import LinearHead
from langrec.lm.adapt.job import Job, Result
from langrec.lm.adapt.kinds import Adapted, Feed
from langrec.lm.adapt.loop import shuffled
from langrec.lm.adapt.metrics import auc, auc_difference, auc_interval, calibration_error, interval, report, user_aucs
from langrec.lm.adapt.preference import (
    FEATURES,
    MEANING,
    SCALES,
    Belief,
    Preference,
    Rows,
    features,
    fit,
    judged,
    others,
    rows_of,
    titles_of,
)
from langrec.lm.adapt.question import question
from langrec.lm.adapt.rows import read_rows

LABELS = ("not_recommend", "recommend")
# Fewer rows of validation choose nothing but the ridges.
FEWEST_VALID = 32
NORMAL_95 = 1.96


class Recommend:
    """Rows to the chance of a like: a `Preference`, whose reading of the text is then tuned together with the encoder.

    Attributes:
        preference: the sum as fitted on the frozen vectors; all of it but the text's part stays.
    """

    def __init__(self, adapted: Adapted, train: Choices, valid: Choices, test: Choices | None, floor: bool) -> None:
        self.adapted = adapted
        self.parts = {"train": train, "valid": valid, **({"test": test} if test is not None else {})}
        self.titles = titles_of(list(self.parts.values()))
        self.place = {title: i for i, title in enumerate(self.titles)}
        self.judged = judged(train)
        self.alone = not adapted.settings.beside
        self.with_floor = known = self.judged and floor and not self.alone
        self.rows = {
            name: rows_of(part, self.place, derive=name == "train" and self.judged, with_floor=known)
            for name, part in self.parts.items()
        }
        frozen = adapted.vectors(adapted.feed(self.titles)).cpu().numpy()
        rows = self.rows["train"]
        self.counts = np.bincount(rows.candidate, minlength=len(self.titles)).astype(float)
        self.found = {name: features(part, frozen, self.counts) for name, part in self.rows.items()}
        if self.alone:
            self.found = {name: np.zeros_like(found) for name, found in self.found.items()}
        self.texts, self.place_of = self._texts()
        self.feed = adapted.feed_to_train(self.texts)
        self.preference = self._fit(adapted.vectors(self.feed).cpu().numpy())
        self.beside = {
            name: torch.from_numpy(self.preference.beside(part, self.found[name])).float().to(adapted.device)
            for name, part in self.rows.items()
        }
        self.labels = torch.from_numpy(rows.labels).float().to(adapted.device)
        self.head = LinearHead(adapted.dim, 1).to(adapted.device)
        weight = torch.from_numpy(self.preference.weight).float()[None]
        self.head.set(weight, torch.tensor([self.preference.bias]))
        self.heads = nn.ModuleDict({"recommend": self.head})

    def _texts(self) -> tuple[list[str], dict[str, npt.NDArray[np.int64]]]:
        """Distinct texts that are read, and the text of each row: the candidate's title, or the whole question."""
        if self.adapted.settings.reads == "title":
            return self.titles, {name: part.candidate for name, part in self.rows.items()}
        first: dict[str, int] = {}
        found = {
            name: np.array([first.setdefault(asked(part, i, self.titles), len(first)) for i in range(len(part))])
            for name, part in self.rows.items()
        }
        return list(first), found

    def _fit(self, vectors: npt.NDArray[Any]) -> Preference:
        """The sum whose ridges are best by AUC on validation.

        Another weight of the floor, or nearness held more loosely, is taken where it gains more there than one standard
        error of the difference: with few rows of validation chance would choose.
        """
        valid = self.rows["valid"]

        def fitted(belief: Belief) -> tuple[float, npt.NDArray[np.float64], Preference]:
            rows, found, texts = self.rows["train"], self.found["train"], self.place_of["train"]
            one = fit(rows, found, texts, vectors, len(self.titles), belief, not self.alone)
            logits = one.logits(valid, self.found["valid"], self.place_of["valid"], vectors)
            return float(np.nan_to_num(auc(valid.labels, logits), nan=-1.0)), logits, one

        usual = max((fitted(Belief(scale)) for scale in SCALES), key=lambda it: (it[0], it[2].belief.scale == 1.0))
        if self.alone or not self.judged or len(valid) < FEWEST_VALID:
            return usual[2]
        best = max(map(fitted, others(self.with_floor)), key=lambda it: it[0])
        gain, low, high = auc_difference(valid.labels, best[1], usual[1], self.parts["valid"].users)
        return best[2] if gain > (high - low) / (2 * NORMAL_95) else usual[2]

    def batches(self, rng: np.random.Generator) -> list[Any]:
        """Rows in random order, their texts alike in length."""
        return list(shuffled(self.feed.lengths[self.place_of["train"]], self.adapted.settings.batch, rng))

    def loss(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Binary cross-entropy of a batch, for labels in [0, 1]."""
        texts, back = np.unique(self.place_of["train"][rows], return_inverse=True)
        read = self.head(self.adapted.trained(*self.feed(texts)))[:, 0].float()
        logits = read[torch.from_numpy(back).to(read.device)] + self.beside["train"][rows]
        return functional.binary_cross_entropy_with_logits(logits, self.labels[rows])

    def logits(self, name: str, precision: str = "fp32") -> npt.NDArray[np.float64]:
        """(n,) float64 logits of a part."""
        self.head.eval()
        used, back = np.unique(self.place_of[name], return_inverse=True)
        with torch.no_grad():
            read = self.head(self.adapted.vectors(_Some(self.feed, used), precision))[:, 0].float()
            found: npt.NDArray[np.float64] = (read[back] + self.beside[name]).cpu().numpy().astype(np.float64)
        return found

    def judge(self, precision: str) -> tuple[float, dict[str, float]]:
        """AUC on validation; among equals the lower loss."""
        logits, labels = self.logits("valid", precision), self.rows["valid"].labels
        loss = float(np.mean(np.logaddexp(0, logits) - labels * logits))
        area = auc(labels, logits)
        told = {"valid_loss": loss, "auc": area, "accuracy": float(np.mean((logits >= 0) == (labels >= 0.5)))}
        return (area if not np.isnan(area) else 0.5) - 1e-3 * min(loss, 10.0), told

    def measure(self, name: str) -> tuple[dict[str, Any], pl.DataFrame]:
        """The report of a part, with the floor beside it, and a line for each row."""
        rows, part, logits = self.rows[name], self.parts[name], self.logits(name)
        chance = 1 / (1 + np.exp(-logits))
        right, found = (rows.labels >= 0.5).astype(int), (chance >= 0.5).astype(int)
        told = report(right, found, LABELS)
        told["auc"] = auc(rows.labels, logits)
        told["auc_interval"] = list(auc_interval(rows.labels, logits, part.users))
        told["intervals_by"] = "user" if part.users is not None else "row"
        if part.users is not None:
            each = user_aucs(rows.labels, logits, part.users)
            told["user_auc"] = float(each.mean()) if len(each) else float("nan")
            told["user_auc_interval"] = list(interval(each)) if len(each) else [float("nan")] * 2
            told["users"] = len(np.unique(part.users))
        if self.judged:
            share = np.array(
                [(len(a) + 1) / (len(a) + len(b) + 2) for a, b in zip(rows.liked, rows.disliked, strict=True)]
            )
            told["floor_auc"] = auc(rows.labels, share)
            gain, low, high = auc_difference(rows.labels, logits, share, part.users)
            told["above_floor"], told["above_floor_interval"] = gain, [low, high]
        told["calibration_error"] = calibration_error(right == found, np.maximum(chance, 1 - chance))
        return told, pl.DataFrame(
            {"row": part.rows, "label": part.labels, "predicted": found, "probability": chance.astype(np.float32)}
        )

    def save(self, folder: Path) -> None:
        """Writes the head beside the model: the reading of a vector, the named features and the titles' effects."""
        from safetensors.numpy import save_file

        read = self.head.as_head(LABELS, "sigmoid")
        known = np.flatnonzero(self.counts)
        tensors = {
            "weight": read.weight,
            "bias": read.bias,
            "features": self.preference.named.astype(np.float32),
            "titles": self.preference.titles[known].astype(np.float32),
            "counts": self.counts[known].astype(np.float32),
        }
        told = {
            "labels": list(LABELS),
            "loss": "sigmoid",
            "reads": self.adapted.settings.reads,
            "past": self.adapted.settings.past,
            "max_tokens": self.adapted.tokens.max_tokens,
            "floor": self.judged and self.adapted.settings.floor and not self.alone,
            "beside": not self.alone,
            "features": {name: MEANING[name] for name in FEATURES},
            "titles": [self.titles[i] for i in known],
        }
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / FILE)
        (folder / CONFIG).write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")


class _Some:
    """Some rows of a feed as a feed of their own."""

    def __init__(self, feed: Feed, rows: npt.NDArray[np.int64]) -> None:
        self._feed, self._rows, self.lengths = feed, rows, feed.lengths[rows]

    def __call__(self, rows: Any) -> tuple[Tensor, ...]:
        return self._feed(self._rows[rows])


def asked(rows: Rows, i: int, titles: Sequence[str]) -> str:
    """The row as one text."""
    liked, disliked = ([titles[j] for j in part[i]] for part in (rows.liked, rows.disliked))
    return question(titles[rows.candidate[i]], liked, disliked)


def run(job: Job) -> tuple[Result, Any]:
    """Reads the rows, trains, and measures."""
    if job.settings.meta != "none":
        from langrec.lm.adapt import new_users

        return new_users.run(job)
    hard = job.settings.hard_negatives
    if hard != "none" and job.files.events is None:
        raise SettingsError(
            f"--hard-negatives {hard}: recommend finds them for the rows of a log (--events); "
            "a file says itself what was not liked",
            field="adapt.hard_negatives",
        )
    train, valid, test = read_rows(job, read_choices, lambda log, name: log.choices(name, hard), hold_out_choices)
    if not judged(train) and len(set(train.labels.tolist())) == 1:
        raise DataError(
            f"{job.files.events or job.files.source()}: every row has the label {train.labels[0]:g}, and no history "
            "says what was disliked; needs two or more to tell apart",
            field="label",
        )
    job.told("read the texts", 0, 0)
    task = Recommend(job.adapted, train, valid, test, job.settings.floor)
    if task.judged:
        rows = len(task.rows["train"])
        job.notes.append(f"The titles of the {len(train)} histories were used as rows too: {rows} rows in all.")
        if job.settings.floor and not task.alone:
            job.notes.append("The share of liked titles in the history is a feature: AUC of it alone is floor_auc.")
        belief = task.preference.belief
        if belief.floor != 1.0:
            job.notes.append(f"Validation says that it weighs {belief.floor:g} from the start, in place of 1.")
        if belief.near is not None:
            job.notes.append("Validation says that nearness to liked titles counts more than usual.")
    job.fit_encoder(task)
    measured, frames = {}, {}
    for name in task.parts:
        if name != "train":
            job.told(f"measure on {name}", 0, 0)
            measured[name], frames[name] = task.measure(name)
    rows_by = {name: len(part) for name, part in task.parts.items()}
    predictions = frames.get("test", frames["valid"])
    return Result(measured["valid"], measured.get("test", {}), predictions, None, rows_by), task
