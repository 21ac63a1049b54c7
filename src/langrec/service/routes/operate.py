"""Our routes for those who run the server: releases, measurements, health and metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from fastapi import Query as Param
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from langrec.data.once import size_of
from langrec.errors import BundleError, DataError
from langrec.manifest import made_at, read_json
from langrec.service import measure, quality, shapes
from langrec.service.access.auth import Caller
from langrec.service.bodies import Count, Id, RollbackBody, clean_json, now_ms
from langrec.service.guard import STORE_FAILED, NotFound, needs
from langrec.service.routes import replies_operate
from langrec.service.routes.answers import Answered, check_count, place_of, service_of
from langrec.service.service import Service
from langrec.service.store import audit, browse_rows
from langrec.service.store.store import Store

open_to_all = APIRouter(tags=["health"])
reading = APIRouter(tags=["operate"], dependencies=[Depends(needs("read"))])
administering = APIRouter(prefix="/api", tags=["operate"], dependencies=[Depends(needs("admin"))])

_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"example": "# TYPE langrec_queue gauge\nlangrec_queue 0.0\n"}}}
}
_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {
        "model": replies_operate.Health,
        "description": "The store does not answer, or the first queries have not been through",
    }
}

_LONGEST_NAME = 255  # bytes of a folder's name that file systems take

Release = Annotated[
    str,
    Param(description="a release's stamp; the one in use where it is absent", examples=["20240501T120000-03d072d1"]),
]

AuditCursor = Annotated[
    str, Param(description="`cursor` of the page before; empty for the first", examples=["120"], max_length=40)
]


@open_to_all.get("/api/health/live", summary="The process answers", response_model=replies_operate.Health)
@open_to_all.get(
    "/api/health/ready", summary="The process can serve", responses=_NOT_READY, response_model=replies_operate.Health
)
async def health(request: Request) -> Answered:
    """Gorse's health. `ready` has status 503 until a query has been through every stage, and where the store does not
    answer; `live` never has."""
    service: Service | None = request.state.service
    if service is None:
        return await _health_of_tenants(request)
    error = await run_in_threadpool(_store_error, service.store, request.state.caller)
    service.releases.look()
    ready = error is None and service.is_warm
    problem = service.releases.problem or service.cold or (None if service.is_warm else "the first queries are run")
    return Answered(
        {
            "Ready": ready,
            "DataStoreError": error,
            "CacheStoreError": None,
            "DataStoreConnected": error is None,
            "CacheStoreConnected": True,
            "Release": service.snapshot.stamp,
            "Problem": problem,
        },
        200 if ready or request.url.path.endswith("live") else 503,
    )


@reading.get(
    "/api/health/stats",
    summary="Requests, times and memory of the last hour in steps of 15 seconds",
    response_model=replies_operate.StatsReply,
)
def stats(request: Request) -> Answered:
    """All workers together; `worker` is the one that answers."""
    service = service_of(request)
    snapshot = service.snapshot
    with service.store.read() as connection:
        series = service.stats.series(connection)
        event_at, item_at = browse_rows.newest(connection)
    service.stats.queue.set(service.batcher.queue)
    queue, shed, late, lost = service.stats.totals(
        "langrec_queue", "langrec_shed_total", "langrec_shed_late_total", "langrec_impressions_lost_total"
    )
    caches = service.stats.caches()
    return Answered(
        {
            "series": series,
            "queue": queue,
            "shed": shed,
            "late": late,
            "impressions_lost": lost,
            "cache": {"hits": caches["lists"]["hits"], "misses": caches["lists"]["misses"]},
            "caches": caches,
            "freshness": {
                "event_at": event_at,
                "item_at": item_at,
                "release_at": made_at(read_json(snapshot.folder / "manifest.json")),
            },
            "worker": service.stats.worker,
        }
    )


@reading.get(
    "/api/quality",
    summary="Quality and drift, from the log",
    response_model=replies_operate.QualityReply,
)
def quality_of(request: Request) -> Answered:
    """As worked out last, beside the requests, by one of the workers; `report` is null before that."""
    with service_of(request).store.read() as connection:
        return Answered({"report": quality.newest(connection), "history": quality.history(connection)})


@reading.get(
    "/metrics",
    summary="Metrics of all workers in the Prometheus text format",
    response_class=PlainTextResponse,
    responses=_METRICS,
)
async def metrics(request: Request) -> Response:
    """Requests, their times, the cache, the queue, the release; of all workers together, and each one's process."""
    if request.state.service is None and not request.state.caller.tenant:
        # Whoever runs a server of tenants sees all of them; a tenant sees its own.
        found = await run_in_threadpool(request.app.state.tenants.prometheus)
    else:
        service = service_of(request)
        service.stats.queue.set(service.batcher.queue)
        found = await run_in_threadpool(service.stats.prometheus)
    return Response(found, media_type="text/plain; version=0.0.4; charset=utf-8")


@reading.get("/api/release", summary="The release in use", response_model=replies_operate.ReleaseReply)
def release(request: Request) -> Answered:
    """Its age, counts of the store, models and size, and why a newer release was refused."""
    service = service_of(request)
    snapshot = service.snapshot
    manifest = read_json(snapshot.folder / "manifest.json")
    with service.store.read() as connection:
        counts = browse_rows.counts(connection)
    encoder = snapshot.recommender.encoder
    made = made_at(manifest)
    return Answered(
        {
            "stamp": snapshot.stamp,
            "age_seconds": None if made is None else round((now_ms() - made) / 1000, 1),
            **counts,
            "models": list(snapshot.recommender.scorer_names),
            "encoder": None if encoder is None else encoder.identity,
            "size_bytes": size_of(snapshot.folder),
            "overlay_items": len(snapshot.overlay),
            "console_role": request.state.caller.role,
            "problem": service.releases.problem,
        }
    )


