"""Batches of similar length under a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from langrec.types import IntVector

LongMatrix = npt.NDArray[np.int64]


def batches(lengths: npt.NDArray[np.int64], budget: int) -> Iterator[npt.NDArray[np.int64]]:
    """Row numbers of each batch, shortest texts first, ties by row: the same lengths always give the same batches.

    A batch holds at most `budget` tokens, padding included, and at least one text. Small budgets (768) are faster than
    large ones on a processor, because the activations of a layer stay in its cache.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > budget:
            yield order[start:stop]
            start = stop


def pad(rows: Sequence[IntVector], pad_id: int) -> tuple[LongMatrix, LongMatrix]:
    """Token numbers (b, t) and their mask (b, t), both int64, t the longest row."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    return ids, mask.astype(np.int64)
