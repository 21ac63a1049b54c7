"""Around every request: an id, the limits, the caller's role, security headers, counts, and errors as JSON."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langrec.errors import LangrecError
from langrec.releases import placeless
from langrec.service.access.auth import NOBODY, Caller, NotAllowed
from langrec.service.access.rate_limits import Buckets
from langrec.service.access.scopes import area_of
from langrec.service.batching import Busy
from langrec.service.bodies import SLASH
from langrec.service.doors import Doors
from langrec.service.headers import foreign, with_safety
from langrec.service.monitoring import tracing
from langrec.service.service import Service

_log = logging.getLogger("langrec.service")

# Wrong keys from one address, a second and at once: whoever tries keys learns little, who mistyped one does not notice.
_WRONG_KEYS = (2.0, 40)
_STATUS = {"busy": 429, "store": 503, "not_found": 404, "bad_bundle": 409, "too_large": 413}

_NO_MEMORY = "the server has no memory for this just now; try again in a second"
_NO_KEY = "this server wants an API key in the header X-API-Key"
_WRONG_KEY = "the API key that was sent is unknown, has ended or was revoked"
_COUNTED = ("/api/", "/metrics", "/rerank")
_PROBES = ("/api/health/live", "/api/health/ready")
STORE_FAILED = "the store does not answer as it should; the server's log holds the reason"

# Status, code, message, field, seconds until it may pass.
Refusal = tuple[int, str, str, str | None, int | None]


class NotFound(LangrecError):  # noqa: N818 - reads as a sentence where it is raised
    """The thing that a path names does not exist."""

    code = "not_found"


class Guard:
    """ASGI middleware around the routes.

    Args:
        app: the routes.
        doors: who may come in, and to which service.
    """

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app = app
        self._doors = doors
        self._buckets = Buckets.of_environment()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id"))
        state = scope.setdefault("state", {})
        state |= {"request_id": request_id, "caller": NOBODY, "service": None}
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                safe = with_safety([*message["headers"]], scope)
                message["headers"] = [*safe, (b"x-request-id", request_id.encode())]
            await send(message)

        async with contextlib.AsyncExitStack() as held:
            span = held.enter_context(tracing.of_process().request(scope["method"], headers))
            try:
                key = _key(headers)
                state["caller"] = await self._doors.caller(key)
                refused = (
                    _refused(self._doors, scope, headers)
                    or self._limited(scope, state["caller"], key)
                    or _unread(scope, headers, state["caller"])
                )
                if refused is not None:
                    await error_response(request_id, *refused)(scope, receive, send_on)
                    return
                state["service"] = await held.enter_async_context(self._doors.entered(state["caller"]))
                scope["path"] = _routed_path(scope)
                # Nobody's body is read where a route asks for none: it would lie in memory.
                if state["caller"].role and "content-length" not in headers and "transfer-encoding" in headers:
                    limit = self._doors.settings.max_body
                    body = await _read(receive, limit)
                    if body is None:
                        response = error_response(request_id, 413, "too_large", _too_large(limit))
                        await response(scope, receive, send_on)
                        return
                    receive = _replay(body, receive)
                await self._app(scope, receive, send_on)
            except LangrecError as error:
                # Raised before any route was found; those of the routes are answered within.
                if error.code == "store":
                    _log.warning("request %s: %s", request_id, error.message)
                later = error.retry_after if isinstance(error, Busy) else None
                known = _STATUS.get(error.code, 400)
                message = told(error, state["caller"])
                failed = error_response(request_id, known, error.code, message, error.field, later)
                await failed(scope, receive, send_on)
            except MemoryError:
                _log.exception("request %s found no memory", request_id)
                if status == 500:
                    await error_response(request_id, 503, "memory", _NO_MEMORY)(scope, receive, send_on)
            except Exception:
                _log.exception("request %s failed", request_id)
                if status == 500:
                    message = "something went wrong on the server; its log holds the reason under this request id"
                    await error_response(request_id, 500, "internal", message)(scope, receive, send_on)
            finally:
                route = scope.get("route")
                path = getattr(route, "path", None) or "unknown"
                seconds = time.perf_counter() - started
                stats = self._doors.stats if state["service"] is None else state["service"].stats
                stats.record(path, scope["method"] if path != "unknown" else "", status, seconds)
                if span is not None:
                    span.answered(scope["method"], path, status, request_id)
                _log.info("%s %s %d %.1f ms %s", scope["method"], path, status, seconds * 1000, request_id)

    def _limited(self, scope: Scope, caller: Caller, key: str | None) -> Refusal | None:
        """Why a caller has to wait; None where there is no need to."""
        if not str(scope["path"]).startswith(_COUNTED) or str(scope["path"]).startswith(_PROBES):
            return None
        if caller.role:
            rate, burst = self._doors.limits(caller)
            bucket, said = f"{caller.tenant}/{caller.name}", f"this key may make {rate:g} requests a second"
        elif key:
            rate, burst = _WRONG_KEYS
            bucket, said = f"from {(scope.get('client') or ('',))[0]}", "too many wrong keys came from this address"
        else:
            return None
        seconds = self._buckets.wait(bucket, rate, burst) if rate > 0 else 0.0
        if not seconds:
            return None
        after = math.ceil(seconds)
        return 429, "rate_limited", f"{said}; try again in {after} s", "X-API-Key", after


def needs(role: str, area: str | None = None) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a caller through who may do an act.

    Args:
        role: read, write or admin.
        area: of the API; None = that of the route's path.
    """

    # Not a plain function: the framework would run that in a thread, which costs more than the whole check.
    async def check(request: Request) -> None:
        caller: Caller = request.state.caller
        if not caller.role:
            raise NotAllowed(_no_key(request.headers), field="X-API-Key")
        where = area or area_of(getattr(request.scope.get("route"), "path", ""))
        if not caller.may(role, where):
            mine = ", ".join(sorted(caller.scopes)) or caller.role
            raise NotAllowed(
                f"this needs a key with the role {role} or the scope {where}:{role}; yours is {mine}",
                field="X-API-Key",
            )

    return check


