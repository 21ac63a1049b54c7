"""Many shops on one server: each tenant has releases, a store, caches, limits and metrics of its own.

A tenant is a folder with `releases/` and, where anything differs from the server's settings, a `tenant.toml`. The key
says the tenant, so no request can name another's. Keys lie in one store beside (the control store): a key that opens
nothing costs the same look-up whatever tenants there are. Encoders of the same files are in memory once
(`encoders/shared.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import logging
import re
import time
import tomllib
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from prometheus_client import generate_latest

from langrec.errors import DataError, LangrecError, SettingsError
from langrec.recipe import check_settings, from_dict
from langrec.releases import placeless
from langrec.service.access.auth import Caller
from langrec.service.access.key_ring import KeyRing
from langrec.service.batching import Busy
from langrec.service.doors import limits_of
from langrec.service.keeping import Keeper
from langrec.service.monitoring.gathered import gathered, shared_folder
from langrec.service.monitoring.labels import together
from langrec.service.monitoring.stats import Stats
from langrec.service.quality import Quality
from langrec.service.service import Service
from langrec.service.store.store import Store
from langrec.settings import FeedbackSettings, ServeSettings, StoreSettings

_log = logging.getLogger("langrec.service")

CONTROL = "control.db"
FILE = "tenant.toml"
# What belongs to the process, and so is the same for all tenants.
_TLS = ("tls_cert", "tls_key", "tls_min")
_PROCESS = ("host", "port", "workers", "keys_file", "keys", "max_body", "stop_seconds", "keep_alive")
SERVERS = frozenset((*_PROCESS, *_TLS, "tenants", "max_tenants", "tenant_share"))
_OPENERS = 2  # tenants that are loaded at the same time
_AGAIN = 5.0  # seconds after which a tenant that could not be opened is tried again


def check_tenant(name: str) -> str:
    """The name of a tenant.

    Raises:
        SettingsError: it is none.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name, re.ASCII):
        raise SettingsError(
            f"tenant {name!r}: a name has up to 63 small letters, digits and hyphens, and begins with no hyphen",
            field="tenant",
        )
    return name


def tenants_in(folder: Path) -> list[str]:
    """Names of the tenants of a folder, in order.

    Raises:
        SettingsError: there is no such folder.
    """
    if not folder.is_dir():
        raise SettingsError(
            f"serve.tenants: {folder}: there is no such folder; `langrec tenants add` makes it", field="serve.tenants"
        )
    found = [path.name for path in folder.iterdir() if (path / "releases").is_dir() or (path / FILE).is_file()]
    return sorted(name for name in found if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name, re.ASCII))


def control_url(folder: Path) -> str:
    """Where the keys of all tenants lie, unless the settings say else."""
    return f"sqlite:///{folder / CONTROL}"


def folder_of_control(url: str) -> Path | None:
    """The folder of tenants whose keys lie at a URL; None where the URL does not say it."""
    path = url.removeprefix("sqlite:///")
    return Path(path).parent if path != url and Path(path).name == CONTROL else None


def tenant_settings(folder: Path, server: ServeSettings) -> ServeSettings:
    """The server's settings with what a tenant's own file says.

    Args:
        folder: of the tenant.
        server: of the whole server.

    Raises:
        SettingsError: the file cannot be read, sets what belongs to the server, or holds a value out of range.
    """
    own: dict[str, Any] = {}
    path = folder / FILE
    if path.is_file():
        try:
            own = tomllib.loads(path.read_text("utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{path}: cannot be read ({error})") from error
    for name in own:
        if name in SERVERS:
            raise SettingsError(f"{path}: {name} belongs to the whole server, not to a tenant", field=name)
    said = from_dict({"serve": own}, where=str(path))
    try:
        check_settings(said)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}", field=error.field) from error
    changed = {name: getattr(said.serve, name) for name in own}
    changed.setdefault("store", f"sqlite:///{folder / 'store.db'}")
    # Who may reach what was asked before a request comes to a tenant: its own service asks nothing.
    return dataclasses.replace(server, **changed, host="127.0.0.1", keys="", keys_file="", tenants="")


def shares_store_with(folder: Path, name: str, server: ServeSettings) -> str | None:
    """Who else has a tenant's store: another tenant, or "the keys" where it is the control store; None = nobody.

    Args:
        folder: of all tenants.
        server: its store is the control store.
    """
    own = _place_of(tenant_settings(folder / name, server).store)
    if own == _place_of(server.store):
        return "the keys"
    for other in tenants_in(folder):
        with contextlib.suppress(SettingsError):  # one that cannot be read cannot be opened either
            if other != name and _place_of(tenant_settings(folder / other, server).store) == own:
                return other
    return None


