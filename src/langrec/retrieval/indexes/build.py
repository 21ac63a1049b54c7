"""Which index a catalogue gets, and an index read back from its folder."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path

from langrec import registry
from langrec.errors import UNREADABLE, BundleError, LangrecWarning
from langrec.protocols import Index, Progress
from langrec.settings import IndexSettings
from langrec.types import FloatMatrix, IntVector


def build_index(
    vectors: FloatMatrix,
    settings: IndexSettings,
    nums: IntVector | None = None,
    queries: FloatMatrix | None = None,
    progress: Progress | None = None,
) -> Index:
    """The index that the settings ask for; `auto` chooses by size, and warns where it has to do without lists.

    Args:
        vectors: (n, d) float32; it may be memory-mapped, and is kept, not copied.
        nums: (n,) rising item numbers; None = 0 to n - 1.
        queries: (m, d) vectors as they will be asked for, to measure the recall with; None makes some of the items.
        progress: told what is being done.

    Raises:
        DataError: vectors or numbers that cannot be used.
        SettingsError: an unknown kind.
        MissingExtra: the kind that is asked for by name needs packages that are not installed.
    """
    made = registry.find("indexes", _kind(len(vectors), settings))
    built: Index = made.build(vectors, settings, nums, queries=queries, progress=progress)
    return built


def _kind(n: int, settings: IndexSettings) -> str:
    """The kind that n items get."""
    if settings.kind != "auto":
        return settings.kind
    if n < settings.exact_below:
        return "exact"
    if importlib.util.find_spec("faiss") is None:
        warnings.warn(
            f"index: {n:,} items are searched one by one, since faiss is not installed; inverted lists are many times "
            "faster: pip install 'langrec[index]'",
            LangrecWarning,
            stacklevel=3,
        )
        return "exact"
    return "ivf"


def load_index(folder: Path) -> Index:
    """The index that was saved in a folder, whatever its kind.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    try:
        kind = json.loads((folder / "index.json").read_text("utf-8"))["kind"]
    except UNREADABLE as error:
        raise BundleError(f"{folder}: holds no index ({error})") from error
    loaded: Index = registry.find_saved("indexes", str(kind), folder / "index.json").load(folder)
    return loaded