def handle_errors(app: FastAPI) -> None:
    """Makes every error of the routes JSON with a code, a message and the field."""

    @app.exception_handler(LangrecError)
    async def known(request: Request, error: LangrecError) -> JSONResponse:
        status = _STATUS.get(error.code, 400)
        if isinstance(error, NotAllowed):
            status = 403 if request.state.caller.role else 401
        if status in (409, 503):
            _log.warning("request %s: %s", request.state.request_id, error.message)
        later = error.retry_after if isinstance(error, Busy) else None
        message = told(error, request.state.caller, request.state.service)
        return error_response(request.state.request_id, status, error.code, message, error.field, later)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        places = [str(part) for part in first["loc"]]
        field = ".".join(places[1:]) or places[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "too_long" and isinstance(first["input"], str):
            message = f"a text has at most {first['ctx']['max_length']} characters here"
        if first["type"] == "json_invalid":
            field, message = "body", "the body is not valid JSON"
        elif places[0] == "body" and isinstance(error.body, bytes):
            # A body of another kind is not read: pages of other sites may send those without being asked.
            field, message = "body", "send JSON with the header Content-Type: application/json"
        return error_response(request.state.request_id, 400, "bad_request", f"{field}: {message}", field)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, MemoryError):  # FastAPI says of any failure that the body is at fault
            _log.warning("request %s found no memory for its body", request.state.request_id)
            return error_response(request.state.request_id, 503, "memory", _NO_MEMORY)
        code, message = "bad_request", str(error.detail)
        if error.status_code == 404:
            code, message = "not_found", f"there is no {request.method} {_shown_path(request)}; /openapi.json lists all"
        elif error.status_code == 405:
            code, message = "bad_method", f"{_shown_path(request)} does not know {request.method}"
        elif error.status_code == 413:
            code = "too_large"
        response = error_response(request.state.request_id, error.status_code, code, message)
        response.headers.update(error.headers or {})
        return response


def told(error: LangrecError, caller: Caller, service: Service | None = None) -> str:
    """What a caller reads of an error: where the server keeps what, only whoever runs it; its log holds the rest."""
    if caller.operates:
        return error.message
    if error.code == "store":
        return STORE_FAILED
    return error.message if service is None else placeless(error.message, service.folder)


def error_response(
    request_id: str, status: int, code: str, message: str, field: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """An error as every client sees it; one that may pass by itself says after how many seconds."""
    later = 1 if status == 503 and retry_after is None else retry_after
    headers = {} if later is None else {"Retry-After": str(later)}
    body = {"code": code, "message": message, "field": field, "request_id": request_id}
    return JSONResponse(body, status, headers)


def _refused(doors: Doors, scope: Scope, headers: Headers) -> Refusal | None:
    limit = doors.settings.max_body
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limit:
        return 413, "too_large", _too_large(limit), None, None
    why = None if doors.keys_needed else foreign(scope, headers)
    return None if why is None else (403, "not_allowed", *why, None)


def _unread(scope: Scope, headers: Headers, caller: Caller) -> Refusal | None:
    """Why a body is not read at all: nobody knows who sends it, and reading JSON costs more than all they could ask."""
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    path = str(scope["path"])
    if caller.role or not has_body or not path.startswith(_COUNTED) or path.startswith(_PROBES):
        return None
    return 401, "not_allowed", _no_key(headers), "X-API-Key", None


def _no_key(headers: Headers) -> str:
    return _WRONG_KEY if _key(headers) else _NO_KEY


def _too_large(limit: int) -> str:
    return f"the body is larger than serve.max_body = {limit} bytes; send it in parts"


def _request_id(given: str | None) -> str:
    return given if given and re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex[:16]


def _key(headers: Headers) -> str | None:
    key = headers.get("x-api-key")
    if key is None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else None
    return key


def _routed_path(scope: Scope) -> str:
    """The path with a final slash left out, and slashes within ids kept apart from those between parts."""
    raw = scope.get("raw_path")
    path: str = scope["path"]
    if raw and b"%2f" in raw.split(b"?")[0].lower():
        from urllib.parse import unquote

        marked = re.sub(rb"%2[fF]", SLASH.encode(), raw.split(b"?")[0])
        path = unquote(marked.decode("latin-1").encode("latin-1").decode("utf-8", "replace"), errors="replace")
    return path.rstrip("/") if path.startswith("/api/") else path


def _shown_path(request: Request) -> str:
    return str(request.scope["path"]).replace(SLASH, "%2F")[:200]


async def _read(receive: Receive, limit: int) -> bytes | None:
    """A body of unknown length, None where it is over the limit."""
    parts, size = [], 0
    while True:
        message: dict[str, Any] = dict(await receive())
        if message["type"] != "http.request":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
