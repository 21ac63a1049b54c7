"""Where langrec keeps what it can make or fetch again: downloads, exported models, vectors."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

LEFT_SECONDS = 2 * 86_400.0


def cache_folder() -> Path:
    """The cache folder: LANGREC_CACHE, else `langrec` in XDG_CACHE_HOME, else in ~/.cache. It may not exist yet."""
    own = os.environ.get("LANGREC_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "langrec"


def remove_left(folder: Path, pattern: str) -> None:
    """Removes folders and files of a name (a glob) that a killed process had half made, once they are two days old."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another process may be quicker
            # What is younger may be the work of somebody who lives.
            if time.time() - path.stat().st_mtime > LEFT_SECONDS:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
