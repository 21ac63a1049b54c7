"""What a process that serves does first: its log, and its code."""

from __future__ import annotations

import gc
import importlib
import logging
import os

# Names the releases folder to a worker.
RELEASES_VARIABLE = "LANGREC_RELEASES"
# By name: what serves stands on this.
_CODE = ("langrec.bundle", "langrec.service.http")


def start_log() -> None:
    """Writes the log to standard error, from the level in LANGREC_LOG on (warning where it is absent)."""
    level = os.environ.get("LANGREC_LOG", "warning").upper()
    known = logging.getLevelNamesMapping()
    logging.basicConfig(level=known.get(level, logging.WARNING), format="%(asctime)s %(levelname)s %(message)s")


def load_code() -> None:
    """Imports what serving needs while the garbage collector rests: it would look at all of it again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        for name in _CODE:
            importlib.import_module(name)
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
