"""JSON to frozen dataclasses by their annotations, and times to and from what the server writes."""

from __future__ import annotations

import dataclasses
import types
import typing
from datetime import UTC, datetime
from functools import cache
from typing import Any

NO_TIME = "0001-01-01T00:00:00Z"


def named(name: str, **values: Any) -> Any:
    """A field that is called `name` in the JSON."""
    return dataclasses.field(metadata={"name": name}, **values)


def read(kind: Any, value: Any, where: str = "reply") -> Any:
    """The value of a kind that some JSON holds; names that the kind does not know are passed over.

    Args:
        kind: a dataclass, tuple[X, ...], dict[str, X], X | None, datetime, a plain type, or Any.
        value: parsed JSON.
        where: named in the error.

    Raises:
        ValueError: it does not fit; the message names the place.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, where)
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None or (datetime in inside and value in (NO_TIME, "", -1)):
            return None
        return read(next(one for one in inside if one is not type(None)), value, where)
    if origin is tuple:
        if value is None:
            return ()  # a server in Go, as Gorse's, says so of a list that holds nothing
        if not isinstance(value, list):
            raise ValueError(f"{where}: {_short(value)} is no list")
        return tuple(read(inside[0], one, f"{where}[{i}]") for i, one in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {_short(value)} is no object")
        return {name: read(inside[1], one, f"{where}.{name}") for name, one in value.items()}
    if kind is datetime:
        return _time(value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where}: {_short(value)} is no {kind.__name__}")
    return value


def shown_time(at: datetime) -> str:
    """An ISO 8601 time in UTC; one without a zone counts as UTC."""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {_short(value)} is no object")  # noqa: TRY004
    given = {}
    for name, (key, hint, needed) in _fields(kind).items():
        if key in value:
            given[name] = read(hint, value[key], f"{where}.{key}")
        elif needed:
            raise ValueError(f"{where}: {key} is missing")
    return kind(**given)


@cache
def _fields(kind: Any) -> dict[str, tuple[str, Any, bool]]:
    """By field: its name in the JSON, its type, and whether it must be there."""
    hints = typing.get_type_hints(kind)
    return {
        one.name: (
            one.metadata.get("name", one.name),
            hints[one.name],
            one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
        )
        for one in dataclasses.fields(kind)
    }


def _time(value: Any, where: str) -> datetime:
    """From epoch milliseconds, or ISO 8601."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
        return datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError, OSError):
        raise ValueError(f"{where}: {_short(value)} is no time") from None


def _short(value: Any) -> str:
    return repr(value)[:80]
