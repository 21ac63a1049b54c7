"""Gorse's routes for items: what its published clients write and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from langrec.service import shapes
from langrec.service.bodies import LONGEST_WISH, GorseItem, GorseItemPatch, PathCategory, PathItem, SearchBody
from langrec.service.guard import NotFound, needs
from langrec.service.routes import replies
from langrec.service.routes.answers import (
    After,
    Answered,
    Page,
    check_batch,
    check_count,
    cursor_of,
    service_of,
    written,
)
from langrec.service.routes.searching import search_page
from langrec.service.service import Service
from langrec.service.store import audit, item_rows
from langrec.service.store.item_rows import StoredItem

reading = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("read"))])
writing = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("write"))])


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
    return written(await _put(service, [shapes.item_from(one, text_fields) for one in body]))


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

    return written(await service_of(request).write(delete))


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
    n = check_count(request, n, "n")
    after = cursor_of(request, cursor)
    if q.strip() and n:
        page = await search_page(service, SearchBody(q=q[:LONGEST_WISH], k=n, cursor=after or None))
        stored = await run_in_threadpool(_stored, service, page.answer.list.ids)
        found = [stored[name] for name in page.answer.list.ids if name in stored]
        after = page.cursor or ""
        background.add_task(service.log_impression, request.state.request_id, "search", None, page.answer)
    else:
        found = await run_in_threadpool(_page_of_items, service, after, n)
        after = found[-1].item.id if n and len(found) == n else ""
    items = [shapes.gorse_item(one) for one in found]
    return Answered({"Cursor": after, "Items": items}, background=background)


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
    return written(1)


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
