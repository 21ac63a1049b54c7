"""A call on the wire, waited for; made of `asynchronous_wire.py` by `python tests/test_docs.py --write`."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import langrec
from langrec.client.calls import Call, keyed, path, row_of
from langrec.client.errors import NotReached, ServerError, error_of
from langrec.client.retries import Retries
from langrec.errors import MissingExtra, SettingsError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")


class Wire:
    """Connections to a server, and calls over them: repeated as the retries allow, each failure told by its own error.

    Arguments and errors are those of `Client`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8087",
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: Retries | None = None,
        verify: bool | str | ssl.SSLContext = True,
        headers: Mapping[str, str] | None = None,
        connections: int = 100,
        rng: random.Random | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("client", "the client of a server") from error
        if not url.startswith(("http://", "https://")):
            raise SettingsError(f"url: {url!r} must begin with http:// or https://", field="url")
        self._failures = httpx
        self._retries = retries or Retries()
        self._rng = rng or random.Random()
        kept = {"User-Agent": f"langrec/{langrec.__version__}", **(headers or {})}
        if key is not None:
            kept["X-API-Key"] = key
        context: Any = verify
        if isinstance(verify, str):
            import ssl

            context = ssl.create_default_context(cafile=verify)
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers=kept,
            timeout=timeout,
            verify=context,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _write(self, call: Call[T]) -> T:
        return self._ask(keyed(call, None))

    def _ask(self, call: Call[T]) -> T:
        """The answer, after as many tries as it takes and the retries allow."""
        request_id, started, tried = uuid.uuid4().hex[:16], time.monotonic(), 0
        while True:
            tried += 1
            try:
                return self._try(call, request_id)
            except ServerError as error:
                pause = self._retries.pause(
                    error,
                    tried=tried,
                    passed=time.monotonic() - started,
                    repeatable=call.repeatable,
                    rng=self._rng,
                )
                if pause is None:
                    raise
            time.sleep(pause)

    def _try(self, call: Call[T], request_id: str) -> T:
        headers = {"X-Request-Id": request_id, **call.headers}
        if "opentelemetry.propagate" in sys.modules:
            # A program that traces itself sees the server's part of its trace.
            sys.modules["opentelemetry.propagate"].inject(headers)
        if call.body is not None:
            headers["Content-Type"] = "application/x-ndjson" if call.lines else "application/json"
        lost = self._failures
        try:
            answer = self._http.request(
                call.method, call.path, params=call.query(), content=call.content(), headers=headers
            )
        except (lost.ConnectError, lost.ConnectTimeout, lost.PoolTimeout) as error:
            said = f"{self._http.base_url} cannot be reached ({_reason(error)}); is the server running?"
            raise NotReached(said, code="not_connected", request_id=request_id) from error
        except lost.TimeoutException as error:
            said = f"{call.method} {call.path}: no answer within the timeout"
            raise NotReached(said, code="timeout", request_id=request_id) from error
        except lost.TransportError as error:
            said = f"{call.method} {call.path}: the connection was lost ({_reason(error)})"
            raise NotReached(said, code="connection_lost", request_id=request_id) from error
        return call.answer(answer.status_code, answer.headers, answer.content, request_id)

    def _lines(self, kind: str, shape: Any) -> Iterator[Any]:
        """Rows of a bulk; a connection that is lost in the middle is an error, for the next state is another one."""
        where, request_id, lost = path("api", "bulk", kind), uuid.uuid4().hex[:16], self._failures
        headers = {"X-Request-Id": request_id}
        try:
            with self._http.stream("GET", where, headers=headers) as answer:
                if answer.status_code >= 300:
                    raise error_of(answer.status_code, answer.headers, answer.read(), request_id)
                # Split here: httpx ends a line at each sign that Unicode calls a line's end, and texts hold such signs.
                rest = b""
                for data in answer.iter_bytes():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in filter(None, lines):
                        yield row_of(shape, line, f"GET {where}", request_id)
                if rest:
                    yield row_of(shape, rest, f"GET {where}", request_id)
        except lost.TransportError as error:
            said = f"GET {where}: the connection was lost ({_reason(error)}); begin again"
            raise NotReached(said, code="connection_lost", request_id=request_id) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
