"""What a client raises: the server's own error with its code, field and request id, or that it could not be reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from langrec.errors import LangrecError


class ServerError(LangrecError):
    """A call that did not succeed.

    Attributes:
        status: of the answer; 0 where there was none.
        code: the server's word for programs.
        field: the parameter at fault, where there is one.
        request_id: under which the server's log holds the call.
        retry_after: seconds that the server asks to wait; None where it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "error",
        field: str | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, field=field)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        place = f" (status {self.status}, {self.code}" if self.status else f" ({self.code}"
        return f"{self.message}{place}, request {self.request_id})"


class Refused(ServerError):
    """Something in the call is wrong; `field` names it."""


class NotAllowed(ServerError):
    """The key is absent, unknown, or of too low a role."""


class NotFound(ServerError):
    """What the call names does not exist."""


class Conflict(ServerError):
    """It does not go with what is there, such as a damaged release or a key of another call."""


class Busy(ServerError):
    """The server asked to come back later, and still did after every retry."""


class ServerFailed(ServerError):
    """Something went wrong on the server, or on a proxy before it."""


class NotReached(ServerError):
    """There was no answer: no connection, a lost one, or the time was up."""


class BadReply(ServerError):
    """The answer is not what this client reads: it may be another server's, or of a later version."""


_BY_STATUS = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: Conflict, 429: Busy, 503: Busy}


def error_of(status: int, headers: Mapping[str, str], body: bytes, request_id: str) -> ServerError:
    """The error that an answer with a status from 400 stands for; a proxy's page has no words of its own."""
    told: dict[str, Any] = {}
    try:
        found = json.loads(body)
        told = found if isinstance(found, dict) else {}
    except ValueError:
        pass
    kind = _BY_STATUS.get(status, ServerFailed if status >= 500 else Refused)
    field = told.get("field")
    return kind(
        str(told.get("message") or "the answer has no message; a proxy may have given it"),
        status=status,
        code=str(told.get("code") or f"http_{status}"),
        field=None if field is None else str(field),
        request_id=str(told.get("request_id") or headers.get("x-request-id") or request_id),
        retry_after=_seconds(headers.get("retry-after")),
    )


def _seconds(text: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date."""
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
