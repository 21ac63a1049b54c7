"""Where langrec keeps what it can make or fetch again: downloads, exported models, vectors."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The cache folder: LANGREC_CACHE, else `langrec` in XDG_CACHE_HOME, else in ~/.cache. It may not exist yet."""
    own = os.environ.get("LANGREC_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "langrec"
