"""Through which door a request comes to which service: one service for everyone, or one for each tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from langrec.service.access.auth import Caller
from langrec.service.monitoring.stats import Stats
from langrec.service.service import Service
from langrec.settings import ServeSettings


class Doors(Protocol):
    """What stands between requests and services."""

    @property
    def settings(self) -> ServeSettings:
        """Of the whole server: limits that hold before anyone knows who asks."""
        ...

    @property
    def keys_needed(self) -> bool:
        """Whether a request needs a key."""
        ...

    @property
    def stats(self) -> Stats:
        """Counts requests that came to no service."""
        ...

    async def caller(self, key: str | None) -> Caller:
        """Who holds a key, by what is true now."""
        ...

    def limits(self, caller: Caller) -> tuple[float, int]:
        """Requests a second, and at once, that a caller may make; a rate of 0 is no limit."""
        ...

    def entered(self, caller: Caller) -> AbstractAsyncContextManager[Service | None]:
        """The caller's service, held open for as long as the block runs; None where the caller has none."""
        ...


class OneDoor:
    """Everyone comes to the same service.

    Args:
        service: gives it; asked for each request, so that a test may put another in its place.
    """

    def __init__(self, service: Callable[[], Service]) -> None:
        self._service = service

    @property
    def settings(self) -> ServeSettings:
        return self._service().settings

    @property
    def keys_needed(self) -> bool:
        return self._service().keys.needed

    @property
    def stats(self) -> Stats:
        return self._service().stats

    async def caller(self, key: str | None) -> Caller:
        return await self._service().keys.caller(key)

    def limits(self, caller: Caller) -> tuple[float, int]:
        return limits_of(caller, self.settings)

    @asynccontextmanager
    async def entered(self, caller: Caller) -> AsyncIterator[Service | None]:
        yield self._service()


def limits_of(caller: Caller, settings: ServeSettings) -> tuple[float, int]:
    """The key's own limits, else those of the settings."""
    rate = settings.rate if caller.rate is None else caller.rate
    return rate, settings.burst if caller.burst is None else caller.burst
