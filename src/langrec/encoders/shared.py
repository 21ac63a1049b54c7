"""One encoder in memory for all releases that hold the same one, of one shop or of many."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from langrec.encoders import load_saved
from langrec.protocols import Encoder

_known: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def load_shared(folder: Path, content: Hashable) -> Encoder:
    """The encoder in a folder; one that is in use already where its files are the same.

    An encoder never changes and keeps nothing of the texts that it read, so those who share one learn nothing of each
    other. It leaves memory with the last release that uses it.

    Args:
        folder: the saved encoder.
        content: names every byte of its files, such as their verified sha256.

    Raises:
        BundleError: a file is missing, damaged or of another format.
    """
    with _lock:
        found = _known.get(content)
        if found is None:
            found = _known[content] = load_saved(folder)
        encoder: Encoder = found
        return encoder
