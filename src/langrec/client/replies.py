"""What calls give back: frozen values, times as aware datetimes, None where there is none."""

from __future__ import annotations

from dataclasses import dataclass
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
