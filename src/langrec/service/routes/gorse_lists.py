"""Gorse's routes for lists: recommendations, popular and latest items, neighbours."""

from __future__ import annotations

import time
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, BackgroundTasks, Depends, Header, Path, Request, Response
from fastapi import Query as Param
from pydantic import AfterValidator, Field
from starlette.concurrency import run_in_threadpool

from langrec.service import ready, shapes
from langrec.service.access.auth import NotAllowed
from langrec.service.bodies import (
    LONGEST_DURATION,
    SLASH,
    Count,
    MaybeId,
    Offset,
    PathItem,
    PathUser,
    SessionFeedback,
    now_ms,
    parse_duration,
)
from langrec.service.guard import NotFound, needs
from langrec.service.routes import replies
from langrec.service.routes.answers import Answered, check_count, service_of
from langrec.service.served.snapshot import Snapshot
from langrec.service.service import Answer
from langrec.service.store import event_rows
from langrec.types import Filters, Query

reading = APIRouter(prefix="/api", tags=["lists"], dependencies=[Depends(needs("read"))])

Categories = Annotated[
    list[str] | None, Param(description="an item needs one of them; repeat the parameter", examples=[["Comedy"]])
]
UserId = Annotated[
    MaybeId, Param(alias="user-id", description="leave out what this user has events with", examples=["ann"])
]
# The category at a path's end; in the query the same word may be repeated.
_IN_PATH = {
    "parameters": [
        {
            "name": "path_category",
            "in": "path",
            "required": True,
            "description": "an item needs this category; write a slash in it as %2F",
            "schema": {"type": "string", "examples": ["Comedy"]},
        }
    ]
}
# In the path on one route, in the query on the other.
SessionCategory = Annotated[
    str,
    AfterValidator(lambda name: name.replace(SLASH, "/")),
    Field(description="an item needs this category", examples=["Comedy"]),
]
ListName = Annotated[str, Path(description="popular or latest", examples=["popular"])]
NeighboursName = Annotated[str, Path(description="neighbors, similar or default", examples=["neighbors"])]
NEIGHBOURS = ("neighbors", "similar", "default")


@reading.get(
    "/recommend/{user}", summary="The best items for a user", response_model=list[replies.ItemId] | list[replies.Scored]
)
@reading.get(
    "/recommend/{user}/{path_category}",
    summary="The best items of a category for a user",
    openapi_extra=_IN_PATH,
    response_model=list[replies.ItemId] | list[replies.Scored],
)
async def recommend(
    request: Request,
    user: PathUser,
    n: Count = 10,
    offset: Offset = 0,
    category: Categories = None,
    write_back_type: Annotated[
        MaybeId,
        Param(alias="write-back-type", description="note the shown items as events of this type", examples=["shown"]),
    ] = "",
    write_back_delay: Annotated[
        str,
        Param(
            alias="write-back-delay",
            max_length=LONGEST_DURATION,
            description="these events count from then on",
            examples=["1h30m"],
        ),
    ] = "",
    max_age: Annotated[
        float,
        Param(alias="max-age", ge=0, le=ready.LONGEST, description="seconds that the list may be old", examples=[5]),
    ] = 0,
    version: Annotated[str, Header(alias="X-API-Version", description="2 for items with scores", examples=["1"])] = "1",
) -> Response:
    """Ids, best first; `[{"Id", "Score"}]` with the header `X-API-Version: 2`. Writing back needs the role `write`.
    With `max-age` the list may be so many seconds old: it is kept, and sent again without being computed.
    """
    service = service_of(request)
    filters = Filters(categories=_categories(request, category))
    query = Query(user=user, k=check_count(request, n, "n"), offset=offset, filters=filters)
    asked_at = time.monotonic()
    answer = await service.recommend(query)
    if write_back_type:
        await _write_back(request, user, answer.list.ids, write_back_type, write_back_delay)
    body = ready.body_of(shapes.scores(answer.list) if version == "2" else answer.list.ids)
    shown = service.record("recommend", user, answer)
    service.note_shown(shown, request.state.request_id)
    response = Response(body, media_type="application/json")
    question = ready.question_of(request.scope)
    is_kept = bool(max_age or service.settings.max_age) and not write_back_type
    if is_kept and (age := service.ready.age_of(question)):
        # A list from before somebody's deletion came too late to be forgotten with the others.
        if answer.snapshot.removals == service.snapshot.removals:
            service.ready.put(user, question, ready.Ready(body, asked_at, shown))
        response.raw_headers.extend(ready.age_headers(age, 0))
    return response


