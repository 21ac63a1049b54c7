"""One query and what is said of every item, before any rule: the history's part, the wish's part, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from langrec.data.asked import Asked
from langrec.ranking.spoken import Parts, Spoken, history_parts, joined, matches, spoken_parts
from langrec.types import FloatMatrix, FloatVector, IntVector, Mask, Query, QueryBlock


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A scored query.

    Attributes:
        query: as it was asked.
        asked: the same in numbers.
        block: the same as a block of one, without its wish.
        by_history: by signal, the (n,) parts of the score that the history brings.
        parts: by signal, the (n,) parts of the score.
        table: (p, n) the same as one array, where they come as one.
        scores: (n,) their sum.
        matches: (n,) True for what may be shown; without a wish in words, everything.
        spoken: whether the query holds a wish: then what does not match is not shown, and nothing is filled.
        silent: whether no signal but popularity has anything to say of the history.
        level: what probabilities measure the scores against; NaN = nobody asked.
        rare: (n,) how well new and rare items fit by their texts, NaN for the others; None = nobody asked.
    """

    query: Query
    asked: Asked
    block: QueryBlock
    by_history: Parts
    parts: Parts
    table: FloatMatrix | None
    scores: FloatVector
    matches: Mask
    spoken: bool
    silent: bool
    level: float = float("nan")
    rare: FloatVector | None = None

    @classmethod
    def of(
        cls,
        query: Query,
        asked: Asked,
        block: QueryBlock,
        names: Sequence[str],
        table: FloatMatrix,
        mixed: FloatVector,
        spoken: Spoken | None,
        silent: bool,
    ) -> Self:
        """From what the mix says of the history and the readers of the wish.

        Args:
            names: p signals.
            table: (p, n) what each says of the history.
            mixed: (n,) the sum of the table.
            spoken: by reader, the (n,) scores of the wish.
        """
        n = table.shape[1]
        mix = dict(zip(names, table, strict=True))
        if spoken is None:
            return cls(query, asked, block, mix, mix, table, mixed, np.ones(n, dtype=np.bool_), False, silent)
        by_history = history_parts(query, mix, spoken)
        parts = joined(by_history, spoken_parts(query, spoken))
        scores = np.zeros(n, dtype=np.float32)
        for column in parts.values():
            scores += column
        return cls(query, asked, block, by_history, parts, None, scores, matches(query, spoken, n), True, silent)

    def columns(self, nums: IntVector) -> Parts:
        """By signal, the parts of these items."""
        if self.table is not None:
            return dict(zip(self.parts, self.table[:, nums], strict=True))
        return {name: column[nums] for name, column in self.parts.items()}

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
