"""Writes that count once: ids that clients give to events and requests, remembered in the transaction of the write.

A client that got no answer sends the same again with the same id. Whichever worker takes it, and whatever died in
between, the id is in the store if and only if the write is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from langrec.errors import DataError
from langrec.service.store.schema import done_once
from langrec.service.store.store import upsert


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A request's own id.

    Attributes:
        key: what the client sent as `Idempotency-Key`.
        content: hash of all that the request says; another request under the same key is an error.
    """

    key: str
    content: str


def content_of(*parts: str | bytes) -> str:
    """A hash of what a request says."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def new_request(connection: sa.Connection, request: RequestKey) -> bool:
    """Remembers a request; False where it was made before.

    Raises:
        DataError: the key belongs to another request.
    """
    digest = content_of("request", request.key)
    if _claim(connection, {digest: request.content}):
        return True
    known = connection.execute(sa.select(done_once.c.content).where(done_once.c.digest == digest)).scalar_one()
    if known != request.content:
        raise DataError(
            "Idempotency-Key: was sent with another request before; give each request a key of its own",
            field="Idempotency-Key",
        )
    return False


def new_events(connection: sa.Connection, event_ids: Iterable[str]) -> set[str]:
    """Remembers the ids of events; those that were not known before."""
    by_digest = {content_of("event", one): one for one in event_ids}
    return {by_digest[digest] for digest in _claim(connection, dict.fromkeys(by_digest, ""))}


def _claim(connection: sa.Connection, contents: dict[str, str]) -> set[str]:
    if not contents:
        return set()
    at = int(time.time() * 1000)
    statement = upsert(connection, done_once).on_conflict_do_nothing().returning(done_once.c.digest)
    rows = [{"digest": digest, "content": content, "at": at} for digest, content in sorted(contents.items())]
    return set(connection.execute(statement, rows).scalars())
