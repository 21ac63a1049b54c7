"""One call as it goes over the wire, and its answer as a value or an error; knows no connection."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from langrec.client.errors import BadReply, error_of
from langrec.client.replies import Event, User
from langrec.client.shape import read, shown_time
from langrec.errors import DataError
from langrec.types import Filters, Item

T = TypeVar("T")
KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request and the kind of its answer.

    Attributes:
        method: GET, POST and so on.
        path: with ids quoted.
        kind: what the answer is read as; None gives its text.
        params: of the query; None and empty ones are left out.
        body: sent as JSON; None sends nothing.
        lines: the body is a list, sent as JSON lines.
        headers: beside those of every call.
        repeatable: doing it twice is the same as doing it once.
        also: statuses that are an answer, not an error.
    """

    method: str
    path: str
    kind: Any
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    lines: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    also: tuple[int, ...] = ()

    def query(self) -> list[tuple[str, str | int | float | bool | None]]:
        """The parameters, those with several values repeated."""
        several = {
            name: [value] if isinstance(value, (str, int, float)) else value for name, value in self.params.items()
        }
        return [(name, one) for name, values in several.items() for one in values or () if one not in (None, "")]

    def content(self) -> bytes | None:
        """The body's bytes."""
        if self.body is None:
            return None
        rows = self.body if self.lines else [self.body]
        texts = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in rows]
        return "\n".join(texts).encode("utf-8", "replace")

    def answer(self, status: int, headers: Mapping[str, str], body: bytes, request_id: str) -> T:
        """The value of an answer.

        Raises:
            ServerError: it is an error, or not what was expected.
        """
        if status >= 300 and status not in self.also:
            raise error_of(status, headers, body, request_id)
        if self.kind is None:
            text: Any = body.decode("utf-8", "replace")
            return text  # type: ignore[no-any-return]
        try:
            value: Any = read(self.kind, json.loads(body), f"{self.method} {self.path}")
        except ValueError as error:
            said = f"the answer cannot be read: {error}"
            raise BadReply(said, status=status, code="bad_reply", request_id=request_id) from error
        return value  # type: ignore[no-any-return]


def path(*parts: str) -> str:
    """A path whose parts may hold slashes and every other letter.

    Raises:
        DataError: a part is empty.
    """
    if not all(parts):
        raise DataError(f"/{'/'.join(parts)}: an id must not be empty")
    quoted = [quote(one, safe="") for one in parts]
    # Dots alone would be taken as steps through the path; written as %2E they are an id.
    return "".join(f"/{one.replace('.', '%2E') if one in ('.', '..') else one}" for one in quoted)


def keyed(call: Call[T], key: str | None) -> Call[T]:
    """The call under a key: the server does it once, however often it comes.

    Args:
        call: a write.
        key: None for one of its own.
    """
    return replace(call, headers={**call.headers, KEY_HEADER: key or new_key()})


def new_key() -> str:
    """A key that nobody else has."""
    return uuid.uuid4().hex


def blocks(rows: Iterable[T], size: int, key: str | None) -> Iterator[tuple[list[T], str]]:
    """Rows in blocks, each with a key; with a given key the same rows have the same keys again."""
    rest, number, key = iter(rows), 0, key or new_key()
    while block := list(islice(rest, size)):
        yield block, f"{key}-{number}"
        number += 1


def row_of(kind: Any, line: bytes, where: str, request_id: str) -> Any:
    """A row of JSON lines.

    Raises:
        BadReply: it is not one.
    """
    try:
        return read(kind, json.loads(line), where)
    except ValueError as error:
        said = f"a line of the answer cannot be read: {error}"
        raise BadReply(said, code="bad_reply", request_id=request_id) from error


def bulk_body(row: Item | User | Event, now: datetime) -> tuple[str, dict[str, Any]]:
    """The bulk that a row belongs to, and the row in the server's words."""
    if isinstance(row, Item):
        return "items", item_body(row)
    if isinstance(row, User):
        return "users", user_body(row)
    return "feedback", event_body(row, now)


def item_body(item: Item) -> dict[str, Any]:
    """An item in the server's words."""
    at = None if item.at == -1 else shown_time(datetime.fromtimestamp(item.at / 1000, UTC))
    return {
        "ItemId": item.id,
        "Title": item.title,
        "Texts": dict(item.texts),
        "Categories": list(item.categories),
        "Image": item.image,
        "Timestamp": at,
        "IsHidden": item.hidden,
        "Fields": dict(item.fields),
    }


def user_body(user: User) -> dict[str, Any]:
    """A user in the server's words."""
    return {"UserId": user.id, "Labels": user.labels, "Comment": user.comment}


def event_body(event: Event, now: datetime) -> dict[str, Any]:
    """An event in the server's words; its time is fixed here, so that a repeat is the same event."""
    return {
        "FeedbackType": event.type,
        "UserId": event.user,
        "ItemId": event.item,
        "Timestamp": shown_time(event.at or now),
        "Value": event.value,
        "Comment": event.comment,
        **({"EventId": event.once} if event.once else {}),
    }


def filters_body(filters: Filters) -> dict[str, Any]:
    """Filters in the server's words."""
    return asdict(filters)


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def listed(ids: Sequence[str] | None) -> list[str] | None:
    """Ids as a list, in place of a single string by mistake.

    Raises:
        TypeError: it is a string.
    """
    if isinstance(ids, str):
        raise TypeError(f"a list of ids is wanted, not the single text {ids[:80]!r}")
    return None if ids is None else list(ids)
