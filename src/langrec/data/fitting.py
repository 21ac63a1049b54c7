"""What every scorer is fitted from, and the grid of settings that validation chooses among."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from scipy import sparse

from langrec.data.events import Events
from langrec.protocols import Progress, Scorer
from langrec.settings import RetrievalSettings
from langrec.types import FloatMatrix, UserLogs


@dataclass(frozen=True, slots=True, eq=False)
class FitData:
    """The training side of one fit; nothing in it lies after the cut.

    Attributes:
        events: training events, oldest first.
        n_users: users in the data set.
        n_items: items in the catalogue, those without an event included.
        texts: n item texts.
        vectors: (n, d) item vectors by space.
        judge: NDCG@10 of a scorer on at most so many validation questions, for a training that stops early; None =
            train to the end.
        kept: folder where a long fit keeps its checkpoints and its result; None keeps nothing.
        told: is told how far a long fit is.
        board: takes the scalars of a long fit's steps: the run, values by name, the step.
        growing: scorers in closed form keep what `with_logs` needs (sums over all users, in memory, never saved).
    """

    events: Events
    n_users: int
    n_items: int
    texts: Sequence[str] = ()
    vectors: Mapping[str, FloatMatrix] = field(default_factory=dict)
    judge: Callable[[Scorer, int], float] | None = None
    kept: Path | None = None
    told: Progress | None = None
    board: Callable[[str, Mapping[str, float], int], None] | None = None
    growing: bool = False

    def matrix(self) -> sparse.csr_array:
        """(n_users, n_items) float32 with the greatest gain of each user and item; a gain of zero is no entry."""
        return greatest_gains(self.events, self.n_users, self.n_items)


def greatest_gains(log: Events | UserLogs, n_users: int, n_items: int) -> sparse.csr_array:
    """(n_users, n_items) float32 with the greatest gain of each user and item; a gain of zero is no entry."""
    key = log.users.astype(np.int64) * n_items + log.items
    order = np.lexsort((log.gains, key))
    last = np.flatnonzero(np.r_[np.diff(key[order]) != 0, True]) if len(order) else order
    rows = order[last]
    matrix = sparse.csr_array(
        (log.gains[rows], (log.users[rows], log.items[rows])), shape=(n_users, n_items), dtype=np.float32
    )
    matrix.eliminate_zeros()
    return matrix


class FittableScorer(Scorer, Protocol):
    """A scorer that training can fit and tune.

    `fit_grid` lists settings that need a new fit; `run_grid` lists settings that a fitted scorer can change.
    """

    @classmethod
    def fit(cls, data: FitData, settings: RetrievalSettings, **params: Any) -> Self: ...

    @classmethod
    def fit_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]: ...

    @classmethod
    def run_grid(cls, settings: RetrievalSettings) -> list[dict[str, Any]]: ...

    def with_params(self, **params: Any) -> Self: ...


def product(**grids: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of the named values."""
    combos: list[dict[str, Any]] = [{}]
    for name, values in grids.items():
        combos = [{**combo, name: value} for combo in combos for value in values]
    return combos
