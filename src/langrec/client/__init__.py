"""A typed client of a running server: `Client` waits for each answer, `AsyncClient` awaits it."""

from __future__ import annotations

from langrec.client.asynchronous import AsyncClient
from langrec.client.errors import (
    BadReply,
    Busy,
    Conflict,
    NotAllowed,
    NotFound,
    NotReached,
    Refused,
    ServerError,
    ServerFailed,
)
from langrec.client.retries import Retries
from langrec.client.synchronous import Client

__all__ = [
    "AsyncClient",
    "BadReply",
    "Busy",
    "Client",
    "Conflict",
    "NotAllowed",
    "NotFound",
    "NotReached",
    "Refused",
    "Retries",
    "ServerError",
    "ServerFailed",
]
