"""What replies to those who run the server hold, for the description of the API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from langrec.service.routes.replies import ItemId, Millis, Problem, Score, Stamp, Title, UserId


class Health(BaseModel):
    """Whether this process can serve, in Gorse's words."""

    Ready: bool = Field(examples=[True])
    DataStoreError: str | None = Field(examples=[None])
    CacheStoreError: str | None = Field(examples=[None])
    DataStoreConnected: bool = Field(examples=[True])
    CacheStoreConnected: bool = Field(examples=[True])
    Release: Stamp
    Problem: Problem


class Step(BaseModel):
    """Fifteen seconds of all workers."""

    at: Millis
    requests: int = Field(examples=[300])
    errors: int = Field(examples=[0])
    p50_ms: float | None = Field(examples=[4.2])
    p99_ms: float | None = Field(examples=[15.3])
    memory_mb: float = Field(examples=[188.6])


class CacheCounts(BaseModel):
    """Lists that came from the caches of all workers, and those that were computed."""

    hits: int = Field(examples=[120])
    misses: int = Field(examples=[180])


class CacheState(BaseModel):
    """One cache of all workers."""

    hits: int = Field(examples=[120])
    misses: int = Field(examples=[180])
    evictions: int = Field(description="entries that left to keep the bound", examples=[0])
    entries: int = Field(examples=[175])
    bytes: int = Field(examples=[612500])
    bound_bytes: int = Field(examples=[32000000])


class Freshness(BaseModel):
    """How old the newest of each kind is, in milliseconds since 1970."""

    event_at: int | None = Field(examples=[1714564800000])
    item_at: int | None = Field(examples=[1714564800000])
    release_at: int | None = Field(examples=[1714564800000])


class StatsReply(BaseModel):
    """The last hour."""

    series: list[Step]
    queue: int = Field(description="requests that wait for a scorer", examples=[0])
    shed: int = Field(description="requests that were refused because too many waited", examples=[0])
    late: int = Field(description="those of them that waited until their deadline had passed", examples=[0])
    impressions_lost: int = Field(description="shown lists that were not logged", examples=[0])
    cache: CacheCounts
    caches: dict[str, CacheState] = Field(
        examples=[
            {
                "lists": {
                    "hits": 120,
                    "misses": 180,
                    "evictions": 0,
                    "entries": 175,
                    "bytes": 612500,
                    "bound_bytes": 32000000,
                }
            }
        ]
    )
    freshness: Freshness
    worker: str = Field(examples=["27151-18eb076d339312ab"])


class ReleaseReply(BaseModel):
    """The release in use."""

    stamp: Stamp
    age_seconds: float | None = Field(examples=[3600.0])
    n_items: int = Field(examples=[1682])
    n_users: int = Field(examples=[943])
    n_events: int = Field(examples=[100000])
    models: list[str] = Field(examples=[["popular", "ease", "bm25"]])
    encoder: str | None = Field(examples=["hashing/1/256"])
    size_bytes: int = Field(examples=[5306062])
    overlay_items: int = Field(description="items that differ from the release's", examples=[1])
    console_role: str = Field(description="the role of the key that asks", examples=["read"])
    problem: Problem


class MetricRow(BaseModel):
    """A metric of a model on a slice of the test, with its 95 % interval."""

    model: str = Field(examples=["mix"])
    slice: str = Field(examples=["all"])
    metric: str = Field(examples=["ndcg@10"])
    value: float | None = Field(examples=[0.128])
    low: float | None = Field(examples=[0.119])
    high: float | None = Field(examples=[0.137])
    n: int = Field(examples=[943])


class RateRow(BaseModel):
    """A share with its 95 % interval; null without a case."""

    place: int = Field(description="of a list, from 1; 0 = all", examples=[1])
    n: int = Field(examples=[100])
    hits: int = Field(examples=[30])
    value: float | None = Field(examples=[0.3])
    low: float | None = Field(examples=[0.2189])
    high: float | None = Field(examples=[0.3958])