@reading.get("/api/releases", summary="All releases, newest first", response_model=list[replies_operate.ReleaseRow])
def releases(request: Request) -> Answered:
    """With their metrics, and with the problem of those that cannot be served."""
    from langrec.releases import placeless
    from langrec.releases import releases as find

    service = service_of(request)
    rows = []
    for one in find(service.folder):
        manifest = one.manifest or {}
        rows.append(
            {
                "stamp": one.stamp,
                "current": one.stamp == service.snapshot.stamp,
                "made_at": manifest.get("made_at"),
                "data": manifest.get("data", {}),
                "metrics": clean_json(manifest.get("metrics", [])),
                "size_bytes": one.size_bytes,
                "ok": one.problem is None,
                "problem": one.problem and placeless(one.problem, service.folder),
                "kept": one.kept,
            }
        )
    return Answered(rows)


@administering.post("/releases/rollback", summary="Serve another release", response_model=replies_operate.RollbackReply)
async def roll_back(request: Request, body: RollbackBody) -> Answered:
    """Checks every file of it, then serves it with the next request; noted in the audit."""
    from langrec.releases import promote

    service = service_of(request)
    actor, detail = request.state.caller.name, {"from": service.snapshot.stamp}
    stamp = await run_in_threadpool(_checked, service, body.stamp)

    def act(connection: sa.Connection) -> None:
        audit.note(connection, actor, "rollback", stamp, detail)
        promote(service.folder, stamp)  # what the audit cannot hold is not done

    await service.write(act)
    await run_in_threadpool(_switched, service)
    await service.call(lambda *_: None, patient=True)  # the next block takes the new snapshot
    return Answered({"stamp": service.snapshot.stamp})


@administering.get("/audit", summary="Who did what, newest first, in pages", response_model=replies_operate.AuditPage)
def audited(request: Request, n: Count = 50, cursor: AuditCursor = "") -> Answered:
    """Deletes, roll backs, changes of keys and imports. `langrec audit verify` checks the whole chain of hashes."""
    service = service_of(request)
    before = place_of(cursor) if cursor else None
    with service.store.read() as connection:
        acts = audit.page(connection, check_count(request, n, "n"), before)
    rows = [dataclasses.asdict(act) for act in acts]
    return Answered({"rows": rows, "cursor": str(acts[-1].seq) if acts and acts[-1].seq > 1 else ""})


@reading.get("/api/measure", summary="How good a release's models are", response_model=replies_operate.MeasureReply)
def measured(request: Request, release: Release = "") -> Answered:
    """Metrics with intervals by model and slice, and the protocol they were measured by."""
    folder = _folder(service_of(request), release)
    return Answered(measure.measured(folder, read_json(folder / "manifest.json")))


@reading.get(
    "/api/measure/lists",
    summary="Lists of several models for one user, as they were measured",
    response_model=replies_operate.MeasuredLists,
)
def measured_lists(
    request: Request,
    user: Annotated[Id, Param(description="a user's id", examples=["ann"])],
    models: Annotated[
        str,
        Param(description="names with commas between them; the first two where it is absent", examples=["ease,bm25"]),
    ] = "",
    k: Count = 10,
    release: Release = "",
) -> Answered:
    """The newest list of each model; empty for users who were not measured."""
    service = service_of(request)
    folder = _folder(service, release)
    known = measure.list_models(folder)
    wanted = [name for name in models.split(",") if name] or known[:2]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise DataError(f"models: there is no {', '.join(unknown)}; there are {', '.join(known)}", field="models")
    found = measure.user_lists(folder, user, wanted, check_count(request, k, "k"))
    title = service.snapshot.recommender
    lists = {
        model: [{"id": i, "title": shapes.title_of(title, i), "score": shapes.number(score)} for i, score in rows]
        for model, rows in found.items()
    }
    return Answered({"user": user, "lists": lists, "models": known})


async def _health_of_tenants(request: Request) -> Answered:
    """Health of a server of tenants, asked without the key of one: whether keys can be looked up."""
    error = await run_in_threadpool(_store_error, request.app.state.tenants.store, request.state.caller)
    shown = {"Ready": error is None, "DataStoreError": error, "CacheStoreError": None}
    shown |= {"DataStoreConnected": error is None, "CacheStoreConnected": True, "Release": "", "Problem": None}
    return Answered(shown, 200 if error is None or request.url.path.endswith("live") else 503)


def _store_error(store: Store, caller: Caller) -> str | None:
    try:
        with store.read() as connection:
            connection.execute(sa.select(1))
    except Exception as error:
        return str(error) if caller.operates else STORE_FAILED
    return None


def _checked(service: Service, stamp: str | None) -> str:
    """The stamp of a sound release to go to."""
    from langrec.releases import sound_one

    if stamp is not None:
        _folder(service, stamp)  # says of one that is not there that it is not
    return sound_one(service.folder, stamp)


def _switched(service: Service) -> None:
    """Loads what CURRENT names now."""
    service.releases.switch()
    if service.releases.problem is not None:
        raise BundleError(service.releases.problem, field="stamp")


def _folder(service: Service, stamp: str) -> Path:
    if not stamp:
        return service.snapshot.folder
    is_name = not ("/" in stamp or "\\" in stamp or stamp.startswith(".") or len(stamp.encode()) > _LONGEST_NAME)
    if not is_name or not (service.folder / stamp).is_dir():
        raise NotFound(f"there is no release {stamp!r}; /api/releases lists them", field="release")
    return service.folder / stamp
