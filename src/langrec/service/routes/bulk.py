"""Bulk import and export over HTTP: users, items and feedback as JSON lines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

from langrec.errors import DataError
from langrec.service import bulk, bulk_shapes
from langrec.service.batching import Busy
from langrec.service.guard import needs
from langrec.service.routes import replies
from langrec.service.routes.answers import Answered, RepeatKey, check_batch, service_of
from langrec.service.service import Service
from langrec.service.store import item_rows
from langrec.service.store.once import RequestKey, content_of, new_request

reading = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("read"))])
writing = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("write"))])

_LINES = "application/x-ndjson"
# Pages of other sites may send other kinds without being asked.
_ACCEPTED = (_LINES, "application/jsonl", "application/jsonlines", "application/json")
_SHOWN = 100  # refused rows in an answer
_STALLED = 60.0  # seconds in which a client of an export must read something: it holds a state of the store
_log = logging.getLogger("langrec.service")
_ROWS = {
    "users": '{"UserId": "ann", "Labels": {"country": "SE"}}\n',
    "items": '{"ItemId": "m1", "Categories": ["Comedy"], "Comment": "Moon Bakery"}\n',
    "events": '{"FeedbackType": "click", "UserId": "ann", "ItemId": "m1", "Timestamp": "2024-05-01T12:00:00Z"}\n',
}


def _body(kind: str) -> dict[str, Any]:
    content = {_LINES: {"schema": {"type": "string"}, "example": _ROWS[kind]}}
    return {"requestBody": {"required": True, "content": content}}


def _answer(kind: str) -> dict[int | str, dict[str, Any]]:
    content = {_LINES: {"schema": {"type": "string"}, "example": _ROWS[kind]}}
    return {200: {"description": "a JSON object a line, which `POST` takes back", "content": content}}


# Each kind has a path of its own, for each lies in another area of what a key may do.


@writing.post(
    "/bulk/users", summary="Write many users", response_model=replies.BulkWritten, openapi_extra=_body("users")
)
async def post_bulk_users(request: Request, key: RepeatKey = "") -> Answered:
    """A body of `POST /api/user` a line. What is there is overwritten; bad rows are named and left out."""
    return await _put(request, "users", key)


@writing.post(
    "/bulk/items", summary="Write many items", response_model=replies.BulkWritten, openapi_extra=_body("items")
)
async def post_bulk_items(request: Request, key: RepeatKey = "") -> Answered:
    """A body of `POST /api/item` a line. What is there is overwritten; bad rows are named and left out."""
    return await _put(request, "items", key)


@writing.post(
    "/bulk/feedback", summary="Write many events", response_model=replies.BulkWritten, openapi_extra=_body("events")
)
async def post_bulk_feedback(request: Request, key: RepeatKey = "") -> Answered:
    """An event of `POST /api/feedback` a line. What is there is overwritten; bad rows are named and left out."""
    return await _put(request, "events", key)


@reading.get("/bulk/users", summary="All users", response_class=StreamingResponse, responses=_answer("users"))
def get_bulk_users(request: Request) -> StreamingResponse:
    """As one state of the store has them, in the order of their ids."""
    return _Export(service_of(request), "users")


@reading.get("/bulk/items", summary="All items", response_class=StreamingResponse, responses=_answer("items"))
def get_bulk_items(request: Request) -> StreamingResponse:
    """As one state of the store has them, in the order of their ids."""
    return _Export(service_of(request), "items")


@reading.get("/bulk/feedback", summary="All events", response_class=StreamingResponse, responses=_answer("events"))
def get_bulk_feedback(request: Request) -> StreamingResponse:
    """As one state of the store has them, in the order of arrival."""
    return _Export(service_of(request), "events")


async def _put(request: Request, kind: str, key: str) -> Answered:
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in _ACCEPTED:
        raise DataError(f"body: send JSON lines with the header Content-Type: {_LINES}", field="body")
    data = await request.body()
    service = service_of(request)
    text_fields = service.snapshot.recommender.catalogue.text_fields
    lines = data.rstrip(b"\n").split(b"\n")
    check_batch(service, lines)
    taken, refused = await run_in_threadpool(_parsed, kind, lines, text_fields)
    write = await run_in_threadpool(_write_of, service, kind, taken)
    said = RequestKey(key, content_of(request.url.path, data)) if key else None

    def once(connection: sa.Connection) -> None:
        if said is None or new_request(connection, said):
            write(connection)

    await service.write(once)
    if kind == "events":
        for user in {event.user for event in taken}:
            service.ready.forget(user)
    shown = [{"Row": one.row, "Reason": one.reason} for one in refused[:_SHOWN]]
    return Answered({"RowAffected": len(taken), "RowRefused": len(refused), "Refused": shown})


def _parsed(kind: str, lines: list[bytes], text_fields: Any) -> tuple[list[Any], list[bulk_shapes.Refused]]:
    return bulk_shapes.parse(kind, [bulk_shapes.parse_line(line) for line in lines], 1, text_fields)


def _write_of(service: Service, kind: str, taken: list[Any]) -> Any:
    """What writes the rows; items get their vectors here, outside the transaction."""
    if kind != "items":
        return lambda connection: bulk.put(connection, kind, taken)
    recommender = service.snapshot.recommender
    encoder = recommender.encoder
    if encoder is None or not taken:
        return lambda connection: item_rows.put_items(connection, taken)
    vectors = recommender.embed_items([one.item for one in taken])
    return lambda connection: item_rows.put_items(connection, taken, vectors=vectors, encoder=encoder.identity)


class _Export(StreamingResponse):
    """All rows of a kind, line by line.

    Raises:
        Busy: when it is sent, where too many others are being sent.
    """

    def __init__(self, service: Service, kind: str) -> None:
        self._exports = service.exports
        self._rows = _lines(service, kind)
        super().__init__(self._rows, media_type=_LINES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._exports.acquire(blocking=False):
            raise Busy("as many exports as may run at a time are running; try again in 5 seconds", retry_after=5)

        async def send_soon(message: Message) -> None:
            async with asyncio.timeout(_STALLED):
                await send(message)

        try:
            await super().__call__(scope, receive, send_soon)
        except TimeoutError:
            # What is not whole is cut: the server closes the connection of an answer that has not come to its end.
            _log.warning("an export was given up: its client read nothing for %g seconds", _STALLED)
        finally:
            self._rows.close()  # the store's state is held no longer than the client reads
            self._exports.release()


def _lines(service: Service, kind: str) -> Generator[bytes, None, None]:
    with service.store.read() as connection:
        for rows in bulk.pages(connection, kind, 2000):
            yield b"".join(bulk.line_of(row) for row in rows)
