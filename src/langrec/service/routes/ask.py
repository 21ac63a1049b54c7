"""Our routes for lists: recommend with a body, search in words, explain."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, BackgroundTasks, Depends, Request
from fastapi import Query as Param
from starlette.concurrency import run_in_threadpool

from langrec.budget import Budget, stage, within
from langrec.service import shapes
from langrec.service.bodies import (
    LONGEST_WISH,
    MOST_CONDITIONS,
    FiltersBody,
    Id,
    Offset,
    PathItem,
    PathUser,
    RecommendBody,
    SearchBody,
    Text,
    Wish,
    parse_where,
)
from langrec.service.guard import NotFound, needs
from langrec.service.routes import replies
from langrec.service.routes.answers import Answered, check_count, service_of
from langrec.service.routes.searching import search_page
from langrec.service.served.snapshot import Snapshot
from langrec.service.service import Answer
from langrec.types import Filters, Query

reading = APIRouter(prefix="/api", tags=["ask"], dependencies=[Depends(needs("read"))])


@reading.post(
    "/recommend",
    summary="The best items for a user, a history, a text, or anyone",
    response_model=replies.RecommendReply,
)
async def recommend(request: Request, after: BackgroundTasks, body: RecommendBody) -> Answered:
    """`history` replaces what is known of the user; without user, history and text it is for anyone."""
    service = service_of(request)
    query = Query(
        user=body.user,
        history=tuple(body.history or ()),
        text=body.text or None,
        k=check_count(request, body.k, "k", "k" in body.model_fields_set),
        offset=body.offset,
        filters=body.filters.filters(),
        without=tuple(body.without),
        meaning=body.meaning,
        personal=(0.5 if body.history else 0.0) if body.personal is None else body.personal,
    )
    since = time.monotonic()
    answer = await service.recommend(
        query, history_known=body.history is None, diversity=body.diversity, explore=body.explore
    )
    items = shapes.list_items(answer)
    if body.explain:
        # Not in the scorer's thread: reasons of one list should not hold up the lists of others.
        reasons = await run_in_threadpool(_reasons, answer, service.budget(since))
        if reasons is None:
            answer = replace(answer, list=answer.list.without_time_for("reasons"))
        else:
            items = [item | {"reason": reason} for item, reason in zip(items, reasons, strict=True)]
    if service.settings.probability if body.probability is None else body.probability:
        chances = answer.snapshot.recommender.probabilities(answer.list)
        items = [item | {"probability": shapes.number(chance)} for item, chance in zip(items, chances, strict=True)]
    after.add_task(service.log_impression, request.state.request_id, "recommend", body.user, answer)
    shown = {"items": items, "trace": shapes.trace(answer.list.trace), "request_id": request.state.request_id}
    return Answered(shown, background=after)


@reading.get("/onboarding", summary="Items to ask someone new about", response_model=replies.OnboardingReply)
async def onboarding(
    request: Request,
    after: BackgroundTasks,
    k: Annotated[int, Param(ge=1, description="how many at most", examples=[12])] = 12,
    offset: Offset = 0,
    likes: Annotated[
        list[Id] | None, Param(description="items that are liked already; repeat the parameter", examples=[["m7"]])
    ] = None,
    skip: Annotated[
        list[Id] | None, Param(description="items that are not shown again; repeat it", examples=[["m9"]])
    ] = None,
    user: Annotated[Id | None, Param(description="whose events count as likes", examples=["ann"])] = None,
    category: Annotated[
        list[Text] | None, Param(description="an item needs one of them; repeat it", examples=[["Comedy"]])
    ] = None,
) -> Answered:
    """Popular items that differ, and whose likes say much; `likes` and `skip` ask for what is left to learn."""
    service = service_of(request)
    filters = Filters(categories=tuple(category or ()), exclude=tuple(skip or ()))
    k = check_count(request, k, "k")
    query = Query(user=user, history=tuple(likes or ()), k=k, offset=offset, filters=filters)
    answer = await service.starters(query, history_known=likes is None)
    after.add_task(service.log_impression, request.state.request_id, "onboarding", user, answer)
    shown = {
        "items": shapes.list_items(answer),
        "trace": shapes.trace(answer.list.trace),
        "request_id": request.state.request_id,
    }
    return Answered(shown, background=after)


@reading.post("/search", summary="Items that fit a text", response_model=replies.SearchReply)
async def search(request: Request, after: BackgroundTasks, body: SearchBody) -> Answered:
    """By words, by meaning, or both; with a user also by their history. `cursor` gives the next page."""
    service = service_of(request)
    body = body.model_copy(update={"k": check_count(request, body.k, "k", "k" in body.model_fields_set)})
    started = time.perf_counter()
    page = await search_page(service, body)
    found = page.answer.list.items.nums
    matched = page.answer.snapshot.recommender.matched_words(body.q, found) if body.q else [()] * len(found)
    items = [card | {"matched": list(own)} for card, own in zip(shapes.list_items(page.answer), matched, strict=True)]
    after.add_task(service.log_impression, request.state.request_id, "search", body.user, page.answer)
    shown = {
        "items": items,
        "total": page.total,
        "understood": shapes.understood(body.q, page.answer.query.filters),
        "cursor": page.cursor,
        "ms": round((time.perf_counter() - started) * 1000, 3),
        "trace": shapes.trace(page.answer.list.trace),
        "request_id": request.state.request_id,
    }
    return Answered(shown, background=after)


@reading.get("/search", summary="Items that fit a text", response_model=replies.SearchReply)
async def search_by_address(
    request: Request,
    after: BackgroundTasks,
    q: Annotated[Text, Param(max_length=LONGEST_WISH, description="words", examples=["a bakery on the moon"])] = "",
    k: Annotated[int, Param(ge=1, description="how many at most", examples=[10])] = 10,
    offset: Offset = 0,
    cursor: Annotated[
        str | None,
        Param(description="`cursor` of the page before; empty for the first", examples=[""]),
    ] = None,
    meaning: Annotated[
        float, Param(ge=0, le=1, description="0 matches words only, 1 meaning only", examples=[0.5])
    ] = 0.5,
    user: Annotated[Id | None, Param(description="whose history counts", examples=["ann"])] = None,
    personal: Annotated[
        float, Param(ge=0, le=1, description="0 for everyone, 1 by the history only", examples=[0.2])
    ] = 0.0,
    category: Annotated[
        list[Text] | None, Param(description="an item needs one of them; repeat the parameter", examples=[["Comedy"]])
    ] = None,
    where: Annotated[
        list[Text] | None,
        Param(
            description="field:op:value with op eq, in, ge, le, gt or lt; repeat it",
            examples=[["price:le:20"]],
            max_length=MOST_CONDITIONS,
        ),
    ] = None,
) -> Answered:
    """The same as with a body, for links and scripts."""
    conditions = [parse_where(text) for text in where or ()]
    filters = FiltersBody.model_validate(
        {
            "categories": category or [],
            "where": [{"field": c.field, "op": c.op, "value": _listed(c.value)} for c in conditions],
            "drop_seen": False,
        }
    )
    k = check_count(request, k, "k")
    body = SearchBody(
        q=q, k=k, offset=offset, cursor=cursor, meaning=meaning, user=user, personal=personal, filters=filters
    )
    return await search(request, after, body)


@reading.get(
    "/explain/{user}/{item}",
    summary="Each scorer's contribution to an item's score for a user",
    response_model=replies.ExplainReply,
)
async def explain(
    request: Request,
    user: PathUser,
    item: PathItem,
    without: Annotated[list[Id] | None, Param(description="history items to leave out", examples=[["m7"]])] = None,
    history: Annotated[
        list[Id] | None, Param(description="item ids, oldest first; replaces what is known", examples=[["m2"]])
    ] = None,
    text: Annotated[Wish, Param(max_length=LONGEST_WISH, description="a wish in words", examples=[""])] = "",
    category: Annotated[
        list[Text] | None, Param(description="the list's categories; repeat the parameter", examples=[["Comedy"]])
    ] = None,
) -> Answered:
    """The contributions sum to the score. With `without`: what it would be without these of the history; with
    `history`, `text` and `category`: in the list that is asked for with them."""
    service = service_of(request)
    filters = FiltersBody.model_validate({"categories": category or []}).filters()

    def find(snapshot: Snapshot, connection: sa.Connection) -> dict[str, Any]:
        recommender = snapshot.recommender
        if recommender.view(item) is None:
            raise NotFound(f"there is no item {item!r}", field="item")
        query = Query(
            user=user,
            history=tuple(history or ()),
            text=text or None,
            k=10,
            filters=filters,
            without=tuple(without or ()),
            personal=0.5 if history else 0.0,  # as for a list
        )
        if not history:
            query = service.known_history(query, connection)
        why = recommender.explain(query, item)
        return {
            "user": user,
            "item": item,
            "title": shapes.title_of(recommender, item),
            "score": shapes.number(why.score),
            "position": None if why.position is None else why.position - 1,
            "dropped_by": why.dropped_by,
            "contributions": [
                {
                    "scorer": one.scorer,
                    "weight": shapes.number(one.weight),
                    "value": shapes.number(one.value),
                    "contribution": shapes.number(one.contribution),
                    "history": [
                        {"id": name, "title": shapes.title_of(recommender, name), "contribution": shapes.number(part)}
                        for name, part in one.history
                    ],
                }
                for one in why.contributions
            ],
            "reason": shapes.reason(recommender, why.reason),
        }

    return Answered(await service.call(find))


def _reasons(answer: Answer, budget: Budget) -> list[dict[str, Any]] | None:
    """The reasons of a list; None where there is no time for them."""
    recommender = answer.snapshot.recommender
    with within(budget), stage("reasons") as has_room:
        if not has_room:
            return None
        return [shapes.reason(recommender, one) for one in recommender.reasons(answer.query, answer.list)]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
