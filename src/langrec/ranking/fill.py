"""The end of a list: allowed items that no signal speaks for, in the order of the fallback scorer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from langrec.data.asked import nobody
from langrec.ranking.fusion import Fusion
from langrec.ranking.select import top_k
from langrec.types import FloatVector, IntVector, ItemList, Mask

# The name that the trace shows where the fallback scorer is not among the scorers.
BY_NUMBER = "catalogue"


@dataclass(frozen=True, slots=True, eq=False)
class Fallback:
    """The order that fills short lists: (n,) `order`, best highest, and its `name`."""

    name: str
    order: FloatVector

    @classmethod
    def of(cls, fusion: Fusion, name: str, at: int) -> Fallback:
        """The named scorer's order for someone of whom nothing is known; that of the catalogue without the scorer."""
        order = np.zeros(fusion.n_items, dtype=np.float32)
        scorer = fusion.scorers.get(name)
        if scorer is None:
            return cls(BY_NUMBER, order)
        known = scorer.score_block(nobody(at))[0]
        order[: len(known)] = np.nan_to_num(known)
        return cls(name, order)

    def more(self, listed: IntVector, mask: Mask, wanted: int) -> IntVector:
        """Numbers of further allowed items that make a list of item numbers as long as is wanted."""
        left = mask.copy()
        left[listed] = False
        return top_k(np.where(left, self.order, np.nan), wanted - len(listed))


def with_more(listed: ItemList, nums: IntVector) -> ItemList:
    """The list with further items at its end, whose scores and signals are 0."""
    nothing = np.zeros(len(nums), dtype=np.float32)
    return ItemList(
        np.concatenate([listed.nums, nums]).astype(np.int32),
        np.concatenate([listed.scores, nothing]),
        {name: np.concatenate([column, nothing]) for name, column in listed.columns.items()},
    )


def place(num: int, scores: FloatVector, mask: Mask, fallback: Fallback | None) -> int | None:
    """The 1-based place of an item in the endless list; None where it is not in it.

    Args:
        scores: (n,) of the mix; items above 0 come first.
        mask: (n,) what may be shown.
        fallback: orders the others; None leaves them out.
    """
    if not mask[num] or (scores[num] <= 0 and fallback is None):
        return None
    spoken_for = mask & (scores > 0)
    if scores[num] > 0:
        return 1 + _before(num, scores, spoken_for)
    assert fallback is not None
    return 1 + int(spoken_for.sum()) + _before(num, fallback.order, mask & ~spoken_for)


def _before(num: int, values: FloatVector, among: Mask) -> int:
    """How many stand before item `num`: higher, or as high with a lower number."""
    return int((among & (values > values[num])).sum()) + int((among & (values == values[num]))[:num].sum())
