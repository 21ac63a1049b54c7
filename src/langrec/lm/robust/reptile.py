"""A head that a few steps on a few rows make fit a new user or a new domain: Reptile (Nichol, Achiam & Schulman 2018).

The head reads frozen vectors: r projections, tanh, one weight each, a bias. What units (users, domains) have in common
goes into the projections, what differs is left to the steps on a unit's own rows. All of it is NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.errors import UNREADABLE, BundleError, DataError
from langrec.lm.adapt.metrics import auc, interval
from langrec.types import FloatMatrix, FloatVector

Numbers = npt.NDArray[np.float64]
FILE = "reptile.safetensors"
PARTS = ("project", "weight", "bias")


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Rows of one user or one domain.

    Attributes:
        vectors: (n, d) unit rows.
        labels: (n,) float64 in [0, 1].
    """

    vectors: FloatMatrix
    labels: Numbers


@dataclass(frozen=True, slots=True)
class Meta:
    """How a start is learned.

    Attributes:
        rank: projections r.
        steps: steps on a unit's rows.
        rows: rows in each of them.
        rounds: rounds of learning.
        units: units in a round.
        toward: how far the start moves toward what the units came to, at first; it falls to zero.
        rates: learning rates of the steps that validation chooses among.
        seed: of all drawing.
    """

    rank: int = 16
    steps: int = 5
    rows: int = 8
    rounds: int = 600
    units: int = 16
    toward: float = 0.5
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where the head of a new unit begins.

    Attributes:
        mean: (d,) of training vectors, taken off first.
        project: (r, d).
        weight: (r,).
        bias: of the logit.
        rate: learning rate of the steps.
    """

    mean: FloatVector
    project: FloatMatrix
    weight: FloatVector
    bias: float
    rate: float

    def logits(self, vectors: FloatMatrix) -> Numbers:
        """(n,) logits of (n, d) unit rows."""
        hidden = np.tanh(self._read(vectors) @ self.project.T)
        return np.asarray(hidden @ self.weight + self.bias, dtype=np.float64)

    def adapted(self, vectors: FloatMatrix, labels: Numbers, steps: int) -> Start:
        """The head after so many steps on these rows, all of them in each step."""
        values: Values = (
            self.project[None].astype(np.float64),
            self.weight[None].astype(np.float64),
            np.full(1, self.bias),
        )
        x, y = self._read(vectors)[None], np.asarray(labels, dtype=np.float64)[None]
        for _ in range(steps):
            values = _step(values, x, y, self.rate)
        project, weight, bias = (part[0] for part in values)
        return self._with(project, weight, bias, self.rate)

    def _read(self, vectors: FloatMatrix) -> Numbers:
        # Unit rows have entries of about 1/sqrt(d): stretched, so that usual learning rates fit.
        return np.asarray((vectors - self.mean) * vectors.shape[1] ** 0.5, dtype=np.float64)

    def _with(self, project: Numbers, weight: Numbers, bias: Any, rate: float) -> Start:
        return Start(self.mean, project.astype(np.float32), weight.astype(np.float32), float(bias), rate)

    def save(self, folder: Path) -> None:
        """Writes reptile.safetensors."""
        from safetensors.numpy import save_file

        values = {name: np.ascontiguousarray(getattr(self, name)) for name in ("mean", "project", "weight")}
        numbers = {name: np.array([getattr(self, name)], dtype=np.float32) for name in ("bias", "rate")}
        save_file({**values, **numbers}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Start:
        """Reads what `save` wrote.

        Raises:
            BundleError: it is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = load_file(folder / FILE)
            bias, rate = (float(found[name][0]) for name in ("bias", "rate"))
            return cls(found["mean"], found["project"], found["weight"], bias, rate)
        except (*UNREADABLE, SafetensorError) as error:
            raise BundleError(f"{folder}: holds no readable start ({error}); adapt the model again") from error


def reptile(units: Sequence[Unit], meta: Meta, rate: float) -> Start:
    """A start from which `meta.steps` steps go far: it moves again and again toward what units come to from it.

    Raises:
        DataError: there are no units.
    """
    return _learned(units, meta, rate, _toward_units)


def average(units: Sequence[Unit], meta: Meta, rate: float) -> Start:
    """The plain start: the same head after as many steps on the rows of all units together.

    Raises:
        DataError: there are no units.
    """
    return _learned(units, meta, rate, _on_all)


def best(
    learn: Callable[[Sequence[Unit], Meta, float], Start], units: Sequence[Unit], valid: Sequence[Unit], meta: Meta
) -> Start:
    """The start whose learning rate gives validation units the least loss after the steps."""
    found = [learn(units, meta, rate) for rate in meta.rates]
    losses = [_loss_after(one, valid, meta) for one in found]
    return found[int(np.nanargmin(losses))]


def _loss_after(start: Start, units: Sequence[Unit], meta: Meta) -> float:
    losses = []
    for unit in units:
        logits = start.adapted(unit.vectors[: meta.rows], unit.labels[: meta.rows], meta.steps).logits(
            unit.vectors[meta.rows :]
        )
        losses.append(np.mean(np.logaddexp(0, logits) - unit.labels[meta.rows :] * logits))
    return float(np.mean(losses)) if losses else float("nan")


