"""How much of a request's head a connection takes, and how long: nobody's key was looked at before it is whole."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes of address and headers, as of whatever else comes between whole parts of a request; proxies allow less.
LARGEST_HEAD = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which gives up a connection that sends too much without anything coming to its end, or that
    sends no whole head for as long as one may wait between two requests.

    The parser keeps what it has of a header until it is whole, so that a client could fill the memory; and a connection
    that waits for ever is one of the few that a process may have.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pending = 0
        self._came_on = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._came_on = False
        super().data_received(data)
        self._pending = 0 if self._came_on else self._pending + len(data)
        if self._pending > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of a request has at most {LARGEST_HEAD} bytes here.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._came_on = True
        self._wait_no_more()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._came_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._came_on = True
        super().on_message_complete()

    def _wait_for_head(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(self.timeout_keep_alive, self._give_up)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        self.transport.close()
