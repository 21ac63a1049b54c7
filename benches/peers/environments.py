"""One virtual environment per peer, built once from its pinned requirements into the cache folder."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from langrec.data.cache import cache_folder

REQUIREMENTS = Path(__file__).parent / "requirements"
LOG_LINES = 6  # of a failed installation that a table's error shows


class PeerError(Exception):
    """A peer that cannot be installed or run; its message goes into the table."""


def cache() -> Path:
    """Where environments, questions and lists of the peers are kept between runs."""
    return cache_folder() / "peers"


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, which is built where it is absent.

    Raises:
        PeerError: the requirements cannot be installed.
    """
    wanted = REQUIREMENTS / f"{peer}.txt"
    if not wanted.exists():
        return Path(sys.executable)  # langrec's own environment
    folder = cache() / "environments" / f"{peer}-{requirements_key(peer)}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / "complete"
    if done.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(wanted)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        lines = [line for line in found.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise PeerError("not installed: " + " | ".join(lines[-LOG_LINES:]))
    done.write_text("")
    return python


def requirements_key(peer: str) -> str:
    """Equal requirements and Python, equal key; empty for a peer that runs in langrec's own environment."""
    wanted = REQUIREMENTS / f"{peer}.txt"
    if not wanted.exists():
        return ""
    return hashlib.sha256(platform.python_version().encode() + wanted.read_bytes()).hexdigest()[:12]
