"""What calls give back: frozen values, times as aware datetimes, None where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from langrec.client.shape import named

# ---- lists ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scored:
    """An id with its score; higher is better, and scores of one list compare."""

    id: str = named("Id")
    score: float = named("Score")


@dataclass(frozen=True, slots=True)
class Titled:
    """An item by name; `contribution` is what it adds to a score, where that was asked."""

    id: str
    title: str
    contribution: float | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """The short reason of an item: what it rests on, items of the history behind it, the scorer that counts most."""

    kind: str
    items: tuple[Titled, ...]
    scorer: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An item of a list.

    Attributes:
        score: higher is better; None where it could not be scored.
        position: place in the whole list, from 0.
        sources: each scorer's part of the score.
        reason: where it was asked for.
        probability: the chance to be what the user chooses next, where it was asked for and is known.
        matched: words of the search that the item holds.
    """

    id: str
    title: str
    categories: tuple[str, ...]
    image: str
    fields: dict[str, Any]
    score: float | None
    position: int
    sources: dict[str, float]
    reason: Why | None = None
    probability: float | None = None
    matched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of an answer: items before and after it, and its milliseconds."""

    name: str
    n_in: int
    n_out: int
    ms: float


@dataclass(frozen=True, slots=True)
class Trace:
    """How an answer came about; see `langrec.types.Trace`."""

    reason: str
    stages: tuple[Stage, ...]
    dropped: dict[str, int]
    filled: dict[str, int]
    unknown: tuple[str, ...]
    release: str
    explored: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class List:
    """Items best first, and how they were found."""

    items: tuple[Listed, ...]
    trace: Trace
    request_id: str

    @property
    def ids(self) -> tuple[str, ...]:
        """The items' ids, best first."""
        return tuple(one.id for one in self.items)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A condition that a search went by."""

    field: str
    op: str
    value: Any


@dataclass(frozen=True, slots=True)
class Understood:
    """What a search went by."""

    words: tuple[str, ...]
    categories: tuple[str, ...]
    where: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Found(List):
    """A page of found items; `cursor` leads to the next, and is None on the last."""

    total: int
    understood: Understood
    cursor: str | None
    ms: float


@dataclass(frozen=True, slots=True)
class Part:
    """What a scorer adds to a score: weight times value."""

    scorer: str
    weight: float | None
    value: float | None
    contribution: float | None
    history: tuple[Titled, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """The exact account of a score: the contributions sum to it."""

    user: str
    item: str
    title: str
    score: float | None
    position: int | None
    dropped_by: str | None
    contributions: tuple[Part, ...]
    reason: Why


@dataclass(frozen=True, slots=True)
class Listener:
    """A user whose list holds the asked item, and where."""

    user: str
    score: float | None
    position: int


# ---- data ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class User:
    """A user, as written and as read."""

    id: str = named("UserId")
    labels: Any = named("Labels", default=None)
    comment: str = named("Comment", default="")


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as the store holds it; one is written as a `langrec.Item`."""

    id: str = named("ItemId")
    hidden: bool = named("IsHidden")
    categories: tuple[str, ...] = named("Categories")
    at: datetime | None = named("Timestamp")
    labels: Any = named("Labels")
    comment: str = named("Comment")


@dataclass(frozen=True, slots=True)
class Event:
    """An event, as written and as read; written without a time it happens now.

    Attributes:
        once: an id of your own: sent again, by whomever and whenever, the event counts once. Never read back.
    """

    user: str = named("UserId")
    item: str = named("ItemId")
    type: str = named("FeedbackType")
    at: datetime | None = named("Timestamp", default=None)
    value: float | None = named("Value", default=None)
    comment: str = named("Comment", default="")
    once: str = named("EventId", default="")


@dataclass(frozen=True, slots=True)
class UsersPage:
    """A page of users; an empty cursor says that it is the last."""

    rows: tuple[User, ...] = named("Users")
    cursor: str = named("Cursor")


@dataclass(frozen=True, slots=True)
class ItemsPage:
    """A page of items."""

    rows: tuple[StoredItem, ...] = named("Items")
    cursor: str = named("Cursor")


@dataclass(frozen=True, slots=True)
class EventsPage:
    """A page of events."""

    rows: tuple[Event, ...] = named("Feedback")
    cursor: str = named("Cursor")


