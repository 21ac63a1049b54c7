"""Releases at an address as a folder of this machine that follows them: what a server serves when it is named one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from langrec import remote
from langrec.bundle import Bundle
from langrec.data.cache import cache_folder
from langrec.errors import BundleError, LangrecError
from langrec.protocols import Progress, untold
from langrec.releases import CURRENT, prune

# What a damaged release is fetched again after, in intervals, at most.
LONGER = 32
_log = logging.getLogger("langrec.following")


def folder_of(url: str) -> Path:
    """Where in the cache the releases of an address are kept."""
    name = re.sub(r"[^\w.-]+", "_", url.partition("://")[2])[-60:].strip("_")
    return cache_folder() / "releases" / f"{name}-{hashlib.sha256(url.encode('utf-8')).hexdigest()[:12]}"


@dataclass(slots=True)
class Follower:
    """Brings the release that is in use at an address here, when it has changed.

    A release is put in use only after every file was compared with its manifest. While the address is away, or what
    is there is damaged, the last good one stays in use. A release that was chosen here, such as by a rollback, stays
    until another is chosen there.

    Attributes:
        url: the releases' address.
        folder: the releases folder of this machine.
        keep: releases that stay in it; the one in use and the one before it always do.
        seen: what the address named when it was last followed.
        trouble: why the address could not be followed at the last look; empty = it could.
        damaged: looks in a row that brought a damaged release: it is fetched again at ever longer intervals.
    """

    url: str
    folder: Path
    keep: int = 5
    seen: str = field(default="", init=False)
    trouble: str = field(default="", init=False)
    damaged: int = field(default=0, init=False)

    def start(self, progress: Progress = untold) -> None:
        """Brings the release in use here; where that fails, a sound one of before serves.

        Raises:
            LangrecError: it fails, and there is none of before.
        """
        if not self.look(progress):
            try:
                stamp = Bundle.open(self.folder).stamp
            except LangrecError:
                self.look_or_raise(progress)
                return
            _log.warning("%s; serving %s, which was brought here before", self.trouble, stamp)

    def look(self, progress: Progress = untold) -> bool:
        """Looks at the address once, and follows it; whether that could be done. Says where trouble begins or ends."""
        try:
            self.look_or_raise(progress)
        except LangrecError as error:
            if error.message != self.trouble:
                _log.warning("%s; what is served stays", error.message)
            self.trouble = error.message
            self.damaged = self.damaged + 1 if isinstance(error, BundleError) else 0
            return False
        if self.trouble:
            _log.warning("%s: can be followed again", remote.shown(self.url))
        self.trouble, self.damaged = "", 0
        return True

    def look_or_raise(self, progress: Progress = untold) -> None:
        """As `look`.

        Raises:
            DataError: the address cannot be reached.
            BundleError: the release there is damaged.
        """
        wanted = remote.read_text(f"{self.url.rstrip('/')}/{CURRENT}").strip()
        if wanted == self.seen:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder):
            stamp = remote.pull_release(self.url, self.folder, wanted, progress=progress)
            if self.seen:
                _log.info("%s: release %s is in use", remote.shown(self.url), stamp)
            self.seen = wanted
            prune(self.folder, self.keep)

    @contextlib.contextmanager
    def following(self, seconds: float) -> Iterator[None]:
        """Looks at the address again and again while the block runs, after so many seconds each time; 0 = never."""
        if seconds <= 0:
            yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._follow, args=(seconds, stop), name="following", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)

    def _follow(self, seconds: float, stop: threading.Event) -> None:
        while not stop.wait(seconds * min(2**self.damaged, LONGER)):
            try:
                self.look()
            except Exception:  # such as a full disk: the next look may do better, and what is served stays
                _log.exception("%s: could not be followed", remote.shown(self.url))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: servers of one machine share what was brought to it."""
    with (folder / ".following").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
