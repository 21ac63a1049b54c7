"""What the weights of the mix bend with: how much, how lately, and what kind of items a person takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from langrec.types import FloatMatrix, IntVector, QueryBlock

# How long the history is, how long ago its last event was, how many of its newest items training has not seen, and how
# popular they are beside what all take.
SITUATION = ("history", "gap", "fresh", "taste")
# A history item j steps back weighs exp(-DECAY * j) in the last two, none past DEPTH. Of 0.1, 0.2, 0.3 and plain means
# over 3 to 90 items this one made the answers of ml-latest-small's validation likeliest.
DECAY, DEPTH = 0.2, 50

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Situations:
    """Tells a query's situation from its history.

    Who took new items takes the next one: on ml-latest-small's validation the answer is new in 2.5 % of the questions
    where none of the 20 newest items is, and in 64 % where more than half of them are.

    Attributes:
        counts: (n,) training events of the first items; an item without any, and a later one, is new.
    """

    counts: IntVector

    def of(self, block: QueryBlock) -> FloatMatrix:
        """(q, len(SITUATION)) about -1 to 1: log of the history's length, log of the seconds since its last event, root
        of the share of new items, and the mean log of the items' training events in spreads from what an event's item
        usually has; 0 for the last two without a history.
        """
        lengths = np.diff(block.offsets)
        newest = block.at.astype(np.float64)
        some = lengths > 0
        newest[some] = block.times[block.offsets[1:][some] - 1]
        gaps = np.maximum(block.at - newest, 0) / 1000
        fresh, taste = self._kinds(block)
        # 0 events: -1, 99 events: 0. A second: -0.5, an hour: 0.5, a month: 1.3.
        found = [np.log1p(lengths) / np.log(100) - 1, np.log1p(gaps) / 8 - 0.5, np.sqrt(fresh), taste]
        return np.asarray(np.clip(np.stack(found, axis=1), -1.5, 1.5), dtype=np.float32)

    def _kinds(self, block: QueryBlock) -> tuple[Column, Column]:
        """(q,) weighted share of new items of each history, and how popular its items are."""
        steps = block.steps_back()
        near = steps < DEPTH
        rows, items, weights = block.rows()[near], block.items[near], np.exp(-DECAY * steps[near])
        counts = np.zeros(len(items))
        counts[items < len(self.counts)] = self.counts[items[items < len(self.counts)]]
        total = np.bincount(rows, weights, minlength=len(block))
        fresh = np.bincount(rows, weights * (counts == 0), minlength=len(block))
        mean, spread = self._usual
        taste = np.bincount(rows, weights * (np.log1p(counts) - mean) / spread, minlength=len(block))
        return fresh / np.maximum(total, 1e-12), taste / np.maximum(total, 1e-12)

    @cached_property
    def _usual(self) -> tuple[float, float]:
        """Mean and spread of an item's log count over the training events."""
        counts = self.counts.astype(np.float64)
        events, logs = max(float(counts.sum()), 1.0), np.log1p(counts)
        mean = float(counts @ logs) / events
        spread = float(np.sqrt(counts @ (logs - mean) ** 2 / events))
        return mean, max(spread, 1e-6)
