"""langrec: recommendations, search, answers and alerts from a catalogue's text and a behaviour log.

The public names are imported when they are first used, so that `import langrec` is quick and loads no PyTorch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

_PUBLIC = {
    "AsyncClient": "langrec.client",
    "Bundle": "langrec.bundle",
    "Catalogue": "langrec.data.catalogue",
    "Client": "langrec.client",
    "Condition": "langrec.types",
    "DataError": "langrec.errors",
    "Dataset": "langrec.data.dataset",
    "Events": "langrec.data.events",
    "Filters": "langrec.types",
    "Item": "langrec.types",
    "LangrecError": "langrec.errors",
    "Query": "langrec.types",
    "Recommendation": "langrec.types",
    "Recommender": "langrec.recommender",
    "Settings": "langrec.settings",
    "SettingsError": "langrec.errors",
    "compare": "langrec.evaluation.compare",
    "evaluate": "langrec.evaluation",
    "evaluate_models": "langrec.training",
    "load_dataset": "langrec.data.load",
    "load_encoder": "langrec.encoders",
    "load_settings": "langrec.recipe",
    "read_lists": "langrec.evaluation.outside",
    "train": "langrec.training",
}

__version__ = version("langrec")
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'langrec' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
