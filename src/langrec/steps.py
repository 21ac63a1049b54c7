"""Steps whose results are kept under a hash of what went in: a second run redoes only what changed."""

from __future__ import annotations

import hashlib
import json
import os
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

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        compute: Callable[[], Any],
        whole: Callable[[Any], bool] = lambda _: True,
    ) -> Any:
        """The step's JSON value: read where this name and these inputs were computed before, else computed and kept.

        The value is what JSON makes of it (a tuple comes back as a list), kept or not.

        Args:
            whole: False for a kept value that lacks something beside it, such as a folder: it is computed again.
        """
        path = None if self.folder is None else self.folder / f"{name}-{step_hash(name, inputs)[:20]}.json"
        if path is not None:
            try:
                kept = json.loads(path.read_text("utf-8"))
                if kept["sha256"] == _sum(json.dumps(kept["value"])) and whole(kept["value"]):
                    return kept["value"]
            except (OSError, ValueError, TypeError, KeyError):  # none, or what a crash left
                pass
        text = json.dumps(compute())
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(f".{os.getpid()}.half")  # two runs may compute the same step
            try:
                half.write_text(f'{{"sha256": "{_sum(text)}", "value": {text}}}', "utf-8")
                half.replace(path)
            finally:
                half.unlink(missing_ok=True)
        return json.loads(text)


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def step_hash(name: str, inputs: Mapping[str, Any]) -> str:
    """sha256 of a step's name, its inputs and the version of langrec."""
    text = json.dumps([name, __version__, inputs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
