"""How far the data of now is from what was trained on: what is chosen, what texts are made of, what they are about."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from langrec.data.events import DAY_MS
from langrec.retrieval.words import words as split_words
from langrec.types import FloatMatrix

WEEK_MS = 7 * DAY_MS
_DRAWS = 20  # their mean is known to a few thousandths of a bit
# How often an item was chosen in a week, which is named by its start.
CHOSEN = {"week": pl.Int64, "item": pl.String, "n": pl.Int64}


def divergence(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    """Jensen-Shannon divergence of two lists of counts in bits, 0 = alike, 1 = nothing in common; NaN of none."""
    if not p.sum() or not q.sum():
        return float("nan")
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return float((_information(p, middle) + _information(q, middle)) / 2)


def _information(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    there = p > 0
    return float((p[there] * np.log2(p[there] / q[there])).sum())


def weekly(counts: pl.DataFrame, most: int = 12) -> list[tuple[int, int, float]]:
    """For each of the newest weeks with events: its start, its events, and the divergence of what was chosen from the
    week with events before it; the oldest has none.

    Args:
        counts: columns of CHOSEN.
    """
    weeks = counts["week"].unique().sort().to_list()[-(most + 1) :]
    # A number for each item, in any order: of a large catalogue names would be looked up for seconds.
    counts = counts.with_columns(pl.col("item").rank("dense").cast(pl.Int64) - 1).sort("week", "item")
    width = int(counts["item"].max() or 0) + 1  # type: ignore[arg-type]
    out: list[tuple[int, int, float]] = []
    before: npt.NDArray[np.float64] | None = None
    for week in weeks:
        rows = counts.filter(pl.col("week") == week)
        now = np.zeros(width)
        now[rows["item"].to_numpy()] = rows["n"].to_numpy()
        out.append((int(week), int(now.sum()), float("nan") if before is None else divergence(before, now)))
        before = now
    return out[-most:]


def beyond_chance(counts: pl.DataFrame) -> float:
    """How far the newest week is from the week with events before it, beyond what two random parts of both together
    are: 0 = no farther, 1 = nothing in common; NaN where there is one week only, or chance alone would part them.

    Few events over many items differ much without any change: 300 of 2,000 items from 300 others by 0.6 bits.

    Args:
        counts: columns of CHOSEN.
    """
    weeks = counts["week"].unique().sort().to_list()[-2:]
    if len(weeks) < 2:
        return float("nan")
    of_week = [pl.col("n").filter(pl.col("week") == week).sum().alias(str(i)) for i, week in enumerate(weeks)]
    both = counts.group_by("item").agg(of_week).sort("item")
    before, now = both["0"].to_numpy(), both["1"].to_numpy()
    rng, together = np.random.default_rng(0), before + now
    drawn = rng.multivariate_hypergeometric(together, int(now.sum()), size=_DRAWS, method="marginals")
    chance = float(np.mean([divergence((together - part).astype(float), part.astype(float)) for part in drawn]))
    if chance >= 1:
        return float("nan")
    return max(divergence(before.astype(float), now.astype(float)) - chance, 0.0) / (1 - chance)


def unknown_words(texts: Iterable[str], known: frozenset[str]) -> float:
    """Share of the words of some texts that the training's texts do not hold; NaN without words."""
    total = strange = 0
    for text in texts:
        words = split_words(text)
        total += len(words)
        strange += sum(word not in known for word in words)
    return strange / total if total else float("nan")


def vocabulary(texts: Iterable[str]) -> frozenset[str]:
    """Every word of some texts."""
    return frozenset(word for text in texts for word in split_words(text))


def distance(vectors: FloatMatrix, others: FloatMatrix) -> float:
    """How far the mean of some vectors is from the mean of others, in spreads of the others; NaN where one is empty.

    A spread is the root mean square distance of a vector from its mean: 1 says that new items are, taken together, as
    far off as a single item of the training usually is.
    """
    if not len(vectors) or not len(others):
        return float("nan")
    middle = others.mean(axis=0)
    spread = float(np.sqrt(((others - middle) ** 2).sum(axis=1).mean()))
    return float(np.linalg.norm(vectors.mean(axis=0) - middle)) / spread if spread else float("nan")