@reading.post("/session/recommend", summary="The best items for a session", response_model=list[replies.Scored])
@reading.post(
    "/session/recommend/{category}",
    summary="The best items of a category for a session",
    response_model=list[replies.Scored],
)
async def session_recommend(
    request: Request,
    after: BackgroundTasks,
    body: list[SessionFeedback],
    category: SessionCategory = "",
    n: Count = 10,
    offset: Offset = 0,
) -> Answered:
    """For the items of a visit, oldest first where they have no times; nothing is kept of it but the shown list."""
    service = service_of(request)
    log = sorted(body, key=lambda one: one.Timestamp)[-service.settings.history :]
    query = Query(
        history=tuple(one.ItemId for one in log),
        history_at=tuple(one.Timestamp for one in log) if all(one.Timestamp >= 0 for one in log) else (),
        k=check_count(request, n, "n"),
        offset=offset,
        filters=Filters(categories=(category,) if category else ()),
    )
    answer = await service.recommend(query, history_known=False)
    after.add_task(service.log_impression, request.state.request_id, "session", None, answer)
    return Answered(shapes.scores(answer.list), background=after)


@reading.get("/popular", summary="Popular items", response_model=list[replies.Scored])
@reading.get(
    "/popular/{path_category}",
    summary="Popular items of a category",
    openapi_extra=_IN_PATH,
    response_model=list[replies.Scored],
)
async def popular(
    request: Request,
    after: BackgroundTasks,
    n: Count = 10,
    offset: Offset = 0,
    category: Categories = None,
    user: UserId = "",
) -> Answered:
    """By all events up to now; new ones count after a pause of a few seconds."""
    return await _plain_list(request, after, "popular", _categories(request, category), n, offset, user)


@reading.get("/latest", summary="Newest items", response_model=list[replies.Scored])
@reading.get(
    "/latest/{path_category}",
    summary="Newest items of a category",
    openapi_extra=_IN_PATH,
    response_model=list[replies.Scored],
)
async def latest(
    request: Request,
    after: BackgroundTasks,
    n: Count = 10,
    offset: Offset = 0,
    category: Categories = None,
    user: UserId = "",
) -> Answered:
    """By their own times; then items without a time, scored 0, the last added first."""
    return await _plain_list(request, after, "latest", _categories(request, category), n, offset, user)


@reading.get("/non-personalized/{name}", summary="Popular or newest items", response_model=list[replies.Scored])
async def non_personalized(
    request: Request,
    after: BackgroundTasks,
    name: ListName,
    n: Count = 10,
    offset: Offset = 0,
    category: Categories = None,
    user: UserId = "",
) -> Answered:
    """The lists `popular` and `latest` by name."""
    if name not in ("popular", "latest"):
        raise NotFound(f"there is no list {name!r}; there are popular and latest", field="name")
    return await _plain_list(request, after, name, _categories(request, category), n, offset, user)


@reading.get("/item/{item}/neighbors", summary="Items like an item", response_model=list[replies.Scored])
@reading.get(
    "/item/{item}/neighbors/{path_category}",
    summary="Items of a category like an item",
    openapi_extra=_IN_PATH,
    response_model=list[replies.Scored],
)
async def neighbours(
    request: Request,
    after: BackgroundTasks,
    item: PathItem,
    n: Count = 10,
    offset: Offset = 0,
    category: Categories = None,
    user: UserId = "",
) -> Answered:
    """By everything but popularity: texts, and who has events with both."""
    service = service_of(request)
    n = check_count(request, n, "n")
    categories = _categories(request, category)

    def find(snapshot: Snapshot, connection: sa.Connection) -> Answer:
        if snapshot.recommender.view(item) is None:
            raise NotFound(f"there is no item {item!r}", field="item")
        filters = Filters(categories=categories, exclude=tuple(_seen(connection, user)))
        found = snapshot.recommender.neighbours(item, n, offset, filters)
        return Answer(Query(history=(item,), k=n, offset=offset, filters=filters), found, snapshot)

    return _shown(request, after, "neighbours", user, await service.call(find))


