"""What replies hold, for the description of the API: shapes with examples, against which no reply is checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

STAMP = "20240501T120000-03d072d1"

ItemId = Annotated[str, Field(description="an item's id", examples=["m1"])]
UserId = Annotated[str, Field(description="a user's id", examples=["ann"])]
Title = Annotated[str, Field(description="the item's title; its id where it has none", examples=["Moon Bakery"])]
Categories = Annotated[list[str], Field(examples=[["Comedy"]])]
Score = Annotated[float | None, Field(description="higher is better; scores of one list compare", examples=[2.25])]
Position = Annotated[int, Field(description="place in the whole list, from 0", examples=[0])]
Millis = Annotated[int, Field(description="milliseconds since 1970; -1 for none", examples=[1714564800000])]
Stamp = Annotated[str, Field(description="a release's name", examples=[STAMP])]
RequestId = Annotated[str, Field(description="as in the header X-Request-Id", examples=["5f0c6f0e2b6d4c57"])]
Problem = Annotated[str | None, Field(description="why the newest release is not in use", examples=[None])]


class Error(BaseModel):
    """What went wrong, as for every status from 400."""

    code: str = Field(description="a word for programs", examples=["bad_request"])
    message: str = Field(description="a line for people", examples=["k: Input should be greater than or equal to 1"])
    field: str | None = Field(description="the parameter at fault", examples=["k"])
    request_id: RequestId


# Lists


class Scored(BaseModel):
    """An id with its score; best first in a list."""

    Id: ItemId
    Score: float = Field(description="higher is better; scores of one list compare", examples=[2.25])


class Neighbour(BaseModel):
    """A user with the cosine of their items and the asked user's."""

    Id: str = Field(description="a user's id", examples=["bob"])
    Score: float = Field(examples=[0.75])


class Titled(BaseModel):
    """An item by name."""

    id: str = Field(description="an item's id", examples=["m7"])
    title: str = Field(examples=["Harbour Lights"])


class Why(BaseModel):
    """The short reason of an item."""

    kind: str = Field(description="what the reason rests on", examples=["similar_text"])
    items: list[Titled] = Field(description="items of the history behind it")
    scorer: str = Field(description="the scorer that counts most", examples=["bm25"])


class Card(BaseModel):
    """What a list shows of an item."""

    id: ItemId
    title: Title
    categories: Categories
    image: str = Field(description="address of a picture; may be empty", examples=["https://example.org/m1.jpg"])
    fields: dict[str, Any] = Field(
        description="texts and other fields", examples=[{"description": "Two friends bake on the moon.", "year": 2024}]
    )


class Listed(Card):
    """An item of a list."""

    score: Score
    position: Position
    sources: dict[str, float] = Field(
        description="each scorer's part of the score", examples=[{"ease": 1.5, "bm25": 0.75}]
    )


class Recommended(Listed):
    """An item of a recommendation; with its reason where `explain` is true, its chance where `probability` is."""

    reason: Why | None = None
    probability: float | None = Field(
        default=None, description="chance to be what the user chooses next; null where unknown", examples=[0.04]
    )


class Matched(Listed):
    """An item of a search."""

    matched: list[str] = Field(description="words of the search that the item holds", examples=[["moon"]])


class Stage(BaseModel):
    """A step of an answer."""

    name: str = Field(examples=["filter"])
    n_in: int = Field(description="items before it", examples=[1682])
    n_out: int = Field(description="items after it", examples=[1640])
    ms: float = Field(examples=[0.025])


class Trace(BaseModel):
    """How an answer came about."""

    reason: str = Field(description="history, text, vector, new_visitor, fallback or starters", examples=["history"])
    stages: list[Stage]
    dropped: dict[str, int] = Field(description="items left out, by rule", examples=[{"seen": 42}])
    filled: dict[str, int] = Field(description="items put in by a fallback", examples=[{}])
    unknown: list[str] = Field(description="ids that nobody knows", examples=[[]])
    release: Stamp
    explored: list[str] = Field(description="new or rare items that were drawn into the list", examples=[[]])
    skipped: list[str] = Field(description="optional stages left out for want of time", examples=[[]])


class RecommendReply(BaseModel):
    """A list with its reasons and its trace."""

    items: list[Recommended]
    trace: Trace
    request_id: RequestId


class OnboardingReply(BaseModel):
    """Items to ask someone new about; a score is the share of choices that only this one speaks for."""

    items: list[Listed]
    trace: Trace
    request_id: RequestId


class UnderstoodCondition(BaseModel):
    """A condition that a search went by."""

    field: str = Field(examples=["price"])
    op: Literal["eq", "in", "ge", "le", "gt", "lt"] = Field(examples=["le"])
    value: Any = Field(examples=[20])


