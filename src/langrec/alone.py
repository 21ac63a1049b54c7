"""One run at a time in a folder: locks that the system lets go of when their holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from langrec.errors import SettingsError
from langrec.protocols import Progress, untold

LOCK, TURN = "lock", "turn"


@contextlib.contextmanager
def alone(folder: Path, option: str = "--out") -> Iterator[None]:
    """Keeps a second run out of a folder while the block runs: each would write over what the other does.

    Args:
        folder: made where it is absent.
        option: that names it.

    Raises:
        SettingsError: another run is at work there.
    """
    with _locked(folder / LOCK) as mine:
        if not mine:
            raise SettingsError(
                f"{option} {folder}: another run is at work there; wait for its end, or name another folder",
                field=option.lstrip("-"),
            )
        try:
            yield
        except BaseException:
            if [file.name for file in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()  # nothing came of the run: the folder may go
            raise


@contextlib.contextmanager
def in_turn(folder: Path, told: Progress | None = None) -> Iterator[None]:
    """Lets one run at a time into a folder of the cache: the next waits, and may find done what it came for.

    Args:
        folder: made where it is absent.
        told: is told of the waiting.
    """
    with _locked(folder / TURN) as mine:
        if mine:
            yield
            return
    (told or untold)("wait for another run that does the same", 0, 0)
    with _locked(folder / TURN, wait=True):
        yield


@contextlib.contextmanager
def one_by_one(folder: Path) -> Iterator[None]:
    """Lets one process at a time change files of a folder; the next waits. Nothing is left in the folder."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # nor on this file system
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


@contextlib.contextmanager
def _locked(file: Path, wait: bool = False) -> Iterator[bool]:
    """Whether the lock could be had; it is held while the block runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        try:
            import fcntl
        except ImportError:  # no such locks on this system: one run at a time is the user's part
            yield True
            return
        try:
            fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its holder may have taken the file away meanwhile: then this is a lock that nobody sees.
            mine = file.exists() and file.stat().st_ino == os.fstat(stream.fileno()).st_ino
        except BlockingIOError:
            mine = False
        except OSError:  # nor on this file system
            mine = True
        yield mine
