"""How good predictions are: the classification report, AUC, user AUC, calibration, and intervals by user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

# Of every interval: draws of the bootstrap, the share of them that it holds, and the fewest users, or rows, that say
# something of others: five of one mind are chance more often than once in twenty.
RESAMPLES, CONFIDENCE, FEWEST = 1000, 0.95, 6


def report(right: npt.NDArray[Any], predicted: npt.NDArray[Any], labels: Sequence[str]) -> dict[str, Any]:
    """Precision, recall, F1 and support per class; accuracy; macro and weighted averages.

    Args:
        right: (n,) true class numbers.
        predicted: (n,) predicted class numbers.
        labels: names of the classes, in the order of their numbers.
    """
    n = len(labels)
    table = np.zeros((n, n), dtype=np.int64)
    np.add.at(table, (right, predicted), 1)
    hits, support, claimed = np.diag(table).astype(float), table.sum(1), table.sum(0)
    precision = np.divide(hits, claimed, out=np.zeros(n), where=claimed > 0)
    recall = np.divide(hits, support, out=np.zeros(n), where=support > 0)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros(n), where=total > 0)
    columns = {"precision": precision, "recall": recall, "f1": f1}
    # A class that neither the data nor the predictions hold has nothing to average.
    there = (support > 0) | (claimed > 0)
    rows = int(support.sum())
    return {
        "accuracy": float(hits.sum() / rows) if rows else float("nan"),
        "macro": {name: float(values[there].mean()) if rows else float("nan") for name, values in columns.items()},
        "weighted": {
            name: float((values * support).sum() / rows) if rows else float("nan") for name, values in columns.items()
        },
        "classes": {
            label: {**{name: float(values[i]) for name, values in columns.items()}, "support": int(support[i])}
            for i, label in enumerate(labels)
        },
        "rows": rows,
    }


def auc(positive: npt.NDArray[Any], scores: npt.NDArray[Any], weights: Numbers | None = None) -> float:
    """The chance that a positive row scores above a negative one, ties half; NaN where a side is missing.

    Args:
        positive: (n,) how positive each row is, in [0, 1]: a row of 0.7 counts as 0.7 positive and 0.3 negative.
        weights: (n,) how often each row counts; 1 by default.
    """
    weight = np.ones(len(scores)) if weights is None else weights
    return float(_aucs(positive, scores, weight[None, :])[0])


def _aucs(positive: npt.NDArray[Any], scores: npt.NDArray[Any], weights: Numbers) -> Numbers:
    """(w,) areas under (w, n) weights."""
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    up = weights[:, order] * np.asarray(positive, dtype=float)[order]
    down = weights[:, order] * (1 - np.asarray(positive, dtype=float)[order])
    starts = np.flatnonzero(np.diff(np.asarray(scores)[order], prepend=np.nan) != 0)
    up, down = np.add.reduceat(up, starts, axis=1), np.add.reduceat(down, starts, axis=1)
    below = np.cumsum(down, axis=1) - down
    pairs = up.sum(1) * down.sum(1)
    area = (up * (below + down / 2)).sum(1)
    found: Numbers = np.divide(area, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return found


def user_auc(positive: npt.NDArray[Any], scores: npt.NDArray[Any], users: npt.NDArray[Any]) -> float:
    """The mean AUC of the users that have rows of both kinds, each user alike; NaN where none has."""
    found = user_aucs(positive, scores, users)
    return float(found.mean()) if len(found) else float("nan")


def user_aucs(positive: npt.NDArray[Any], scores: npt.NDArray[Any], users: npt.NDArray[Any]) -> Numbers:
    """The AUC of each user that has rows of both kinds; one row, however graded, is in no order with others."""
    group = np.unique(users, return_inverse=True)[1]
    order = np.argsort(group, kind="stable")
    own = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    found: Numbers = np.array([auc(positive[rows], scores[rows]) for rows in own if len(rows) > 1])
    usable: Numbers = found[~np.isnan(found)]
    return usable


def auc_interval(
    positive: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    users: npt.NDArray[Any] | None,
) -> tuple[float, float]:
    """The bootstrap interval of the AUC; users are drawn whole, because a user's rows resemble one another. As of all
    intervals here, NaN of fewer than FEWEST.

    Args:
        users: (n,) user of each row; None draws rows.
    """
    return _interval(_aucs(positive, scores, draw_weights(users, len(scores))))


def auc_difference(
    positive: npt.NDArray[Any],
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    users: npt.NDArray[Any] | None,
) -> tuple[float, float, float]:
    """How much higher the first AUC is than the second on the same rows, with its paired interval."""
    weights = draw_weights(users, len(first))
    low, high = _interval(_aucs(positive, first, weights) - _aucs(positive, second, weights))
    return auc(positive, first) - auc(positive, second), low, high


def draw_weights(users: npt.NDArray[Any] | None, rows: int) -> Numbers:
    """(RESAMPLES, rows) Poisson(1) weights, equal for the rows of one user (Chamandy et al. 2012); 0 throughout where
    there are fewer than FEWEST users, or rows without users."""
    group = np.arange(rows) if users is None else np.unique(users, return_inverse=True)[1]
    drawn = int(group.max(initial=-1)) + 1
    if drawn < FEWEST:
        return np.zeros((RESAMPLES, rows))
    draws = np.random.default_rng(0).poisson(1.0, (RESAMPLES, drawn)).astype(float)
    return draws[:, group]


def interval(values: Numbers, users: npt.NDArray[Any] | None = None) -> tuple[float, float]:
    """The bootstrap interval of a mean over rows."""
    weights = draw_weights(users, len(values))
    total = weights.sum(1)
    return _interval(np.divide(weights @ values, total, out=np.full(RESAMPLES, np.nan), where=total > 0))


def calibration_error(right: npt.NDArray[Any], sure: Numbers, bins: int = 15) -> float:
    """Expected calibration error: how far, on average, the stated probability is from the share that is right.

    Args:
        right: (n,) whether each prediction was right.
        sure: (n,) the probability stated for it.
    """
    if not len(sure):
        return float("nan")
    bucket = np.minimum((sure * bins).astype(int), bins - 1)
    sums = [abs((right[bucket == b] - sure[bucket == b]).sum()) for b in range(bins)]
    return float(sum(sums) / len(sure))


def _interval(draws: Numbers) -> tuple[float, float]:
    if np.isnan(draws).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
