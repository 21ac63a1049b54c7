"""What training on one domain does to the others: a matrix by order of training, and what a start carries over."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from langrec.errors import SettingsError
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.metrics import auc_difference, interval
from langrec.lm.adapt.settings import AdaptSettings
from langrec.protocols import Progress

# What stands for a task in the matrix, and its interval.
METRICS = {"classify": "accuracy", "recommend": "auc", "pairs": "mrr"}


@dataclass(frozen=True, slots=True)
class Domain:
    """Data of one domain.

    Attributes:
        name: of the domain.
        task: classify, recommend or pairs.
        files: its training rows and its test.
    """

    name: str
    task: str
    files: Files

    def __post_init__(self) -> None:
        if self.task not in METRICS:
            raise SettingsError(f"{self.name}: task {self.task} has no place in the matrix ({', '.join(METRICS)})")
        if self.files.test is None or self.files.train is None:
            raise SettingsError(f"{self.name}: needs training rows and a test", field="files")


@dataclass(frozen=True, slots=True)
class Matrix:
    """Scores of every domain before training and after each one of the order.

    Attributes:
        order: names of the domains trained on, in turn.
        domains: names of the domains measured.
        metrics: the measure of each domain.
        scores: row 0 before any training, row i after the i-th domain; a column per domain.
        low: lower ends of the 95 % intervals, laid out alike.
        high: upper ends.
    """

    order: tuple[str, ...]
    domains: tuple[str, ...]
    metrics: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    low: tuple[tuple[float, ...], ...]
    high: tuple[tuple[float, ...], ...]

    def forgotten(self) -> dict[str, float]:
        """How much each domain lost between its own training and the end; below 0 where later ones helped it."""
        ends = self.scores[-1]
        return {
            name: self.scores[i][self.domains.index(name)] - ends[self.domains.index(name)]
            for i, name in enumerate(self.order, 1)
        }

    def ahead(self) -> dict[str, float]:
        """How much each domain gained from what was trained before its own turn (all of it, where it had no turn)."""
        turn = {name: i for i, name in enumerate(self.order)}
        return {
            name: self.scores[turn.get(name, len(self.order))][column] - self.scores[0][column]
            for column, name in enumerate(self.domains)
        }

    def table(self) -> str:
        """The matrix as a Markdown table."""
        heads = [f"{name} ({metric})" for name, metric in zip(self.domains, self.metrics, strict=True)]
        lines = ["| trained on | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
        for name, *rows in zip(["nothing", *self.order], self.scores, self.low, self.high, strict=True):
            cells = [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in zip(*rows, strict=True)]
            lines.append(f"| {'then ' if len(lines) > 3 else ''}{name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Writes it as JSON, with what was forgotten and what came ahead of time."""
        from langrec.lm.adapt.run import plain

        told = plain({**asdict(self), "forgotten": self.forgotten(), "ahead": self.ahead()})
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")


