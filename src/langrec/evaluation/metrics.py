"""Every metric of a ranked list, for many queries at once, as one value per query.

A metric returns (q,) float64 values; a query without a relevant item gets NaN and is left out of means. A query with
a relevant item but an empty list gets 0: not answering is a miss. In shapes: q queries, K list length, t targets of all
queries together, n items of the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from langrec.types import FloatMatrix, IntMatrix, IntVector, Mask, TimeVector

Values = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Lists compared with the right answers.

    Attributes:
        found: (q, K) int64, which target stands at each rank (its place in `gains`), -1 where none does.
        offsets: (q + 1,) int64; the targets of query i are places offsets[i]:offsets[i + 1].
        gains: (t,) float64 what each target is worth; 0 = not relevant.
    """

    found: Numbers
    offsets: TimeVector
    gains: Values

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def only(self, targets: Mask) -> Judged:
        """The same lists where only the (t,) masked targets count as relevant."""
        return replace(self, gains=np.where(targets, self.gains, 0.0))

    def found_gains(self, k: int) -> Values:
        """(q, min(k, K)) gain at each rank."""
        found = self.found[:, :k]
        if not len(self.gains):
            return np.zeros(found.shape)
        return np.where(found >= 0, self.gains[np.maximum(found, 0)], 0.0)

    def hits(self, k: int) -> Mask:
        """(q, min(k, K)) True where a relevant item stands."""
        return self.found_gains(k) > 0

    def relevant(self) -> Numbers:
        """(q,) relevant items per query."""
        return self._row_sums(self.gains > 0).astype(np.int64)

    def rows(self) -> Numbers:
        """(t,) the query that each target belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def _row_sums(self, values: npt.NDArray[np.generic]) -> Values:
        return np.bincount(self.rows(), weights=values, minlength=len(self)).astype(np.float64)


def judge(nums: IntMatrix, offsets: TimeVector, items: IntVector, gains: npt.ArrayLike | None = None) -> Judged:
    """Finds the targets in the lists.

    Args:
        nums: (q, K) item numbers, best first, -1 behind the end of a short list. An item that a list repeats counts
            at its first rank only.
        offsets: (q + 1,) int64; the targets of query i are items[offsets[i]:offsets[i + 1]], each once.
        items: (t,) target item numbers.
        gains: (t,) graded gain of each target; 1 each by default.
    """
    lists = np.asarray(nums, dtype=np.int64)
    targets = np.asarray(items, dtype=np.int64)
    found = np.full(lists.shape, -1, dtype=np.int64)
    if len(targets) and lists.size:
        width = int(max(lists.max(), targets.max())) + 1
        keys = np.repeat(np.arange(len(lists)), np.diff(offsets)) * width + targets
        order = np.argsort(keys, kind="stable")
        wanted = np.arange(len(lists))[:, None] * width + lists
        place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
        hit = (keys[order[place]] == wanted) & (lists >= 0)
        flat = np.flatnonzero(hit)
        which = order[place.ravel()[flat]]
        # A target belongs to one query, so its first occurrence in row order is its best rank.
        which, first = np.unique(which, return_index=True)
        found.ravel()[flat[first]] = which
    worth = np.ones(len(targets)) if gains is None else np.asarray(gains, dtype=np.float64)
    return Judged(found, np.asarray(offsets, dtype=np.int64), worth)


def ndcg(judged: Judged, k: int) -> Values:
    """Sum of gain / log2(rank + 1) over that of the best possible list of min(targets, k) items.

    With gains of 1 this is binary NDCG, otherwise the linear-gain form of Järvelin and Kekäläinen (2002). At most 1.
    """
    return _ratio(_dcg(judged, k), _best_dcg(judged, k))


def debiased_ndcg(judged: Judged, weights: npt.ArrayLike, k: int) -> tuple[Values, Values]:
    """NDCG where each target counts by the inverse of its chance to be observed; see `inverse_popularity`.

    The self-normalised estimator of Yang et al. (2018), "Unbiased offline recommender evaluation for
    missing-not-at-random implicit feedback": sum over queries of the weighted DCG over that of the weighted ideal DCG.

    Args:
        judged: lists with their targets.
        weights: (t,) weight of each target.
        k: list length.

    Returns:
        (q,) values and the (q,) weights under which their mean is the metric. For one target per query the value is
        the query's NDCG and its weight is the target's.
    """
    weighted = replace(judged, gains=judged.gains * np.asarray(weights, dtype=np.float64))
    best = _best_dcg(weighted, k)
    return _ratio(_dcg(weighted, k), best), best


def inverse_popularity(counts: npt.ArrayLike, beta: float = 0.5) -> Values:
    """(n,) weights proportional to 1 / (count + 1)^beta, with mean 1.

    Args:
        counts: (n,) training events of each item.
        beta: 0 weighs all alike. Saito et al. (2020) take 0.5; Yang et al. (2018) derive (gamma + 1) / 2 with gamma
            from 1.5 to 3, which leaves the metric to the few rarest targets.
    """
    weights = (np.asarray(counts, dtype=np.float64) + 1.0) ** -beta
    return weights / weights.mean() if len(weights) else weights


def recall(judged: Judged, k: int) -> Values:
    """Share of the relevant items that stand among the first k."""
    return _ratio(judged.hits(k).sum(axis=1), judged.relevant())


def hit_rate(judged: Judged, k: int) -> Values:
    """1 where a relevant item stands among the first k, otherwise 0."""
    return _judged_only(judged, judged.hits(k).any(axis=1))


def precision(judged: Judged, k: int) -> Values:
    """Relevant items among the first k, divided by k even where the list is shorter."""
    return _judged_only(judged, judged.hits(k).sum(axis=1) / k)


def f1(judged: Judged, k: int) -> Values:
    """Harmonic mean of precision and recall at k, which is 2 * hits / (k + relevant); 0 without a hit."""
    return _judged_only(judged, 2 * judged.hits(k).sum(axis=1) / (k + judged.relevant()))


def mrr(judged: Judged, k: int) -> Values:
    """1 / rank of the first relevant item among the first k, 0 where there is none."""
    hits = judged.hits(k)
    if not hits.shape[1]:
        return _judged_only(judged, np.zeros(len(judged)))
    return _judged_only(judged, np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0))


def average_precision(judged: Judged, k: int) -> Values:
    """Mean of the precision at each hit's rank, over min(relevant, k); its mean over queries is MAP@k.

    TREC divides by all relevant items instead, so that a perfect list of k cannot reach 1.
    """
    hits = judged.hits(k)
    at_hits = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1) * hits
    return _ratio(at_hits.sum(axis=1), np.minimum(judged.relevant(), k))


def auc(judged: Judged, places: Values, candidates: Numbers) -> Values:
    """Chance that a relevant item scores above an item that is no target, over all candidates, a tie counting half.

    Args:
        judged: gives the targets; the lists play no part.
        places: (t,) full rank of each target, ties sharing their mean rank (see `lists.TopLists`).
        candidates: (q,) items that could have been in the list, targets included.

    Returns:
        NaN also where there is nothing but targets to rank. A query in which nothing is scored gets 0.5.
    """
    rows = judged.rows()
    own = np.diff(judged.offsets)
    order = np.lexsort((places, rows))
    # Mean rank of each target among the targets of its query, ties sharing theirs.
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (np.diff(rows[order]) != 0) | (np.diff(places[order]) != 0)
    group = np.cumsum(new) - 1
    rank = np.arange(len(order)) - judged.offsets[:-1][rows[order]] + 1.0
    among = np.empty(len(order))
    among[order] = (np.bincount(group, weights=rank) / np.bincount(group))[group] if len(order) else 0.0
    below = (candidates[rows] - places) - (own[rows] - among)
    others = (candidates - own)[rows]
    share = np.where(others > 0, np.clip(below / np.maximum(others, 1), 0.0, 1.0), np.nan)
    weight = (judged.gains > 0).astype(np.float64)
    total = np.bincount(rows, weights=np.where(weight > 0, share, 0.0), minlength=len(judged))
    return _ratio(total, judged.relevant())


def coverage(nums: IntMatrix, k: int, n_items: int) -> float:
    """Share of the catalogue that stands in at least one of the lists' first k places."""
    shown = np.unique(nums[:, :k])
    return float((shown >= 0).sum() / n_items) if n_items else float("nan")


