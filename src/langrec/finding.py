"""What finds candidates in a large release: its indexes, built with their recall, written, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from langrec.data.events import Events
from langrec.evaluation.protocol import newest_histories
from langrec.protocols import Index, Searched
from langrec.ranking.fusion import RARE, Fusion
from langrec.ranking.near import Near
from langrec.ranking.spoken import READERS
from langrec.registry import find
from langrec.retrieval.indexes.build import build_index, load_index
from langrec.settings import Settings
from langrec.types import FloatMatrix, QueryBlock

# Vectors that an index is tried with, and how deep; newest items of a history that make one.
MEASURED, DEPTH, NEWEST = 200, 100, 200
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


def build(
    fusion: Fusion, settings: Settings, events: Events | None = None, n_users: int = 0
) -> tuple[dict[str, Index], dict[str, Any]]:
    """By scorer the index of its rows, and what it found of the true nearest when it was tried.

    Args:
        events: a log; the indexes are tried with what its users would ask for. None tries them with items.
        n_users: of the log.
    """
    indexes, measured = {}, {}
    block = None if events is None else newest_histories(events, n_users, MEASURED, NEWEST)
    for name, scorer in searchers(fusion).items():
        rows = np.empty((fusion.n_items, scorer.index_rows(np.zeros(1, dtype=np.int32)).shape[1]), dtype=np.float32)
        for start in range(0, scorer.n_items, ROWS):
            nums = np.arange(start, min(start + ROWS, scorer.n_items), dtype=np.int32)
            rows[nums] = scorer.index_rows(nums)
        rows[scorer.n_items :] = 0.0
        some = np.flatnonzero(rows.any(axis=1)).astype(np.int32)
        asked = queries_of(name, scorer, block, rows)
        held = rows if len(some) == len(rows) else rows[some]
        built = build_index(held, settings.index, some, queries=asked if block is not None and len(asked) else None)
        indexes[name] = built
        kept = recall(built, rows, asked)
        measured[name] = {"kind": type(built).__name__, "items": len(some), f"recall@{DEPTH}": kept}
    return indexes, measured


def queries_of(name: str, scorer: Any, block: QueryBlock | None, rows: FloatMatrix) -> FloatMatrix:
    """(m, d) what an index is tried with: what the histories of a block ask for, and items.

    A tower is asked by histories alone, and what it asks for may lie nearer to the middle of a list, or farther, than
    an item does. Wishes in words are much like the texts of items, so an index of texts is tried with these too; so is
    any where there is no history.
    """
    drawn = np.sort(np.random.default_rng(0).choice(len(rows), min(MEASURED, len(rows)), replace=False))
    items = rows[drawn][rows[drawn].any(axis=1)]
    if block is None or not len(block):
        return items
    asked = np.asarray(scorer.index_queries(replace(block, kept={})), dtype=np.float32)
    asked = asked[~np.isnan(asked).any(axis=1) & asked.any(axis=1)]
    if not len(asked):
        return items
    if name not in READERS:
        return asked
    half = min(len(asked), len(items), MEASURED // 2)
    return np.concatenate([asked[:half], items[:half]])


def recall(index: Index, rows: FloatMatrix, asked: FloatMatrix) -> float:
    """The share of the true nearest of each of some queries that the index finds."""
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
    rare, new = fusion.counts <= RARE, fusion.counts == 0
    return replace(fusion, near=Near.over(own, dict(indexes), fusion.n_items, rare, new))


def load(fusion: Fusion, folder: Path) -> Fusion:
    """The same mix with the indexes of a folder.

    Raises:
        BundleError: an index is damaged.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return near(fusion, {name: load_index(folder / name) for name in names})
