"""From scores of the whole catalogue to the best K of each query and the full rank of each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from langrec.errors import DataError
from langrec.evaluation.protocol import Targets
from langrec.types import FloatMatrix, IntMatrix, Mask

_CELLS = 4_000_000  # cells of the matrix in which targets are compared with the catalogue, whatever the block
_GROUPS_PER_RANK = 8  # more groups give a sharper bound and cost more to sort


@dataclass(frozen=True, slots=True, eq=False)
class TopLists:
    """The answers of one scorer to q queries with t targets.

    Attributes:
        nums: (q, K) int32 item numbers, best first, ties by number, -1 behind the end of a short list.
        scores: (q, K) float32, NaN behind the end.
        ranks: (t,) int64 full rank of each target among the candidates, 1 = best, ties by number. A target without a
            score ranks behind every scored candidate, and a target that is no candidate behind all of them.
        places: (t,) float64 as `ranks`, but ties, and likewise all candidates without a score, share their mean rank.
        candidates: (q,) int64 items outside the history.
        found: (t,) which targets the model found among its candidates; None = all items were scored.
    """

    nums: IntMatrix
    scores: FloatMatrix
    ranks: npt.NDArray[np.int64]
    places: npt.NDArray[np.float64]
    candidates: npt.NDArray[np.int64]
    found: Mask | None = None


def top_lists(scores: FloatMatrix, targets: Targets, k: int, n_items: int | None = None) -> TopLists:
    """Ranks the catalogue without each query's history.

    Args:
        scores: (q, n) higher is better. NaN and -inf say "cannot score": such items are in no list.
        targets: the q questions.
        k: the longest list.
        n_items: items of the catalogue; those from n on count as not scored. Default: n.

    Raises:
        DataError: the scores do not fit the questions or the catalogue.
    """
    q, width = len(targets), scores.shape[1] if n_items is None else n_items
    highest = int(max(targets.items.max(initial=-1), targets.block.items.max(initial=-1)))
    if scores.shape[0] != q or scores.shape[1] > width or highest >= width:
        raise DataError(f"scores of shape {scores.shape} for {q} questions over {max(width, highest + 1)} items")
    allowed = np.full((q, width), -np.inf, dtype=np.float32)
    np.copyto(allowed[:, : scores.shape[1]], scores, where=~np.isnan(scores))
    history = np.zeros((q, width), dtype=np.bool_)
    history[targets.block.rows(), targets.block.items] = True
    allowed[history] = -np.inf
    nums, best = _best(allowed, k)
    ranks, places = _target_ranks(allowed, history, targets)
    return TopLists(nums, best, ranks, places, width - history.sum(axis=1))


def join_lists(parts: Sequence[TopLists]) -> TopLists:
    """Blocks of queries one after another."""
    return TopLists(
        np.concatenate([part.nums for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.ranks for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.candidates for part in parts]),
        None if any(part.found is None for part in parts) else np.concatenate([_found(part) for part in parts]),
    )


def _found(part: TopLists) -> Mask:
    return np.ones(len(part.ranks), dtype=np.bool_) if part.found is None else part.found


def _best(scores: FloatMatrix, k: int) -> tuple[IntMatrix, FloatMatrix]:
    """(q, k) numbers and scores of the k best scores of each row that are not -inf, ties by number."""
    q, n = scores.shape
    nums = np.full((q, k), -1, dtype=np.int32)
    best = np.full((q, k), np.nan, dtype=np.float32)
    take = min(k, n)
    if not (q and take):
        return nums, best
    # The k-th best of the groups' maxima is a bound that at least k items reach and few surpass. It costs one pass,
    # where a partition of the rows costs several and slows down tenfold on rows that are mostly ties.
    groups = min(n, _GROUPS_PER_RANK * take)
    deep = n // groups
    maxima = scores[:, : deep * groups].reshape(q, deep, groups).max(axis=1)
    bound = np.sort(maxima, axis=1)[:, groups - take, None]
    keep = scores > bound
    level = (scores == bound) & (bound > -np.inf)
    # Of the items level with the bound the lowest numbers win, and no more than k of them can matter.
    crowded = np.flatnonzero(np.count_nonzero(level, axis=1) > take)
    if len(crowded):
        level[crowded] &= np.cumsum(level[crowded], axis=1, dtype=np.int32) <= take
    keep |= level
    row, num = np.divmod(np.flatnonzero(keep), n)
    value = scores[row, num]
    order = np.lexsort((num, -value, row))
    row, num, value = row[order], num[order], value[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    listed = rank < take
    nums[row[listed], rank[listed]] = num[listed]
    best[row[listed], rank[listed]] = value[listed]
    return nums, best


def _target_ranks(
    scores: FloatMatrix, history: Mask, targets: Targets
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(t,) ranks with ties by number, and with ties sharing their mean; `scores` is -inf where nothing is scored."""
    q, n = scores.shape
    items = targets.items.astype(np.int64)
    owner = np.repeat(np.arange(q), np.diff(targets.offsets))
    own = scores[owner, items]
    higher, ties, ties_before = (np.zeros(len(items), dtype=np.int64) for _ in range(3))
    one_each = np.array_equal(owner, np.arange(q))
    step = max(1, _CELLS // max(n, 1))
    numbers = np.arange(n, dtype=np.int32)
    for start in range(0, len(items), step):
        part = slice(start, start + step)
        line = scores[part] if one_each else scores[owner[part]]
        higher[part] = np.count_nonzero(line > own[part, None], axis=1)
        same = line == own[part, None]
        unscored = np.isneginf(own[part])
        if unscored.any():  # items of the history hold -inf too, but they are no candidates
            same[unscored] &= ~history[owner[part][unscored]]
        ties[part] = np.count_nonzero(same, axis=1)
        ties_before[part] = np.count_nonzero(same & (numbers < targets.items[part, None]), axis=1)
    excluded = history[owner, items]
    ranks = 1 + higher + np.where(excluded, ties, ties_before)
    places = 1 + higher + np.where(excluded, ties, (ties - 1) / 2.0)
    return ranks, np.asarray(places, dtype=np.float64)
