"""The few values that travel: a query, its numbered block, a scored list, and the answer with its trace.

Ids are strings at the border and int32 numbers inside. Times are int64 milliseconds since 1970-01-01 UTC.
In shapes: n items in the catalogue, q queries, h history rows of all queries together, d dimensions, k list length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from os import PathLike
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

FloatVector = npt.NDArray[np.float32]
FloatMatrix = npt.NDArray[np.float32]
IntVector = npt.NDArray[np.int32]
IntMatrix = npt.NDArray[np.int32]
TimeVector = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# A path as people give it; inside, every path is a `pathlib.Path`.
AnyPath = str | PathLike[str]


class ArrowStream(Protocol):
    """What hands out its columns as Arrow does: data frames of Polars and pandas, tables of pyarrow."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


# Data as people give it: where it lies, or a data frame.
AnyTable = AnyPath | ArrowStream

Operator = Literal["eq", "in", "ge", "le", "gt", "lt"]


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One condition on an item field, such as price le 20. A missing value fails every condition.

    Attributes:
        field: of the items (`Items.field_names`), such as price, at or title.
        op: eq and in (is the value, or one of them); ge, le, gt and lt (numbers as numbers, texts and dates as texts).
        value: what the field is compared with; a tuple of values with eq and in alone.
    """

    field: str
    op: Operator
    value: str | float | bool | tuple[str | float | bool, ...]

    def __eq__(self, other: object) -> bool:
        """As written: to Python true, 1 and 1.0 are one value, but a field that holds text tells them apart."""
        return isinstance(other, Condition) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True, slots=True)
class Filters:
    """What may be in a list.

    Attributes:
        categories: an item needs at least one of them; empty allows all.
        where: conditions that all hold.
        exclude: item ids never shown.
        drop_seen: leave out what the user's history holds, for events of `seen_types` (empty = every type).
        seen_types: event types that count as seen.
        max_age_days: leave out items whose own time is older; None allows all.
    """

    categories: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    exclude: tuple[str, ...] = ()
    drop_seen: bool = True
    seen_types: tuple[str, ...] = ()
    max_age_days: float | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One request, whatever the application.

    Attributes:
        user: the user's id. A recommender knows no histories: the service reads them from its store, others give them
            in `history`; a user without one is answered as a new visitor.
        history: item ids, oldest first; where given to the service, it replaces what its store knows of the user.
        history_at: times of the history in epoch milliseconds; empty = unknown.
        history_types: event types of the history; empty = unknown (all count as seen).
        text: a wish in natural language; a blank is none.
        vector: a ready (d,) query vector in the encoder's space.
        k: list length.
        offset: how many of the best are skipped (paging).
        filters: what may be in the list.
        at: "now"; None is the time of the call.
        meaning: for a text: 0 matches words only, 1 meaning only.
        personal: for a text: 0 answers everyone alike, 1 by the user's history only.
        without: item ids left out of the history ("what if they had not seen this?"); they are still not shown.
    """

    user: str | None = None
    history: tuple[str, ...] = ()
    history_at: tuple[int, ...] = ()
    history_types: tuple[str, ...] = ()
    text: str | None = None
    vector: FloatVector | None = None
    k: int = 10
    offset: int = 0
    filters: Filters = field(default_factory=Filters)
    at: datetime | None = None
    meaning: float = 0.5
    personal: float = 0.0
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One item as it arrives after training: new, or a new state of a known one.

    Attributes:
        id: the item's id.
        title: may be empty.
        texts: further text fields by name.
        categories: may be empty.
        image: path or URL, empty where there is none.
        at: the item's own time in epoch milliseconds, -1 where unknown.
        hidden: never shown in a list, but counts in histories.
        fields: everything else, for filters.
    """

    id: str
    title: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    image: str = ""
    at: int = -1
    hidden: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class UserLogs:
    """The whole logs of some users: m events, each user's oldest first, those of one time in the order of the log.

    Attributes:
        users: (m,) int32 which events are of one user; any numbering.
        items: (m,) int32 item numbers.
        at: (m,) int64 epoch milliseconds.
        gains: (m,) float32 how much each event says.
    """

    users: IntVector
    items: IntVector
    at: TimeVector
    gains: FloatVector

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, slots=True, eq=False)
class QueryBlock:
    """Numbered queries, as every scorer reads them: one query is a block of one.

    Attributes:
        users: (q,) int32 user numbers, -1 for a user outside the training data.
        offsets: (q + 1,) int64; the history of query i is rows offsets[i]:offsets[i + 1], oldest first.
        items: (h,) int32 item numbers; numbers at or above a scorer's own n are items it was not trained on.
        times: (h,) int64 epoch milliseconds of the history rows.
        at: (q,) int64 epoch milliseconds, the "now" of each query.
        texts: q wishes in words, None where a query has none.
        vectors: ready query vectors by space ("vectors": the encoder's, "tokens": its token table's), each (q, d)
            with a row of NaN where a query has none. The wishes in `texts` were encoded into them already.
        kept: what one scorer made of the histories and the next may use again; None = nothing is kept.
    """

    users: IntVector
    offsets: TimeVector
    items: IntVector
    times: TimeVector
    at: TimeVector
    texts: tuple[str | None, ...] = ()
    vectors: Mapping[str, FloatMatrix] = field(default_factory=dict)
    kept: dict[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def history(self, i: int) -> IntVector:
        """Item numbers of query i, oldest first."""
        return self.items[self.offsets[i] : self.offsets[i + 1]]

    def rows(self) -> IntVector:
        """(h,) the query that each history row belongs to."""
        rows: IntVector = self.keep("rows", lambda: _owners(self.offsets))
        return rows

    def steps_back(self) -> IntVector:
        """(h,) 0 for the newest row of each history, 1 for the one before, and so on."""

        def made() -> IntVector:
            lengths = self.offsets[1:] - self.offsets[:-1]
            return (np.repeat(self.offsets[1:] - 1, lengths) - np.arange(len(self.items))).astype(np.int32)

        steps: IntVector = self.keep("steps", made)
        return steps

    def take(self, rows: npt.NDArray[np.intp]) -> QueryBlock:
        """The queries at these places, in this order, as a block of their own."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        places = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return QueryBlock(
            users=self.users[rows],
            offsets=offsets,
            items=self.items[places],
            times=self.times[places],
            at=self.at[rows],
            texts=tuple(self.texts[row] for row in rows),
            vectors={space: vectors[rows] for space, vectors in self.vectors.items()},
        )

    def slice(self, start: int, stop: int) -> QueryBlock:
        """Queries start to stop as a block of their own."""
        lo, hi = self.offsets[start], self.offsets[min(stop, len(self))]
        return QueryBlock(
            users=self.users[start:stop],
            offsets=self.offsets[start : stop + 1] - lo,
            items=self.items[lo:hi],
            times=self.times[lo:hi],
            at=self.at[start:stop],
            texts=self.texts[start:stop],
            vectors={space: rows[start:stop] for space, rows in self.vectors.items()},
        )

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives; made once where things are kept. The caller reads it only."""
        if self.kept is None:
            return make()
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The items that are looked at for each query of a block, where a pass over the whole catalogue takes too long.

    Attributes:
        offsets: (q + 1,) int64; those of query i are nums[offsets[i]:offsets[i + 1]].
        nums: (m,) int32 item numbers, rising within a query, each once.
    """

    offsets: TimeVector
    nums: IntVector

    @classmethod
    def of(cls, rows: Sequence[IntVector]) -> Candidates:
        """From one array of rising numbers per query."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return cls(offsets, np.concatenate([np.zeros(0, dtype=np.int32), *rows]).astype(np.int32, copy=False))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> IntVector:
        """The numbers of query i."""
        return self.nums[self.offsets[i] : self.offsets[i + 1]]

    def rows(self) -> IntVector:
        """(m,) the query that each belongs to."""
        return self._rows

    @cached_property
    def _rows(self) -> IntVector:
        return _owners(self.offsets)


def _owners(offsets: TimeVector) -> IntVector:
    """For each row of stretches that lie end to end, which stretch it is in."""
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), offsets[1:] - offsets[:-1])


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Items that a mean is taken over, and the sample that stands for them where counting them all takes too long.

    Attributes:
        n: items of the catalogue: what every mean divides by.
        size: items of the population.
        sample: (c,) int32 rising numbers; all of the population where it is small.
        members: (n',) True for its items, where it is not the whole catalogue; items past the end are members.
    """

    n: int
    size: int
    sample: IntVector
    members: Mask | None = None

    def grown(self, n: int) -> Population:
        """The same population in a catalogue of n items: the new ones are members."""
        sample = self.sample
        if self.whole:  # who counts all goes on counting all
            sample = np.concatenate([sample, np.arange(self.n, n, dtype=np.int32)])
        return Population(n, self.size + n - self.n, sample, self.members)

    @property
    def whole(self) -> bool:
        """True where the sample is the population."""
        return len(self.sample) == self.size

    def holds(self, nums: IntVector) -> Mask:
        """(len(nums),) True for members."""
        if self.members is None or not len(self.members):
            return np.ones(len(nums), dtype=np.bool_)
        within = nums < len(self.members)
        known: Mask = self.members[np.where(within, nums, 0)]
        return known | ~within

    def mean(self, scores: FloatMatrix) -> FloatVector:
        """(q,) mean over the catalogue of max(x, 0) of the members, from (q, c) scores of the sample."""
        if not len(self.sample):
            return np.zeros(len(scores), dtype=np.float32)
        positive = np.fmax(scores, np.float32(0.0))
        share = self.size / max(len(self.sample), 1) / max(self.n, 1)
        return np.asarray(positive.sum(axis=1, dtype=np.float64) * share, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ItemList:
    """A scored list of items.

    Attributes:
        nums: (k,) int32 item numbers.
        scores: (k,) float32, higher is better, NaN = could not score.
        columns: per-item signals of the same length, by name.
    """

    nums: IntVector
    scores: FloatVector
    columns: Mapping[str, FloatVector] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.nums)

    def take(self, rows: npt.NDArray[Any]) -> ItemList:
        """The list's rows picked and ordered by index or mask."""
        return ItemList(self.nums[rows], self.scores[rows], {name: col[rows] for name, col in self.columns.items()})


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a request: how many items went in and came out, and its milliseconds."""

    name: str
    n_in: int
    n_out: int
    ms: float


@dataclass(frozen=True, slots=True)
class Trace:
    """How an answer came about.

    Attributes:
        reason: why this kind of answer, in one word: history, text, vector, new_visitor, fallback; starters, latest.
        stages: the steps in order.
        dropped: items left out, by the rule that dropped them.
        filled: how many places at the end a fallback filled, by the fallback's name.
        unknown: ids of the request that the catalogue does not hold.
        release: the stamp of the bundle that answered.
        explored: ids of the new or rare items that were drawn into the list.
        skipped: optional stages that were left out because the time for them was over.
    """

    reason: str
    stages: tuple[Stage, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    filled: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    release: str = ""
    explored: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Recommendation:
    """The answer to one query: ids best first, their scores and signals, and the trace.

    Attributes:
        ids: k item ids.
        items: the same in numbers, with scores and signals.
        trace: how the answer came about.
        propensities: (k,) the chance of each item to be in the list; None = 1, nothing was drawn.
        level: what probabilities measure the scores against (`ranking.calibration.levels`); NaN where nothing asks.
    """

    ids: tuple[str, ...]
    items: ItemList
    trace: Trace
    propensities: FloatVector | None = None
    level: float = float("nan")

    def __len__(self) -> int:
        return len(self.ids)

    def without_time_for(self, stage: str) -> Recommendation:
        """The same answer, whose trace says that an optional stage was skipped."""
        return replace(self, trace=replace(self.trace, skipped=(*self.trace.skipped, stage)))

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return zip(self.ids, (float(score) for score in self.items.scores), strict=True)
