"""Looking around in the store: pages of the catalogue, type-ahead, categories, counts. On an open connection."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from langrec.retrieval.words import plain
from langrec.service.store.item_rows import COLUMNS, StoredItem, stored_item
from langrec.service.store.schema import TITLE_START, events, item_categories, items, users

_SORTS = {"id": items.c.item_id, "title": items.c.title, "events": items.c.n_events, "at": items.c.at}


def catalogue_page(
    connection: sa.Connection, q: str, category: str | None, sort: str, descending: bool, n: int, offset: int
) -> tuple[list[StoredItem], int]:
    """A page of items whose title or id holds `q`, and how many there are in all.

    Args:
        sort: id, title, events, at, or the name of a field (items without it come last).
    """
    where = [items.c.deleted == sa.false()]
    if q:
        where.append(sa.or_(*(_written(connection, one, q)[0] for one in (items.c.title, items.c.item_id))))
    if category:
        inside = sa.select(item_categories.c.item_id).where(item_categories.c.category == category)
        where.append(items.c.item_id.in_(inside))
    order: list[sa.ColumnElement[Any]] = []
    if sort in _SORTS:
        column: sa.ColumnElement[Any] = _SORTS[sort]
        if sort == "title" and connection.dialect.name == "postgresql":
            start = sa.func.left(column, TITLE_START)  # the index holds these
            order.append(start.desc() if descending else start.asc())
    else:
        column = _field(connection, sort)
        order.append(column.is_(None))
    order += [column.desc() if descending else column.asc(), items.c.item_id]
    found = connection.execute(sa.select(*COLUMNS).where(*where).order_by(*order).limit(n).offset(offset)).mappings()
    total = connection.execute(sa.select(sa.func.count()).select_from(items).where(*where)).scalar_one()
    return [stored_item(row) for row in found], int(total)


def categories(connection: sa.Connection) -> list[tuple[str, int]]:
    """Categories with their numbers of items, largest first."""
    n = sa.func.count()
    query = sa.select(item_categories.c.category, n).group_by(item_categories.c.category)
    return [(row[0], row[1]) for row in connection.execute(query.order_by(n.desc(), item_categories.c.category))]


def suggest_users(connection: sa.Connection, q: str, n: int) -> list[tuple[str, int]]:
    """Users whose id begins with `q`, then those whose id holds it, with their numbers of events."""
    alive = users.c.deleted == sa.false()
    columns = sa.select(users.c.user_id, users.c.n_events).where(alive)
    if not q:
        found = connection.execute(columns.order_by(users.c.n_events.desc(), users.c.user_id).limit(n)).all()
        return [(row[0], row[1]) for row in found]
    begins = columns.where(users.c.user_id.startswith(q, autoescape=True)).order_by(users.c.user_id).limit(n)
    found = list(connection.execute(begins))
    if len(found) < n:
        holds = columns.where(
            users.c.user_id.contains(q, autoescape=True), sa.not_(users.c.user_id.startswith(q, autoescape=True))
        )
        found += connection.execute(holds.order_by(users.c.user_id).limit(n - len(found)))
    return [(row[0], row[1]) for row in found]


def suggest_items(connection: sa.Connection, q: str, n: int) -> list[tuple[str, str]]:
    """Items whose title or id holds `q`: those that begin with it first, then by their events."""
    holds, begins = _written(connection, items.c.title, q)
    holds = sa.or_(holds, items.c.item_id.startswith(q, autoescape=True))
    first = sa.case((begins, 0), else_=1)
    query = sa.select(items.c.item_id, items.c.title).where(items.c.deleted == sa.false())
    if q:
        query = query.where(holds).order_by(first, items.c.n_events.desc(), items.c.item_id)
    else:
        query = query.order_by(items.c.n_events.desc(), items.c.item_id)
    return [(row[0], row[1] or row[0]) for row in connection.execute(query.limit(n))]


def _written(
    connection: sa.Connection, column: sa.Column[Any], q: str
) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Whether a column holds a text, and whether it begins with it, in either case."""
    if q.isascii() or connection.dialect.name != "sqlite":
        return column.icontains(q, autoescape=True), column.istartswith(q, autoescape=True)
    # A call of Python for every row: only who types more than English waits for it.
    said, asked = sa.func.plain(column, type_=sa.String), plain(q)
    return said.contains(asked, autoescape=True), said.startswith(asked, autoescape=True)


def counts(connection: sa.Connection) -> dict[str, int]:
    """How many items, users and events there are."""
    alive_items = sa.select(sa.func.count()).select_from(items).where(items.c.deleted == sa.false())
    alive_users = sa.select(sa.func.count()).select_from(users).where(users.c.deleted == sa.false())
    all_events = sa.select(sa.func.count()).select_from(events)
    return {
        "n_items": int(connection.execute(alive_items).scalar_one()),
        "n_users": int(connection.execute(alive_users).scalar_one()),
        "n_events": int(connection.execute(all_events).scalar_one()),
    }


def newest(connection: sa.Connection) -> tuple[int | None, int | None]:
    """Times of the event that arrived last and of the newest item that states one, in epoch milliseconds."""
    event = connection.execute(sa.select(events.c.at).order_by(events.c.seq.desc()).limit(1)).scalar()
    item = connection.execute(sa.select(sa.func.max(items.c.at)).where(items.c.at >= 0)).scalar()
    return event, item


def likely_audience(connection: sa.Connection, like: list[str], without: str, n: int) -> list[str]:
    """Users with most events of some items and none of one, most first."""
    seen = sa.select(events.c.user_id).where(events.c.item_id == without)
    count = sa.func.count()
    query = (
        sa.select(events.c.user_id)
        .where(events.c.item_id.in_(like), events.c.user_id.not_in(seen))
        .group_by(events.c.user_id)
        .order_by(count.desc(), events.c.user_id)
        .limit(n)
    )
    return list(connection.execute(query).scalars())


def _field(connection: sa.Connection, name: str) -> sa.ColumnElement[Any]:
    """A field of the items as something to sort by: numbers as numbers, texts as texts."""
    if connection.dialect.name == "sqlite":
        path = '$."' + name.replace('"', "") + '"'
        return sa.func.json_extract(items.c.fields, path)
    from sqlalchemy.dialects.postgresql import JSONB

    # Unlike json, jsonb has an order: numbers as numbers.
    return sa.cast(items.c.fields[name], JSONB)
