"""A process that ends with the one that started it, also where that one is killed and can end nothing itself.

`python -m langrec.ending PID COMMAND…` becomes the command, which gets SIGTERM when process PID, its parent, is gone.
Where the system cannot promise that (it is Linux that can) the command is started all the same. The thread that starts
it must live as long as it: to Linux its end is the parent's.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

# Linux's name for: send this signal when the parent dies. It stays in force when the process becomes another program.
_PR_SET_PDEATHSIG = 1


def with_us(command: Sequence[str]) -> list[str]:
    """A command that ends with this process."""
    return [sys.executable, "-m", "langrec.ending", str(os.getpid()), *command]


def main(words: Sequence[str]) -> None:
    """Becomes the command."""
    parent, *command = words
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):  # it went before it could be watched
            sys.exit(128 + signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
