"""Gorse's routes for feedback: the events that its published clients write and read."""

from __future__ import annotations

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request

from langrec.service import shapes
from langrec.service.bodies import GorseFeedback, PathItem, PathType, PathUser, now_ms
from langrec.service.guard import NotFound, needs
from langrec.service.routes import replies
from langrec.service.routes.answers import (
    After,
    Answered,
    Page,
    RepeatKey,
    check_batch,
    check_count,
    cursor_of,
    place_of,
    service_of,
    written,
)
from langrec.service.store import audit, event_rows
from langrec.service.store.once import RequestKey, content_of

reading = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("read"))])
writing = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("write"))])


@writing.post("/feedback", summary="Append events; values of the same event add up", response_model=replies.Affected)
async def post_feedback(request: Request, body: list[GorseFeedback], key: RepeatKey = "") -> Answered:
    """User, item, type and time together are the key. Users and items that nobody has described are made."""
    return written(await _put_feedback(request, body, key, overwrite=False))


@writing.put("/feedback", summary="Write events; the same event is overwritten", response_model=replies.Affected)
async def put_feedback(request: Request, body: list[GorseFeedback], key: RepeatKey = "") -> Answered:
    """User, item, type and time together are the key. Users and items that nobody has described are made."""
    return written(await _put_feedback(request, body, key, overwrite=True))


@reading.get("/feedback", summary="Events in the order of arrival, in pages", response_model=replies.FeedbackPage)
def get_feedback(request: Request, n: Page = 10, cursor: After = "") -> Answered:
    """`Cursor` is empty on the last page."""
    return _feedback_page(request, n, cursor, None)


@reading.get("/feedback/{type}", summary="Events of a type, in pages", response_model=replies.FeedbackPage)
def get_feedback_of_type(request: Request, type: PathType, n: Page = 10, cursor: After = "") -> Answered:
    """`Cursor` is empty on the last page."""
    return _feedback_page(request, n, cursor, type)


@reading.get(
    "/feedback/{user}/{item}", summary="A user's events with an item", response_model=list[replies.FeedbackReply]
)
def get_feedback_of_pair(request: Request, user: PathUser, item: PathItem) -> Answered:
    """Of every type, newest first."""
    return _feedback(request, user=user, item=item)


@reading.get(
    "/feedback/{type}/{user}/{item}",
    summary="A user's newest event of a type with an item",
    response_model=replies.FeedbackReply,
)
def get_one_feedback(request: Request, type: PathType, user: PathUser, item: PathItem) -> Answered:
    """404 where there is none."""
    with service_of(request).store.read() as connection:
        found = event_rows.find_events(connection, user=user, item=item, type=type, n=1, newest=True)
    if not found:
        raise NotFound(f"user {user!r} has no event {type!r} with item {item!r}", field="item")
    return Answered(shapes.gorse_event(found[0]))


@writing.delete(
    "/feedback/{user}/{item}", summary="Delete a user's events with an item", response_model=replies.Affected
)
async def delete_feedback(request: Request, user: PathUser, item: PathItem) -> Answered:
    """Of every type."""
    return written(await _delete_feedback(request, user, item, None))


@writing.delete(
    "/feedback/{type}/{user}/{item}",
    summary="Delete a user's events of a type with an item",
    response_model=replies.Affected,
)
async def delete_feedback_of_type(request: Request, type: PathType, user: PathUser, item: PathItem) -> Answered:
    """Events of other types stay."""
    return written(await _delete_feedback(request, user, item, type))


@reading.get(
    "/user/{user}/feedback", summary="A user's events, newest first", response_model=list[replies.FeedbackReply]
)
def get_user_feedback(request: Request, user: PathUser) -> Answered:
    """At most 100,000."""
    return _feedback(request, user=user)


@reading.get(
    "/user/{user}/feedback/{type}",
    summary="A user's events of a type, newest first",
    response_model=list[replies.FeedbackReply],
)
def get_user_feedback_of_type(request: Request, user: PathUser, type: PathType) -> Answered:
    """At most 100,000."""
    return _feedback(request, user=user, type=type)


@reading.get(
    "/item/{item}/feedback", summary="An item's events, newest first", response_model=list[replies.FeedbackReply]
)
def get_item_feedback(request: Request, item: PathItem) -> Answered:
    """At most 100,000."""
    return _feedback(request, item=item)


@reading.get(
    "/item/{item}/feedback/{type}",
    summary="An item's events of a type, newest first",
    response_model=list[replies.FeedbackReply],
)
def get_item_feedback_of_type(request: Request, item: PathItem, type: PathType) -> Answered:
    """At most 100,000."""
    return _feedback(request, item=item, type=type)


async def _put_feedback(request: Request, body: list[GorseFeedback], key: str, *, overwrite: bool) -> int:
    check_batch(service_of(request), body)
    now = now_ms()
    log = [
        event_rows.Event(
            one.UserId,
            one.ItemId,
            one.FeedbackType,
            one.Timestamp if one.Timestamp >= 0 else now,
            one.Value,
            one.Comment,
            once=one.EventId,
        )
        for one in body
    ]
    said = RequestKey(key, content_of(request.method, await request.body())) if key else None
    return await service_of(request).append(log, overwrite=overwrite, request=said)


async def _delete_feedback(request: Request, user: str, item: str, type: str | None) -> int:
    actor = request.state.caller.name

    def delete(connection: sa.Connection) -> int:
        gone = event_rows.delete_events(connection, user, item, type)
        audit.note(connection, actor, "delete events", user, {"item": item, "type": type, "events": gone})
        return gone

    gone = await service_of(request).write(delete)
    service_of(request).ready.forget(user)
    return gone


def _feedback_page(request: Request, n: int, cursor: str, type: str | None) -> Answered:
    service = service_of(request)
    n = check_count(request, n, "n")
    after = place_of(cursor_of(request, cursor))
    with service.store.read() as connection:
        found = event_rows.find_events(connection, type=type, after=after, n=n)
    last = str(found[-1].seq) if n and len(found) == n else ""
    return Answered({"Cursor": last, "Feedback": [shapes.gorse_event(event) for event in found]})


def _feedback(request: Request, **wanted: str) -> Answered:
    with service_of(request).store.read() as connection:
        found = event_rows.find_events(connection, newest=True, n=100_000, **wanted)  # type: ignore[arg-type]
    return Answered([shapes.gorse_event(event) for event in found])
