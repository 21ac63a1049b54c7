"""How much of a request's head a connection takes: a client that sends headers without end must not fill the memory."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes of address and headers, as of whatever else comes between whole parts of a request; proxies allow less.
LARGEST_HEAD = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which gives up a connection that sends too much without anything coming to its end.

    The parser keeps what it has of a header until it is whole, whoever sends it: no key was looked at yet.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pending = 0
        self._came_on = False

    def data_received(self, data: bytes) -> None:
        self._came_on = False
        super().data_received(data)
        self._pending = 0 if self._came_on else self._pending + len(data)
        if self._pending > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of a request has at most {LARGEST_HEAD} bytes here.")

    def on_headers_complete(self) -> None:
        self._came_on = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._came_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._came_on = True
        super().on_message_complete()
