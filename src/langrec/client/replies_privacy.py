"""What calls about a person's data give back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langrec.client.shape import named


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
class DeletedEvent:
    """The key of an event that was deleted by itself."""

    item: str
    type: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that an import refused and kept."""

    reason: str
    data: str


@dataclass(frozen=True, slots=True)
class Export:
    """All that the store knows of a user."""

    user: str
    profile: Profile | None
    events: tuple[OwnEvent, ...]
    impressions: tuple[ShownList, ...]
    receipts: tuple[str, ...]
    deleted_events: tuple[DeletedEvent, ...] = ()
    refused_rows: tuple[RefusedRow, ...] = ()


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
