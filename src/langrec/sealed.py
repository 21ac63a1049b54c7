"""Files of the cache with a sum beside them: what a crash left damaged is made again, and never used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SEAL, SUM = "sealed.json", ".sha256"


def seal(folder: Path, names: Sequence[str], **told: Any) -> None:
    """Writes down, in one motion, what files a folder holds; who has the seal is whole.

    Args:
        folder: where they are.
        names: of the files.
        told: plain values to keep with them.
    """
    half = folder / f"{SEAL}.{os.getpid()}.half"
    half.write_text(json.dumps({"sha256": {name: _sum(folder / name) for name in names}, **told}), "utf-8")
    half.replace(folder / SEAL)


def sealed(folder: Path) -> dict[str, Any] | None:
    """What was kept with the files of a sealed folder; None where one of them is not what it was."""
    told = read_seal(folder)
    try:
        if told is None or any(_sum(folder / name) != value for name, value in told["sha256"].items()):
            return None
        return told
    except OSError:
        return None


def read_seal(folder: Path) -> dict[str, Any] | None:
    """The seal of a folder, its files not looked at; None where there is none that can be read."""
    try:
        told: dict[str, Any] = json.loads((folder / SEAL).read_text("utf-8"))
        return told if told["sha256"].items() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def seal_file(file: Path, half: Path | None = None) -> None:
    """Writes the sum of a file beside it.

    Args:
        file: whose place it is.
        half: where its bytes are until they are put there; None = there.
    """
    file.with_name(f"{file.name}{SUM}").write_text(_sum(half or file), "utf-8")


def file_is_sealed(file: Path) -> bool:
    """Whether a file is what `seal_file` saw."""
    try:
        return file.with_name(f"{file.name}{SUM}").read_text("utf-8") == _sum(file)
    except (OSError, ValueError):
        return False


def _sum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
