"""Gorse's routes for users, items and feedback: what its published clients write and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, BackgroundTasks, Depends, Header, Query, Request
from starlette.concurrency import run_in_threadpool

from langrec.service import shapes
from langrec.service.bodies import (
    GorseFeedback,
    GorseItem,
    GorseItemPatch,
    GorseUser,
    GorseUserPatch,
    PathCategory,
    PathItem,
    PathType,
    PathUser,
    now_ms,
)
from langrec.service.guard import NotFound, needs
from langrec.service.routes import replies, replies_privacy
from langrec.service.routes.answers import Answered, check_batch, check_count, place_of, service_of
from langrec.service.routes.privacy import bring_into_step, outlook_of
from langrec.service.service import Service
from langrec.service.store import audit, event_rows, item_rows, receipts
from langrec.service.store.item_rows import StoredItem
from langrec.service.store.once import RequestKey, content_of

reading = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("read"))])
writing = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("write"))])

Page = Annotated[int, Query(ge=0, description="rows of a page", examples=[10])]
After = Annotated[str, Query(description="`Cursor` of the page before; empty for the first", examples=[""])]

RepeatKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=1024,
        description="an id of this request: sent again with the same body, it counts once",
        examples=[""],
    ),
]


def _written(rows: int) -> Answered:
    return Answered({"RowAffected": rows})


# Users


@writing.post("/user", summary="Write a user", response_model=replies.Affected)
async def post_user(request: Request, body: GorseUser) -> Answered:
    """One that is there is overwritten. Answered after it is durable, as every write."""
    return await post_users(request, [body])


@writing.post("/users", summary="Write users", response_model=replies.Affected)
async def post_users(request: Request, body: list[GorseUser]) -> Answered:
    """All in one transaction; those that are there are overwritten."""
    check_batch(service_of(request), body)
    new = [event_rows.StoredUser(one.UserId, one.Labels, one.Comment) for one in body]
    return _written(await service_of(request).write(lambda connection: event_rows.put_users(connection, new)))


@reading.get("/user/{user}", summary="A user", response_model=replies.UserReply)
def get_user(request: Request, user: PathUser) -> Answered:
    """Labels and comment as they were sent, or as the release brought them."""
    with service_of(request).store.read() as connection:
        return Answered(shapes.gorse_user(_user(connection, user)))


@writing.patch("/user/{user}", summary="Change a user", response_model=replies.Affected)
async def patch_user(request: Request, user: PathUser, body: GorseUserPatch) -> Answered:
    """What the body leaves out stays."""

    def change(connection: sa.Connection) -> int:
        old = _user(connection, user)
        labels = old.labels if body.Labels is None else body.Labels
        comment = old.comment if body.Comment is None else body.Comment
        return event_rows.put_users(connection, [replace(old, labels=labels, comment=comment)])

    return _written(await service_of(request).write(change))


@writing.delete("/user/{user}", summary="Delete a user, with a receipt", response_model=replies_privacy.DeletedReply)
async def delete_user(request: Request, user: PathUser) -> Answered:
    """Events, impressions, labels, caches, and the user's part of the models; the receipt can be proved later."""
    service, actor, at = service_of(request), request.state.caller.name, now_ms()
    outlook = await run_in_threadpool(outlook_of, service)
    known, said = await service.write(lambda connection: receipts.delete_user(connection, user, actor, outlook, at))
    service.ready.forget(user)
    await bring_into_step(service)
    return Answered({"RowAffected": int(known), "Receipt": receipts.shown(said)})


@reading.get("/users", summary="Users, in pages", response_model=replies.UsersPage)
def get_users(request: Request, n: Page = 10, cursor: After = "") -> Answered:
    """In the order of their ids; `Cursor` is empty on the last page."""
    service = service_of(request)
    n = check_count(service, n, "n")
    with service.store.read() as connection:
        found = event_rows.page_users(connection, _cursor_id(request, cursor), n)
    after = found[-1].id if n and len(found) == n else ""
    return Answered({"Cursor": after, "Users": [shapes.gorse_user(user) for user in found]})


# Items


