"""`langrec` in processes of its own that begin at once: forks of one that has loaded torch and transformers already."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
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
    """A command that runs; its output goes to files."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="langrec-forked-")
        words = [str(word) for word in arguments]
        with one_thread() as context:
            self._process = context.Process(target=_run, args=(words, self._folder.name, dict(os.environ)))
            self._process.start()

    def kill(self) -> None:
        """Ends it without a warning, as the kernel would."""
        self._process.kill()
        self._process.join()

    def wait(self) -> Done:
        """What it said, at its end."""
        self._process.join()
        out, err = ((Path(self._folder.name) / name).read_text("utf-8") for name in ("out", "err"))
        self._folder.cleanup()
        assert self._process.exitcode is not None
        return Done(self._process.exitcode, out, err)


def langrec(*arguments: Any) -> Done:
    """Runs `langrec` with arguments to its end."""
    return Started(arguments).wait()


def _run(words: list[str], folder: str, environ: dict[str, str]) -> None:
    import torch

    from langrec.cli import main

    os.environ.clear()
    os.environ.update(environ)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT), number)
    torch.set_num_threads(1)
    sys.argv = ["langrec", *words]
    main()