@reading.get("/item-to-item/{name}/{item}", summary="Items like an item", response_model=list[replies.Scored])
async def item_to_item(
    request: Request,
    after: BackgroundTasks,
    name: NeighboursName,
    item: PathItem,
    n: Count = 10,
    offset: Offset = 0,
    category: Categories = None,
    user: UserId = "",
) -> Answered:
    """The same as the neighbours of an item, under any of the names `neighbors`, `similar` and `default`."""
    _known_neighbours(name)
    return await neighbours(request, after, item, n, offset, category, user)


@reading.get("/user/{user}/neighbors", summary="Users with like events", response_model=list[replies.Neighbour])
async def user_neighbours(request: Request, user: PathUser, n: Count = 10, offset: Offset = 0) -> Answered:
    """By how many of the user's newest 100 items they share, over the root of these and of their own events."""
    service = service_of(request)
    n = check_count(request, n, "n")

    def find() -> list[dict[str, Any]]:
        with service.store.read() as connection:
            if event_rows.get_user(connection, user) is None:
                raise NotFound(f"there is no user {user!r}", field="user")
            found = event_rows.similar_users(connection, user, n, offset)
        return [{"Id": name, "Score": score} for name, score in found]

    return Answered(await run_in_threadpool(find))


@reading.get("/user-to-user/{name}/{user}", summary="Users with like events", response_model=list[replies.Neighbour])
async def user_to_user(
    request: Request, name: NeighboursName, user: PathUser, n: Count = 10, offset: Offset = 0
) -> Answered:
    """The same as the neighbours of a user, under any of the names `neighbors`, `similar` and `default`."""
    _known_neighbours(name)
    return await user_neighbours(request, user, n, offset)


async def _plain_list(
    request: Request,
    after: BackgroundTasks,
    name: str,
    categories: tuple[str, ...],
    n: int,
    offset: int,
    user: str,
) -> Answered:
    service = service_of(request)
    n = check_count(request, n, "n")

    def find(snapshot: Snapshot, connection: sa.Connection) -> Answer:
        filters = Filters(categories=categories, exclude=tuple(_seen(connection, user)))
        recommender = snapshot.recommender
        found = (recommender.popular if name == "popular" else recommender.latest)(n, offset, filters)
        return Answer(Query(k=n, offset=offset, filters=filters), found, snapshot)

    return _shown(request, after, name, user, await service.call(find))


def _shown(request: Request, after: BackgroundTasks, kind: str, user: str, answer: Answer) -> Answered:
    """A list for everyone, noted as shown to the user whose events it leaves out, if one was named."""
    after.add_task(service_of(request).log_impression, request.state.request_id, kind, user or None, answer)
    return Answered(shapes.scores(answer.list), background=after)


async def _write_back(request: Request, user: str, items: tuple[str, ...], type: str, delay: str) -> None:
    """Notes shown items as events; a delayed one counts from its time on."""
    try:
        await needs("write", "feedback")(request)
    except NotAllowed as error:
        raise NotAllowed(f"write-back-type: {error.message}", field="write-back-type") from error
    at = now_ms() + (parse_duration(delay) if delay else 0)
    log = [event_rows.Event(user, item, type, at) for item in items]
    await service_of(request).append(log, overwrite=True)


def _categories(request: Request, asked: list[str] | None) -> tuple[str, ...]:
    """The categories of the query, else the one at the end of the path."""
    names = asked or [request.path_params.get("path_category", "").replace(SLASH, "/")]
    return tuple(name for name in names if name)


def _seen(connection: sa.Connection, user: str) -> set[str]:
    if not user:
        return set()
    return event_rows.seen_items(connection, user, now_ms())


def _known_neighbours(name: str) -> None:
    if name not in NEIGHBOURS:
        raise NotFound(f"there are no neighbours {name!r}; there are {', '.join(NEIGHBOURS)}", field="name")