@writing.post("/item", summary="Write an item", response_model=replies.Affected)
async def post_item(request: Request, body: GorseItem) -> Answered:
    """It can be found and recommended on the next request, on every worker."""
    return await post_items(request, [body])


@writing.post("/items", summary="Write items", response_model=replies.Affected)
async def post_items(request: Request, body: list[GorseItem]) -> Answered:
    """All in one transaction; those that are there are overwritten."""
    service = service_of(request)
    check_batch(service, body)
    text_fields = service.snapshot.recommender.catalogue.text_fields
    return _written(await _put(service, [shapes.item_from(one, text_fields) for one in body]))


@reading.get("/item/{item}", summary="An item", response_model=replies.ItemReply)
def get_item(request: Request, item: PathItem) -> Answered:
    """Labels and comment as they were sent, or as the release brought them."""
    with service_of(request).store.read() as connection:
        return Answered(shapes.gorse_item(_item(connection, item)))


@writing.patch("/item/{item}", summary="Change an item", response_model=replies.Affected)
async def patch_item(request: Request, item: PathItem, body: GorseItemPatch) -> Answered:
    """What the body leaves out stays; `Texts` and `Fields` are added to those that are there."""
    text_fields = service_of(request).snapshot.recommender.catalogue.text_fields
    return await _change_item(request, item, lambda old: shapes.item_patched(old, body, text_fields))


@writing.delete("/item/{item}", summary="Delete an item", response_model=replies.Affected)
async def delete_item(request: Request, item: PathItem) -> Answered:
    """It leaves all lists; its events stay in the histories."""
    actor = request.state.caller.name

    def delete(connection: sa.Connection) -> int:
        gone = item_rows.delete_item(connection, item)
        audit.note(connection, actor, "delete item", item, None)
        return int(gone)

    return _written(await service_of(request).write(delete))


@writing.put("/item/{item}/category/{category}", summary="Add a category to an item", response_model=replies.Affected)
async def put_category(request: Request, item: PathItem, category: PathCategory) -> Answered:
    """One that it has already stays once."""

    def add(old: StoredItem) -> StoredItem:
        names = tuple(dict.fromkeys([*old.item.categories, category]))
        return replace(shapes.as_sent(old), source="api", item=replace(old.item, categories=names))

    return await _change_item(request, item, add)


@writing.delete(
    "/item/{item}/category/{category}", summary="Take a category from an item", response_model=replies.Affected
)
async def delete_category(request: Request, item: PathItem, category: PathCategory) -> Answered:
    """One that it does not have is no error."""

    def remove(old: StoredItem) -> StoredItem:
        names = tuple(name for name in old.item.categories if name != category)
        return replace(shapes.as_sent(old), source="api", item=replace(old.item, categories=names))

    return await _change_item(request, item, remove)


@reading.get(
    "/items", summary="Items, in pages; with q those that fit the words, best first", response_model=replies.ItemsPage
)
async def get_items(
    request: Request,
    background: BackgroundTasks,
    n: Page = 10,
    cursor: After = "",
    q: Annotated[str, Query(description="words to search for", examples=["moon"])] = "",
) -> Answered:
    """In the order of their ids, or of their score where there is `q`; `Cursor` is empty on the last page."""
    service = service_of(request)
    n = check_count(service, n, "n")
    after = _cursor_id(request, cursor)
    if q:
        from langrec.service.bodies import SearchBody
        from langrec.service.routes.searching import search_page

        page = await search_page(service, SearchBody(q=q[:4000], k=max(n, 1), cursor=after or None))
        stored = await run_in_threadpool(_stored, service, page.answer.list.ids)
        found = [stored[name] for name in page.answer.list.ids if name in stored]
        after = page.cursor or ""
        background.add_task(service.log_impression, request.state.request_id, "search", None, page.answer)
    else:
        found = await run_in_threadpool(_page_of_items, service, after, n)
        after = found[-1].item.id if n and len(found) == n else ""
    items = [shapes.gorse_item(one) for one in found]
    return Answered({"Cursor": after, "Items": items}, background=background)


# Feedback


