"""Measuring honestly: metrics, intervals, slices, report.

The names are imported when they are first used: `evaluation.metrics` stands on a lower floor than the rest.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Report": "langrec.evaluation.report",
    "ScorerLike": "langrec.evaluation.run",
    "Targets": "langrec.evaluation.protocol",
    "evaluate": "langrec.evaluation.run",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'langrec.evaluation' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)
