"""A log as sequences to train on: windows of each user's events, packed into batches of similar length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from langrec.data.events import Events
from langrec.types import IntMatrix, IntVector, TimeVector

# A gap of time falls into one of these: 0, then doubling from a second to about four years.
GAPS = 28


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Each user's events, oldest first, one user after the other.

    Attributes:
        items: (m,) int32 item numbers.
        gaps: (m,) int32 bucket of the time from each event to the user's next one; 0 for the last.
        fresh: (m,) True where the user had not met the item before: only such items are asked for.
        offsets: (u + 1,) int64; user u's events are rows offsets[u]:offsets[u + 1]; users without two events are out.
    """

    items: IntVector
    gaps: IntVector
    fresh: npt.NDArray[np.bool_]
    offsets: TimeVector

    @classmethod
    def of(cls, events: Events, n_users: int) -> Sequences:
        """The events that say something for their item (gain > 0)."""
        said = events.take(events.gains > 0)
        grouped = said.by_user(n_users)
        lengths = grouped.lengths()
        owner = np.repeat(np.arange(n_users), lengths)
        key = owner.astype(np.int64) * (int(grouped.items.max(initial=0)) + 1) + grouped.items
        fresh = np.zeros(len(key), dtype=np.bool_)
        fresh[np.unique(key, return_index=True)[1]] = True
        until = np.diff(grouped.at, append=grouped.at[-1:])
        ends = grouped.offsets[1:][lengths > 0] - 1
        until[ends] = 0
        kept = (lengths >= 2)[owner]
        offsets = np.concatenate([[0], np.cumsum(lengths[lengths >= 2])])
        gaps = gap_buckets(until) if said.has_time else np.zeros(len(until), dtype=np.int32)
        return cls(grouped.items[kept], gaps[kept], fresh[kept], offsets.astype(np.int64))

    def windows(self, length: int, rng: np.random.Generator | None) -> npt.NDArray[np.int64]:
        """(w, 2) start and stop rows, each at most `length` inputs and the target after the last of them.

        Every event but a user's first is the target of one window exactly. Long histories are cut from their end;
        with an `rng` the first cut is moved at random, so that over the epochs an event is met at many places.
        """
        starts, stops = self.offsets[:-1], self.offsets[1:] - 1
        longest = stops - starts
        moved = np.zeros(len(starts), dtype=np.int64)
        if rng is not None:
            moved = np.where(longest > length, rng.integers(0, length, len(starts)), 0)
        # Inputs start:stop in pieces that end at stop - moved, stop - moved - length, ...
        pieces = -(-(longest - moved) // length) + (moved > 0)
        user = np.repeat(np.arange(len(starts)), pieces)
        nth = np.arange(len(user)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        first = np.where(moved > 0, moved, length)[user]
        end = stops[user] - np.where(nth == 0, 0, first + (nth - 1) * length)
        size = np.where(nth == 0, first, length)
        return np.stack([np.maximum(end - size, starts[user]), end], axis=1)

    def batches(
        self, length: int, tokens: int, rng: np.random.Generator
    ) -> list[tuple[IntMatrix, IntMatrix, IntMatrix]]:
        """One epoch: (b, l) inputs, their gaps, and targets; -1 pads both at the right and marks what is not asked.

        Windows of similar length stand together; a batch holds at most `tokens` places, padding included.
        """
        windows = self.windows(length, rng)
        sizes = windows[:, 1] - windows[:, 0]
        order = rng.permutation(len(windows))
        # Sorting by length with a little noise keeps batches tight, and no two epochs alike.
        order = order[np.argsort(sizes[order] * rng.uniform(0.9, 1.1, len(order)), kind="stable")]
        packs, start = [], 0
        while start < len(order):
            stop = start + 1
            longest = int(sizes[order[start]])
            while stop < len(order) and max(longest, int(sizes[order[stop]])) * (stop + 1 - start) <= tokens:
                longest = max(longest, int(sizes[order[stop]]))
                stop += 1
            packs.append(self._pack(windows[order[start:stop]]))
            start = stop
        return [packs[i] for i in rng.permutation(len(packs))]

    def _pack(self, windows: npt.NDArray[np.int64]) -> tuple[IntMatrix, IntMatrix, IntMatrix]:
        rows, inside = rows_of(windows[:, 0], windows[:, 1])
        inputs = np.where(inside, self.items[rows], -1)
        gaps = np.where(inside, self.gaps[rows], 0)
        asked = inside & self.fresh[rows + 1]
        targets = np.where(asked, self.items[rows + 1], -1)
        return inputs.astype(np.int32), gaps.astype(np.int32), targets.astype(np.int32)


def rows_of(
    starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(b, l) rows start:stop of each range, padded at the right with its first row, and True where they are real."""
    lengths = stops - starts
    steps = np.arange(int(lengths.max(initial=0)))
    inside = steps < lengths[:, None]
    return np.where(inside, starts[:, None] + steps, starts[:, None]), inside


def gap_buckets(ms: npt.NDArray[np.integer]) -> IntVector:
    """(m,) int32 bucket of each span in milliseconds: 0 below a second, else 1 + log2 of its seconds, at most 27."""
    seconds = np.maximum(np.asarray(ms, dtype=np.float64) / 1000.0, 0.0)
    buckets = np.where(seconds < 1.0, 0.0, 1.0 + np.floor(np.log2(np.maximum(seconds, 1.0))))
    return np.minimum(buckets, GAPS - 1).astype(np.int32)
