"""All keys of a server: those of the settings and those of the store, whose changes count from the next request on."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import sqlite3
import threading
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from langrec.errors import LangrecError, StoreError
from langrec.service.access import keys_rows
from langrec.service.access.auth import LOCAL, NOBODY, Caller, check_reach, digest_of, load_keys
from langrec.service.access.keys_rows import StoredKey
from langrec.service.store.store import Store, number
from langrec.settings import ServeSettings

_log = logging.getLogger("langrec.service")


class KeyRing:
    """Who holds which key. A store that does not answer leaves the keys as they were last read.

    Args:
        settings: of the service.
        store: whose table `keys` counts beside the settings.
        always: keys are needed even where there are none.

    Raises:
        SettingsError: a key of the settings is malformed, or others can reach the address and no key is needed.
    """

    def __init__(self, settings: ServeSettings, store: Store, *, always: bool = False) -> None:
        self._given = load_keys(settings)
        self._store = store
        self._always = always
        self._stored: Mapping[str, StoredKey] = {}
        self._seen = -1
        self._uses: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._quick: sa.PoolProxiedConnection | None = None
        self._look: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self.refresh()
        check_reach(settings, self.needed)

    @property
    def needed(self) -> bool:
        """Whether a key is needed. One that was revoked or is over counts: taking the last away opens nothing."""
        return self._always or bool(self._given.roles) or bool(self._stored)

    async def caller(self, key: str | None) -> Caller:
        """Who holds a key, by what the store says now."""
        if self._store.is_sqlite:
            self._try()  # a few microseconds, in this thread
        else:
            await self._tried()
        return self.known(key)

    def known(self, key: str | None) -> Caller:
        """Who holds a key, by what was read last."""
        if not self.needed:
            return LOCAL
        if not key:
            return NOBODY
        digest = digest_of(key)
        stored = self._stored.get(digest.hex()[:12])
        now = int(time.time() * 1000)
        if stored is not None and hmac.compare_digest(stored.digest, digest):
            if stored.state(now) not in ("valid", "ends"):
                return NOBODY
            self._count(stored.id, now)
            scopes = frozenset(stored.scopes)
            return Caller(stored.role, stored.id, scopes, stored.tenant, stored.rate, stored.burst)
        return self._given.caller(key) if self._given.roles else NOBODY

    def flush(self, connection: sa.Connection) -> None:
        """Moves the counts of uses into the store."""
        with self._lock:
            uses, self._uses = self._uses, {}
        keys_rows.count_uses(connection, uses)

    def refresh(self) -> None:
        """Reads the keys again where they have changed.

        Raises:
            StoreError: the store cannot be read.
        """
        if self._seen >= 0 and self._revision() == self._seen:
            return
        with self._store.read() as connection:
            seen = number(connection, keys_rows.COUNTER)
            self._stored = {key.id: key for key in keys_rows.all_keys(connection)}
            self._seen = seen

    def close(self) -> None:
        """Lets go of the store."""
        if self._quick is not None:
            with contextlib.suppress(sqlite3.Error):
                self._quick.close()
            self._quick = None

    def _revision(self) -> int:
        if not self._store.is_sqlite:
            with self._store.read() as connection:
                return number(connection, keys_rows.COUNTER)
        # Every request asks this: a statement of the driver costs a tenth of what SQLAlchemy's way there does.
        try:
            if self._quick is None:
                self._quick = self._store.driver_connection()
            driver: Any = self._quick.driver_connection
            row = driver.execute("SELECT value FROM counters WHERE name = 'keys'").fetchone()
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"{self._store.shown}: keys cannot be read ({error})") from error
        return int(row[0]) if row else 0

    def _try(self) -> None:
        try:
            self.refresh()
        except LangrecError as error:
            _log.warning("keys are as they were last read: %s", error.message)

    async def _tried(self) -> None:
        """One look in another thread that began after this call; those who come together share it."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._look_after(self._look))
        await asyncio.shield(self._next)

    async def _look_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._look, self._next = self._next, None
        await asyncio.to_thread(self._try)

    def _count(self, key_id: str, now: int) -> None:
        with self._lock:
            self._uses[key_id] = (self._uses.get(key_id, (0, 0))[0] + 1, now)
