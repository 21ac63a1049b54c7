"""Steps whose results are kept under a hash of what went in: a second run redoes only what changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langrec import __version__


class Steps:
    """A folder of finished steps, one JSON file each, written in one motion; an interrupted run goes on after them.

    Args:
        folder: where they are kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def run(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """The step's JSON value: read where this name and these inputs were computed before, else computed and kept."""
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}-{step_hash(name, inputs)[:20]}.json"
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            pass
        value = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        half.write_text(json.dumps(value), "utf-8")
        half.replace(path)
        return value


def step_hash(name: str, inputs: Mapping[str, Any]) -> str:
    """sha256 of a step's name, its inputs and the version of langrec."""
    text = json.dumps([name, __version__, inputs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
