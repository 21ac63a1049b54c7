"""One server to an SQLite file: a lock beside it that the kernel lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from langrec.errors import StoreError


@contextlib.contextmanager
def only_server(url: str) -> Iterator[None]:
    """Holds an SQLite file for this server and its workers while the block runs; PostgreSQL takes many servers.

    Several servers on one file would each count on being told of all writes. The commands `langrec store …` may run
    beside a server: they write as one more worker does.

    Raises:
        StoreError: another server of this machine holds the file.
    """
    path = _file_of(url)
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        path = None
    if path is None:
        yield
        return
    lock = path.with_name(f"{path.name}.server")
    try:
        # Not removed when it is let go: whoever opened it a moment before would lock a file that nobody sees.
        file = lock.open("a+")
    except OSError as error:
        raise StoreError(
            f"{lock}: cannot be written ({error.strerror}); check the folder of the store", field="serve.store"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise StoreError(
                f"{path}: another server uses it ({file.read().strip() or 'it has just started'}); stop that one, "
                "give this one a store of its own, or put the store into PostgreSQL, which several servers may share",
                field="serve.store",
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        file.flush()
        yield
        file.truncate(0)


def _file_of(url: str) -> Path | None:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return None  # opening the store says what is wrong
    # The file itself, by whichever name: a second server must not come through a link to it.
    return Path(parsed.database).resolve() if parsed.get_backend_name() == "sqlite" and parsed.database else None