class Understood(BaseModel):
    """What a search went by."""

    words: list[str] = Field(examples=[["bakery", "on", "the", "moon"]])
    categories: Categories
    where: list[UnderstoodCondition]


class SearchReply(BaseModel):
    """A page of found items."""

    items: list[Matched]
    total: int = Field(description="how many items fit", examples=[12])
    understood: Understood
    cursor: str | None = Field(
        description="for the next page; null on the last one",
        examples=["WyJjNjFhMDJhMDhlMDciLCAxLCAxLCAibTEiLCAyLjI1XQ"],
    )
    ms: float = Field(examples=[3.5])
    trace: Trace
    request_id: RequestId


class HistoryPart(Titled):
    """What an item of the history adds."""

    contribution: float | None = Field(examples=[0.5])


class Part(BaseModel):
    """What a scorer adds to a score."""

    scorer: str = Field(examples=["ease"])
    weight: float | None = Field(examples=[1.5])
    value: float | None = Field(examples=[1.5])
    contribution: float | None = Field(description="weight times value; they sum to the score", examples=[2.25])
    history: list[HistoryPart] = Field(description="the items of the history that carried it, largest first")


class ExplainReply(BaseModel):
    """The exact account of a score."""

    user: UserId
    item: ItemId
    title: Title
    score: Score
    position: int | None = Field(description="among all allowed items, from 0; null where it is left out", examples=[0])
    dropped_by: str | None = Field(description="the rule that leaves it out", examples=[None])
    contributions: list[Part]
    reason: Why


# Data


class Affected(BaseModel):
    """Rows that a write changed."""

    RowAffected: int = Field(examples=[1])


class RefusedRow(BaseModel):
    """A row that was not taken."""

    Row: int = Field(description="its number in the body, from 1", examples=[2])
    Reason: str = Field(examples=["ItemId: Field required"])


class BulkWritten(BaseModel):
    """What became of the rows of a bulk write."""

    RowAffected: int = Field(examples=[1])
    RowRefused: int = Field(examples=[1])
    Refused: list[RefusedRow] = Field(description="the first hundred of them")


class UserReply(BaseModel):
    """A user in Gorse's words."""

    UserId: UserId
    Labels: Any = Field(examples=[{"country": "SE"}])
    Comment: str = Field(examples=["met at the fair"])


class ItemReply(BaseModel):
    """An item in Gorse's words."""

    ItemId: ItemId
    IsHidden: bool = Field(examples=[False])
    Categories: Categories
    Timestamp: str = Field(description="0001-01-01T00:00:00Z for none", examples=["2024-05-01T12:00:00Z"])
    Labels: Any = Field(examples=[{"description": "Two friends bake on the moon.", "year": 2024}])
    Comment: str = Field(examples=["Moon Bakery"])


class FeedbackReply(BaseModel):
    """An event in Gorse's words."""

    FeedbackType: str = Field(examples=["click"])
    UserId: UserId
    ItemId: ItemId
    Value: float = Field(examples=[0.0])
    Timestamp: str = Field(examples=["2024-05-01T12:00:00Z"])
    Comment: str = Field(examples=["from the start page"])


class UsersPage(BaseModel):
    """A page of users."""

    Cursor: str = Field(description="for the next page; empty on the last one", examples=["ann"])
    Users: list[UserReply]


class ItemsPage(BaseModel):
    """A page of items."""

    Cursor: str = Field(description="for the next page; empty on the last one", examples=["m1"])
    Items: list[ItemReply]


class FeedbackPage(BaseModel):
    """A page of events."""

    Cursor: str = Field(description="for the next page; empty on the last one", examples=["17"])
    Feedback: list[FeedbackReply]


# Looking around


class SuggestedUser(BaseModel):
    """A user for type-ahead."""

    id: UserId
    n_events: int = Field(examples=[6])


class SuggestedItem(BaseModel):
    """An item for type-ahead."""

    id: ItemId
    title: Title


class Happened(BaseModel):
    """An event with what it was about."""

    id: ItemId
    title: Title
    categories: Categories
    type: str = Field(examples=["click"])
    value: float | None = Field(examples=[None])
    at: Millis


class CatalogueRow(Card):
    """An item of the catalogue."""

    hidden: bool = Field(examples=[False])
    n_events: int = Field(examples=[5])
    at: Millis


class CataloguePage(BaseModel):
    """A page of the catalogue."""

    items: list[CatalogueRow]
    total: int = Field(description="how many items fit", examples=[1682])


class Category(BaseModel):
    """A category with its number of items."""

    name: str = Field(examples=["Comedy"])
    n: int = Field(examples=[505])


class Listener(BaseModel):
    """A user whose list holds the asked item."""

    user: UserId
    score: Score
    position: Position