class Week(BaseModel):
    """What was chosen in a week, against the week before."""

    at: Millis
    events: int = Field(examples=[1200])
    divergence: float | None = Field(description="Jensen-Shannon, in bits", examples=[0.12])


class QualityWarning(BaseModel):
    """A figure beyond its limit."""

    name: str = Field(examples=["stale_event"])
    value: float = Field(examples=[3.2])
    limit: float = Field(examples=[2.0])


class QualityReport(BaseModel):
    """Figures of the log."""

    at: Millis
    days: float = Field(description="of lists that were looked at", examples=[7.0])
    lists: int = Field(examples=[4200])
    click_through: RateRow
    click_through_by_place: list[RateRow]
    fallback: RateRow = Field(description="lists for people of whom nothing was known")
    coverage: dict[str, float] = Field(
        description="share of the catalogue in the first 5, 10 and 20 places",
        examples=[{"5": 0.2, "10": 0.31, "20": 0.4}],
    )
    age_days: dict[str, float | None] = Field(
        description="of the newest event and item, and of the release",
        examples=[{"event": 0.1, "item": 2, "release": 1}],
    )
    new_items: int = Field(examples=[12])
    unknown_words: float | None = Field(
        description="share of words of new items that the training did not read", examples=[0.1]
    )
    text_distance: float | None = Field(description="of new items from the training's, in spreads", examples=[0.3])
    weeks: list[Week]
    popularity_drift: float | None = Field(description="of the newest week", examples=[0.12])
    warnings: list[QualityWarning]


class QualityPoint(BaseModel):
    """What moved."""

    at: Millis
    click_through: float | None = Field(examples=[0.03])
    fallback: float | None = Field(examples=[0.2])
    coverage: float = Field(description="of the first ten places", examples=[0.31])


class QualityReply(BaseModel):
    """The newest report, and how its figures moved."""

    report: QualityReport | None
    history: list[QualityPoint]


class ReleaseRow(BaseModel):
    """A release of the folder."""

    stamp: Stamp
    current: bool = Field(examples=[True])
    made_at: str | None = Field(examples=["2024-05-01T12:00:00+00:00"])
    data: dict[str, Any] = Field(examples=[{"n_users": 943, "n_items": 1682, "n_events": 100000}])
    metrics: list[MetricRow]
    size_bytes: int = Field(examples=[5306062])
    ok: bool = Field(examples=[True])
    problem: str | None = Field(description="why it cannot be served", examples=[None])
    kept: str | None = Field(description="why a retraining did not promote it", examples=[None])


class RollbackReply(BaseModel):
    """The release that is served now."""

    stamp: Stamp


class AuditRow(BaseModel):
    """What somebody did; `hash` covers the row and the hash of the row before."""

    seq: int = Field(examples=[7])
    at: Millis
    actor: str = Field(description="a key's id, local, or cli: and a user", examples=["3fa1b2c3d4e5"])
    action: str = Field(examples=["delete user"])
    target: str = Field(examples=["ann"])
    detail: Any = Field(examples=[{"events": 12}])
    before: str = Field(examples=["0" * 64])
    hash: str = Field(examples=["a" * 64])


class AuditPage(BaseModel):
    """A page of the audit; `cursor` is empty on the last."""

    rows: list[AuditRow]
    cursor: str = Field(examples=["120"])


class MeasureReply(BaseModel):
    """What a release was measured to be worth."""

    release: Stamp
    metrics: list[MetricRow]
    protocol: dict[str, Any] = Field(examples=[{"split": "time", "candidates": "all", "k": [5, 10, 20]}])
    chosen: str = Field(examples=["mix"])
    seconds: dict[str, Any] = Field(examples=[{"mix": 1.5}])


class MeasuredItem(BaseModel):
    """An item of a measured list."""

    id: ItemId
    title: Title
    score: Score


class MeasuredLists(BaseModel):
    """Lists of several models for a user."""

    user: UserId
    lists: dict[str, list[MeasuredItem]] = Field(
        description="by model", examples=[{"mix": [{"id": "m1", "title": "Moon Bakery", "score": 2.25}]}]
    )
    models: list[str] = Field(description="all models with lists", examples=[["ease", "mix"]])
