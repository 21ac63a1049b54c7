"""The deletion of a user with its receipt, the later proof of that, and the export of what is known of a user.

A receipt says what was removed and counted, what no longer holds the user, what is scheduled, and what remains where.
Its hash stands in the audit's chain. `prove` looks again: at the rows, at the releases on the disk, and at the
retraining that was scheduled.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from langrec.data.aliases import key
from langrec.errors import DataError
from langrec.registry import find
from langrec.service.store import audit, event_rows
from langrec.service.store.schema import events, impressions, receipts, refused_rows, removed_events, users
from langrec.service.store.store import number

# Where rows of a user may be, and what finds them.
_REMAINS = (
    "the bare id stays in the store, marked as deleted, so that no import of a release brings the events back",
    "the audit names the id as what was deleted",
    "releases trained before hold the training events until retention removes them (langrec retrain, retrain.keep)",
    "dumps of the store that were made before are not reached from here",
)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What becomes of each model when a user is deleted.

    Attributes:
        release: the stamp of the release in use.
        exact: scorers that are brought into step with the store, exactly as fitted without the user.
        scheduled: scorers that hold the user's part until the next retraining.
        why: why a scorer in closed form is not brought into step; empty where it is.
    """

    release: str
    exact: tuple[str, ...]
    scheduled: tuple[str, ...]
    why: str = ""

    @classmethod
    def of(cls, release: str, models: Mapping[str, Any], grown: Sequence[str] | None = None, why: str = "") -> Outlook:
        """The outlook of a release's models.

        Args:
            models: those of the manifest.
            grown: scorers that are kept in step; None = all in closed form, as a server with room for them does.
        """
        exact, scheduled = [], []
        for name, model in models.items():
            kind = find("scorers", model["kind"])
            if hasattr(kind, "without_events") or (hasattr(kind, "with_logs") and (grown is None or name in grown)):
                exact.append(name)
            elif not reads_texts_alone(kind):
                scheduled.append(name)
        return cls(release, tuple(exact), tuple(scheduled), why)


def reads_texts_alone(kind: Any) -> bool:
    """True for scorers that learn nothing from events: words and vectors of texts hold no user."""
    return bool(getattr(kind, "texts_alone", False))


def delete_user(
    connection: sa.Connection, user: str, actor: str, outlook: Outlook, at: int
) -> tuple[bool, dict[str, Any]]:
    """Deletes a user within a write transaction: whether anything was known of them, and the receipt.

    A user of whom nothing was known gets a receipt too: that there is nothing is what it says.
    """
    removed = counted(connection, user)
    upto = {
        "event": int(connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0),
        "impression": int(connection.execute(sa.select(sa.func.max(impressions.c.seq))).scalar() or 0),
    }
    known = event_rows.delete_user(connection, user) is not None
    connection.execute(refused_rows.delete().where(_names(user)))
    receipt_id = secrets.token_hex(16)
    said = {
        "receipt": receipt_id,
        "user": user,
        "at": at,
        "release": outlook.release,
        "removed": removed,
        "exact": list(outlook.exact),
        "scheduled": list(outlook.scheduled),
        "why_scheduled": outlook.why,
        "remains": list(_REMAINS),
        "revision": number(connection, "removals"),
        "upto": upto,
    }
    act = audit.note(
        connection,
        actor,
        "delete user",
        user,
        {"events": removed["events"], "receipt": receipt_id, "sha256": _hash(said)},
        at=at,
    )
    row = {"receipt_id": receipt_id, "user_id": user, "at": at, "actor": actor, "said": said, "audit_seq": act.seq}
    connection.execute(receipts.insert().values(**row))
    return known, said


