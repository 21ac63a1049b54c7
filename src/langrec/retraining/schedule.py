"""Starts `langrec retrain` when a cron expression is due, in a process of its own whose log goes to a file."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from langrec.ending import with_us
from langrec.errors import LangrecError, SettingsError
from langrec.releases import current
from langrec.retraining.cron import Cron
from langrec.service.tenants import check_tenant, tenant_settings, tenants_in
from langrec.settings import ServeSettings

_log = logging.getLogger("langrec.retraining")
LOG = "retrain.log"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a retraining is at work: a folder of releases, and the URL of its store."""

    releases: Path
    store: str


def places_of(tenants: Path, server: ServeSettings) -> list[Place]:
    """Those of the tenants that have a release in use, in the order of their names.

    A tenant whose settings cannot be read is passed over and named in the log: the others are retrained.

    Raises:
        SettingsError: there is no such folder.
    """
    found = []
    for name in tenants_in(tenants):
        try:
            found.append(place_of(tenants, name, server))
        except LangrecError as error:
            _log.error("tenant %s is not retrained: %s", name, error.message)
    return found


def place_of(tenants: Path, name: str, server: ServeSettings) -> Place:
    """That of one tenant.

    Raises:
        SettingsError: there is no such tenant, or its settings cannot be read.
        BundleError: it has no release in use.
    """
    folder = tenants / check_tenant(name)
    if not folder.is_dir():
        raise SettingsError(
            f"tenant {name}: {tenants} holds no such tenant (langrec tenants list --tenants {tenants} shows them)",
            field="tenant",
        )
    current(folder / "releases")
    return Place(folder / "releases", tenant_settings(folder, server).store)


@contextlib.contextmanager
def retraining(
    cron: str, places: Callable[[], Sequence[Place]], arguments: Sequence[str], threads: int = 1
) -> Iterator[None]:
    """Retrains at the times of a cron expression (UTC) for as long as the block runs, one place after the other.

    Args:
        cron: such as `0 3 * * *`.
        places: asked when it is time; a run's log is `retrain.log` in its folder of releases.
        arguments: more of the command line, such as `--recipe FILE`.
        threads: of a process.

    Raises:
        SettingsError: the expression is wrong.
    """
    due = Cron.parse(cron)
    stopped = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def run() -> None:
        while True:
            at = due.next(datetime.now(UTC))
            _log.info("next retraining at %s", at.isoformat())
            if stopped.wait(max((at - datetime.now(UTC)).total_seconds(), 0.0)):
                return
            retrain_all(places, arguments, threads, stopped, running)

    thread = threading.Thread(target=run, name="langrec-retraining", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        for process in running:
            if process.poll() is None:
                process.terminate()  # the next run goes on from its finished steps
        thread.join(timeout=10)


def retrain_all(
    places: Callable[[], Sequence[Place]],
    arguments: Sequence[str],
    threads: int,
    stopped: threading.Event,
    running: list[subprocess.Popen[bytes]],
) -> None:
    """Retrains one place after the other; what fails in one is said, and the next has its turn.

    Args:
        stopped: nothing more is begun once it is set.
        running: holds the process that is at work.
    """
    try:
        found = places()
    except LangrecError as error:
        _log.error("nothing is retrained: %s", error.message)
        return
    for place in found:
        if stopped.is_set():
            return
        try:
            running[:] = [start(place.releases, place.store, arguments, threads)]
        except OSError as error:  # no room for its log, no memory for a process: the next time may be better
            _log.error("%s: the retraining could not be started: %s", place.releases, error)
            continue
        if stopped.is_set():  # the block ended while it was being started, and knew nothing of it
            running[0].terminate()
        code = running[0].wait()
        if code and not stopped.is_set():
            _log.error("the retraining ended with %d; %s says why", code, place.releases / LOG)


def start(releases: Path, store: str, arguments: Sequence[str] = (), threads: int = 1) -> subprocess.Popen[bytes]:
    """Starts one retraining as a process of its own.

    Args:
        store: URL, which reaches the process by its environment: it may hold a password.
    """
    limits = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), str(threads)
    )
    command = [sys.executable, "-m", "langrec", "retrain", "--releases", str(releases), *arguments]
    with (releases / LOG).open("ab") as log:
        return subprocess.Popen(
            with_us(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **limits, "LANGREC_SERVE_STORE": store},
            start_new_session=True,
        )
