"""Whether stated probabilities come true: the reliability of a calibrated model's lists, and its figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from langrec.evaluation.intervals import Resamples, mean, percentiles
from langrec.evaluation.lists import TopLists
from langrec.evaluation.protocol import Targets
from langrec.settings import EvaluateSettings
from langrec.types import FloatMatrix

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Listed items of like probability: what was said, and what came true.

    Attributes:
        said: their mean probability.
        came: the share of them that the user chose next.
        low: lower bound of that share's interval by user.
        high: upper bound.
        n: how many.
    """

    said: float
    came: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """A model's stated probabilities against the test.

    Attributes:
        model: its name.
        ranks: the first so many of each list were looked at.
        questions: questions of people with a history.
        error: expected calibration error: the mean over the items of |said - came| of their bin.
        said: mean probability.
        came: share that came true.
        bins: of equally many items, by rising probability.
    """

    model: str
    ranks: int
    questions: int
    error: float
    said: float
    came: float
    bins: tuple[Bin, ...]


def reliability(
    model: str, probabilities: FloatMatrix, lists: TopLists, targets: Targets, settings: EvaluateSettings
) -> Reliability | None:
    """How the probabilities of listed items fit what came; None where no list holds an item.

    Questions without a history are left out: they are answered by popularity, whose scores nothing was calibrated for.

    Args:
        probabilities: (q, K) of the items in `lists`, NaN behind the end of a list.
        lists: the answers to next-item questions.
    """
    ranks = min(settings.ranks, probabilities.shape[1])
    said = probabilities[:, :ranks].astype(np.float64)
    said[np.diff(targets.block.offsets) == 0] = np.nan
    there = ~np.isnan(said)
    if not there.any():
        return None
    came = (lists.nums[:, :ranks] == targets.items[:, None]) & there
    bounds = np.quantile(said[there], np.linspace(0, 1, BINS + 1)[1:-1])
    bin_of = np.where(there, np.searchsorted(bounds, np.where(there, said, 0.0), side="right"), -1)
    counts, hits, sums = (_by_bin(bin_of, values) for values in (there, came, np.where(there, said, 0.0)))
    shares = np.divide(hits, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    draws = Resamples(targets.block.users, settings.bootstrap, settings.seed).means(shares, counts)
    low, high = percentiles(draws, settings.confidence)
    share, total = mean(shares, counts), counts.sum(axis=0)
    bins = tuple(
        Bin(float(sums[:, b].sum() / total[b]), float(share[b]), float(low[b]), float(high[b]), int(total[b]))
        for b in range(BINS)
        if total[b]
    )
    error = sum(one.n * abs(one.said - one.came) for one in bins) / int(total.sum())
    questions = int(there.any(axis=1).sum())
    return Reliability(model, ranks, questions, error, float(said[there].mean()), float(came[there].mean()), bins)


def _by_bin(bin_of: npt.NDArray[np.intp], values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """(q, BINS) sums of each question's values by bin."""
    return np.stack([np.where(bin_of == b, values, 0).sum(axis=1) for b in range(BINS)], axis=1).astype(np.float64)


def as_svg(found: Reliability) -> str:
    """The reliability diagram: said against came, with intervals; points on the diagonal are honest."""
    top = (
        max([one.said for one in found.bins] + [one.high for one in found.bins if one.high == one.high] + [1e-6]) * 1.05
    )
    size, left, bottom = 300, 56, 36

    def x(value: float) -> float:
        return left + size * min(value / top, 1.0)

    def y(value: float) -> float:
        return 8 + size * (1.0 - min(value / top, 1.0))

    lines = [
        f'<line class="grid" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(0):.1f}" y2="{y(top):.1f}"/>'
        f'<line class="grid" x1="{x(0):.1f}" x2="{x(top):.1f}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>'
        f'<text x="{x(at):.1f}" y="{y(0) + 18:.1f}" text-anchor="middle">{_percent(at)}</text>'
        f'<text x="{left - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{_percent(at)}</text>'
        for at in _ticks(top)
    ]
    lines.append(f'<line class="even" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(top):.1f}" y2="{y(top):.1f}"/>')
    for one in found.bins:
        if one.low == one.low and one.high == one.high:
            lines.append(
                f'<line class="span" x1="{x(one.said):.1f}" x2="{x(one.said):.1f}" y1="{y(one.low):.1f}" '
                f'y2="{y(one.high):.1f}"/>'
            )
        lines.append(
            f'<circle cx="{x(one.said):.1f}" cy="{y(one.came):.1f}" r="5"><title>said {_percent(one.said)}, came '
            f"{_percent(one.came)} of {one.n:,}</title></circle>"
        )
    width, height = left + size + 16, size + 8 + bottom + 16
    lines.append(f'<text x="{left + size / 2}" y="{height - 6}" text-anchor="middle">said</text>')
    return (
        f'<svg class="reliability" viewBox="0 0 {width} {height}" role="img" aria-label="said against came; the table '
        f'beside holds the numbers">{"".join(lines)}</svg>'
    )


def _ticks(top: float) -> Sequence[float]:
    """Some four round values from 0 to the top."""
    raw = top / 4
    step = 10.0 ** np.floor(np.log10(raw))
    step = float(step * next(factor for factor in (1, 2, 5, 10) if factor * step >= raw))
    return [step * i for i in range(int(top / step + 1e-9) + 1)]


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