def shown(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a receipt says to people: without the places in the store that a proof begins from."""
    return {name: value for name, value in said.items() if name not in ("revision", "upto")}


def counted(connection: sa.Connection, user: str, upto: Mapping[str, int] | None = None) -> dict[str, int]:
    """How many rows there are of a user, by what they are.

    Args:
        upto: only events and impressions up to these places, with which those of a later visit are left out.
    """
    wanted = {
        "events": sa.select(sa.func.count()).select_from(events).where(events.c.user_id == user),
        "impressions": sa.select(sa.func.count()).select_from(impressions).where(impressions.c.user_id == user),
        "removed_keys": sa.select(sa.func.count()).select_from(removed_events).where(removed_events.c.user_id == user),
        "refused_rows": sa.select(sa.func.count()).select_from(refused_rows).where(_names(user)),
    }
    if upto is not None:
        wanted["events"] = wanted["events"].where(events.c.seq <= upto["event"])
        wanted["impressions"] = wanted["impressions"].where(impressions.c.seq <= upto["impression"])
    found = {name: int(connection.execute(query).scalar_one()) for name, query in wanted.items()}
    row = connection.execute(sa.select(users.c.labels, users.c.comment).where(users.c.user_id == user)).first()
    found["profile_fields"] = 0 if row is None else _fields(row.labels) + bool(row.comment)
    return found


def prove(connection: sa.Connection, receipt_id: str, releases: Path | None = None) -> dict[str, Any] | None:
    """A receipt with what a new look at the store and at the releases finds; None where there is no such receipt.

    Args:
        releases: the folder of releases, to say which still hold training events of the user.
    """
    row = connection.execute(sa.select(receipts).where(receipts.c.receipt_id == receipt_id)).mappings().first()
    if row is None:
        return None
    said, user = row["said"], row["user_id"]
    act = next(iter(audit.page(connection, 1, row["audit_seq"] + 1)), None)
    holds = (
        act is not None
        and act.seq == row["audit_seq"]
        and act.hash == act.content_hash
        and (act.detail or {}).get("sha256") == _hash(said)
    )
    left = counted(connection, user, said["upto"])
    back = event_rows.get_user(connection, user) is not None
    if back:
        # What is known of somebody who came back after the deletion is of the new visit.
        left["profile_fields"] = 0
        left["removed_keys"] = 0
    return {
        **shown(said),
        "actor": row["actor"],
        "audit": {"row": row["audit_seq"], "holds": holds},
        "left": left,
        "nothing_left": not any(left.values()),
        "came_back": back,
        "retrained": None
        if row["retrained_in"] is None
        else {"release": row["retrained_in"], "at": row["retrained_at"]},
        "in_releases": [] if releases is None else releases_with(releases, user),
        "revision": said["revision"],
    }


def releases_with(folder: Path, user: str) -> list[str]:
    """Stamps of the releases on the disk whose training events hold a user."""
    import polars as pl

    found = []
    for path in sorted(folder.glob("[!.]*/catalog/events.parquet")):
        try:
            n = pl.scan_parquet(path).filter(pl.col("user_id") == user).select(pl.len()).collect().item()
        except (OSError, pl.exceptions.PolarsError):
            n = 1  # what cannot be read may hold anything
        if n:
            found.append(path.parts[-3])
    return found


def scheduled(connection: sa.Connection) -> int:
    """How many deletions wait for a retraining."""
    query = sa.select(sa.func.count()).select_from(receipts).where(receipts.c.retrained_in.is_(None))
    return int(connection.execute(query).scalar_one())


def note_retrained(connection: sa.Connection, release: str, upto: int, at: int) -> int:
    """Notes on the receipts up to a revision that a release was trained without their users; how many."""
    done = 0
    waiting = connection.execute(sa.select(receipts.c.seq, receipts.c.said).where(receipts.c.retrained_in.is_(None)))
    for seq, said in waiting.all():
        if said["revision"] <= upto:
            connection.execute(
                receipts.update().where(receipts.c.seq == seq).values(retrained_in=release, retrained_at=at)
            )
            done += 1
    return done


def export_user(connection: sa.Connection, user: str) -> dict[str, Any]:
    """All that the store knows of a user: profile, events, impressions, keys of events that were deleted one by one,
    rows that an import refused, and receipts of former deletions.

    Raises:
        DataError: nothing is known of the user.
    """
    one = event_rows.get_user(connection, user)
    log = event_rows.find_events(connection, user=user)
    shown = connection.execute(
        sa.select(impressions).where(impressions.c.user_id == user).order_by(impressions.c.seq)
    ).mappings()
    lists = [
        {
            "request": row["request_id"],
            "kind": row["kind"],
            "at": row["at"],
            "release": row["release"],
            "offset": row["offset"],
            "items": row["items"],
            "scores": row["scores"],
            "propensities": row["propensities"],
        }
        for row in shown
    ]
    former = connection.execute(sa.select(receipts.c.receipt_id).where(receipts.c.user_id == user)).scalars().all()
    deleted = [
        {"item": row.item_id, "type": row.type, "at": row.at}
        for row in connection.execute(
            sa.select(removed_events).where(removed_events.c.user_id == user).order_by(removed_events.c.at)
        )
    ]
    refused = [
        {"reason": row.reason, "data": row.data}
        for row in connection.execute(sa.select(refused_rows).where(_names(user)))
        if _is_of(row.data, user)
    ]
    if one is None and not (log or lists or former or deleted or refused):
        raise DataError(f"nothing is known of user {user!r}", field="user")
    return {
        "user": user,
        "profile": None if one is None else {"labels": one.labels, "comment": one.comment, "n_events": one.n_events},
        "events": [{"item": e.item, "type": e.type, "at": e.at, "value": e.value, "comment": e.comment} for e in log],
        "impressions": lists,
        "deleted_events": deleted,
        "refused_rows": refused,
        "receipts": list(former),
    }


def _names(user: str) -> sa.ColumnElement[bool]:
    """Refused rows of an import that name the user: as JSON keeps a string, or the number that an id may be too."""
    written = {json.dumps(user), json.dumps(user, ensure_ascii=False)}
    if re.fullmatch(r"-?\d+", user, re.ASCII):
        written |= {f"{before}{user}{after}" for before in (":", ": ") for after in (",", "}", " ")}
    return sa.or_(*(refused_rows.c.data.contains(one, autoescape=True) for one in sorted(written)))


def _is_of(data: str, user: str) -> bool:
    """Whether a refused row is a user's own: another's may hold the same word, and is nothing for this one to read."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        return False  # cut or broken: nobody can say whose it is
    return isinstance(row, dict) and user in [str(row[name]) for name in row if key(name) in ("userid", "user")]


def _fields(labels: Any) -> int:
    if labels is None:
        return 0
    return len(labels) if isinstance(labels, (dict, list)) else 1


def _hash(said: Mapping[str, Any]) -> str:
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
