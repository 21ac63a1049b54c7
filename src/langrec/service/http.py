"""The HTTP application: one service, its routes, and what stands around them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

import langrec
from langrec.protocols import Progress, untold
from langrec.recipe import load_settings
from langrec.service.accepting import WARM
from langrec.service.doors import Doors, OneDoor
from langrec.service.guard import Guard, handle_errors
from langrec.service.keeping import Keeper
from langrec.service.quality import Quality
from langrec.service.ready import Shortcut
from langrec.service.routes import (
    api_page,
    ask,
    browse,
    bulk,
    gorse_feedback,
    gorse_items,
    gorse_lists,
    gorse_users,
    operate,
    pages,
    privacy,
    replies,
)
from langrec.service.routes.openapi import described
from langrec.service.served.warming import settle
from langrec.service.service import Service
from langrec.service.starting import RELEASES_VARIABLE, start_log
from langrec.service.tenants import Tenants
from langrec.settings import FeedbackSettings, ServeSettings, StoreSettings

_MANY_ITEMS = 200_000

_ERROR = {"model": replies.Error, "description": "What went wrong, as for every status from 400"}
_TAGS = [
    {"name": "lists", "description": "Gorse's lists: recommended, popular, newest, neighbours."},
    {"name": "ask", "description": "Lists with reasons, search, and the exact account of a score."},
    {"name": "data", "description": "Gorse's users, items and events."},
    {"name": "privacy", "description": "A person's data: export, and the proof of a deletion."},
    {"name": "browse", "description": "Looking around: type-ahead, histories, the catalogue."},
    {"name": "operate", "description": "Releases, measurements and metrics."},
    {"name": "health", "description": "Probes."},
]
# By the name of a router the role that its routes need.
_ROLES = {"open_to_all": "", "reading": "read", "writing": "write", "administering": "admin"}


def create_app(
    releases: Path,
    settings: ServeSettings,
    *,
    keeping: StoreSettings = StoreSettings(),  # noqa: B008 - frozen
    feedback: FeedbackSettings = FeedbackSettings(),  # noqa: B008 - frozen
    progress: Progress = untold,
) -> FastAPI:
    """The application over a releases folder.

    Args:
        releases: the folder.
        settings: of the service.
        keeping: how long the store keeps what.
        feedback: how often quality and drift are worked out, and what is beyond the usual.
        progress: called while a release is imported into the store: part, rows done, rows in all.

    Raises:
        BundleError: the folder holds no sound release.
        StoreError: the store cannot be opened.
        SettingsError: others can reach the address and there are no keys.
    """
    if settings.tenants:
        return _app_of_tenants(settings, keeping, feedback)
    service = Service(Path(releases), settings, progress=progress)
    keeper = Keeper(service, keeping)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        tasks = [asyncio.create_task(service.run()), asyncio.create_task(service.warm_up())]
        tasks.append(asyncio.create_task(service.follow()))
        tasks.append(asyncio.create_task(keeper.run()))
        tasks.append(asyncio.create_task(Quality(service, feedback).run()))
        try:
            yield {WARM: lambda: service.is_warm or service.cold is not None}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await service.close()

    app = _described(lifespan)
    app.state.service = service
    return _guarded(app, OneDoor(lambda: service))


def _app_of_tenants(settings: ServeSettings, keeping: StoreSettings, feedback: FeedbackSettings) -> FastAPI:
    """The application over a folder of tenants; each is opened when it is first asked."""
    tenants = Tenants(Path(settings.tenants), settings, keeping, feedback)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # No tenant's requests may take the threads that another's need.
        threads = anyio.to_thread.current_default_thread_limiter()
        threads.total_tokens += settings.tenant_share * settings.max_tenants
        task = asyncio.create_task(tenants.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await tenants.close()

    app = _described(lifespan)
    app.state.tenants = tenants
    return _guarded(app, tenants)


def _guarded(app: FastAPI, doors: Doors) -> FastAPI:
    """The application with what stands around its routes."""
    app.add_middleware(Shortcut)
    app.add_middleware(Guard, doors=doors)
    handle_errors(app)
    app.include_router(api_page.router)
    app.include_router(pages.router)
    return app


def document() -> dict[str, Any]:
    """What `/openapi.json` of a server says; needs no release and no store."""
    return _described(None).openapi()


def _described(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[Any]] | None) -> FastAPI:
    """An application with the routes that the description names."""
    app = FastAPI(
        title="langrec",
        version=langrec.__version__,
        description="Recommendations, search and explanations. Paths with bodies in CamelCase are those of Gorse.",
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses={"4XX": _ERROR},
    )
    # Fixed paths come before those with an id in the same place.
    roles: dict[tuple[str, str], str] = {}
    for module in (operate, privacy, browse, ask, gorse_lists, gorse_users, gorse_items, gorse_feedback, bulk):
        for name, role in _ROLES.items():
            router: APIRouter | None = getattr(module, name, None)
            if router is not None:
                app.include_router(router)
                roles |= {
                    (method, r.path): role
                    for r in router.routes
                    if isinstance(r, APIRoute)
                    for method in r.methods or ()
                }
    app.openapi = lambda: described(app, roles)  # type: ignore[method-assign]
    return app


def calm_threads(n_items: int, candidates: bool = False) -> None:
    """Lets linear algebra use one thread where its products are small.

    A request's products are over in less time than threads take to meet: at 10,000 items two threads cost 2.4 times the
    processor time of one. Large catalogues keep all threads, unless candidates alone are scored.
    """
    if candidates or n_items < _MANY_ITEMS:
        from threadpoolctl import threadpool_limits

        threadpool_limits(1, user_api="blas")


def calm(app: FastAPI) -> None:
    """Readies a process that does nothing but serve an application: its threads (see `calm_threads`), its memory.

    Many tenants share the processor better with one thread each.
    """
    settle()
    service: Service | None = getattr(app.state, "service", None)
    if service is None:
        calm_threads(0)
    else:
        recommender = service.snapshot.recommender
        calm_threads(recommender.n_items, candidates=recommender.fusion.near is not None)


def app_from_environment() -> FastAPI:
    """The application of a worker process: its releases folder and settings come from LANGREC_ variables."""
    start_log()
    settings = load_settings()
    app = create_app(
        Path(os.environ[RELEASES_VARIABLE]), settings.serve, keeping=settings.store, feedback=settings.feedback
    )
    calm(app)
    return app
