"""What finds candidates in a large release: its indexes, built with their recall, written, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from langrec.protocols import Index, Searched
from langrec.ranking.fusion import RARE, Fusion
from langrec.ranking.near import Near
from langrec.registry import find
from langrec.retrieval.indexes.build import build_index, load_index
from langrec.settings import Settings
from langrec.types import FloatMatrix

# Vectors that recall is measured on, and how deep.
MEASURED, DEPTH = 100, 100
ROWS = 100_000
# Scored on what the others find: its own best add little to those of the encoder it belongs to.
SCORED_ONLY = ("tokens", "two_towers")


def searchers(fusion: Fusion) -> dict[str, Any]:
    """By name, the scorers of the mix whose best an index finds; both towers are one, whose vectors have two halves."""
    used = {signal.scorer for signal in fusion.signals}
    found: dict[str, Any] = {
        name: scorer
        for name, scorer in fusion.scorers.items()
        if name in used and name not in SCORED_ONLY and isinstance(scorer, Searched)
    }
    if "id_tower" in found and "text_tower" in found:
        both = find("scorers", "two_towers")(found.pop("id_tower"), found.pop("text_tower"))
        found["two_towers"] = both
    return found


def build(fusion: Fusion, settings: Settings) -> tuple[dict[str, Index], dict[str, Any]]:
    """By scorer the index of its rows, and what it found of the true nearest when it was tried."""
    indexes, measured = {}, {}
    for name, scorer in searchers(fusion).items():
        rows = np.empty((fusion.n_items, scorer.index_rows(np.zeros(1, dtype=np.int32)).shape[1]), dtype=np.float32)
        for start in range(0, scorer.n_items, ROWS):
            nums = np.arange(start, min(start + ROWS, scorer.n_items), dtype=np.int32)
            rows[nums] = scorer.index_rows(nums)
        rows[scorer.n_items :] = 0.0
        some = np.flatnonzero(rows.any(axis=1)).astype(np.int32)
        built = build_index(rows if len(some) == len(rows) else rows[some], settings.index, some)
        indexes[name] = built
        measured[name] = {"kind": type(built).__name__, "items": len(some), f"recall@{DEPTH}": recall(built, rows)}
    return indexes, measured


def recall(index: Index, rows: FloatMatrix) -> float:
    """The share of each of some rows' true nearest that the index finds."""
    drawn = np.random.default_rng(0).choice(len(rows), min(MEASURED, len(rows)), replace=False)
    asked = rows[drawn][rows[drawn].any(axis=1)]
    if not len(asked):
        return 1.0
    found, _ = index.search(asked, DEPTH)
    scores = asked @ rows.T
    scores[:, ~rows.any(axis=1)] = -np.inf
    k = min(DEPTH, int(np.isfinite(scores[0]).sum()))
    bars = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
    hits = [float((scores[i, own[own >= 0]] >= bars[i] - 1e-5 * abs(bars[i])).sum()) / k for i, own in enumerate(found)]
    return round(float(np.mean(np.minimum(hits, 1.0))), 4)


def near(fusion: Fusion, indexes: Mapping[str, Index]) -> Fusion:
    """The same mix, finding candidates with these indexes."""
    own = {name: scorer for name, scorer in searchers(fusion).items() if name in indexes}
    return replace(fusion, near=Near.over(own, dict(indexes), fusion.n_items, fusion.counts > RARE))


def load(fusion: Fusion, folder: Path) -> Fusion:
    """The same mix with the indexes of a folder.

    Raises:
        BundleError: an index is damaged.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return near(fusion, {name: load_index(folder / name) for name in names})
