"""Items that came or changed after words were counted, beside those that were counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.data.candidates import ragged
from langrec.types import FloatVector, IntVector, Mask, Population


@dataclass(frozen=True, eq=False)
class Newer:
    """Items that came or changed after the fit.

    Attributes:
        nums: (u,) int32 their numbers, rising.
        part: a scorer of their texts alone, in this order.
    """

    nums: IntVector
    part: Any

    def holds(self, nums: IntVector) -> Mask:
        """(len(nums),) which of the numbers are among them."""
        places = np.minimum(np.searchsorted(self.nums, nums), len(self.nums) - 1)
        found: Mask = self.nums[places] == nums
        return found

    def sums(
        self,
        counts: sparse.csr_array,
        gives: FloatVector,
        sums: npt.NDArray[np.float64],
        among: Population,
    ) -> npt.NDArray[np.float64]:
        """(v,) what all items offer to each term: the sums of those counted, less what was replaced, and our own.

        Args:
            counts: (n, v') of the items that were counted; their sums are `sums`.
            gives: (e,) what they offer, for each entry of `counts`.
        """
        old = self.nums[(self.nums < counts.shape[0])]
        old = old[among.holds(old)]
        starts = counts.indptr[old]
        entries = ragged(starts, counts.indptr[old + 1] - starts)
        out = np.zeros(len(self.part.idf), dtype=np.float64)
        out[: len(sums)] = sums
        np.subtract.at(out, counts.indices[entries], gives[entries])
        counted = np.repeat(among.holds(self.nums), np.diff(self.part.counts.indptr))
        np.add.at(out, self.part.counts.indices[counted], self.part.gives[counted])
        return np.maximum(out, 0.0)
