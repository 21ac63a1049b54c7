"""Which class stands behind a name: tables of `kind -> "module:Class"`, opened to plugins by entry points.

The tables hold strings, so this low floor points up without importing. A plugin declares, for example,
`[project.entry-points."langrec.scorers"] mine = "my_package:MyScorer"`.
"""

from __future__ import annotations

import difflib
import importlib
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from langrec.errors import BundleError, SettingsError

ENCODERS = {
    "hashing": "langrec.encoders.hashing:HashingEncoder",
    "static": "langrec.encoders.static:StaticEncoder",
    "transformer": "langrec.encoders.transformer:TransformerEncoder",
}

SCORERS = {
    "popular": "langrec.retrieval.popular:Popular",
    "popular_decayed": "langrec.retrieval.popular:PopularDecayed",
    "itemknn": "langrec.retrieval.itemknn:ItemKNN",
    "ease": "langrec.retrieval.ease:EASE",
    "transitions": "langrec.retrieval.transitions:Transitions",
    "als": "langrec.retrieval.als:ALS",
    "userknn": "langrec.retrieval.userknn:UserKNN",
    "bm25": "langrec.retrieval.bm25:BM25",
    "tfidf": "langrec.retrieval.tfidf:TFIDF",
    "vectors": "langrec.retrieval.vectors:Vectors",
    "tokens": "langrec.retrieval.vectors:Tokens",
    "id_tower": "langrec.towers.id_tower:IdTower",
    "text_tower": "langrec.towers.text_tower:TextTower",
    "two_towers": "langrec.towers.two:TwoTowers",
}

INDEXES = {
    "exact": "langrec.retrieval.indexes.exact:ExactIndex",
    "ivf": "langrec.retrieval.indexes.ivf:IVFIndex",
    "milvus": "langrec.retrieval.indexes.milvus:MilvusIndex",
}

TABLES = {"encoders": ENCODERS, "scorers": SCORERS, "indexes": INDEXES}


def find(table: str, kind: str) -> Any:
    """The class or function registered as `kind`.

    Raises:
        SettingsError: nothing has that name; the nearest one is named.
    """
    target = TABLES[table].get(kind)
    if target is None:
        for point in entry_points(group=f"langrec.{table}"):
            if point.name == kind:
                return point.load()
        raise _unknown(table, kind)
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def find_saved(table: str, kind: str, file: Path) -> Any:
    """As `find`, of a kind that a saved part names in a file of its own.

    Raises:
        BundleError: nothing has that name here; a package that registers it may be missing.
    """
    try:
        return find(table, kind)
    except SettingsError as error:
        raise BundleError(f"{file}: {error.message}; install the package that registers it") from error


def is_plugin(table: str, kind: str) -> bool:
    """Whether another package registers a kind, and langrec itself none of that name; nothing is imported."""
    return kind not in TABLES[table] and kind in entry_points(group=f"langrec.{table}").names


def kind_of(name: str) -> tuple[str, dict[str, Any]]:
    """The registered kind of a scorer's name, and what the name itself sets.

    popular_7d is popular of 7 days; text_tower_permuted and text_tower_raw are the controls of the text tower: each
    item with the vector of another, and vectors whose spectrum was not shaped.
    """
    window = re.fullmatch(r"popular_([1-9]\d*)d", name)
    if window:
        return "popular", {"days": float(window.group(1))}
    control = re.fullmatch(r"text_tower_(permuted|raw)", name)
    return ("text_tower", {"control": control.group(1)}) if control else (name, {})


def check_scorer(name: str, where: str) -> None:
    """Looks a scorer's name up and imports nothing, so that a wrong one is said before any work.

    Raises:
        SettingsError: nothing has that name; `where` (a setting or an option) and the nearest name are said.
    """
    kind, _ = kind_of(name)
    if kind not in SCORERS and not is_plugin("scorers", kind):
        raise _unknown("scorers", kind, where)


def _unknown(table: str, kind: str, where: str = "") -> SettingsError:
    known = TABLES[table]
    near = difflib.get_close_matches(kind, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else f" (known: {', '.join(known)})"
    return SettingsError(
        f"{where}{': ' if where else ''}unknown {table.removesuffix('es' if table == 'indexes' else 's')} {kind}{hint}",
        field=where or table,
    )
