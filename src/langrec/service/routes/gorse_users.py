"""Gorse's routes for users: what its published clients write and read."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from langrec.service import shapes
from langrec.service.bodies import GorseUser, GorseUserPatch, PathUser, now_ms
from langrec.service.guard import NotFound, needs
from langrec.service.routes import replies, replies_privacy
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
from langrec.service.routes.privacy import bring_into_step, outlook_of
from langrec.service.store import event_rows, receipts

reading = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("read"))])
writing = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("write"))])


@writing.post("/user", summary="Write a user", response_model=replies.Affected)
async def post_user(request: Request, body: GorseUser) -> Answered:
    """One that is there is overwritten. Answered after it is durable, as every write."""
    return await post_users(request, [body])


@writing.post("/users", summary="Write users", response_model=replies.Affected)
async def post_users(request: Request, body: list[GorseUser]) -> Answered:
    """All in one transaction; those that are there are overwritten."""
    check_batch(service_of(request), body)
    new = [event_rows.StoredUser(one.UserId, one.Labels, one.Comment) for one in body]
    return written(await service_of(request).write(lambda connection: event_rows.put_users(connection, new)))


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

    return written(await service_of(request).write(change))


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
    n = check_count(request, n, "n")
    with service.store.read() as connection:
        found = event_rows.page_users(connection, cursor_of(request, cursor), n)
    after = found[-1].id if n and len(found) == n else ""
    return Answered({"Cursor": after, "Users": [shapes.gorse_user(user) for user in found]})


def _user(connection: sa.Connection, name: str) -> event_rows.StoredUser:
    found = event_rows.get_user(connection, name)
    if found is None:
        raise NotFound(f"there is no user {name!r}", field="user")
    return found
