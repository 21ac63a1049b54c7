"""Inner loops of a request over a large catalogue as machine code, where numba is installed (extra `fast`).

Each has a twin in NumPy beside the place that calls it, which answers where numba is not installed, and is the oracle
that tests hold the loops to. Nothing is compiled before `start`, which whoever loads a large release calls.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_log = logging.getLogger("langrec.loops")
_MODULES = ("sparse", "words", "rows", "picking")
_started: dict[str, Any] = {}


def compiled(name: str) -> Any:
    """The loops of a module, None where they are not used."""
    return _started.get(name)


def start() -> bool:
    """Uses the loops from now on, where numba is installed; compiled once on a machine, which takes half a minute."""
    if not _started and importlib.util.find_spec("numba") is not None:
        try:
            _started.update({name: importlib.import_module(f"langrec.loops.{name}") for name in _MODULES})
        except (ImportError, RuntimeError) as error:  # it does not know this Python, or has nowhere to keep the code
            _log.warning("numba cannot be used (%s); requests go without", error)
            _started.clear()
    return bool(_started)


@contextmanager
def without() -> Iterator[None]:
    """The NumPy twins alone, as long as it lasts; for tests and benches."""
    kept = dict(_started)
    _started.clear()
    try:
        yield
    finally:
        _started.update(kept)