@dataclass(frozen=True, slots=True)
class Affected:
    """How many rows a write changed."""

    rows: int = named("RowAffected")


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row of a bulk that was not taken: its place in the whole, from 1, and why."""

    row: int = named("Row")
    reason: str = named("Reason")


@dataclass(frozen=True, slots=True)
class BulkWritten:
    """What became of a bulk: rows written, rows refused, and some of the refused with their reasons."""

    rows: int = named("RowAffected")
    refused: int = named("RowRefused")
    reasons: tuple[RefusedRow, ...] = named("Refused")


# ---- what people may ask for ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a user beside events."""

    labels: Any
    comment: str
    n_events: int


@dataclass(frozen=True, slots=True)
class OwnEvent:
    """An event of an export."""

    item: str
    type: str
    at: datetime | None
    value: float | None
    comment: str


@dataclass(frozen=True, slots=True)
class ShownList:
    """A list that was shown to a user."""

    request: str
    kind: str
    at: datetime | None
    release: str
    offset: int
    items: tuple[str, ...]
    scores: tuple[float | None, ...]
    propensities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """All that the store knows of a user."""

    user: str
    profile: Profile | None
    events: tuple[OwnEvent, ...]
    impressions: tuple[ShownList, ...]
    receipts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a deletion removed, and what becomes of the rest; the later fields are told by a new look alone.

    Attributes:
        receipt: its id.
        removed: rows by kind.
        exact: models that are as fitted without the user.
        scheduled: models that hold the user's part until the next training.
        remains: what stays where.
        left: rows from before the deletion that a new look found.
    """

    receipt: str
    user: str
    at: datetime
    release: str
    removed: dict[str, int]
    exact: tuple[str, ...]
    scheduled: tuple[str, ...]
    why_scheduled: str
    remains: tuple[str, ...]
    left: dict[str, int] | None = None
    nothing_left: bool | None = None
    came_back: bool | None = None
    out_of_models: bool | None = None
    in_releases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deleted:
    """A user's deletion: 1 row, or 0 where there was nobody, and the receipt."""

    rows: int = named("RowAffected")
    receipt: Receipt = named("Receipt")


# ---- looking around ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SuggestedUser:
    """A user for type-ahead."""

    id: str
    n_events: int


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a user with what it was about."""

    id: str
    title: str
    categories: tuple[str, ...]
    type: str
    value: float | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """An item of the catalogue."""

    id: str
    title: str
    categories: tuple[str, ...]
    image: str
    fields: dict[str, Any]
    hidden: bool
    n_events: int
    at: datetime | None


@dataclass(frozen=True, slots=True)
class CataloguePage:
    """A page of the catalogue, and how many items fit in all."""

    items: tuple[CatalogueRow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Category:
    """A category with its number of items."""

    name: str
    n: int


# ---- running a server ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the server can serve, the release in use, and why the newest one is not."""

    ready: bool = named("Ready")
    store_error: str | None = named("DataStoreError")
    release: str = named("Release")
    problem: str | None = named("Problem")


@dataclass(frozen=True, slots=True)
class Step:
    """Fifteen seconds of all workers."""

    at: datetime
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Stats:
    """The last hour; `shed` requests were refused because too many waited."""

    series: tuple[Step, ...]
    queue: int
    shed: int
    cache: dict[str, int]
    freshness: dict[str, int | None]
    worker: str


@dataclass(frozen=True, slots=True)
class Release:
    """The release in use."""

    stamp: str
    age_seconds: float | None
    n_items: int
    n_users: int
    n_events: int
    models: tuple[str, ...]
    encoder: str | None
    size_bytes: int
    overlay_items: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a model on a slice of the test, with its 95 % interval."""

    model: str
    slice: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release of the folder; `problem` says why it cannot be served."""

    stamp: str
    current: bool
    made_at: datetime | None
    data: dict[str, Any]
    metrics: tuple[Metric, ...]
    size_bytes: int
    ok: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did; `hash` covers the row and the hash of the row before."""

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: Any
    before: str
    hash: str


@dataclass(frozen=True, slots=True)
class ActsPage:
    """A page of the audit."""

    rows: tuple[Act, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Served:
    """The release that is served now."""

    stamp: str


@dataclass(frozen=True, slots=True)
class Measure:
    """What a release was measured to be worth, and by which protocol."""

    release: str
    metrics: tuple[Metric, ...]
    protocol: dict[str, Any]
    chosen: str
    seconds: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeasuredItem:
    """An item of a measured list."""

    id: str
    title: str
    score: float | None


@dataclass(frozen=True, slots=True)
class MeasuredLists:
    """Lists of several models for a user, and the names of all that have some."""

    user: str
    lists: dict[str, tuple[MeasuredItem, ...]]
    models: tuple[str, ...]
