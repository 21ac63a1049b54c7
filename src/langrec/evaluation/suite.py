"""All metrics of one scorer's lists, one column of per-question values each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from langrec.evaluation import metrics
from langrec.evaluation.lists import TopLists
from langrec.evaluation.metrics import Judged, Values
from langrec.types import FloatMatrix, Mask

DEBIAS_BETA = 0.5  # exponent of the popularity in the debiased NDCG, as in Saito et al. (2020)

_BY_RANK = {
    "ndcg": metrics.ndcg,
    "recall": metrics.recall,
    "hitrate": metrics.hit_rate,
    "mrr": metrics.mrr,
    "map": metrics.average_precision,
    "precision": metrics.precision,
    "f1": metrics.f1,
}


class Column(NamedTuple):
    """(q,) values of a metric, NaN where it is undefined, and the (q,) weights of their mean (None = all alike)."""

    values: Values
    weights: Values | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ItemFacts:
    """What measuring knows of the n items.

    Attributes:
        counts: (n,) training events of each item.
        has_text: (n,) whether the item has a text; None = every item has one.
        vectors: (n, d) text vectors for the diversity of lists; None leaves it out.
    """

    counts: npt.NDArray[np.integer]
    has_text: Mask | None = None
    vectors: FloatMatrix | None = None


def metric_names(ks: Sequence[int]) -> tuple[str, ...]:
    """Every metric that lists of these lengths are measured by; diversity only where items have vectors."""
    by_length = (*_BY_RANK, "ndcg_debiased", "novelty", "diversity")
    return ("auc", *(f"{name}@{k}" for name in by_length for k in ks))


def relevance(judged: Judged, lists: TopLists, target_weights: Values, ks: Sequence[int]) -> dict[str, Column]:
    """The metrics that look at the targets, by name such as ndcg@10.

    Args:
        judged: the lists with their targets.
        lists: the same lists, for the full ranks.
        target_weights: (t,) inverse popularity of each target.
        ks: list lengths.
    """
    columns = {f"{name}@{k}": Column(metric(judged, k)) for name, metric in _BY_RANK.items() for k in ks}
    for k in ks:
        columns[f"ndcg_debiased@{k}"] = Column(*metrics.debiased_ndcg(judged, target_weights, k))
    columns["auc"] = Column(metrics.auc(judged, lists.places, lists.candidates))
    return columns


def beyond_relevance(lists: TopLists, facts: ItemFacts, ks: Sequence[int]) -> dict[str, Column]:
    """The metrics that look at the lists alone."""
    columns = {f"novelty@{k}": Column(metrics.novelty(lists.nums, facts.counts, k)) for k in ks}
    if facts.vectors is not None:
        columns |= {f"diversity@{k}": Column(metrics.diversity(lists.nums, facts.vectors, k)) for k in ks}
    return columns


def of_slice(columns: Mapping[str, Column], asked: Mask) -> dict[str, Column]:
    """The columns with every question outside the (q,) mask left out."""
    return {name: Column(np.where(asked, column.values, np.nan), column.weights) for name, column in columns.items()}


def table(columns: Mapping[str, Column]) -> tuple[Values, Values]:
    """(q, m) values and (q, m) weights of m columns."""
    values = np.stack([column.values for column in columns.values()], axis=1)
    weights = np.stack(
        [np.ones(len(c.values)) if c.weights is None else np.nan_to_num(c.weights) for c in columns.values()], axis=1
    )
    return values, weights
