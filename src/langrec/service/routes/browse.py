"""Our routes for looking around: type-ahead, histories, the catalogue, categories, who gets an item."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi import Query as Param

from langrec.service import shapes
from langrec.service.bodies import Count, Offset, PathItem, PathUser, Text, now_ms
from langrec.service.guard import NotFound, needs
from langrec.service.routes import replies
from langrec.service.routes.answers import Answered, check_count, service_of
from langrec.service.served.snapshot import Snapshot
from langrec.service.store import browse_rows, event_rows, item_rows
from langrec.types import Query

reading = APIRouter(prefix="/api", tags=["browse"], dependencies=[Depends(needs("read"))])

# An item's audience is looked for among this many likely users, in lists of this length.
_LIKELY, _LIST = 128, 100

Typed = Annotated[Text, Param(max_length=200, description="what is typed so far", examples=["m"])]


@reading.get("/users/suggest", summary="Users by what is typed so far", response_model=list[replies.SuggestedUser])
def suggest_users(request: Request, q: Typed = "", n: Count = 10) -> Answered:
    """Ids that begin with it first, then those that hold it; without it those with most events."""
    service = service_of(request)
    with service.store.read() as connection:
        found = browse_rows.suggest_users(connection, q, check_count(request, n, "n"))
    return Answered([{"id": name, "n_events": n_events} for name, n_events in found])


@reading.get("/items/suggest", summary="Items by what is typed so far", response_model=list[replies.SuggestedItem])
def suggest_items(request: Request, q: Typed = "", n: Count = 10) -> Answered:
    """By title or id; titles that begin with it first, then by number of events."""
    service = service_of(request)
    with service.store.read() as connection:
        found = browse_rows.suggest_items(connection, q, check_count(request, n, "n"))
    return Answered([{"id": name, "title": title} for name, title in found])


@reading.get(
    "/user/{user}/history",
    summary="A user's events with what they were about, newest first",
    response_model=list[replies.Happened],
)
def history(request: Request, user: PathUser, n: Count = 50) -> Answered:
    """Times in milliseconds since 1970; an item that is gone is named by its id."""
    service = service_of(request)
    with service.store.read() as connection:
        rows = event_rows.history(connection, user, check_count(request, n, "n"), now_ms())
        items = item_rows.get_items(connection, list({row[0] for row in rows}))
    return Answered([_happened(items.get(row[0]), *row) for row in rows])


@reading.get("/catalogue", summary="A page of the catalogue", response_model=replies.CataloguePage)
def catalogue(
    request: Request,
    q: Typed = "",
    category: Annotated[Text, Param(description="only items of this category", examples=["Comedy"])] = "",
    sort: Annotated[Text, Param(description="id, title, events, at, or a field", examples=["title"])] = "id",
    order: Annotated[Literal["asc", "desc"], Param(description="up or down", examples=["asc"])] = "asc",
    n: Count = 50,
    offset: Offset = 0,
) -> Answered:
    """Items whose title or id holds `q`; items without the field that sorts come last."""
    service = service_of(request)
    n = check_count(request, n, "n")
    with service.store.read() as connection:
        found, total = browse_rows.catalogue_page(connection, q, category or None, sort, order == "desc", n, offset)
    rows = [_row(one) for one in found]
    return Answered({"items": rows, "total": total})


@reading.get("/categories", summary="Categories with their numbers of items", response_model=list[replies.Category])
def categories(request: Request) -> Answered:
    """Largest first."""
    with service_of(request).store.read() as connection:
        return Answered([{"name": name, "n": n} for name, n in browse_rows.categories(connection)])


@reading.get(
    "/item/{item}/audience", summary="Users whose lists hold an item, best first", response_model=list[replies.Listener]
)
async def audience(request: Request, item: PathItem, n: Count = 10) -> Answered:
    """Looks through the hundred best of 128 users who have events with items like it and none with it."""
    service = service_of(request)
    n = check_count(request, n, "n")

    def find(snapshot: Snapshot, connection: sa.Connection) -> list[dict[str, Any]]:
        recommender = snapshot.recommender
        if recommender.view(item) is None:
            raise NotFound(f"there is no item {item!r}", field="item")
        like = list(recommender.neighbours(item, 20).ids)
        users = browse_rows.likely_audience(connection, like, item, _LIKELY)
        queries = [service.known_history(Query(user=user, k=_LIST), connection) for user in users]
        found: list[dict[str, Any]] = []
        for user, answer in zip(users, recommender.recommend(queries) if queries else [], strict=True):
            if item in answer.ids:
                place = answer.ids.index(item)
                score = shapes.number(answer.items.scores[place])
                found.append({"user": user, "score": score, "position": place})
        found.sort(key=lambda one: (one["position"], -(one["score"] or 0.0), one["user"]))
        return found[:n]

    return Answered(await service.call(find))


def _happened(
    stored: item_rows.StoredItem | None, item_id: str, type: str, at: int, value: float | None
) -> dict[str, Any]:
    item = None if stored is None else stored.item
    return {
        "id": item_id,
        "title": item.title or item_id if item else item_id,
        "categories": list(item.categories) if item else [],
        "type": type,
        "value": value,
        "at": at,
    }


def _row(stored: item_rows.StoredItem) -> dict[str, Any]:
    card = shapes.item_card(stored.item)
    return card | {"hidden": stored.item.hidden, "n_events": stored.n_events, "at": stored.item.at}
