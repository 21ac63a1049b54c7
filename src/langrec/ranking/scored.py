"""One query and what is said of every item, before any rule: the history's part, the wish's part, and their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from langrec.data.asked import Asked
from langrec.ranking.spoken import Parts, Spoken, history_parts, joined, matches, spoken_parts
from langrec.types import FloatVector, Mask, Query, QueryBlock


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A scored query.

    Attributes:
        query: as it was asked.
        asked: the same in numbers.
        block: the same as a block of one, without its wish.
        by_history: by signal, the (n,) parts of the score that the history brings.
        parts: by signal, the (n,) parts of the score.
        scores: (n,) their sum.
        matches: (n,) True for what may be shown; without a wish in words, everything.
        spoken: whether the query holds a wish: then what does not match is not shown, and nothing is filled.
        silent: whether no signal but popularity has anything to say of the history.
        rare: (n,) how well new and rare items fit by their texts, NaN for the others; None = nobody asked.
    """

    query: Query
    asked: Asked
    block: QueryBlock
    by_history: Parts
    parts: Parts
    scores: FloatVector
    matches: Mask
    spoken: bool
    silent: bool
    rare: FloatVector | None = None

    @classmethod
    def of(
        cls, query: Query, asked: Asked, block: QueryBlock, mixed: Parts, spoken: Spoken | None, silent: bool, n: int
    ) -> Self:
        """From what the mix says of the history and the readers of the wish, each (n,)."""
        by_history = history_parts(query, mixed, spoken)
        parts = joined(by_history, spoken_parts(query, spoken))
        scores = np.zeros(n, dtype=np.float32)
        for column in parts.values():
            scores += column
        shown = matches(query, spoken, n)
        return cls(query, asked, block, by_history, parts, scores, shown, spoken is not None, silent)

    @property
    def reason(self) -> str:
        """Why this kind of answer, in one word (see `Trace.reason`)."""
        if self.query.vector is not None:
            return "vector"
        if self.spoken:
            return "text"
        if not len(self.asked.history):
            return "new_visitor"
        return "fallback" if self.silent else "history"
