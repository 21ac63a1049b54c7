"""Counts and times of requests: Prometheus metrics, and 15-second buckets; workers share both."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from langrec.bounded import Counts
from langrec.service.monitoring.gathered import gathered, shared_folder
from langrec.service.monitoring.labels import LABEL, kinds_of, only
from langrec.service.store import schema
from langrec.service.store.store import upsert

BUCKET_SECONDS = 15
KEPT_SECONDS = 3600
# Upper edges of the times in milliseconds: each 15 % above the one before, from 0.1 ms to half a minute.
_EDGES = [0.1 * 1.15**i for i in range(91)]


@dataclass(slots=True)
class Bucket:
    """What happened in 15 seconds.

    Attributes:
        at: start in seconds since 1970.
        requests: how many were answered.
        errors: those with status 500 and above.
        times: number of requests by place in the edges of the times.
        memory_mb: resident memory at the end.
    """

    at: int
    requests: int = 0
    errors: int = 0
    times: dict[int, int] = field(default_factory=dict)
    memory_mb: float = 0.0


class Cache(Protocol):
    """Something bounded in bytes that counts what it does."""

    @property
    def most_bytes(self) -> int: ...

    def counts(self) -> Counts: ...


class Stats:
    """Of one worker process.

    Args:
        tenant: whose metrics these are, on a server of tenants: they carry its name as a label.
    """

    def __init__(self, tenant: str = "") -> None:
        Counter, Gauge, Histogram = kinds_of(tenant)
        self._tenant = tenant
        self.worker = f"{os.getpid()}-{time.time_ns():x}"
        self._lock = threading.Lock()
        self._now = Bucket(_start(time.time()))
        self._finished: list[Bucket] = []
        self.registry = CollectorRegistry()
        self._folder = shared_folder()
        if self._folder is None and not tenant:
            ProcessCollector(registry=self.registry)
        self._seconds = Histogram(
            "langrec_request_seconds",
            "Time from a request's first byte to its answer",
            ["route", "method", "status"],
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.shed = Counter(
            "langrec_shed", "Requests refused: the queue was full, or their time in it was over", registry=self.registry
        )
        self.late = Counter(
            "langrec_shed_late", "Requests given up because their deadline passed in the queue", registry=self.registry
        )
        self.impressions = Counter("langrec_impressions", "Lists shown and logged", registry=self.registry)
        self.lost = Counter("langrec_impressions_lost", "Lists shown that could not be logged", registry=self.registry)
        self._skipped = Counter(
            "langrec_stage_skipped", "Optional stages skipped for want of time", ["stage"], registry=self.registry
        )
        self._caches: dict[str, Cache] = {}
        self._told: dict[str, Counts] = {}
        self._hits, self._misses, self._evictions = (
            Counter(f"langrec_cache_{name}", text, ["cache"], registry=self.registry)
            for name, text in (
                ("hits", "Look-ups that a cache answered"),
                ("misses", "Look-ups that a cache could not answer"),
                ("evictions", "Entries that left a cache to keep its bound"),
            )
        )
        self._bytes, self._entries, self._bound = (
            Gauge(f"langrec_cache_{name}", text, ["cache"], registry=self.registry, multiprocess_mode="livesum")
            for name, text in (
                ("bytes", "Memory that a cache holds"),
                ("entries", "Entries that a cache holds"),
                ("bound_bytes", "Memory that a cache may hold"),
            )
        )
        self.queue = Gauge(
            "langrec_queue", "Requests that wait for the scorer", registry=self.registry, multiprocess_mode="livesum"
        )
        self.block = Histogram(
            "langrec_block_queries",
            "Queries scored together",
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )
        self._release = Gauge(
            "langrec_release_info",
            "Workers that serve a release",
            ["stamp"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._overlay = Gauge(
            "langrec_overlay_items",
            "Items that differ from the release's",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.grown = Gauge(
            "langrec_update_events",
            "Events in the linear models beyond those that they began with",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self.behind = Gauge(
            "langrec_update_users_waiting",
            "Users whose changes are not in the linear models yet",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        told = {"registry": self.registry, "multiprocess_mode": "livemostrecent"}
        self._quality = Gauge("langrec_quality", "Figures of the log, worked out now and then", ["figure"], **told)
        self._by_place = Gauge(
            "langrec_click_through_by_place", "Share of shown places that were acted on", ["place"], **told
        )
        self._warning = Gauge("langrec_warning", "1 where a figure is beyond its limit", ["name"], **told)
        self._warned: set[str] = set()
        self._stamp = ""

    def skipped(self, stage: str) -> None:
        """Counts a stage that was skipped."""
        self._skipped.labels(stage).inc()

    def watch(self, name: str, cache: Cache) -> None:
        """Counts what a cache does from now on, under a name."""
        self._caches[name] = cache
        self._told[name] = cache.counts()
        self._bound.labels(name).set(cache.most_bytes)

    def look_at_caches(self) -> None:
        """Brings the metrics of the caches up to now, for all workers to see; once a block, not once a request."""
        for name, cache in self._caches.items():
            with self._lock:
                before, now = self._told[name], cache.counts()
                self._told[name] = now
            if now == before:
                continue
            self._hits.labels(name).inc(now.hits - before.hits)
            self._misses.labels(name).inc(now.misses - before.misses)
            self._evictions.labels(name).inc(now.evictions - before.evictions)
            self._bytes.labels(name).set(now.bytes)
            self._entries.labels(name).set(now.entries)

    def serving(self, stamp: str, n_overlay: int) -> None:
        """Notes the release in use, and how many items differ from it; call it from one thread only."""
        if stamp != self._stamp:
            if self._stamp:
                self._release.labels(self._stamp).set(0)
            self._release.labels(stamp).set(1)
            self._stamp = stamp
        self._overlay.set(n_overlay)

    def quality(self, found: Mapping[str, Any]) -> None:
        """Shows a report of quality and drift (`langrec.feedback.report`); what has no value is left as it was."""
        values = {
            "click_through": found["click_through"]["value"],
            "fallback_share": found["fallback"]["value"],
            **{f"coverage_{k}": value for k, value in found["coverage"].items()},
            **{f"{name}_age_days": days for name, days in found["age_days"].items()},
            "unknown_words": found["unknown_words"],
            "text_distance": found["text_distance"],
            "popularity_divergence": found["popularity_drift"],
        }
        for name, value in values.items():
            if value is not None:
                self._quality.labels(name).set(value)
        for one in found["click_through_by_place"]:
            self._by_place.labels(str(one["place"])).set(one["value"])
        named = {one["name"] for one in found["warnings"]}
        for name in self._warned | named:
            self._warning.labels(name).set(int(name in named))
        self._warned |= named

    def record(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        self._seconds.labels(route, method, str(status)).observe(seconds)
        place = _place(seconds * 1000)
        with self._lock:
            bucket = self._current()
            bucket.requests += 1
            bucket.errors += status >= 500
            bucket.times[place] = bucket.times.get(place, 0) + 1

    def prometheus(self) -> bytes:
        """The metrics of all workers in the Prometheus text format."""
        self.look_at_caches()
        return generate_latest(self._gathered())

    def totals(self, *names: str) -> list[int]:
        """Samples of metrics without labels, of all workers; 0 where nothing was counted yet."""
        registry, labels = self._gathered(), self._labels()
        return [int(registry.get_sample_value(name, labels) or 0) for name in names]

    def caches(self) -> dict[str, dict[str, int]]:
        """By cache: hits, misses, evictions, entries, bytes and their bound, of all workers."""
        self.look_at_caches()
        registry = self._gathered()
        samples = {
            "hits": "langrec_cache_hits_total",
            "misses": "langrec_cache_misses_total",
            "evictions": "langrec_cache_evictions_total",
            "entries": "langrec_cache_entries",
            "bytes": "langrec_cache_bytes",
            "bound_bytes": "langrec_cache_bound_bytes",
        }
        return {
            name: {
                key: int(registry.get_sample_value(sample, {"cache": name, **self._labels()}) or 0)
                for key, sample in samples.items()
            }
            for name in self._caches
        }

    def flush(self, connection: sa.Connection) -> None:
        """Moves finished buckets into the store and forgets those older than an hour."""
        with self._lock:
            self._current()
            finished, self._finished = self._finished, []
        if finished:
            statement = upsert(connection, schema.stats).on_conflict_do_nothing()
            connection.execute(
                statement,
                [{"at": b.at, "worker": self.worker, "bucket": _to_json(b)} for b in finished],
            )
            connection.execute(schema.stats.delete().where(schema.stats.c.at < finished[-1].at - KEPT_SECONDS))

    def series(self, connection: sa.Connection) -> list[dict[str, Any]]:
        """All workers' buckets of the last hour summed, oldest first, with this worker's unfinished one."""
        with self._lock:
            current = self._current()
            mine = [_from_json(b.at, _to_json(b)) for b in [*self._finished, current]]
        since = _start(time.time()) - KEPT_SECONDS
        found = connection.execute(sa.select(schema.stats).where(schema.stats.c.at > since)).mappings()
        stored = [_from_json(row["at"], row["bucket"]) for row in found]
        by_time: dict[int, list[Bucket]] = {}
        for bucket in [*stored, *mine]:
            by_time.setdefault(bucket.at, []).append(bucket)
        return [_summed(by_time[at]) for at in sorted(by_time)]

    def _gathered(self) -> CollectorRegistry:
        if self._folder is None:
            return self.registry
        # Of all tenants' metrics in the folder a tenant sees its own.
        return only(gathered(self._folder), self._tenant) if self._tenant else gathered(self._folder)

    def _labels(self) -> dict[str, str]:
        return {LABEL: self._tenant} if self._tenant else {}

    def _current(self) -> Bucket:
        start = _start(time.time())
        if self._now.at != start:
            self._now.memory_mb = memory_mb()
            self._finished.append(self._now)
            # A quiet hour without a flush must not grow without bound.
            del self._finished[: -KEPT_SECONDS // BUCKET_SECONDS]
            self._now = Bucket(start)
        return self._now


def memory_mb() -> float:
    """Resident memory of this process in megabytes."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


