"""Folders that a command made for its results: where it failed before it wrote any, they go again."""

from __future__ import annotations

import contextlib
from pathlib import Path

_made: list[Path] = []


def make(folder: Path) -> None:
    """Makes a folder where it is absent."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _made.append(folder)


def remove_empty() -> None:
    """Removes the folders made since the last call that hold nothing."""
    while _made:
        with contextlib.suppress(OSError):
            _made.pop().rmdir()
