"""The audit: who did what, in rows that only grow, each holding the hash of the one before.

A row's hash covers its content and the hash before it, so that whoever changes, drops or inserts a row breaks the chain
from there on. The database itself refuses to change or delete rows (triggers in `schema.py`). Who owns the whole
database can write the chain anew: note the newest hash elsewhere from time to time, and `verify` finds that out too.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from langrec.service.store.schema import audit
from langrec.service.store.store import number, set_number

COUNTER = "audit"
FIRST = "0" * 64  # stands before the first row
_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Act:
    """One row; `at` is in epoch milliseconds, `before` and `hash` are hexadecimal sha256."""

    seq: int
    at: int
    actor: str
    action: str
    target: str
    detail: Any
    before: str
    hash: str

    @property
    def content_hash(self) -> str:
        """What `hash` must be."""
        return _hash(self.seq, self.at, self.actor, self.action, self.target, self.detail, self.before)


@dataclass(frozen=True, slots=True)
class Checked:
    """What `verify` found.

    Attributes:
        rows: how many rows there are.
        head: hash of the newest.
        broken: the first row that does not hold; None where all do.
        problem: what is wrong with it.
    """

    rows: int
    head: str
    broken: int | None = None
    problem: str | None = None


def note(
    connection: sa.Connection, actor: str, action: str, target: str, detail: Any = None, *, at: int | None = None
) -> Act:
    """Adds a row within a write transaction; writers take turns, so the chain has no forks.

    Args:
        actor: a key's id, "local", or "cli:" and a user of the machine.
        action: such as "delete user".
        target: the id of what it was done to.
        detail: more, as JSON; ids and counts, no texts of people.
        at: epoch milliseconds; now where it is absent.
    """
    last = connection.execute(sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).first()
    seq, before = (1, FIRST) if last is None else (int(last.seq) + 1, str(last.hash))
    at = int(time.time() * 1000) if at is None else at
    detail = json.loads(_canonical(detail))
    act = Act(seq, at, actor, action, target, detail, before, "")
    values = {name: getattr(act, name) for name in ("seq", "at", "actor", "action", "target", "detail", "before")}
    connection.execute(audit.insert().values(**values, hash=act.content_hash))
    set_number(connection, COUNTER, seq)
    return Act(**values, hash=act.content_hash)


def cli_actor() -> str:
    """Who acts at the command line."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "cli"


def page(connection: sa.Connection, n: int, before: int | None = None) -> list[Act]:
    """The newest acts first.

    Args:
        n: how many at most.
        before: only those with a smaller `seq`.
    """
    wanted = sa.select(audit).order_by(audit.c.seq.desc()).limit(n)
    if before is not None:
        wanted = wanted.where(audit.c.seq < before)
    return [_act(row) for row in connection.execute(wanted).mappings()]


def verify(connection: sa.Connection, head: str | None = None) -> Checked:
    """Reads every row and checks the chain; names the first broken one.

    Args:
        head: a hash that was noted before, which must be in the chain.
    """
    seq, before, found = 0, FIRST, head is None
    for act in _all(connection):
        problem = None
        if act.seq != seq + 1:
            problem = f"row {seq + 1} is missing"
        elif act.before != before:
            problem = "it does not hold the hash of the row before"
        elif act.hash != act.content_hash:
            problem = "its content is not what its hash says"
        if problem:
            return Checked(seq, before, act.seq if act.seq == seq + 1 else seq + 1, problem)
        seq, before, found = act.seq, act.hash, found or act.hash == head
    noted = number(connection, COUNTER)
    if seq < noted:
        return Checked(seq, before, seq + 1, f"rows {seq + 1} to {noted} are missing at the end")
    if not found:
        return Checked(seq, before, seq + 1, f"no row has the hash {head}: the chain was written anew or cut")
    return Checked(seq, before)


def _all(connection: sa.Connection) -> Iterator[Act]:
    after: int | None = None
    while True:
        wanted = sa.select(audit).order_by(audit.c.seq).limit(_CHUNK)
        rows = connection.execute(wanted if after is None else wanted.where(audit.c.seq > after)).mappings().all()
        if not rows:
            return
        yield from map(_act, rows)
        after = int(rows[-1]["seq"])


def _act(row: Any) -> Act:
    return Act(**{name: row[name] for name in ("seq", "at", "actor", "action", "target", "detail", "before", "hash")})


def _hash(seq: int, at: int, actor: str, action: str, target: str, detail: Any, before: str) -> str:
    content = [seq, at, actor, action, target, detail, before]
    return hashlib.sha256(_canonical(content).encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: Any) -> str:
    """JSON of one form only: names in order, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
