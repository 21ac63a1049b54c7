"""Only one at a time: a lease in the store, which its holder renews, and which ends by itself where the holder died."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import sqlalchemy as sa

from langrec.errors import LangrecError
from langrec.service.store.schema import leases
from langrec.service.store.store import Store, upsert

# A holder that is not heard of for so long is taken for dead.
SECONDS = 60.0


class Held(LangrecError):  # noqa: N818 - reads as a sentence where it is raised
    """Somebody else holds the lease."""

    code = "held"


@contextlib.contextmanager
def lease(store: Store, name: str, seconds: float = SECONDS) -> Iterator[threading.Event]:
    """Holds a lease for as long as the block runs, renewing it from a thread.

    Args:
        name: of what only one may do at a time.
        seconds: after which a holder that does not renew it is taken for dead.

    Yields:
        An event that is set where the lease was lost, as after a long standstill of this process.

    Raises:
        Held: another holds it.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns():x}"
    _take(store, name, holder, seconds)
    stopped, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not stopped.wait(seconds / 3):
            try:
                if not _renew(store, name, holder, seconds):
                    lost.set()
                    return
            except LangrecError:
                continue  # the store may be back before the lease ends

    thread = threading.Thread(target=renew, name=f"langrec-lease-{name}", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        stopped.set()
        thread.join()
        with contextlib.suppress(LangrecError), store.write() as connection:
            connection.execute(leases.delete().where(leases.c.name == name, leases.c.holder == holder))


def _take(store: Store, name: str, holder: str, seconds: float) -> None:
    now = int(time.time() * 1000)
    with store.write() as connection:
        values = {"name": name, "holder": holder, "until": now + int(seconds * 1000)}
        statement = upsert(connection, leases).values(**values)
        connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_=values, where=leases.c.until < now)
        )
        found = connection.execute(sa.select(leases).where(leases.c.name == name)).mappings().one()
    if found["holder"] != holder:
        left = max((found["until"] - now) / 1000, 0.0)
        raise Held(
            f"{name}: {found['holder']} is at it; where that process died, the way is free in {left:.0f} s", field=name
        )


def _renew(store: Store, name: str, holder: str, seconds: float) -> bool:
    until = int((time.time() + seconds) * 1000)
    with store.write() as connection:
        mine = leases.update().where(leases.c.name == name, leases.c.holder == holder).values(until=until)
        return bool(connection.execute(mine).rowcount)