def matrix(
    model: str,
    settings: AdaptSettings,
    order: Sequence[Domain],
    out: Path,
    *,
    others: Sequence[Domain] = (),
    told: Progress | None = None,
) -> Matrix:
    """Adapts a model to one domain after the other, and measures all of them before and after each.

    A domain is measured by a head fitted anew on its training rows and the frozen vectors (classify, recommend), or by
    its test alone (pairs): labels need not agree. Where `keep_replay` is set and `keep_from` is not, each turn plays
    rows of the domain before it again, where that is of the same task.

    Args:
        model: a packaged name, a folder, or a hub id.
        settings: of each adaptation; its task is that of the domain. The kind must give plain weights to go on from:
            any but adapter and side.
        order: domains to train on, in turn.
        out: gets a folder per turn.
        others: domains to measure alone.

    Raises:
        SettingsError: a name twice, no domain, or a kind that cannot be adapted again.
        DataError: a file cannot be read.
    """
    from langrec.lm.adapt.kinds import KINDS
    from langrec.lm.adapt.run import adapt

    domains = [*order, *others]
    names = [domain.name for domain in domains]
    if not order or len(set(names)) < len(names):
        raise SettingsError("order: needs one domain or more, each named once", field="order")
    if KINDS[settings.kind].beside and len(order) > 1:
        raise SettingsError(
            f"--kind {settings.kind}: leaves parts beside the weights, which no second adaptation takes up; use full, "
            "last, lora, dora, adalora, ia3 or bitfit",
            field="kind",
        )
    say = told or (lambda *_: None)
    rows, now = [], model
    for i in range(len(order) + 1):
        if i:
            domain = order[i - 1]
            say(f"train on {domain.name}", i, len(order))
            change: dict[str, Any] = {"task": domain.task}
            if settings.keep_replay and not settings.keep_from:
                before = order[i - 2] if i > 1 and order[i - 2].task == domain.task else None
                change |= {"keep_from": str(before.files.train)} if before else {"keep_replay": 0.0}
            adapt(now, dataclasses.replace(settings, **change), domain.files, out / f"{i}-{_safe(domain.name)}")
            now = str(out / f"{i}-{_safe(domain.name)}" / "model")
        say("measure", i, len(order))
        rows.append([measure(now, domain, settings) for domain in domains])
    parts = [tuple(tuple(cell[part] for cell in row) for row in rows) for part in range(3)]
    metrics = tuple(METRICS[domain.task] for domain in domains)
    return Matrix(tuple(domain.name for domain in order), tuple(names), metrics, *parts)


def measure(model: str, domain: Domain, settings: AdaptSettings) -> tuple[float, float, float]:
    """What a model as it is reaches on the test of a domain, and the ends of its 95 % interval."""
    found = _measured(model, domain, settings)[0]
    name = METRICS[domain.task]
    low, high = found.get(f"{name}_interval", (math.nan, math.nan))
    return float(found[name]), float(low), float(high)


def _measured(model: str, domain: Domain, settings: AdaptSettings) -> tuple[dict[str, Any], pl.DataFrame, Any]:
    """The numbers of a model on the test of a domain, a line for each row of it, and the rows' users."""
    from langrec.lm.adapt import classify, pairs, recommend
    from langrec.lm.adapt.examples import hold_out, hold_out_choices, read_choices, read_texts
    from langrec.lm.adapt.kinds import Adapted
    from langrec.lm.model import find_model

    frozen = AdaptSettings(task=domain.task, kind="head", seed=settings.seed, max_tokens=settings.max_tokens)
    adapted = Adapted(find_model(model, settings.max_tokens), frozen)
    files, share, seed = domain.files, settings.valid_share, settings.seed
    train_file, test_file = files.source(), files.test
    assert test_file is not None
    if domain.task == "classify":
        train = read_texts(train_file, files.text, files.label)
        kept, held = hold_out(train.labels, share, seed)
        labels = sorted(set(train.labels))
        one = classify.Classify(adapted, train.take(kept), train.take(held), labels, train_file)
        return *classify.measure(one, read_texts(test_file, files.text, files.label)), None
    if domain.task == "recommend":
        rows = read_choices(train_file)
        kept, held = hold_out_choices(rows, share, seed)
        test = read_choices(test_file)
        task = recommend.Recommend(adapted, rows.take(kept), rows.take(held), test, settings.floor)
        return *task.measure("test"), test.users
    both = pairs.read_pairs(test_file)
    return *pairs.PairsTask(adapted, both.take(np.arange(1)), both).measure(both), both.users


