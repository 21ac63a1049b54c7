"""What every scorer is fitted from, and the grid of settings that validation chooses among."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from scipy import sparse

from langrec.data.events import Events
from langrec.protocols import Progress, Scorer
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
        made: what one fit made of the events and the next may use again.
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
    made: dict[str, Any] = field(default_factory=dict)

    def matrix(self) -> sparse.csr_array:
        """(n_users, n_items) float32 with the greatest gain of each user and item; a gain of zero is no entry."""
        return greatest_gains(self.events, self.n_users, self.n_items)

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives from the events alone; made once. The caller reads it only."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


def with_few_pairs(matrix: sparse.csr_array, log: Events, at_most: int) -> sparse.csr_array:
    """The matrix with so few of the longest rows' entries that all rows together have at most so many pairs.

    A row of n entries has n^2 pairs: those of a few long rows outnumber all others and say the least. Rows longer than
    a bar, the same for all, keep the entries whose items came last in the log.

    Args:
        matrix: (n_users, n_items) of the log.
        log: oldest first.
    """
    lengths = np.diff(matrix.indptr).astype(np.int64)
    if int((lengths**2).sum()) <= at_most:
        return matrix
    bars = np.unique(lengths)
    fits = [int((np.minimum(lengths, bar) ** 2).sum()) <= at_most for bar in bars]
    low = int(bars[np.flatnonzero(fits)[-1]]) if any(fits) else 1
    rows = np.repeat(np.arange(matrix.shape[0]), lengths)
    key = log.users.astype(np.int64) * matrix.shape[1] + log.items
    # Of each user and item the place of its last event.
    last_keys, first_back = np.unique(key[::-1], return_index=True)
    newest = len(key) - 1 - first_back
    came = newest[np.searchsorted(last_keys, rows * np.int64(matrix.shape[1]) + matrix.indices)]
    order = np.lexsort((-came, rows))
    place = np.arange(len(rows)) - np.repeat(matrix.indptr[:-1], lengths)
    kept = np.zeros(len(rows), dtype=np.bool_)
    kept[order[place < low]] = True
    data, columns = matrix.data[kept], matrix.indices[kept]
    return sparse.csr_array((data, (rows[kept], columns)), shape=matrix.shape)


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


@runtime_checkable
class FittableScorer(Scorer, Protocol):
    """A scorer that training can fit and tune: what a class of `registry.SCORERS` or an entry point must have.

    Its settings are those of `retrieval`, unless the class names another section as `section`; "all" = every section.
    """

    @classmethod
    def fit(cls, data: FitData, settings: Any, **params: Any) -> Self:
        """Fits on the data, with one of the points of `fit_grid`."""
        ...

    @classmethod
    def fit_grid(cls, settings: Any) -> list[dict[str, Any]]:
        """Params that need a new fit each; one empty point where nothing is chosen."""
        ...

    @classmethod
    def run_grid(cls, settings: Any) -> list[dict[str, Any]]:
        """Params that a fitted scorer can change, as `with_params` takes them; likewise."""
        ...

    def with_params(self, **params: Any) -> Self:
        """The same fit with other params of `run_grid`."""
        ...


def product(**grids: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of the named values."""
    combos: list[dict[str, Any]] = [{}]
    for name, values in grids.items():
        combos = [{**combo, name: value} for combo in combos for value in values]
    return combos
