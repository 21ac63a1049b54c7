"""From candidates with scores to the best K of each query and the rank of each target, where no row of scores is made.

A list holds what its model found, as when it serves: a target that was not found is in no list, however well it would
have scored. Its rank among all is told all the same: the model scores it, what was found counts one by one, and a
sample of the other items stands for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from langrec.data.candidates import distinct, once, population_of, within
from langrec.evaluation.lists import TopLists
from langrec.evaluation.protocol import Targets
from langrec.ranking.alone import Answered
from langrec.types import Candidates, FloatVector, IntVector, Mask

# Items of the catalogue that stand for all that was not found.
SAMPLED = 256
# Questions that are answered together, and the rows of their histories: what long ones reach takes memory.
TOGETHER, HISTORY_ROWS = 32, 2_000
# The same where histories become vectors, which are compared with all items: more at once read these less often.
MANY, MANY_ROWS = 256, 40_000


def few(questions: Targets, together: int = TOGETHER, history_rows: int = HISTORY_ROWS) -> Iterator[Targets]:
    """Blocks of questions, few enough for what their histories reach to stay within some hundred megabytes."""
    lengths, start = np.diff(questions.block.offsets), 0
    while start < len(questions):
        rows = np.cumsum(lengths[start : start + together])
        size = max(1, int(np.searchsorted(rows, history_rows, side="right")))
        yield questions.slice(start, start + size)
        start += size


def sample_of(n_items: int) -> IntVector:
    """The items that stand for all of a catalogue."""
    return population_of(n_items, sampled=SAMPLED).sample


def asked_about(questions: Targets, n_items: int) -> Candidates:
    """What models are asked about beside what they find: the targets, and the sample that stands for all items."""
    sample = sample_of(n_items)
    bounds = zip(questions.offsets[:-1], questions.offsets[1:], strict=True)
    return Candidates.of([once(np.concatenate([sample, questions.items[lo:hi]])) for lo, hi in bounds])


def found_lists(answered: Answered, questions: Targets, k: int, n_items: int) -> TopLists:
    """The lists of a block of questions.

    Args:
        answered: of each question what was found, with scores of these and of `asked_about`.
        k: the longest list.
        n_items: items of the catalogue.
    """
    q = len(questions)
    nums, scores = np.full((q, k), -1, dtype=np.int32), np.full((q, k), np.nan, dtype=np.float32)
    ranks = np.empty(len(questions.items), dtype=np.int64)
    places = np.empty(len(questions.items), dtype=np.float64)
    free, met = np.empty(q, dtype=np.int64), np.empty(len(questions.items), dtype=np.bool_)
    for i in range(q):
        mine = slice(answered.asked.offsets[i], answered.asked.offsets[i + 1])
        own = answered.asked.nums[mine]
        values = np.where(np.isnan(answered.scores[mine]), -np.inf, answered.scores[mine])
        history = distinct(questions.block.history(i))[0]
        had = within(own, history)
        listed = np.flatnonzero(answered.found[mine] & ~had & ~np.isneginf(values))
        best = listed[np.lexsort((own[listed], -values[listed]))[:k]]
        nums[i, : len(best)], scores[i, : len(best)] = own[best], values[best]
        free[i] = n_items - len(history)
        some = slice(questions.offsets[i], questions.offsets[i + 1])
        targets = questions.items[some]
        counted = _counted(answered.found[mine] | within(own, once(targets)), ~had, int(free[i]))
        met[some] = answered.found[mine][np.searchsorted(own, targets)]
        ranks[some], places[some] = _ranks(own, values, counted, had, targets, int(free[i]))
    return TopLists(nums, scores, ranks, places, free, met)


def _counted(known: Mask, free: Mask, n_free: int) -> npt.NDArray[np.float64]:
    """(m,) how many items each of the asked stands for: itself, or a share of all that are not known."""
    known = known & free
    drawn = ~known & free
    rest = n_free - int(known.sum())
    return np.where(known, 1.0, np.where(drawn, rest / max(int(drawn.sum()), 1), 0.0))


def _ranks(
    nums: IntVector,
    scores: FloatVector,
    counted: npt.NDArray[np.float64],
    had: Mask,
    targets: IntVector,
    n_free: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The rank of each target, ties by number and ties sharing their mean; a target in the history is behind all."""
    where = np.searchsorted(nums, targets)
    own = scores[where]
    higher = ((scores[None, :] > own[:, None]) * counted).sum(axis=1)
    same = (scores[None, :] == own[:, None]) * counted
    before = (same * (nums[None, :] < targets[:, None])).sum(axis=1)
    ties = same.sum(axis=1) - 1.0
    gone = had[where]
    ranks = np.where(gone, n_free + 1, 1 + np.floor(higher + before)).astype(np.int64)
    return ranks, np.where(gone, n_free + 1.0, 1.0 + higher + np.maximum(ties, 0.0) / 2.0)
