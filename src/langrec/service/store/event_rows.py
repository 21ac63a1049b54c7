"""The event log and its users in the store. Every function works on an open connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from langrec.errors import StoreError
from langrec.service.store.item_rows import add_missing
from langrec.service.store.once import new_events
from langrec.service.store.schema import events, items, removed_events, users
from langrec.service.store.store import next_number, set_number, upsert


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the log; user, item, type and time (epoch milliseconds) are its key.

    `once` is the id that a client may give it: an event with an id that was written before is passed over.
    """

    user: str
    item: str
    type: str
    at: int
    value: float | None = None
    comment: str = ""
    seq: int = 0
    once: str = ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        return (self.user, self.item, self.type, self.at)


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user as the store keeps it."""

    id: str
    labels: Any = None
    comment: str = ""
    n_events: int = 0


def put_events(connection: sa.Connection, log: Sequence[Event], *, overwrite: bool) -> int:
    """Appends events, and makes the users and items that they name and nobody knows.

    Args:
        log: of several with one key the values add up, or the last counts (`overwrite`).
        overwrite: an event that is there already gets the new value; otherwise the new value is added to its own.

    Returns:
        How many rows were written.
    """
    log = new_ones(connection, log)
    if not log:
        return 0
    merged: dict[tuple[str, str, str, int], Event] = {}
    for event in log:
        before = merged.get(event.key)
        merged[event.key] = event if before is None or overwrite else _added(before, event)
    revision = next_number(connection)
    add_users(connection, [StoredUser(user) for user in dict.fromkeys(e.user for e in merged.values())], revision)
    add_missing(connection, (e.item for e in merged.values()), revision)
    rows = [_row(event, revision) for event in merged.values()]
    # The rows that come back are those that were not there.
    statement = upsert(connection, events).on_conflict_do_nothing().returning(*_KEY)
    fresh = {tuple(row) for row in connection.execute(statement, rows)}
    known = [event for key, event in merged.items() if key not in fresh]
    if known:
        connection.execute(_overwrite if overwrite else _add, [_change_of(event, revision) for event in known])
        touch(connection, {event.user for event in known}, revision)
    _count(connection, users, users.c.user_id, [user for user, *_ in fresh], +1)
    _count(connection, items, items.c.item_id, [item for _, item, *_ in fresh], +1)
    set_number(connection, "events", revision)
    return len(rows)


_KEY = (events.c.user_id, events.c.item_id, events.c.type, events.c.at)
_new_value = sa.bindparam("new_value", type_=sa.Float)
_same = events.update().where(
    *(column == sa.bindparam(f"of_{column.name}") for column in _KEY),
)
_overwrite = _same.values(value=_new_value, comment=sa.bindparam("new_comment"), revision=sa.bindparam("now"))
_add = _same.values(
    value=sa.case((_new_value.is_(None), events.c.value), else_=sa.func.coalesce(events.c.value, 0.0) + _new_value),
    comment=sa.case((sa.bindparam("new_comment") == "", events.c.comment), else_=sa.bindparam("new_comment")),
    revision=sa.bindparam("now"),
)


def _change_of(event: Event, revision: int) -> dict[str, Any]:
    key = {f"of_{column.name}": value for column, value in zip(_KEY, event.key, strict=True)}
    return {**key, "new_value": event.value, "new_comment": event.comment, "now": revision}


_history = (
    sa.select(events.c.item_id, events.c.type, events.c.at, events.c.value)
    .where(events.c.user_id == sa.bindparam("user"), events.c.at <= sa.bindparam("now"))
    .order_by(events.c.at.desc(), events.c.seq.desc())
    .limit(sa.bindparam("n"))
)


def history(connection: sa.Connection, user: str, n: int, now: int) -> list[tuple[str, str, int, float | None]]:
    """The user's newest n events up to now as (item, type, at, value), newest first."""
    return [tuple(row) for row in connection.execute(_history, {"user": user, "now": now, "n": n})]


