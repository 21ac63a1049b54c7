"""Two scorers on the same questions: the paired difference, its interval, and what may be said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from langrec.errors import DataError
from langrec.evaluation.intervals import Resamples, mean, percentiles
from langrec.evaluation.protocol import Targets
from langrec.evaluation.suite import Column, table
from langrec.settings import EvaluateSettings, Settings, section_of

if TYPE_CHECKING:
    from langrec.evaluation.report import Report

Verdict = Literal["gain", "loss", "no gain shown"]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One scorer's values for each question of a test.

    Attributes:
        model: the scorer's name.
        targets: the questions.
        user_ids: q user ids.
        columns: metric values by name, such as ndcg@10.
    """

    model: str
    targets: Targets
    user_ids: tuple[str, ...]
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far `model` is above `reference` on the same questions.

    Attributes:
        model: the scorer looked at.
        reference: the one it is compared with.
        slice: the part of the test.
        metric: such as ndcg@10.
        difference: value of the model minus value of the reference.
        low: lower bound of the paired interval by user.
        high: upper bound.
        relative: difference / value of the reference; NaN where that is 0.
        n: questions.
        verdict: a gain or a loss only where the interval leaves out 0.
    """

    model: str
    reference: str
    slice: str
    metric: str
    difference: float
    low: float
    high: float
    relative: float
    n: int
    verdict: Verdict


def compare(
    a: Measured | Report,
    b: Measured | Report,
    metrics: Sequence[str] = ("ndcg@10",),
    settings: EvaluateSettings | Settings | None = None,
) -> tuple[Difference, ...]:
    """How far `a` is above `b`, one difference per metric.

    Args:
        a: one scorer's values (`report.measured["mix"]`), or a whole report, which stands for its chosen scorer.
        b: likewise, on the same questions.
        metrics: names of the metrics.
        settings: resamples, confidence and seed of the intervals: all settings, or their section `evaluate`.

    Raises:
        DataError: the two were not asked the same questions, or a metric was not measured.
    """
    chosen = section_of(settings, EvaluateSettings)
    ours, theirs = (side if isinstance(side, Measured) else side.measured[side.chosen] for side in (a, b))
    _check(ours, theirs, metrics)
    columns = [table({name: side.columns[name] for name in metrics}) for side in (ours, theirs)]
    # By the users' numbers, as a report draws them: the same resamples give the same bounds.
    resamples = Resamples(ours.targets.block.users, chosen.bootstrap, chosen.seed)
    draws = [resamples.means(values, weights) for values, weights in columns]
    values = [mean(values, weights) for values, weights in columns]
    low, high = percentiles(draws[0] - draws[1], chosen.confidence)
    counted = (~np.isnan(columns[0][0])).sum(axis=0)
    return tuple(
        difference(
            (ours.model, theirs.model), "all", name, (values[0][i], values[1][i]), (low[i], high[i]), int(counted[i])
        )
        for i, name in enumerate(metrics)
    )


def difference(
    names: tuple[str, str], part: str, metric: str, values: tuple[float, float], bounds: tuple[float, float], n: int
) -> Difference:
    """A difference with its verdict, from both values and the bounds of their paired difference."""
    gap, (low, high) = float(values[0] - values[1]), (float(bound) for bound in bounds)
    relative = gap / float(values[1]) if values[1] else float("nan")
    return Difference(*names, part, metric, gap, low, high, relative, n, verdict(low, high))


def verdict(low: float, high: float) -> Verdict:
    """What an interval allows to say; nothing where it holds 0 or is unknown."""
    if low > 0:
        return "gain"
    return "loss" if high < 0 else "no gain shown"


def _check(a: Measured, b: Measured, metrics: Sequence[str]) -> None:
    one, two = a.targets, b.targets
    same = a.user_ids == b.user_ids and all(
        np.array_equal(left, right)
        for left, right in (
            (one.events, two.events),
            (one.block.at, two.block.at),
            (one.offsets, two.offsets),
            (one.items, two.items),
        )
    )
    if not same:
        raise DataError(
            f"{a.model} and {b.model} were not asked the same questions ({len(one)} and {len(two)}): "
            "evaluate both on one data set with one split"
        )
    for side in (a, b):
        for name in metrics:
            if name not in side.columns:
                raise DataError(f"{side.model}: {name} was not measured (measured: {', '.join(side.columns)})")