def judged(start: Start, units: Sequence[Unit], rows: int, steps: Sequence[int]) -> dict[int, Numbers]:
    """(u,) AUC of each unit on its rows after the first `rows`, before (0) and after so many steps on those.

    A unit whose later rows are all of one kind has NaN.
    """
    found = {}
    for n in steps:
        areas = []
        for unit in units:
            own = start.adapted(unit.vectors[:rows], unit.labels[:rows], n) if n else start
            areas.append(auc(unit.labels[rows:], own.logits(unit.vectors[rows:])))
        found[n] = np.array(areas, dtype=np.float64)
    return found


def compare(starts: Mapping[str, Start], units: Sequence[Unit], rows: int, steps: Sequence[int]) -> dict[str, Any]:
    """Mean AUC of units for each start and number of steps, and what the first start has over the others, paired.

    Intervals are drawn over units.
    """
    found = {name: judged(start, units, rows, steps) for name, start in starts.items()}
    first = next(iter(starts))
    usable = ~np.isnan(found[first][steps[0]])
    told: dict[str, Any] = {"units": int(usable.sum())}
    for name, by_steps in found.items():
        for n, areas in by_steps.items():
            told[f"{name}_auc_{n}"] = float(np.mean(areas[usable])) if usable.any() else float("nan")
            told[f"{name}_auc_{n}_interval"] = list(interval(areas[usable]))
            if name != first:
                gain = (found[first][n] - areas)[usable]
                told[f"above_{name}_{n}"] = float(np.mean(gain)) if usable.any() else float("nan")
                told[f"above_{name}_{n}_interval"] = list(interval(gain))
    return told


# ---- learning: b units, s rows each, d dimensions, r projections -----------------------------------------------------

# Projections, weights and bias.
Values = tuple[Numbers, ...]
Move = Callable[[Values, Sequence[tuple[Numbers, Numbers]], Meta, float, float, np.random.Generator], Values]


def _learned(units: Sequence[Unit], meta: Meta, rate: float, move: Move) -> Start:
    if not units:
        raise DataError("no user or domain has rows enough to learn a start from", field="meta")
    rng = np.random.default_rng((meta.seed, 17))
    mean = np.asarray(np.concatenate([unit.vectors for unit in units]).mean(axis=0), dtype=np.float32)
    d = len(mean)
    start = Start(mean, np.zeros((1, d), np.float32), np.zeros(1, np.float32), 0.0, rate)
    read = [(start._read(unit.vectors), np.asarray(unit.labels, dtype=np.float64)) for unit in units]
    values: Values = (rng.normal(0, d**-0.5, (meta.rank, d)), rng.normal(0, 0.1, meta.rank), np.zeros(()))
    for i in range(meta.rounds):
        values = move(values, read, meta, rate, meta.toward * (1 - i / meta.rounds), rng)
    project, weight, bias = values
    return start._with(project, weight, bias, rate)


def _toward_units(
    values: Values,
    read: Sequence[tuple[Numbers, Numbers]],
    meta: Meta,
    rate: float,
    toward: float,
    rng: np.random.Generator,
) -> Values:
    picked = rng.integers(len(read), size=meta.units)
    own: Values = tuple(np.repeat(part[None], len(picked), axis=0) for part in values)
    for _ in range(meta.steps):
        x, y = _drawn(read, picked, meta.rows, rng)
        own = _step(own, x, y, rate)
    return tuple(part + toward * (mine.mean(0) - part) for part, mine in zip(values, own, strict=True))


def _on_all(
    values: Values,
    read: Sequence[tuple[Numbers, Numbers]],
    meta: Meta,
    rate: float,
    toward: float,
    rng: np.random.Generator,
) -> Values:
    for _ in range(meta.steps):
        x, y = _drawn(read, rng.integers(len(read), size=meta.units), meta.rows, rng)
        whole = tuple(part[None] for part in values)
        rows = (x.reshape(1, -1, x.shape[-1]), y.reshape(1, -1))
        values = tuple(part[0] for part in _step(whole, *rows, 2 * toward * rate))
    return values


def _drawn(
    read: Sequence[tuple[Numbers, Numbers]], picked: npt.NDArray[np.int64], rows: int, rng: np.random.Generator
) -> tuple[Numbers, Numbers]:
    """(b, s, d) and (b, s): rows of each picked unit, drawn by chance."""
    at = [rng.integers(len(read[i][1]), size=rows) for i in picked]
    x = np.stack([read[i][0][j] for i, j in zip(picked, at, strict=True)])
    return x, np.stack([read[i][1][j] for i, j in zip(picked, at, strict=True)])


def _step(values: Values, x: Numbers, y: Numbers, rate: float) -> Values:
    """One step of gradient descent on the log loss of each unit's rows: heads (b, …), x (b, s, d), y (b, s)."""
    project, weight, bias = values
    hidden = np.tanh(x @ project.transpose(0, 2, 1))
    logits = (hidden @ weight[..., None])[..., 0] + bias[..., None]
    wrong = (0.5 * (1 + np.tanh(logits / 2)) - y) / y.shape[1]
    through = wrong[..., None] * weight[:, None, :] * (1 - hidden**2)
    return (
        project - rate * (through.transpose(0, 2, 1) @ x),
        weight - rate * (wrong[:, None, :] @ hidden)[:, 0],
        bias - rate * wrong.sum(1),
    )
