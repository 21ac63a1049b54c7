"""Starts `langrec retrain` when a cron expression is due, in a process of its own whose log goes to a file."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from langrec.retraining.cron import Cron

_log = logging.getLogger("langrec.retraining")
LOG = "retrain.log"


@contextlib.contextmanager
def retraining(cron: str, releases: Path, store: str, arguments: Sequence[str], threads: int = 1) -> Iterator[None]:
    """Retrains at the times of a cron expression (UTC) for as long as the block runs.

    Args:
        cron: such as `0 3 * * *`.
        releases: the folder of releases; the log is `retrain.log` in it.
        store: URL, which reaches the process by its environment: it may hold a password.
        arguments: more of the command line, such as `--recipe FILE`.
        threads: of the process.

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
            try:
                running[:] = [start(releases, store, arguments, threads)]
            except OSError as error:  # no room for its log, no memory for a process: the next time may be better
                _log.error("the retraining could not be started: %s", error)
                continue
            if stopped.is_set():  # the block ended while it was being started, and knew nothing of it
                running[0].terminate()
            code = running[0].wait()
            if code and not stopped.is_set():
                _log.error("the retraining ended with %d; %s says why", code, releases / LOG)

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


def start(releases: Path, store: str, arguments: Sequence[str] = (), threads: int = 1) -> subprocess.Popen[bytes]:
    """Starts one retraining as a process of its own."""
    limits = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), str(threads)
    )
    command = [sys.executable, "-m", "langrec", "retrain", "--releases", str(releases), *arguments]
    with (releases / LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **limits, "LANGREC_SERVE_STORE": store},
            start_new_session=True,
        )
