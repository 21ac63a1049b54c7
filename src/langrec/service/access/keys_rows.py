"""API keys in the store: made, listed, rotated, revoked and counted. Never the key itself, its sha256."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from langrec.errors import DataError, SettingsError
from langrec.service.access.auth import ROLES, digest_of
from langrec.service.access.scopes import check_scopes
from langrec.service.store import audit
from langrec.service.store.schema import keys
from langrec.service.store.store import next_number

COUNTER = "keys"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the store keeps it; times are epoch milliseconds.

    Attributes:
        id: the first 12 hexadecimal digits of its digest.
        role: read, write or admin; "scopes" where `scopes` says all.
        tenant: whose it is, where a server has tenants.
        rate: requests a second; None as the settings say.
        burst: requests at once; None as the settings say.
    """

    id: str
    digest: bytes
    name: str
    role: str
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    rate: float | None = None
    burst: int | None = None
    made_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used: int | None = None
    n_used: int = 0

    def state(self, now: int) -> str:
        """In words whether it opens anything: valid, ends (it has an end), expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None:
            return "expired" if self.expires_at <= now else "ends"
        return "valid"


def add_key(
    connection: sa.Connection,
    name: str,
    *,
    actor: str,
    now: int,
    role: str = "",
    scopes: tuple[str, ...] = (),
    tenant: str = "",
    rate: float | None = None,
    burst: int | None = None,
    expires_at: int | None = None,
) -> tuple[str, StoredKey]:
    """A new key, which is shown this once, and what the store keeps of it.

    Args:
        name: what people call it.
        actor: who makes it, for the audit.
        now: epoch milliseconds.
        role: read, write or admin; in place of scopes.
        scopes: `area:act` each; in place of a role.
        tenant: whose key it is.
        rate: requests a second that it may make.
        burst: requests at once.
        expires_at: when it ends; None = never.

    Raises:
        SettingsError: neither or both of role and scopes, or one that is not known.
    """
    if bool(role) == bool(scopes):
        raise SettingsError("a key has either a role (read, write, admin) or scopes such as items:write", field="role")
    if role and role not in ROLES:
        raise SettingsError(f"role: {role!r} is not read, write or admin", field="role")
    if not name.strip() or len(name) > 200:
        raise SettingsError("name: a key has a name of 1 to 200 characters, by which people know it", field="name")
    if (rate is not None and not rate > 0) or (burst is not None and burst < 1):
        raise SettingsError("rate: requests a second are above 0, and a burst is at least 1", field="rate")
    return _make(
        connection,
        StoredKey("", b"", name.strip(), role or "scopes", check_scopes(scopes), tenant, rate, burst, now, expires_at),
        actor,
        "add key",
        {},
    )


def rotate_key(
    connection: sa.Connection, key_id: str, *, actor: str, now: int, grace_ms: int
) -> tuple[str, StoredKey, StoredKey]:
    """A new key with what an old one may do: (the key, its row, the old one's row, which ends after the grace).

    Raises:
        DataError: there is no such key, or it opens nothing any more.
    """
    old = find_key(connection, key_id)
    if old.state(now) in ("revoked", "expired"):
        raise DataError(f"key {old.id}: is {old.state(now)}; make a new one with `langrec keys add`", field="key")
    lasts = None if old.expires_at is None else old.expires_at - old.made_at
    ends = now + grace_ms
    old = replace(old, expires_at=ends if old.expires_at is None else min(old.expires_at, ends))
    connection.execute(keys.update().where(keys.c.key_id == old.id).values(expires_at=old.expires_at))
    # A key that was made for ninety days is followed by one for ninety days.
    fresh = replace(old, made_at=now, expires_at=None if lasts is None else now + lasts, last_used=None, n_used=0)
    text, made = _make(connection, fresh, actor, "rotate key", {"old": old.id, "old_ends": old.expires_at})
    return text, made, old


def revoke_key(connection: sa.Connection, key_id: str, *, actor: str, now: int) -> StoredKey:
    """Ends a key at once; its row stays, so that a server that had keys never opens to everyone.

    Raises:
        DataError: there is no such key.
    """
    found = find_key(connection, key_id)
    if found.revoked_at is None:
        found = replace(found, revoked_at=now)
        connection.execute(keys.update().where(keys.c.key_id == found.id).values(revoked_at=now))
        audit.note(connection, actor, "revoke key", found.id, {"name": found.name}, at=now)
        next_number(connection, COUNTER)
    return found


def find_key(connection: sa.Connection, key_id: str) -> StoredKey:
    """The key with an id, or with the start of one that no other has.

    Raises:
        DataError: there is none, or there are several.
    """
    found = [key for key in all_keys(connection) if key_id and key.id.startswith(key_id)]
    if len(found) != 1:
        said = "there is no such key" if not found else f"{len(found)} keys begin so"
        raise DataError(f"key {key_id!r}: {said}; `langrec keys list` shows their ids", field="key")
    return found[0]


def all_keys(connection: sa.Connection) -> list[StoredKey]:
    """Every key, revoked ones too, the oldest first."""
    rows = connection.execute(sa.select(keys).order_by(keys.c.made_at, keys.c.key_id)).mappings()
    return [
        StoredKey(
            id=row["key_id"],
            digest=bytes.fromhex(row["digest"]),
            name=row["name"],
            role=row["role"],
            scopes=tuple(row["scopes"] or ()),
            tenant=row["tenant"],
            rate=row["rate"],
            burst=row["burst"],
            made_at=row["made_at"],
            expires_at=row["expires_at"],
            revoked_at=row["revoked_at"],
            last_used=row["last_used"],
            n_used=row["n_used"],
        )
        for row in rows
    ]


def count_uses(connection: sa.Connection, uses: Mapping[str, tuple[int, int]]) -> None:
    """Adds uses to keys.

    Args:
        uses: by key id the number of requests and the time of the last.
    """
    for key_id, (n, at) in uses.items():
        last = sa.case((keys.c.last_used > at, keys.c.last_used), else_=at)
        connection.execute(
            keys.update().where(keys.c.key_id == key_id).values(n_used=keys.c.n_used + n, last_used=last)
        )


def _make(
    connection: sa.Connection, key: StoredKey, actor: str, action: str, detail: dict[str, Any]
) -> tuple[str, StoredKey]:
    text = "lr_" + secrets.token_urlsafe(32)
    digest = digest_of(text)
    key = replace(key, id=digest.hex()[:12], digest=digest)
    connection.execute(
        keys.insert().values(
            key_id=key.id,
            digest=digest.hex(),
            name=key.name,
            role=key.role,
            scopes=list(key.scopes),
            tenant=key.tenant,
            rate=key.rate,
            burst=key.burst,
            made_at=key.made_at,
            expires_at=key.expires_at,
        )
    )
    said = {"name": key.name, "role": key.role, "scopes": list(key.scopes), "tenant": key.tenant}
    audit.note(connection, actor, action, key.id, {**said, **detail}, at=key.made_at)
    next_number(connection, COUNTER)
    return text, key
