"""Every seam of langrec on one page. Batch first: one query is a batch of one.

Three rules hold for all that score:
1. Ids are never the model's shape: unknown users, items without training and plain texts get a defined answer.
2. Hot (in training), warm (has text or history, no training) and cold (has nothing) each have a documented behaviour.
3. A part never changes its arguments, and a fitted part never changes: extending it gives a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

from langrec.types import (
    Candidates,
    FloatMatrix,
    FloatVector,
    IntMatrix,
    IntVector,
    Mask,
    Population,
    QueryBlock,
    TimeVector,
    UserLogs,
)

Role = Literal["query", "item"]


class Progress(Protocol):
    """Told what is being done and how far it is; total 0 = unknown."""

    def __call__(self, what: str, done: int, total: int, /) -> None: ...


def untold(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@runtime_checkable
class Part(Protocol):
    """Something that a bundle keeps in a folder of its own. No pickle: npz, safetensors, parquet, ONNX, JSON."""

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...


@runtime_checkable
class Encoder(Protocol):
    """Text to unit vectors.

    `identity` names the space (model, revision, pooling, dimension, hash): vectors of two identities are never mixed.
    """

    @property
    def dim(self) -> int: ...

    @property
    def identity(self) -> str: ...

    def encode(self, texts: Sequence[str], role: Role = "item") -> FloatMatrix:
        """(len(texts), dim) float32 unit rows; a blank text gets a zero row."""
        ...


@runtime_checkable
class Index(Part, Protocol):
    """Nearest items by inner product, numbers in and out.

    An index never changes: `with_items`, `without` and `compacted` give a new one that shares what is large with the
    old, so that a search on the old one is undisturbed. Numbers need not be without gaps.
    """

    @property
    def dim(self) -> int: ...

    def __len__(self) -> int:
        """How many items it holds."""
        ...

    def search(self, vectors: FloatMatrix, k: int, allowed: Mask | None = None) -> tuple[IntMatrix, FloatMatrix]:
        """Finds the k nearest items of each vector.

        Args:
            vectors: (q, d) float32; a row that holds NaN finds nothing.
            k: items per row.
            allowed: True at the numbers that may be found; numbers beyond its end may not. None allows all. It is
                looked at during the search: k places are filled as long as so many items are allowed. A mask that is
                read-only and owns its data may be remembered: make those so that are asked for again.

        Returns:
            Numbers (q, k) int32 and scores (q, k) float32, best first, ties by number; -1 and NaN where there are
            fewer than k items.

        Raises:
            DataError: the width of `vectors` is not the index's.
        """
        ...

    def with_items(self, nums: IntVector, vectors: FloatMatrix) -> Self:
        """An index that holds these m items too, or instead of what it held of them; takes time by m, not by size."""
        ...

    def without(self, nums: IntVector) -> Self:
        """An index that does not hold these items; numbers that it never held are passed over."""
        ...

    def compacted(self) -> Self:
        """An index of the same items, with what was changed since it was built worked into its base."""
        ...


@runtime_checkable
class Scorer(Part, Protocol):
    """Scores the whole catalogue for a block of queries: the one thing that every model of langrec does.

    `n_items` is the width of its answer. Scores are float32, higher is better; NaN says "cannot score", which is
    every item for a query that the scorer has nothing to say about. What training needs of one beside this is
    `data.fitting.FittableScorer`.
    """

    @property
    def n_items(self) -> int: ...

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) scores."""
        ...


@runtime_checkable
class ItemReader(Protocol):
    """A scorer that can take in new items, or new texts of known ones, without a training."""

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None) -> Self:
        """A scorer that knows these items too.

        Args:
            nums: (m,) item numbers; those below n_items are replaced, the others must continue n_items upwards.
            texts: m texts, made as the catalogue's texts were.
            vectors: (m, d) vectors of the texts in this scorer's space, for scorers that read vectors.
        """
        ...


@runtime_checkable
class EventReader(Protocol):
    """A scorer that can take in events that came after its training."""

    def with_events(self, items: IntVector, at: TimeVector, gains: FloatVector) -> Self:
        """A scorer that knows these (m,) events too, in any order; items beyond n_items widen it."""
        ...


@runtime_checkable
class EventRemover(Protocol):
    """A scorer that can forget events that it was fitted on or has taken in: the twin of `EventReader`."""

    def without_events(self, items: IntVector, at: TimeVector, gains: FloatVector) -> Self:
        """A scorer that does not know these (m,) events, in any order; those that it never knew are passed over."""
        ...


@runtime_checkable
class ClosedForm(Protocol):
    """A scorer that a change of the log changes as a new fit would, up to rounding, without reading the other users."""

    def with_logs(self, before: UserLogs, after: UserLogs) -> Self:
        """A scorer as if these users' logs had been `after`, where they were `before`; new items widen it.

        Added events are in `after` alone, removed ones in `before` alone; a user who is deleted is in `before` alone.

        Raises:
            NotTrained: the scorer was fitted, or loaded, without what this needs (`FitData.growing`).
        """
        ...


@runtime_checkable
class Additive(Protocol):
    """A scorer whose score of an item is a sum over the history: it can be explained exactly."""

    def contributions(self, block: QueryBlock, nums: IntVector) -> FloatMatrix:
        """(h, len(nums)) what each history row of a block of one query adds to each item's score: columns sum to it."""
        ...


@runtime_checkable
class ItemScorer(Protocol):
    """A scorer that scores items by their numbers, without a pass over the catalogue."""

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) what `score_block` says of each query's candidates; NaN for numbers at or above `n_items`."""
        ...

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) the mean over the catalogue of max(score, 0) of the population's items, NaN counting as 0.

        Exact where that is cheap, else estimated from the population's sample; exact where the sample is all of it.
        """
        ...


@runtime_checkable
class Retriever(Protocol):
    """Finds candidates by its own scores."""

    def retrieve(self, block: QueryBlock, k: int, allowed: Mask | None = None) -> Candidates:
        """At most k items of each query: those of its highest scores above 0, or nearly so.

        Args:
            allowed: True at the numbers that may be found; numbers beyond its end may not. None allows all.
        """
        ...


@runtime_checkable
class Searched(Protocol):
    """A scorer whose scores rise with an inner product: an index of its rows finds its best."""

    @property
    def n_items(self) -> int: ...

    def index_rows(self, nums: IntVector) -> FloatMatrix:
        """(len(nums), d) one row per item, zeros for items that it cannot score."""
        ...

    def index_queries(self, block: QueryBlock) -> FloatMatrix:
        """(q, d) what the rows are multiplied by; a row of NaN for queries that it has nothing to say about."""
        ...