# The columns of one index, so that nobody looks into the table for a row of the history.
_recent = (
    sa.select(events.c.item_id, events.c.type, events.c.at)
    .where(events.c.user_id == sa.bindparam("user"), events.c.at <= sa.bindparam("now"))
    .order_by(events.c.at.desc(), events.c.seq.desc())
    .limit(sa.bindparam("n"))
)
_RECENT_SQLITE = "SELECT item_id, type, at, seq FROM events WHERE user_id = ? AND at <= ? ORDER BY at DESC LIMIT ?"


def recent(connection: sa.Connection, user: str, n: int, now: int) -> Sequence[tuple[Any, ...]]:
    """The user's newest n events up to now as (item, type, at, ...), newest first: `history` for every request."""
    if connection.dialect.name == "sqlite":
        # Without the order of arrival, which no index has: it decides among equal times alone, of few rows or none.
        rows = _fetched(connection, _RECENT_SQLITE, (user, now, n + 1))
        if len({row[2] for row in rows}) == len(rows):
            return rows[:n]
        if len(rows) <= n or rows[n - 1][2] != rows[n][2]:
            return sorted(rows[:n], key=lambda row: (row[2], row[3]), reverse=True)
    return [(row[0], row[1], row[2]) for row in connection.execute(_recent, {"user": user, "now": now, "n": n}).all()]


_seen = (
    sa.select(events.c.item_id, events.c.type)
    .distinct()
    .where(events.c.user_id == sa.bindparam("user"), events.c.at <= sa.bindparam("now"))
)
# Of one index too, and as often as they stand there: to sort out the repeated ones takes longer than to read them.
_SEEN_SQLITE = "SELECT item_id, type FROM events WHERE user_id = ? AND at <= ?"


def seen_items(connection: sa.Connection, user: str, now: int, types: Sequence[str] = ()) -> set[str]:
    """Every item that the user has events with up to now, of some types in whichever case, or of all."""
    if connection.dialect.name == "sqlite":
        rows = _fetched(connection, _SEEN_SQLITE, (user, now))
    else:
        rows = connection.execute(_seen, {"user": user, "now": now}).all()
    if not types:
        return set(map(itemgetter(0), rows))
    wanted = {kind.lower() for kind in types}  # SQLite's own lower() knows ASCII alone
    return {item for item, kind in rows if kind.lower() in wanted}


