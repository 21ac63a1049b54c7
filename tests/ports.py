"""TCP ports of loopback that no other test of this machine takes between their choice and their use."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from itertools import count
from pathlib import Path

# Below what Linux gives away of itself: no outgoing connection and no bind to port 0 takes one of these.
_FIRST, _N = 20_000, 10_000
_turn = count(os.getpid() * 97)
# A byte of this file is locked for each port that was handed out; the kernel frees it when its process ends.
_claims: list[int] = []


def free_port() -> int:
    """A port that nobody listens on and that is this process's from now on: asked again, it gives another."""
    if not _claims:
        path = Path(tempfile.gettempdir()) / f"langrec-test-ports-{os.getuid()}"
        _claims.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for _ in range(_N):
        port = _FIRST + next(_turn) % _N
        try:
            fcntl.lockf(_claims[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise RuntimeError(f"no port from {_FIRST} to {_FIRST + _N} is free")
