"""What calls of those who run the server give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from langrec.client.shape import named


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the server can serve, the release in use, and why the newest one is not."""

    ready: bool = named("Ready")
    store_error: str | None = named("DataStoreError")
    release: str = named("Release")
    problem: str | None = named("Problem")


@dataclass(frozen=True, slots=True)
class Step:
    """Fifteen seconds of all workers."""

    at: datetime
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Stats:
    """The last hour; `shed` requests were refused because too many waited."""

    series: tuple[Step, ...]
    queue: int
    shed: int
    cache: dict[str, int]
    freshness: dict[str, int | None]
    worker: str


@dataclass(frozen=True, slots=True)
class Release:
    """The release in use."""

    stamp: str
    age_seconds: float | None
    n_items: int
    n_users: int
    n_events: int
    models: tuple[str, ...]
    encoder: str | None
    size_bytes: int
    overlay_items: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a model on a slice of the test, with its 95 % interval."""

    model: str
    slice: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release of the folder; `problem` says why it cannot be served."""

    stamp: str
    current: bool
    made_at: datetime | None
    data: dict[str, Any]
    metrics: tuple[Metric, ...]
    size_bytes: int
    ok: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did; `hash` covers the row and the hash of the row before."""

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: Any
    before: str
    hash: str


@dataclass(frozen=True, slots=True)
class ActsPage:
    """A page of the audit."""

    rows: tuple[Act, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Served:
    """The release that is served now."""

    stamp: str


@dataclass(frozen=True, slots=True)
class Measure:
    """What a release was measured to be worth, and by which protocol."""

    release: str
    metrics: tuple[Metric, ...]
    protocol: dict[str, Any]
    chosen: str
    seconds: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeasuredItem:
    """An item of a measured list."""

    id: str
    title: str
    score: float | None


@dataclass(frozen=True, slots=True)
class MeasuredLists:
    """Lists of several models for a user, and the names of all that have some."""

    user: str
    lists: dict[str, tuple[MeasuredItem, ...]]
    models: tuple[str, ...]
