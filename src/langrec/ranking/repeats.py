"""Lists that may show items of the history again: what a signal that learned only of new items says of the old ones."""

from __future__ import annotations

import numpy as np

from langrec.ranking.mix import Signals
from langrec.types import IntVector, Mask


def neutral(parts: Signals, quiet: Mask, second: int | None, history: IntVector) -> Signals:
    """The parts of one query, in which the quiet signals leave the history's items where the others put them.

    A signal that adds nothing to an item puts it below all to which it adds something. So an item of the history gets
    the score of the new item that stands as high by the other signals: among the new items its place is the place that
    the others give it. What that takes is shared by the quiet signals.

    Args:
        parts: (s, n) what each signal adds.
        quiet: (s,) True for signals that say nothing of the history's items.
        second: the signal of the second look, which learned from lists without the history; None = there is none.
        history: item numbers of the history that may be shown.

    Returns:
        (s, n) the parts; the given ones where no signal is quiet, where only quiet ones speak, or where all items are
        of the history.
    """
    nums = np.unique(history[(history >= 0) & (history < parts.shape[1])])
    heard = ~quiet
    if second is not None:
        heard[second] = False
    fresh = np.ones(parts.shape[1], dtype=np.bool_)
    fresh[nums] = False
    if not len(nums) or not fresh.any() or not quiet.any() or not parts[quiet].any() or not parts[heard].any():
        return parts
    others = parts[heard].sum(axis=0)
    known, full = np.sort(others[fresh]), np.sort(parts.sum(axis=0)[fresh])
    wanted = np.interp(others[nums], known, full) + np.maximum(others[nums] - known[-1], 0.0)
    out = parts.copy()
    if second is not None:
        out[second, nums] = 0.0
    out[np.ix_(quiet, nums)] = (wanted - others[nums]) / quiet.sum()
    return out