def novelty(nums: IntMatrix, counts: npt.ArrayLike, k: int) -> Values:
    """Mean of -log2 of the items' share of training events, in bits: high = unknown items (Zhou et al. 2010).

    Shares are (count + 1) / (total + n), so that an item without events has a finite one. NaN for an empty list.
    """
    events = np.asarray(counts, dtype=np.float64)
    bits = -np.log2((events + 1) / (events.sum() + len(events)))
    shown = nums[:, :k]
    there = shown >= 0
    return _ratio(np.where(there, bits[np.maximum(shown, 0)], 0.0).sum(axis=1), there.sum(axis=1))


def diversity(nums: IntMatrix, vectors: FloatMatrix, k: int, block: int = 512) -> Values:
    """1 - mean cosine over all pairs of the list's items (Ziegler et al. 2005, with text vectors).

    Args:
        nums: (q, K) item numbers, -1 behind the end.
        vectors: (n, d) text vectors of any length; items with a zero vector are left out.
        k: list length.
        block: queries at once, which bounds the memory.

    Returns:
        NaN where fewer than two items have a vector.
    """
    length = np.linalg.norm(vectors, axis=1)
    units = vectors / np.where(length > 0, length, 1.0)[:, None]
    out = np.full(len(nums), np.nan)
    for start in range(0, len(nums), block):
        shown = nums[start : start + block, :k]
        there = (shown >= 0) & (length[np.maximum(shown, 0)] > 0)
        count = there.sum(axis=1)
        total = np.einsum("qkd,qk->qd", units[np.maximum(shown, 0)], there.astype(units.dtype))
        # |sum of units|² holds every pair twice and every item with itself once.
        pairs = (total.astype(np.float64) ** 2).sum(axis=1) - count
        out[start : start + block] = 1.0 - _ratio(pairs, count * (count - 1))
    return out


def _discounts(k: int) -> Values:
    """(k,) 1 / log2(rank + 1)."""
    return 1.0 / np.log2(np.arange(2, k + 2))


def _dcg(judged: Judged, k: int) -> Values:
    gains = judged.found_gains(k)
    return np.asarray(gains @ _discounts(gains.shape[1]), dtype=np.float64)


def _best_dcg(judged: Judged, k: int) -> Values:
    """(q,) DCG of the list that holds the worthiest targets first."""
    rows = judged.rows()
    order = np.lexsort((-judged.gains, rows))
    rank = np.arange(len(order)) - judged.offsets[:-1][rows]
    worth = np.where(rank < k, judged.gains[order] * _discounts(k)[np.minimum(rank, k - 1)], 0.0)
    return np.bincount(rows, weights=worth, minlength=len(judged)).astype(np.float64)


def _ratio(top: npt.ArrayLike, bottom: npt.ArrayLike) -> Values:
    """top / bottom, NaN where bottom is 0."""
    over, under = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    out = np.full(over.shape, np.nan)
    np.divide(over, under, out=out, where=under > 0)
    return out


def _judged_only(judged: Judged, values: npt.ArrayLike) -> Values:
    out = np.array(values, dtype=np.float64)
    out[judged.relevant() == 0] = np.nan
    return out
