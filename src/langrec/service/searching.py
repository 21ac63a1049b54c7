"""Pages of a search, by offset or by a cursor that stays in place while items come and go."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np

from langrec.errors import DataError
from langrec.service import item_rows
from langrec.service.bodies import SearchBody
from langrec.service.service import Answer, Service
from langrec.types import Query, Recommendation

# Where items were deleted or moved since the first page, the last shown item stands within this many places.
_SLACK = 50


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended.

    Attributes:
        query: digest of what was asked.
        revision: of the store at the first page; items made later are not part of these pages.
        shown: how many items the pages so far held.
        last: the last item shown.
        score: its score.
    """

    query: str
    revision: int
    shown: int
    last: str
    score: float

    def text(self) -> str:
        values = [self.query, self.revision, self.shown, self.last, self.score]
        return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


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
    filters = body.filters.filters()
    query = Query(
        user=body.user,
        text=body.q,
        k=body.k,
        offset=body.offset,
        filters=filters,
        meaning=body.meaning,
        personal=body.personal,
    )
    digest = _digest(body)
    if body.cursor:
        cursor = _parse(body.cursor)
        if cursor.query != digest:
            raise DataError("cursor: belongs to another search; start again without it", field="cursor")
        return await _next_page(service, query, cursor)
    answer = await service.search(query)
    total = _total(answer.list)
    more = body.offset + len(answer.list) < total
    shown = body.offset + len(answer.list)
    return Page(answer, total, _cursor(digest, answer.snapshot.revision, shown, answer) if more else None)


async def _next_page(service: Service, query: Query, cursor: Cursor) -> Page:
    newer = await service.call(lambda _, connection: item_rows.created_after(connection, cursor.revision))
    filters = replace(query.filters, exclude=(*query.filters.exclude, *newer))
    wide = replace(query, k=cursor.shown + query.k + _SLACK, offset=0, filters=filters)
    answer = await service.search(wide)
    start = _place_after(answer.list, cursor)
    stop = min(start + query.k, len(answer.list))
    total = _total(answer.list)
    page = Answer(replace(query, offset=start), _part(answer.list, start, stop), answer.snapshot)
    more = start < stop < total
    return Page(page, total, _cursor(cursor.query, cursor.revision, stop, page) if more else None)


def _place_after(found: Recommendation, cursor: Cursor) -> int:
    """Where the next page starts: after the last shown item, or after all that score as high where it is gone."""
    if cursor.last in found.ids:
        return found.ids.index(cursor.last) + 1
    below = np.flatnonzero(found.items.scores < cursor.score)
    return int(below[0]) if len(below) else min(cursor.shown, len(found))


def _part(found: Recommendation, start: int, stop: int) -> Recommendation:
    return replace(found, ids=found.ids[start:stop], items=found.items.take(np.arange(start, stop)))


def _cursor(digest: str, revision: int, shown: int, answer: Answer) -> str | None:
    if not answer.list.ids:
        return None
    return Cursor(digest, revision, shown, answer.list.ids[-1], float(answer.list.items.scores[-1])).text()


def _total(found: Recommendation) -> int:
    """How many items match and pass the filters."""
    by_name = {stage.name: stage.n_out for stage in found.trace.stages}
    return by_name.get("filter", len(found))


def _digest(body: SearchBody) -> str:
    asked = body.model_dump_json(exclude={"cursor", "k", "offset"})
    return hashlib.blake2b(asked.encode("utf-8", "replace"), digest_size=6).hexdigest()


def _parse(text: str) -> Cursor:
    try:
        query, revision, shown, last, score = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return Cursor(str(query), int(revision), min(max(int(shown), 0), 1_000_000), str(last), float(score))
    except (ValueError, TypeError) as error:
        raise DataError("cursor: is not one that a search gave", field="cursor") from error
