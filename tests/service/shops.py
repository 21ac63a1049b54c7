"""A server of tenants for tests: shops over the planted world, each with a key of every role."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from live_server import PATIENCE, wait_until

from langrec.service.access import keys_rows
from langrec.service.store.store import Store
from langrec.settings import FeedbackSettings, ServeSettings
from ports import free_port


def set_up(folder: Path, releases: Path, stamps: dict[str, str], files: dict[str, str] | None = None) -> str:
    """Tenants with one release each; the URL of the control store.

    Args:
        releases: where releases are copied from.
        stamps: by tenant which one.
        files: by tenant the text of its tenant.toml.
    """
    for name, stamp in stamps.items():
        own = folder / name / "releases"
        own.mkdir(parents=True)
        if stamp:
            shutil.copytree(releases / stamp, own / stamp)
            (own / "CURRENT").write_text(stamp, "utf-8")
        (folder / name / "tenant.toml").write_text((files or {}).get(name, ""), "utf-8")
    return f"sqlite:///{folder / 'control.db'}"


def make_key(control: str, tenant: str, role: str = "admin", **values: Any) -> str:
    store = Store(control)
    try:
        with store.write() as connection:
            now = int(time.time() * 1000)
            return keys_rows.add_key(
                connection, f"{tenant} {role}", actor="tests", now=now, role=role, tenant=tenant, **values
            )[0]
    finally:
        store.close()


class Shops:
    """A server of tenants in a thread of this process, with a client for each."""

    def __init__(self, folder: Path, control: str, feedback: FeedbackSettings | None = None, **settings: Any) -> None:
        import uvicorn

        from langrec.service.http import create_app

        self.control = control
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        values = {"popular_seconds": 3600.0, **settings}
        self.settings = ServeSettings(port=port, store=control, tenants=str(folder), **values)
        self.app = create_app(folder, self.settings, feedback=feedback or FeedbackSettings(seconds=0))
        self.tenants = self.app.state.tenants
        config = uvicorn.Config(self.app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        self._clients: list[httpx.Client] = []
        wait_until(lambda: self._server.started)

    def client(self, key: str | None) -> httpx.Client:
        headers = {"X-API-Key": key} if key else {}
        self._clients.append(httpx.Client(base_url=self.url, timeout=PATIENCE, headers=headers))
        return self._clients[-1]

    def shop(self, tenant: str, role: str = "admin", **values: Any) -> httpx.Client:
        """A client with a new key of a tenant."""
        return self.client(make_key(self.control, tenant, role, **values))

    def service(self, tenant: str) -> Any:
        """The open service of a tenant."""
        return dict(self.tenants.services())[tenant]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(timeout=PATIENCE)
        assert not self._thread.is_alive(), "the server did not stop"
