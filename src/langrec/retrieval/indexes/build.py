"""Which index a catalogue gets, and an index read back from its folder."""

from __future__ import annotations

import json
from pathlib import Path

from langrec import registry
from langrec.errors import UNREADABLE, BundleError
from langrec.protocols import Index
from langrec.retrieval.indexes.exact import ExactIndex
from langrec.settings import IndexSettings
from langrec.types import FloatMatrix, IntVector


def build_index(vectors: FloatMatrix, settings: IndexSettings, nums: IntVector | None = None) -> Index:
    """The index that the settings ask for; `auto` chooses by size.

    Args:
        vectors: (n, d) float32; it may be memory-mapped, and is kept, not copied.
        nums: (n,) rising item numbers; None = 0 to n - 1.

    Raises:
        DataError: vectors or numbers that cannot be used.
        SettingsError: an unknown kind.
    """
    kind = settings.kind if settings.kind != "auto" else "exact"
    built: Index = registry.find("indexes", kind).build(vectors, settings, nums)
    return built


def load_index(folder: Path) -> Index:
    """The index that was saved in a folder, whatever its kind.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    try:
        kind = json.loads((folder / "index.json").read_text("utf-8"))["kind"]
        cls = ExactIndex if kind == "exact" else registry.find("indexes", str(kind))
    except UNREADABLE as error:
        raise BundleError(f"{folder}: holds no index ({error})") from error
    loaded: Index = cls.load(folder)
    return loaded
