"""Headers: what every answer says to browsers, and what a page of another site may not ask of a server without keys."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from langrec.service.access.auth import is_loopback

# Nothing inline, nothing from elsewhere: the console sets styles through the document's objects, which this allows.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DENIED = ("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "magnetometer", "microphone")
_MORE_DENIED = (
    "midi",
    "payment",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)
ALWAYS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", ", ".join(f"{name}=()" for name in (*_DENIED, *_MORE_DENIED)).encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
_NO_STORE = (b"cache-control", b"no-store")
_SAFE = ("GET", "HEAD", "OPTIONS")


def with_safety(given: list[tuple[bytes, bytes]], scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with those that protect it; data are not kept by caches unless the answer says so."""
    found = [*given, *ALWAYS]
    if scope.get("scheme") == "https":
        found.append(_STRICT_TRANSPORT)
    if str(scope["path"]).startswith("/api/") and all(name.lower() != b"cache-control" for name, _ in given):
        found.append(_NO_STORE)
    return found


def foreign(scope: Scope, headers: Headers) -> tuple[str, str] | None:
    """Why a server without keys refuses a request, and the header at fault; None where it does not.

    With keys there is nothing to forge: a key travels in a header that a page of another site does not know, and there
    are no cookies. Without keys being on this machine is what counts, so a browser that shows another site's page must
    not carry that page's wishes here: neither under a name of that site that resolves to this machine nor to localhost.
    """
    host = headers.get("host", "localhost")
    if not is_loopback(re.sub(r":\d+$", "", host)):
        return "without keys this server answers to localhost only; the Host header says else", "Host"
    origin = headers.get("origin")
    if scope["method"] not in _SAFE and origin is not None and _place_of(origin) != host:
        return "without keys this server takes changes from its own pages only; the Origin header says else", "Origin"
    asks_data = str(scope["path"]).startswith(("/api/", "/metrics", "/rerank"))
    if asks_data and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return (
            "without keys this server answers its own pages only; the browser says that another asks",
            "Sec-Fetch-Site",
        )
    return None


def _place_of(origin: str) -> str:
    """Host and port of an origin; empty where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
