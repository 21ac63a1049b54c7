"""Rows of bulk files: as JSON values and as what the store writes; a row that cannot be taken gets a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from langrec.data.aliases import key
from langrec.service import shapes
from langrec.service.bodies import GorseFeedback, GorseItem, GorseUser, now_ms, show_time
from langrec.service.store.event_rows import Event, StoredUser
from langrec.service.store.item_rows import StoredItem

# The columns of langrec's own files beside the names of the bodies, compared as `data/aliases.py` does.
_NAMES = {
    "users": {"UserId": ("user",), "Labels": (), "Comment": ()},
    "items": {
        "ItemId": ("item", "id"),
        "Title": (),
        "Texts": (),
        "Categories": ("genres",),
        "Image": (),
        "Timestamp": ("at",),
        "IsHidden": ("hidden",),
        "Fields": (),
        "Labels": (),
        "Comment": (),
    },
    "events": {
        "UserId": ("user",),
        "ItemId": ("item",),
        "FeedbackType": ("type",),
        "Timestamp": ("at",),
        "Value": ("rating",),
        "Comment": (),
        "EventId": (),
    },
}
_IDS = ("UserId", "ItemId")


def parse_line(line: bytes) -> tuple[Any, str]:
    """A line of JSON lines as (value, text): the value is an exception where it is no JSON, None where it is empty."""
    if not line.strip():
        return None, ""
    try:
        return json.loads(line), line.decode("utf-8", "replace").strip()
    except (ValueError, RecursionError) as error:
        return ValueError(f"is not JSON ({str(error)[:100]})"), line.decode("utf-8", "replace").strip()


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was not taken: its number in the source from 1 on, why, and the row."""

    row: int
    reason: str
    data: str


def parse(
    kind: str, rows: Sequence[tuple[Any, str]], number: int, text_fields: Sequence[str] = ()
) -> tuple[list[Any], list[Refused]]:
    """Rows as the store writes them, and those that cannot be taken.

    Args:
        kind: users, items or events.
        rows: values and their texts, as `parse_line` gives them.
        number: of the first row.
        text_fields: labels of items that are read as text.
    """
    make = _makers(text_fields)[kind]
    now = now_ms()
    taken, refused = [], []
    for i, (value, text) in enumerate(rows, number):
        if value is None and not text:
            continue
        try:
            if isinstance(value, Exception):
                raise value
            if not isinstance(value, dict):
                raise ValueError("is not an object")  # noqa: TRY004 - a reason like the others
            taken.append(make(_named(kind, value, text_fields), now))
        except (ValueError, OverflowError, RecursionError) as error:
            refused.append(Refused(i, _reason(error), text or json.dumps(value, default=str, ensure_ascii=False)))
    return taken, refused


def shown(kind: str, one: Any) -> dict[str, Any]:
    """A user, an item or an event as the row that `parse` makes it of."""
    if kind == "users":
        return shapes.gorse_user(one)
    if kind == "items":
        item = one.item
        sent = shapes.as_sent(one)
        return {
            "ItemId": item.id,
            "Title": item.title,
            "Texts": dict(item.texts),
            "Categories": list(item.categories),
            "Image": item.image,
            "Timestamp": show_time(item.at),
            "IsHidden": item.hidden,
            "Fields": dict(item.fields),
            "Labels": sent.labels,
            "Comment": sent.comment,
        }
    return {
        "UserId": one.user,
        "ItemId": one.item,
        "FeedbackType": one.type,
        "Timestamp": show_time(one.at),
        "Value": one.value,
        "Comment": one.comment,
    }


def columns(kind: str) -> list[str]:
    """The names of a row that `shown` gives."""
    return [name for name in _NAMES[kind] if name != "EventId"]


def _makers(text_fields: Sequence[str]) -> dict[str, Callable[[dict[str, Any], int], Any]]:
    def user(row: dict[str, Any], _: int) -> StoredUser:
        body = GorseUser.model_validate(row)
        return StoredUser(body.UserId, body.Labels, body.Comment)

    def item(row: dict[str, Any], _: int) -> StoredItem:
        return shapes.item_from(GorseItem.model_validate(row), text_fields)

    def event(row: dict[str, Any], now: int) -> Event:
        body = GorseFeedback.model_validate(row)
        at = body.Timestamp if body.Timestamp >= 0 else now
        if at >= 1 << 62:
            raise ValueError("Timestamp: lies too far in the future")
        return Event(body.UserId, body.ItemId, body.FeedbackType, at, body.Value, body.Comment, once=body.EventId)

    return {"users": user, "items": item, "events": event}


def _named(kind: str, row: dict[str, Any], text_fields: Sequence[str]) -> dict[str, Any]:
    """The row under the names of the bodies; what a file of items or users has beside becomes labels."""
    names = _renamed(kind, tuple(row))
    found = {new: _plain(row[old]) for old, new in names.items()}
    for name in _IDS:
        value = found.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            found[name] = str(value)
    rest = {name: _plain(row[name]) for name in row if name not in names}
    if rest and kind != "events":
        _add(kind, found, rest, text_fields)
    return found


def _add(kind: str, found: dict[str, Any], rest: dict[str, Any], text_fields: Sequence[str]) -> None:
    """Puts the other columns of a user or an item among its labels; beside them where labels have no names."""
    labels = found.get("Labels")
    if labels is None or isinstance(labels, dict):
        found["Labels"] = {**(labels or {}), **rest}
        return
    if kind == "users":
        raise ValueError(f"Labels: is no object, so {', '.join(rest)} cannot stand among them")
    for name, value in rest.items():
        is_text = isinstance(value, str) and (name in text_fields or name in shapes.TEXT_LABELS)
        beside = found.get("Texts" if is_text else "Fields") or {}
        if isinstance(beside, dict):  # what is none is refused with the body
            found["Texts" if is_text else "Fields"] = {name: value, **beside}


@lru_cache(maxsize=256)
def _renamed(kind: str, columns: tuple[str, ...]) -> dict[str, str]:
    """Of a row's columns those that a body knows -> its name; the first that fits counts."""
    wanted = {key(one): name for name, others in _NAMES[kind].items() for one in (*others, name)}
    found: dict[str, str] = {}
    for column in columns:
        name = wanted.get(key(column))
        if name is not None and name not in found.values():
            found[column] = name
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {str(first['msg']).removeprefix('Value error, ')}"
    return str(error)[:300]
