"""Pages of a search, by offset or by a cursor that stays in place while items come, go and change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from starlette.concurrency import run_in_threadpool

from langrec.errors import DataError
from langrec.service.bodies import SearchBody
from langrec.service.routes.cursors import REMEMBERED, Cursor, item_hash, parse_cursor, query_digest
from langrec.service.service import Answer, Service
from langrec.service.store import item_rows
from langrec.types import IntVector, Query, Recommendation


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its answer, how many items fit in all, and the cursor of the next page, if there is one."""

    answer: Answer
    total: int
    cursor: str | None


async def search_page(service: Service, body: SearchBody) -> Page:
    """The page that a body asks for.

    Raises:
        DataError: the cursor is none, or of another search.
    """
    query = Query(
        user=body.user,
        text=body.q,
        k=body.k,
        offset=body.offset,
        filters=body.filters.filters(),
        meaning=body.meaning,
        personal=body.personal,
    )
    digest = query_digest(body.model_dump_json(exclude={"cursor", "k", "offset"}))
    if body.cursor:
        cursor = parse_cursor(body.cursor)
        if cursor.query != digest:
            raise DataError("cursor: belongs to another search; start again without it", field="cursor")
        return await _next_page(service, query, cursor)
    # What an offset passes over counts as shown, so that it does not come up on a later page.
    before = min(body.offset, REMEMBERED)
    found = await service.search(replace(query, k=query.k + before, offset=query.offset - before))
    start = Cursor(digest, found.snapshot.revision, forgotten=query.offset - before).after(found.list.ids[:before])
    answer = Answer(query, _part(found.list, np.arange(before, len(found.list), dtype=np.int32)), found.snapshot)
    total = _total(found.list)
    ids = answer.list.ids
    return Page(answer, total, start.after(ids).text() if ids and body.offset + len(ids) < total else None)


async def _next_page(service: Service, query: Query, cursor: Cursor) -> Page:
    """The best that no page has shown, by the scores of now: what moved up or down since comes once all the same."""
    newer = await service.call(lambda _, connection: item_rows.created_after(connection, cursor.revision))
    filters = replace(query.filters, exclude=(*query.filters.exclude, *newer))
    # One more than the page, to know whether another one follows.
    wide = replace(query, k=cursor.place + query.k + 1, offset=0, filters=filters)
    found = await service.search(wide)
    left = await run_in_threadpool(_not_shown, found.list, cursor)
    answer = Answer(replace(query, offset=cursor.place), _part(found.list, left[: query.k]), found.snapshot)
    following = cursor.after(answer.list.ids).text() if len(left) > query.k else None
    return Page(answer, _total(found.list), following)


def _not_shown(found: Recommendation, cursor: Cursor) -> IntVector:
    """Places of the items that are not remembered as shown, without as many of the first as were forgotten."""
    shown = frozenset(cursor.shown)
    places = [place for place, item_id in enumerate(found.ids) if item_hash(item_id) not in shown]
    return np.array(places[cursor.forgotten :], dtype=np.int32)


def _part(found: Recommendation, places: IntVector) -> Recommendation:
    ids = tuple(found.ids[place] for place in places)
    stages = (replace(one, n_out=len(ids)) if one.name == "select" else one for one in found.trace.stages)
    return replace(found, ids=ids, items=found.items.take(places), trace=replace(found.trace, stages=tuple(stages)))


def _total(found: Recommendation) -> int:
    """How many items match and pass the filters."""
    by_name = {stage.name: stage.n_out for stage in found.trace.stages}
    return by_name.get("filter", len(found))