@writing.post("/feedback", summary="Append events; values of the same event add up", response_model=replies.Affected)
async def post_feedback(request: Request, body: list[GorseFeedback], key: RepeatKey = "") -> Answered:
    """User, item, type and time together are the key. Users and items that nobody has described are made."""
    return _written(await _put_feedback(request, body, key, overwrite=False))


@writing.put("/feedback", summary="Write events; the same event is overwritten", response_model=replies.Affected)
async def put_feedback(request: Request, body: list[GorseFeedback], key: RepeatKey = "") -> Answered:
    """User, item, type and time together are the key. Users and items that nobody has described are made."""
    return _written(await _put_feedback(request, body, key, overwrite=True))


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
    return _written(await _delete_feedback(request, user, item, None))


@writing.delete(
    "/feedback/{type}/{user}/{item}",
    summary="Delete a user's events of a type with an item",
    response_model=replies.Affected,
)
async def delete_feedback_of_type(request: Request, type: PathType, user: PathUser, item: PathItem) -> Answered:
    """Events of other types stay."""
    return _written(await _delete_feedback(request, user, item, type))


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


# What several of them share


async def _put(service: Service, stored: list[StoredItem]) -> int:
    """Makes the items' vectors once, here, and writes both."""
    recommender = service.snapshot.recommender
    vectors = None
    if recommender.encoder is not None and stored:
        vectors = await run_in_threadpool(recommender.embed_items, [one.item for one in stored])
    encoder = None if recommender.encoder is None else recommender.encoder.identity
    await service.write(lambda c: item_rows.put_items(c, stored, vectors=vectors, encoder=encoder))
    return len(stored)


async def _change_item(request: Request, name: str, change: Callable[[StoredItem], StoredItem]) -> Answered:
    """Reads, changes and writes an item in one transaction; its vectors are made before, from what it will be."""
    service = service_of(request)
    recommender = service.snapshot.recommender
    encoder = recommender.encoder
    old = await run_in_threadpool(_one_stored, service, name)
    wanted = change(old)
    made: Any = None
    if encoder is not None and item_rows.content_hash(old.item) != item_rows.content_hash(wanted.item):
        made = await run_in_threadpool(recommender.embed_items, [wanted.item])

    def write(connection: sa.Connection) -> None:
        new = change(_item(connection, name))
        # Somebody changed the item in between: its vectors are made when it is next read.
        vectors = made if item_rows.content_hash(new.item) == item_rows.content_hash(wanted.item) else None
        identity = None if encoder is None else encoder.identity
        item_rows.put_items(connection, [new], vectors=vectors, encoder=identity)

    await service.write(write)
    return _written(1)


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
    n = check_count(service, n, "n")
    after = place_of(_cursor_id(request, cursor))
    with service.store.read() as connection:
        found = event_rows.find_events(connection, type=type, after=after, n=n)
    last = str(found[-1].seq) if n and len(found) == n else ""
    return Answered({"Cursor": last, "Feedback": [shapes.gorse_event(event) for event in found]})


def _feedback(request: Request, **wanted: str) -> Answered:
    with service_of(request).store.read() as connection:
        found = event_rows.find_events(connection, newest=True, n=100_000, **wanted)  # type: ignore[arg-type]
    return Answered([shapes.gorse_event(event) for event in found])


def _cursor_id(request: Request, cursor: str) -> str:
    # gorsejs writes the parameter as its field is called.
    return cursor or request.query_params.get("Cursor", "")


def _page_of_items(service: Service, after: str, n: int) -> list[StoredItem]:
    with service.store.read() as connection:
        return item_rows.page_items(connection, after, n)


def _stored(service: Service, names: tuple[str, ...]) -> dict[str, StoredItem]:
    with service.store.read() as connection:
        return item_rows.get_items(connection, names)


def _one_stored(service: Service, name: str) -> StoredItem:
    with service.store.read() as connection:
        return _item(connection, name)


def _item(connection: sa.Connection, name: str) -> StoredItem:
    found = item_rows.get_item(connection, name)
    if found is None:
        raise NotFound(f"there is no item {name!r}", field="item")
    return found


def _user(connection: sa.Connection, name: str) -> event_rows.StoredUser:
    found = event_rows.get_user(connection, name)
    if found is None:
        raise NotFound(f"there is no user {name!r}", field="user")
    return found