# ---- from one domain to another --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A model on the target's test: which start, and how much of the target's training it has seen.

    Attributes:
        start: the model's own name, or the source domain.
        share: of the target's training rows.
        rows: how many these are.
        score: its interval is low to high.
        gain: above the plain model with the same share, paired by row; its interval is gain_low to gain_high.
    """

    start: str
    share: float
    rows: int
    score: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float


@dataclass(frozen=True, slots=True)
class Carried:
    """What training on one domain is worth on another.

    Attributes:
        source: name of the domain trained on first.
        target: name of the domain measured.
        metric: the measure.
        steps: the plain model and the one from the source, at each share.
    """

    source: str
    target: str
    metric: str
    steps: tuple[Step, ...]

    def table(self) -> str:
        """The steps as a Markdown table."""
        lines = [
            f"| start | share of {self.target} | rows | {self.metric} | above the plain model |",
            "| --- " * 5 + "|",
        ]
        for step in self.steps:
            gain = (
                f"{step.gain:+.4f} ({step.gain_low:+.4f} to {step.gain_high:+.4f})" if step.start == self.source else ""
            )
            score = f"{step.score:.4f} ({step.low:.4f} to {step.high:.4f})"
            lines.append(f"| {step.start} | {step.share:.0%} | {step.rows} | {score} | {gain} |")
        return "\n".join(lines)


def carry(
    model: str,
    settings: AdaptSettings,
    source: Domain,
    target: Domain,
    out: Path,
    *,
    shares: Sequence[float] = (0.0, 0.01, 0.1),
    told: Progress | None = None,
) -> Carried:
    """Trains on a source domain, and measures a target without and with shares of its training rows.

    The plain model gets the same shares, so that the gain is that of the source alone. What stops a training is held
    out of its own share: no further row of the target is looked at.

    Args:
        out: gets a folder per training.

    Raises:
        SettingsError: one domain twice, or a kind that cannot be adapted again.
        DataError: a file cannot be read.
    """
    from langrec.lm.adapt.kinds import KINDS
    from langrec.lm.adapt.run import adapt

    if source.name == target.name:
        raise SettingsError(f"{source.name}: is source and target; name two domains", field="target")
    if KINDS[settings.kind].beside:
        raise SettingsError(
            f"--kind {settings.kind}: leaves parts beside the weights, which no second adaptation takes up; use full, "
            "last, lora, dora, adalora, ia3 or bitfit",
            field="kind",
        )
    say = told or (lambda *_: None)
    say(f"train on {source.name}", 0, len(shares))
    adapt(model, dataclasses.replace(settings, task=source.task), source.files, out / f"on-{_safe(source.name)}")
    starts = {model: model, source.name: str(out / f"on-{_safe(source.name)}" / "model")}
    total, per_label = _rows(target)
    steps: list[Step] = []
    for i, share in enumerate(shares):
        rows, plain = max(1, round(share * total)) if share else 0, None
        for name, start in starts.items():
            say(f"{name} with {share:.0%} of {target.name}", i, len(shares))
            now = start
            if rows:
                place = out / f"{_safe(name)}-{share:g}-{_safe(target.name)}"
                shots = max(1, rows // per_label)
                some = dataclasses.replace(settings, task=target.task, shots=shots)
                adapt(start, some, dataclasses.replace(target.files, valid=None, test=None), place)
                now = str(place / "model")
            found = _measured(now, target, settings)
            plain = plain or found
            metric = METRICS[target.task]
            low, high = found[0].get(f"{metric}_interval", (math.nan, math.nan))
            gain = _gain(target.task, found, plain)
            steps.append(Step(name, share, rows, float(found[0][metric]), float(low), float(high), *gain))
    return Carried(source.name, target.name, METRICS[target.task], tuple(steps))


def _rows(domain: Domain) -> tuple[int, int]:
    """Training rows of a domain, and of how many labels each shot draws one."""
    from langrec.lm.adapt.examples import read_choices, read_texts
    from langrec.lm.adapt.pairs import read_pairs

    if domain.task == "classify":
        labels = read_texts(domain.files.source(), domain.files.text, domain.files.label).labels
        return len(labels), len(set(labels))
    read = read_pairs if domain.task == "pairs" else read_choices
    return len(read(domain.files.source())), 1


def _gain(task: str, found: Any, plain: Any) -> tuple[float, float, float]:
    """What one measuring has above another of the same rows, with the ends of its paired 95 % interval."""
    (_, mine, users), (_, theirs, _) = found, plain
    if task == "recommend":
        label = mine["label"].to_numpy()
        return auc_difference(label, mine["probability"].to_numpy(), theirs["probability"].to_numpy(), users)
    if task == "pairs":
        each = 1 / mine["rank"].to_numpy() - 1 / theirs["rank"].to_numpy()
    else:
        right = ((one["label"] == one["predicted"]).to_numpy().astype(float) for one in (mine, theirs))
        each = next(right) - next(right)
    low, high = interval(each, users)
    return float(each.mean()), low, high


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
