"""`langrec` in processes of its own that begin at once: forks of one that has loaded what they need already."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Loaded once, in a process that does nothing else: it has no threads, so that forking it is safe.
LOADED = (
    "langrec.cli.verbs",
    "langrec.lm.adapt.run",
    "polars",
    "transformers.models.bert.modeling_bert",
    "tensorboard",
    "langrec.service.http",
    "uvicorn.supervisors.multiprocess",
    "uvicorn.protocols.http.httptools_impl",
)


@contextmanager
def one_thread():
    """The environment in which forks are born: sums do not depend on what other tests set."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(LOADED))
        yield context
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@dataclass(frozen=True)
class Done:
    """What a command said, and its status."""

    returncode: int
    stdout: str
    stderr: str


class Started:
    """A command that runs, with processes of its own in one group; its output goes to files.

    Args:
        arguments: of `langrec`.
        environ: its environment variables; None = those of this process.
    """

    def __init__(self, arguments: Sequence[Any], environ: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="langrec-forked-")
        words = [str(word) for word in arguments]
        own = dict(os.environ if environ is None else environ)
        with one_thread() as context:
            self._process = context.Process(target=_run, args=(words, self._folder.name, own))
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its status; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends a signal to it alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it and all that it started without a warning, as the kernel would."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()  # where it has no group of its own yet
        self._process.join()

    def wait(self, seconds: float | None = None) -> Done:
        """What it said, at its end.

        Raises:
            TimeoutError: it has not ended by then.
        """
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise TimeoutError(f"langrec still runs after {seconds} seconds")
        out, err = (
            file.read_text("utf-8") if file.exists() else ""
            for file in map(Path(self._folder.name).joinpath, ("out", "err"))
        )
        return Done(self._process.exitcode, out, err)


def langrec(*arguments: Any) -> Done:
    """Runs `langrec` with arguments to its end."""
    return Started(arguments).wait()


def _run(words: list[str], folder: str, environ: dict[str, str]) -> None:
    import torch

    from langrec.cli import main

    os.setsid()
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None  # whatever was loaded may have asked for it already
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0)  # workers of a server are handed its number
    torch.set_num_threads(1)
    sys.argv = ["langrec", *words]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a fork would end without
