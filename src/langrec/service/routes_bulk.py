"""Bulk import and export over HTTP: users, items and feedback as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from langrec.errors import DataError
from langrec.service import bulk, bulk_shapes, item_rows, replies
from langrec.service.answers import Answered, service_of
from langrec.service.guard import NotFound, needs
from langrec.service.once import RequestKey, content_of, new_request
from langrec.service.routes_gorse_data import RepeatKey
from langrec.service.service import Service

reading = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("read"))])
writing = APIRouter(prefix="/api", tags=["data"], dependencies=[Depends(needs("write"))])

_KINDS = {"users": "users", "items": "items", "feedback": "events"}
_LINES = "application/x-ndjson"
# Pages of other sites may send other kinds without being asked.
_ACCEPTED = (_LINES, "application/jsonl", "application/jsonlines", "application/json")
_SHOWN = 100  # refused rows in an answer
_EXAMPLE = '{"FeedbackType": "click", "UserId": "ann", "ItemId": "m1", "Timestamp": "2024-05-01T12:00:00Z"}\n'

Kind = Annotated[str, Path(description="users, items or feedback", examples=["feedback"])]


@writing.post(
    "/bulk/{kind}",
    summary="Write many users, items or events",
    response_model=replies.BulkWritten,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {_LINES: {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
async def post_bulk(request: Request, kind: Kind, key: RepeatKey = "") -> Answered:
    """A JSON object a line, as for the single routes. What is there is overwritten; bad rows are named and left out."""
    kind = _known(kind)
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in _ACCEPTED:
        raise DataError(f"body: send JSON lines with the header Content-Type: {_LINES}", field="body")
    data = await request.body()
    service = service_of(request)
    text_fields = service.snapshot.recommender.catalogue.text_fields
    taken, refused = await run_in_threadpool(_parsed, kind, data, text_fields)
    write = await run_in_threadpool(_write_of, service, kind, taken)
    said = RequestKey(key, content_of(request.url.path, data)) if key else None

    def once(connection: sa.Connection) -> None:
        if said is None or new_request(connection, said):
            write(connection)

    await service.write(once)
    shown = [{"Row": one.row, "Reason": one.reason} for one in refused[:_SHOWN]]
    return Answered({"RowAffected": len(taken), "RowRefused": len(refused), "Refused": shown})


@reading.get(
    "/bulk/{kind}",
    summary="All users, items or events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "a JSON object a line, which `POST` takes back",
            "content": {_LINES: {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
def get_bulk(request: Request, kind: Kind) -> StreamingResponse:
    """As one state of the store has them: events in the order of arrival, users and items in that of their ids."""
    return StreamingResponse(_lines(service_of(request), _known(kind)), media_type=_LINES)


def _known(kind: str) -> str:
    if kind not in _KINDS:
        raise NotFound(f"there is no bulk of {kind!r}; there is users, items and feedback", field="kind")
    return _KINDS[kind]


def _parsed(kind: str, data: bytes, text_fields: Any) -> tuple[list[Any], list[bulk.Refused]]:
    return bulk_shapes.parse(kind, [bulk_shapes.parse_line(line) for line in data.split(b"\n")], 1, text_fields)


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


def _lines(service: Service, kind: str) -> Iterator[bytes]:
    with service.store.read() as connection:
        for rows in bulk.pages(connection, kind, 2000):
            yield b"".join(bulk.line_of(row) for row in rows)
