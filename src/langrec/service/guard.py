"""Around every request: an id, the limits, the caller's role, security headers, counts, and errors as JSON."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langrec.errors import LangrecError
from langrec.service.auth import ROLES, Caller, NotAllowed, is_loopback
from langrec.service.bodies import SLASH
from langrec.service.service import Service

_log = logging.getLogger("langrec.service")

# Nothing inline, nothing from elsewhere: the console sets styles through the document's objects, which this allows.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_STATUS = {"busy": 503, "store": 503, "not_found": 404, "bad_bundle": 409, "too_large": 413}


class NotFound(LangrecError):  # noqa: N818 - reads as a sentence where it is raised
    """The thing that a path names does not exist."""

    code = "not_found"


class Guard:
    """ASGI middleware around the routes.

    Args:
        app: the routes.
        service: whose keys, settings and statistics count.
    """

    def __init__(self, app: ASGIApp, service: Callable[[], Service]) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._service()
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *_HEADERS]
            await send(message)

        try:
            refused = _refused(service, headers)
            if refused is not None:
                await error_response(request_id, *refused)(scope, receive, send_on)
                return
            scope["state"]["caller"] = service.keys.caller(_key(headers))
            scope["path"] = _routed_path(scope)
            if "content-length" not in headers and "transfer-encoding" in headers:
                body = await _read(receive, service.settings.max_body)
                if body is None:
                    response = error_response(request_id, 413, "too_large", _too_large(service.settings.max_body))
                    await response(scope, receive, send_on)
                    return
                receive = _replay(body, receive)
            await self._app(scope, receive, send_on)
        except Exception:
            _log.exception("request %s failed", request_id)
            if status == 500:
                message = "something went wrong on the server; its log holds the reason under this request id"
                await error_response(request_id, 500, "internal", message)(scope, receive, send_on)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", None) or "unknown"
            seconds = time.perf_counter() - started
            service.stats.record(path, scope["method"] if path != "unknown" else "", status, seconds)
            _log.info("%s %s %d %.1f ms %s", scope["method"], path, status, seconds * 1000, request_id)


def needs(role: str) -> Callable[[Request], None]:
    """A dependency that lets a caller through whose role is at least this one."""
    wanted = ROLES.index(role)

    def check(request: Request) -> None:
        caller: Caller = request.state.caller
        if not caller.role:
            raise NotAllowed("this server wants an API key in the header X-API-Key", field="X-API-Key")
        if ROLES.index(caller.role) < wanted:
            raise NotAllowed(f"this needs a key with the role {role}; yours is {caller.role}", field="X-API-Key")

    return check


def handle_errors(app: FastAPI) -> None:
    """Makes every error of the routes JSON with a code, a message and the field."""

    @app.exception_handler(LangrecError)
    async def known(request: Request, error: LangrecError) -> JSONResponse:
        status = _STATUS.get(error.code, 400)
        if isinstance(error, NotAllowed):
            status = 403 if request.state.caller.role else 401
        if status == 503:
            _log.warning("request %s: %s", request.state.request_id, error.message)
        return error_response(request.state.request_id, status, error.code, error.message, error.field)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        places = [str(part) for part in first["loc"]]
        field = ".".join(places[1:]) or places[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "json_invalid":
            field, message = "body", "the body is not valid JSON"
        elif places[0] == "body" and isinstance(error.body, bytes):
            # A body of another kind is not read: pages of other sites may send those without being asked.
            field, message = "body", "send JSON with the header Content-Type: application/json"
        return error_response(request.state.request_id, 400, "bad_request", f"{field}: {message}", field)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
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


def error_response(request_id: str, status: int, code: str, message: str, field: str | None = None) -> JSONResponse:
    """An error as every client sees it."""
    headers = {"Retry-After": "1"} if status == 503 else {}
    body = {"code": code, "message": message, "field": field, "request_id": request_id}
    return JSONResponse(body, status, headers)


def _refused(service: Service, headers: Headers) -> tuple[int, str, str, str | None] | None:
    limit = service.settings.max_body
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limit:
        return 413, "too_large", _too_large(limit), None
    # A page of another site could reach a server without keys under a name of its own that resolves to this machine.
    host = re.sub(r":\d+$", "", headers.get("host", "localhost"))
    if not service.keys.roles and not is_loopback(host):
        return (
            403,
            "not_allowed",
            "without keys this server answers to localhost only; the Host header says else",
            "Host",
        )
    return None


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