def _fetched(connection: sa.Connection, statement: str, values: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
    """All rows of a statement in SQLite, past SQLAlchemy, which takes a millisecond to hand on some hundred of them.

    Raises:
        StoreError: they cannot be read.
    """
    driver: Any = connection.connection.driver_connection
    try:
        rows: list[tuple[Any, ...]] = driver.execute(statement, values).fetchall()
    except driver.Error as error:
        raise StoreError(f"the store: a history cannot be read ({error})") from error
    return rows


def find_events(
    connection: sa.Connection,
    *,
    user: str | None = None,
    item: str | None = None,
    type: str | None = None,
    after: int = 0,
    n: int | None = None,
    newest: bool = False,
) -> list[Event]:
    """Events that fit, in the order of arrival, or newest first."""
    query = sa.select(events).where(events.c.seq > after)
    for column, wanted in ((events.c.user_id, user), (events.c.item_id, item), (events.c.type, type)):
        if wanted is not None:
            query = query.where(column == wanted)
    query = query.order_by(events.c.at.desc(), events.c.seq.desc()) if newest else query.order_by(events.c.seq)
    found = connection.execute(query if n is None else query.limit(n)).mappings()
    return [Event(r["user_id"], r["item_id"], r["type"], r["at"], r["value"], r["comment"], r["seq"]) for r in found]


def delete_events(connection: sa.Connection, user: str, item: str, type: str | None = None) -> int:
    """Deletes a user's events with an item, remembering their keys, so that no import brings them back."""
    gone = find_events(connection, user=user, item=item, type=type)
    if not gone:
        return 0
    connection.execute(events.delete().where(events.c.seq.in_([event.seq for event in gone])))
    connection.execute(
        upsert(connection, removed_events).on_conflict_do_nothing(),
        [{"user_id": e.user, "item_id": e.item, "type": e.type, "at": e.at} for e in gone],
    )
    _count(connection, users, users.c.user_id, [user] * len(gone), -1)
    _count(connection, items, items.c.item_id, [item] * len(gone), -1)
    revision = next_number(connection)
    touch(connection, [user], revision)
    set_number(connection, "events", revision)
    set_number(connection, "removals", revision)
    return len(gone)


def forget_events(connection: sa.Connection, seqs: Sequence[int]) -> int:
    """Deletes events by their numbers of arrival, as age does: their keys are not remembered."""
    wanted = events.c.seq.in_(seqs)
    gone = connection.execute(sa.select(events.c.user_id, events.c.item_id).where(wanted)).all()
    if not gone:
        return 0
    connection.execute(events.delete().where(wanted))
    _count(connection, users, users.c.user_id, [user for user, _ in gone], -1)
    _count(connection, items, items.c.item_id, [item for _, item in gone], -1)
    set_number(connection, "events", next_number(connection))
    return len(gone)


def add_users(connection: sa.Connection, new: Sequence[StoredUser], revision: int) -> None:
    """Makes users that are unknown or deleted; known ones stay as they are."""
    statement = upsert(connection, users)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"deleted": False, "revision": revision},
            where=users.c.deleted == sa.true(),
        ),
        [_user_row(one, revision) for one in new],
    )


def touch(connection: sa.Connection, names: Iterable[str], revision: int) -> None:
    """Notes that events of users changed in another way than by new ones, which the log shows itself."""
    statement = users.update().where(users.c.user_id == sa.bindparam("one")).values(revision=revision)
    connection.execute(statement, [{"one": name} for name in sorted(names)])


def put_users(connection: sa.Connection, new: Sequence[StoredUser]) -> int:
    """Writes users over their former states; their events stay."""
    if not new:
        return 0
    revision = next_number(connection)
    last = {one.id: one for one in new}
    statement = upsert(connection, users)
    changed = {name: statement.excluded[name] for name in ("labels", "comment", "deleted", "revision")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["user_id"], set_=changed),
        [_user_row(one, revision) for one in last.values()],
    )
    return len(new)


def delete_user(connection: sa.Connection, user: str) -> int | None:
    """Deletes a user with all their events and impressions; the number of events, None for an unknown user.

    The bare id stays, marked as deleted: no import of a release brings the events back.
    """
    from langrec.service.store.schema import impressions

    known = get_user(connection, user) is not None
    revision = next_number(connection)
    counts = connection.execute(
        sa.select(events.c.item_id, sa.func.count()).where(events.c.user_id == user).group_by(events.c.item_id)
    ).all()
    for item, n in counts:
        connection.execute(items.update().where(items.c.item_id == item).values(n_events=items.c.n_events - n))
    gone = connection.execute(events.delete().where(events.c.user_id == user)).rowcount
    connection.execute(removed_events.delete().where(removed_events.c.user_id == user))
    connection.execute(impressions.delete().where(impressions.c.user_id == user))
    connection.execute(
        users.update()
        .where(users.c.user_id == user)
        .values(labels=None, comment="", n_events=0, deleted=True, revision=revision)
    )
    set_number(connection, "events", revision)
    set_number(connection, "removals", revision)
    return gone if known or gone else None


def get_user(connection: sa.Connection, user: str) -> StoredUser | None:
    """A user, None where unknown or deleted."""
    row = connection.execute(sa.select(users).where(users.c.user_id == user, users.c.deleted == sa.false())).mappings()
    return next((_user(one) for one in row), None)