def _start(now: float) -> int:
    return int(now // BUCKET_SECONDS) * BUCKET_SECONDS


def _place(ms: float) -> int:
    import bisect

    return min(bisect.bisect_left(_EDGES, ms), len(_EDGES) - 1)


def _to_json(bucket: Bucket) -> dict[str, Any]:
    return {
        "requests": bucket.requests,
        "errors": bucket.errors,
        "times": {str(place): n for place, n in bucket.times.items()},
        "memory_mb": bucket.memory_mb or memory_mb(),
    }


def _from_json(at: int, values: dict[str, Any]) -> Bucket:
    times = {int(place): n for place, n in values["times"].items()}
    return Bucket(at, values["requests"], values["errors"], times, values["memory_mb"])


def _summed(buckets: Sequence[Bucket]) -> dict[str, Any]:
    times: dict[int, int] = {}
    for bucket in buckets:
        for place, n in bucket.times.items():
            times[place] = times.get(place, 0) + n
    return {
        "at": buckets[0].at * 1000,
        "requests": sum(b.requests for b in buckets),
        "errors": sum(b.errors for b in buckets),
        "p50_ms": _quantile(times.items(), 0.5),
        "p99_ms": _quantile(times.items(), 0.99),
        "memory_mb": round(sum(b.memory_mb for b in buckets), 1),
    }


def _quantile(times: Iterable[tuple[int, int]], share: float) -> float | None:
    """The upper edge below which a share of the times lies; None without requests."""
    counts = sorted(times)
    wanted = share * sum(n for _, n in counts)
    seen = 0
    for place, n in counts:
        seen += n
        if seen >= wanted:
            return round(_EDGES[place], 3)
    return None
