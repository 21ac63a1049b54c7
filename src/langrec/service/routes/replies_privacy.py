"""What replies about a person's data hold, for the description of the API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from langrec.service.routes.replies import Millis, Stamp, UserId


class ExportedEvent(BaseModel):
    """One event."""

    item: str = Field(examples=["m1"])
    type: str = Field(examples=["click"])
    at: Millis
    value: float | None = Field(examples=[None])
    comment: str = Field(examples=[""])


class ExportedList(BaseModel):
    """A list that was shown."""

    request: str = Field(examples=["9f3e0a77c1d24c5c"])
    kind: str = Field(examples=["recommend"])
    at: Millis
    release: Stamp
    offset: int = Field(examples=[0])
    items: list[str] = Field(examples=[["m1", "m2"]])
    scores: list[float | None] = Field(examples=[[3.2, 2.9]])
    propensities: list[float] = Field(examples=[[1.0, 1.0]])


class DeletedEvent(BaseModel):
    """The key of an event that was deleted by itself."""

    item: str = Field(examples=["m1"])
    type: str = Field(examples=["click"])
    at: Millis


class RefusedRow(BaseModel):
    """A row that an import refused and kept."""

    reason: str = Field(examples=["ItemId: Field required"])
    data: str = Field(examples=['{"UserId": "ann", "FeedbackType": "click"}'])


class Profile(BaseModel):
    """What is known of a user beside events."""

    labels: Any = Field(examples=[{"age": 30}])
    comment: str = Field(examples=[""])
    n_events: int = Field(examples=[12])


class ExportReply(BaseModel):
    """All that the store knows of a user."""

    user: UserId
    profile: Profile | None = Field(description="None for a deleted user")
    events: list[ExportedEvent]
    impressions: list[ExportedList]
    deleted_events: list[DeletedEvent] = Field(description="keys of events that were deleted one by one")
    refused_rows: list[RefusedRow] = Field(description="rows of the user that an import refused and kept")
    receipts: list[str] = Field(description="of former deletions", examples=[[]])


class Counted(BaseModel):
    """Rows of a user."""

    events: int = Field(examples=[0])
    impressions: int = Field(examples=[0])
    removed_keys: int = Field(description="keys of events that were deleted one by one", examples=[0])
    refused_rows: int = Field(description="rows that an import refused and kept", examples=[0])
    profile_fields: int = Field(examples=[0])


class Chained(BaseModel):
    """Where the deletion stands in the audit."""

    row: int = Field(examples=[7])
    holds: bool = Field(description="the row is as it was written, and holds the hash of the receipt", examples=[True])


class Retrained(BaseModel):
    """The training that no longer knew the user."""

    release: Stamp
    at: Millis


class Receipt(BaseModel):
    """What a deletion removed, and what becomes of the rest."""

    receipt: str = Field(examples=["5f2b7a0c9d1e4f38a6b0c7d2e9f41a53"])
    user: UserId
    at: Millis
    release: Stamp
    removed: Counted
    exact: list[str] = Field(
        description="models that are as fitted without the user, in each worker within serve.update_seconds",
        examples=[["ease", "itemknn", "popular"]],
    )
    scheduled: list[str] = Field(
        description="models that hold the user's part until the next retraining", examples=[["id_tower"]]
    )
    why_scheduled: str = Field(description="why a linear model is among them", examples=[""])
    remains: list[str] = Field(description="what stays where", examples=[["the audit names the id"]])


class ReceiptReply(Receipt):
    """A receipt, and what a new look finds."""

    actor: str = Field(examples=["local"])
    audit: Chained
    left: Counted = Field(description="rows from before the deletion")
    nothing_left: bool = Field(examples=[True])
    came_back: bool = Field(description="the user was written anew since", examples=[False])
    retrained: Retrained | None = Field(description="None until it has taken place")
    in_releases: list[str] = Field(
        description="releases on the disk whose training events hold the user", examples=[["20240501T120000-03d072d1"]]
    )
    out_of_models: bool = Field(description="the models in `exact` hold nothing of the user", examples=[True])


class DeletedReply(BaseModel):
    """Gorse's reply, and the receipt."""

    RowAffected: int = Field(examples=[1])
    Receipt: Receipt
