"""Lists as finished bytes, for pages that may be seconds old: sent again without a query, a thread or a check of types.

A request says how old its list may be (`max-age`, or `serve.max_age` where it does not). Within that age the same bytes
are sent to the same question about the same user; each sending is logged as shown. What was posted meanwhile, and an
item that was hidden or deleted, count when the age is over, whichever worker was told; the worker that takes a user's
event forgets the user's lists at once.
"""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from langrec.bounded import Bounded, Counts

if TYPE_CHECKING:
    from langrec.service.impressions import Shown
    from langrec.service.service import Service

# The longest age that may be asked for, in seconds.
LONGEST = 3600.0
# Questions about one user that are held at most: pages, lengths, categories.
_VARIANTS = 8
_PREFIX = b"/api/recommend/"
_AGE = re.compile(rb"(?:^|&)max-age=(\d{1,4}(?:\.\d{1,3})?)(?=&|$)")


@dataclass(frozen=True, slots=True)
class Ready:
    """One answer as it was sent.

    Attributes:
        body: JSON.
        at: time.monotonic() of the answer.
        shown: what the log says of it.
    """

    body: bytes
    at: float
    shown: Shown


class ReadyLists:
    """Answers by user and question, within a number of bytes.

    Args:
        most_bytes: the bound.
        max_age: seconds that a list may be old where the request says nothing; 0 = none is kept.
    """

    def __init__(self, most_bytes: int, max_age: float) -> None:
        self._max_age = max_age
        self._held: Bounded[str, dict[bytes, Ready]] = Bounded(most_bytes)
        self._hits = self._misses = 0

    @property
    def most_bytes(self) -> int:
        return self._held.most_bytes

    def clear(self) -> None:
        """Forgets every list."""
        self._held.clear()

    def counts(self) -> Counts:
        """What the cache has done and holds; an entry is a user."""
        # A user may be held and the question not, or too old a list of it: only what was given counts as found.
        return replace(self._held.counts(), hits=self._hits, misses=self._misses)

    def age_of(self, question: bytes) -> float:
        """Seconds that the list of a request may be old; 0 = it is to be of now.

        Args:
            question: see `question_of`.
        """
        found = _AGE.search(question)
        age = float(found[1]) if found is not None else self._max_age
        return 0.0 if b"write-back" in question else min(age, LONGEST)

    def find(self, user: str, question: bytes, age: float) -> Ready | None:
        """The answer to the question that is at most `age` seconds old."""
        found = (self._held.get(user) or {}).get(question)
        if found is None or time.monotonic() - found.at > age:
            self._misses += 1
            return None
        self._hits += 1
        return found

    def put(self, user: str, question: bytes, ready: Ready) -> None:
        """Holds an answer; of many questions about a user the newest are held."""
        others = [pair for pair in (self._held.peek(user) or {}).items() if pair[0] != question]
        variants = dict([*others[1 - _VARIANTS :], (question, ready)])
        size = sum(len(key) + len(one.body) + one.shown.size + 500 for key, one in variants.items())
        self._held.put(user, variants, size + 2 * len(user))

    def forget(self, user: str) -> None:
        """Holds nothing about a user any more."""
        self._held.drop(user)


class Shortcut:
    """ASGI middleware within the guard: answers `GET /api/recommend/{user}` from ready bytes where there are any.

    What it does not know it passes on, so errors and refusals are those of the route.

    Args:
        app: the routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["raw_path"].startswith(_PREFIX):
            await self._app(scope, receive, send)
            return
        service: Service | None = scope["state"]["service"]
        if service is None or not scope["state"]["caller"].may("read", "lists"):
            await self._app(scope, receive, send)
            return
        question = question_of(scope)
        age = service.ready.age_of(question)
        user = user_of(scope["raw_path"])
        found = service.ready.find(user, question, age) if age > 0 else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(found.body)).encode()),
            *age_headers(age, time.monotonic() - found.at),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": found.body})
        service.note_shown(found.shown, scope["state"]["request_id"])


def question_of(scope: Scope) -> bytes:
    """All of a request that its answer depends on beside the user: path, query and version."""
    version = next((value for name, value in scope["headers"] if name == b"x-api-version"), b"1")
    return bytes(b"\x00".join((version, scope["raw_path"], b"&" + scope["query_string"])))


def user_of(raw_path: bytes) -> str:
    """The user that the path of a request names."""
    return unquote(raw_path[len(_PREFIX) :].split(b"/", 1)[0].decode("latin-1"))


def age_headers(age: float, is_old: float) -> list[tuple[bytes, bytes]]:
    """What a reply says to a browser's cache: for whom it is, how old it may get, and how old it is (rounded up)."""
    return [(b"cache-control", b"private, max-age=%d" % int(age)), (b"age", b"%d" % math.ceil(is_old))]


@dataclass(frozen=True, slots=True)
class _Route:
    path: str


# The name under which such requests are counted.
_ROUTE = _Route("/api/recommend/{user}")


def body_of(content: object) -> bytes:
    """Plain values as JSON bytes."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")