def deleted_among(connection: sa.Connection, names: Iterable[str]) -> set[str]:
    """Those of the users who are deleted and have not come back."""
    found: set[str] = set()
    wanted = sorted(set(names))
    for start in range(0, len(wanted), 500):
        query = sa.select(users.c.user_id).where(
            users.c.user_id.in_(wanted[start : start + 500]), users.c.deleted == sa.true()
        )
        found.update(connection.execute(query).scalars())
    return found


def page_users(connection: sa.Connection, after: str, n: int) -> list[StoredUser]:
    """Up to n users in the order of their ids, those after an id."""
    query = sa.select(users).where(users.c.user_id > after, users.c.deleted == sa.false())
    return [_user(row) for row in connection.execute(query.order_by(users.c.user_id).limit(n)).mappings()]


def similar_users(
    connection: sa.Connection, user: str, n: int, offset: int, recent: int = 100
) -> list[tuple[str, float]]:
    """Users who share most of a user's newest items, best first, ties by id.

    Scored by the shared items over the root of both numbers: of the user's newest items, and of the other's events,
    which the store has counted already.
    """
    mine = (
        sa.select(events.c.item_id)
        .where(events.c.user_id == user)
        .order_by(events.c.at.desc(), events.c.seq.desc())
        .limit(recent)
        .subquery()
    )
    wanted = sa.select(mine.c.item_id).distinct().subquery()
    n_mine = connection.execute(sa.select(sa.func.count()).select_from(wanted)).scalar_one()
    if not n_mine:
        return []
    common = sa.func.count(sa.distinct(events.c.item_id))
    shared = (
        sa.select(events.c.user_id, common.label("n"))
        .join(wanted, wanted.c.item_id == events.c.item_id)
        .where(events.c.user_id != user)
        .group_by(events.c.user_id)
        .subquery()
    )
    found = connection.execute(
        sa.select(shared.c.user_id, shared.c.n, users.c.n_events).join(users, users.c.user_id == shared.c.user_id)
    )
    scored = [(name, float(n_both / (n_mine * max(n_theirs, 1)) ** 0.5)) for name, n_both, n_theirs in found]
    scored.sort(key=lambda pair: (-pair[1], pair[0]))
    return scored[offset : offset + n]


def new_ones(connection: sa.Connection, log: Sequence[Event]) -> Sequence[Event]:
    """The events without an id of their own, and of each id that is new the first."""
    named = {event.once for event in log if event.once}
    if not named:
        return log
    new = new_events(connection, named)
    kept = []
    for event in log:
        if not event.once:
            kept.append(event)
        elif event.once in new:
            new.remove(event.once)
            kept.append(event)
    return kept


def _added(before: Event, event: Event) -> Event:
    if before.value is None or event.value is None:
        value = event.value if before.value is None else before.value
    else:
        value = before.value + event.value
    return Event(event.user, event.item, event.type, event.at, value, event.comment or before.comment)


def _count(
    connection: sa.Connection, table: sa.Table, key: sa.ColumnElement[Any], names: Sequence[str], step: int
) -> None:
    totals: dict[str, int] = {}
    for name in names:
        totals[name] = totals.get(name, 0) + step
    if totals:
        statement = (
            table.update().where(key == sa.bindparam("one")).values(n_events=table.c.n_events + sa.bindparam("by"))
        )
        connection.execute(statement, [{"one": name, "by": by} for name, by in sorted(totals.items())])


def _row(event: Event, revision: int) -> dict[str, Any]:
    return {
        "user_id": event.user,
        "item_id": event.item,
        "type": event.type,
        "at": event.at,
        "value": event.value,
        "comment": event.comment,
        "revision": revision,
    }


def _user_row(one: StoredUser, revision: int) -> dict[str, Any]:
    return {
        "user_id": one.id,
        "labels": one.labels,
        "comment": one.comment,
        "n_events": 0,
        "deleted": False,
        "revision": revision,
    }


def _user(row: sa.RowMapping) -> StoredUser:
    return StoredUser(row["user_id"], row["labels"], row["comment"], row["n_events"])