def _place_of(url: str) -> tuple[Any, ...]:
    """Where a store lies, whoever asks for it; two that are equal hold the same data."""
    try:
        found = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return (url,)  # opening it says what is wrong
    if found.get_backend_name() == "sqlite":
        return (Path(found.database or "").resolve(),)
    port, options = found.port or found.query.get("port"), found.query.get("options")
    return (found.host or found.query.get("host"), port, found.database, options)


@dataclass(eq=False, slots=True)
class _Tenant:
    """An open tenant, or one that is being opened.

    Attributes:
        inside: requests that hold it open.
        places: of requests that are worked on at the same time; the others wait in line.
        waiting: how many wait.
    """

    name: str
    settings: ServeSettings
    places: asyncio.Semaphore
    opening: asyncio.Task[Service]
    inside: int = 0
    waiting: int = 0
    failed_at: float = 0.0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Tenants:
    """Brings requests to their tenant's service, which is opened when it is first asked.

    At most `serve.max_tenants` stay open: the one that was not asked for longest is closed for the next, unless it is
    in use. Of one tenant at most `serve.tenant_share` requests are worked on at once, so that its crowd fills its own
    line and no thread that others need.

    Args:
        folder: of all tenants.
        settings: of the server; `store` is the control store.
        keeping: how long the stores keep what.
        feedback: how often each open tenant's quality and drift are worked out, and what is beyond the usual.

    Raises:
        SettingsError: there is no such folder, or a key of the settings is malformed.
        StoreError: the control store cannot be opened.
    """

    def __init__(
        self, folder: Path, settings: ServeSettings, keeping: StoreSettings, feedback: FeedbackSettings
    ) -> None:
        tenants_in(folder)
        self._keeping = keeping
        self._feedback = feedback
        self.folder = folder
        self.settings = settings
        self.store = Store(settings.store)
        self.keys = KeyRing(settings, self.store, always=True)
        self.stats = Stats()
        self._open: OrderedDict[str, _Tenant] = OrderedDict()
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._openers = ThreadPoolExecutor(_OPENERS, thread_name_prefix="langrec-opener")

    @property
    def keys_needed(self) -> bool:
        return True

    @property
    def open_tenants(self) -> list[str]:
        """Names, the one that was not asked for longest first."""
        return list(self._open)

    async def caller(self, key: str | None) -> Caller:
        return await self.keys.caller(key)

    def limits(self, caller: Caller) -> tuple[float, int]:
        tenant = self._open.get(caller.tenant)
        if tenant is None and caller.tenant:
            return limits_of(caller, self._settings_of(caller.tenant))
        return limits_of(caller, tenant.settings if tenant else self.settings)

    @asynccontextmanager
    async def entered(self, caller: Caller) -> AsyncIterator[Service | None]:
        if not caller.tenant:
            yield None
            return
        tenant = self._at(caller.tenant)
        tenant.inside += 1
        try:
            try:
                service = await asyncio.shield(tenant.opening)
            except LangrecError as error:
                raise _told(error, self.folder / caller.tenant) from error
            if tenant.places.locked() and tenant.waiting >= tenant.settings.max_queue:
                raise Busy("too many requests of this tenant wait for an answer; try again in a second")
            tenant.waiting += 1
            try:
                await tenant.places.acquire()
            finally:
                tenant.waiting -= 1
            try:
                yield service
            finally:
                tenant.places.release()
        finally:
            tenant.inside -= 1
            self._shrink()

    async def run(self) -> None:
        """Writes down how often keys were used, until it is cancelled."""
        while True:
            await asyncio.sleep(15)
            await asyncio.to_thread(self._flush)

    async def close(self) -> None:
        """Closes every tenant."""
        for tenant in list(self._open.values()):
            self._close(tenant)
        await asyncio.gather(*self._closing.values())
        await asyncio.to_thread(self._flush)
        self._openers.shutdown()
        self.keys.close()
        self.store.close()

    def prometheus(self) -> bytes:
        """The metrics of all tenants and of the server, for whoever runs it."""
        for _, service in self.services():
            service.stats.look_at_caches()
        folder = shared_folder()
        if folder is not None:
            return generate_latest(gathered(folder))
        return generate_latest(together([self.stats.registry, *(one.stats.registry for _, one in self.services())]))

    def services(self) -> list[tuple[str, Service]]:
        """Open tenants with their services."""
        found = ((tenant.name, tenant.opening) for tenant in self._open.values())
        return [(name, one.result()) for name, one in found if one.done() and one.exception() is None]

    def _at(self, name: str) -> _Tenant:
        tenant = self._open.get(name)
        if tenant is not None and tenant.failed_at and time.monotonic() - tenant.failed_at > _AGAIN:
            del self._open[name]
            tenant = None
        if tenant is None:
            settings = self._settings_of(name)
            opening = asyncio.get_running_loop().create_task(self._opened(name, settings))
            tenant = _Tenant(name, settings, asyncio.Semaphore(settings.tenant_share), opening)
            opening.add_done_callback(lambda done, tenant=tenant: self._begin(tenant, done))  # type: ignore[misc]
            self._open[name] = tenant
        self._open.move_to_end(name)
        return tenant

    def _begin(self, tenant: _Tenant, done: asyncio.Task[Service]) -> None:
        """Starts what runs beside an opened service, or notes that it could not be opened."""
        if done.cancelled() or done.exception() is not None:
            tenant.failed_at = time.monotonic()
            if not done.cancelled():
                _log.error("tenant %s cannot be opened: %s", tenant.name, done.exception())
            return
        loop, service = asyncio.get_running_loop(), done.result()
        own = (Keeper(service, self._keeping).run(), Quality(service, self._feedback).run())
        beside = (service.run(), service.warm_up(), service.follow(), *own)
        tenant.tasks += [loop.create_task(one) for one in beside]

    async def _opened(self, name: str, settings: ServeSettings) -> Service:
        before = self._closing.get(name)
        if before is not None:
            await before
        return await asyncio.get_running_loop().run_in_executor(self._openers, self._open_now, name, settings)

    def _open_now(self, name: str, settings: ServeSettings) -> Service:
        other = shares_store_with(self.folder, name, self.settings)
        if other is not None:
            _log.error("tenant %s has the store of %s: give each its own in its %s", name, other, FILE)
            raise SettingsError(
                "this tenant's store is not its own; the log of the server says whose it is", field="store"
            )
        return Service(self.folder / name / "releases", settings, tenant=name)

    def _settings_of(self, name: str) -> ServeSettings:
        folder = self.folder / check_tenant(name)
        if not folder.is_dir():
            raise DataError(f"tenant {name}: is not on this server any more", field="X-API-Key")
        try:
            return tenant_settings(folder, self.settings)
        except SettingsError as error:
            _log.error("tenant %s cannot be opened: %s", name, error.message)
            raise _told(error, folder) from error

    def _shrink(self) -> None:
        """Closes tenants that nobody uses until there are as few as there may be."""
        idle = [tenant for tenant in self._open.values() if not tenant.inside and tenant.opening.done()]
        for tenant in idle[: max(len(self._open) - self.settings.max_tenants, 0)]:
            self._close(tenant)

    def _close(self, tenant: _Tenant) -> None:
        self._open.pop(tenant.name, None)
        before = self._closing.get(tenant.name)
        task = asyncio.get_running_loop().create_task(_closed(tenant, before))
        self._closing[tenant.name] = task
        task.add_done_callback(lambda done: self._forget(tenant.name, done))

    def _forget(self, name: str, done: asyncio.Task[None]) -> None:
        if self._closing.get(name) is done:
            del self._closing[name]

    def _flush(self) -> None:
        try:
            with self.store.write() as connection:
                self.keys.flush(connection)
        except LangrecError as error:
            _log.warning("uses of keys were not written: %s", error.message)


def _told(error: LangrecError, folder: Path) -> LangrecError:
    """The error as a tenant may read it: its paths begin at the tenant's own folder."""
    shown = copy.copy(error)
    shown.message = placeless(error.message, folder)
    return shown


async def _closed(tenant: _Tenant, before: asyncio.Task[None] | None) -> None:
    if before is not None:
        await before
    if tenant.opening.done() and tenant.opening.exception() is not None:
        return
    service = await tenant.opening
    for task in tenant.tasks:
        task.cancel()
    await asyncio.gather(*tenant.tasks, return_exceptions=True)
    await service.close()
    _log.info("tenant %s is closed", tenant.name)
