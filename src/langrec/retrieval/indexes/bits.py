"""Sets of item numbers as packed bits: one bit a number, lowest bit first, as inverted lists read them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from langrec.types import IntVector, Mask

Bits = npt.NDArray[np.uint8]


def packed(mask: Mask) -> Bits:
    """The bits of a mask."""
    return np.packbits(mask, bitorder="little")


def unpacked(bits: Bits, start: int, stop: int) -> Mask:
    """(stop - start,) the bits from one number to another; beyond the end False."""
    first, last = start // 8, (stop + 7) // 8
    found = np.unpackbits(bits[first:last], bitorder="little")[start - 8 * first : stop - 8 * first]
    if len(found) < stop - start:
        found = np.concatenate([found, np.zeros(stop - start - len(found), dtype=np.uint8)])
    return found.view(np.bool_)


def holds(bits: Bits, nums: IntVector) -> Mask:
    """(len(nums),) which of the numbers are in the set."""
    within = nums < 8 * len(bits)
    places = np.where(within, nums, 0)
    found: Mask = (bits[places >> 3] >> (places & 7).astype(np.uint8)) & 1 == 1 if len(bits) else np.zeros_like(within)
    return found & within


def with_numbers(bits: Bits, nums: IntVector) -> Bits:
    """The set with these numbers too, which lie within its width."""
    out = bits.copy()
    np.bitwise_or.at(out, nums >> 3, np.left_shift(1, nums & 7).astype(np.uint8))
    return out
