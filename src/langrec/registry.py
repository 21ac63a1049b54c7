"""Which class stands behind a name: tables of `kind -> "module:Class"`, opened to plugins by entry points.

The tables hold strings, so this low floor points up without importing. A plugin declares, for example,
`[project.entry-points."langrec.scorers"] mine = "my_package:MyScorer"`.
"""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points
from typing import Any

from langrec.errors import SettingsError

ENCODERS = {
    "hashing": "langrec.encoders.hashing:HashingEncoder",
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
    "bm25": "langrec.retrieval.lexical:BM25",
    "tfidf": "langrec.retrieval.lexical:TFIDF",
    "vectors": "langrec.retrieval.vectors:Vectors",
    "tokens": "langrec.retrieval.vectors:Tokens",
}

SOURCES = {
    "table": "langrec.data.sources.tables:read_table",
    "recbole": "langrec.data.sources.recbole:read_atomic",
    "movielens": "langrec.data.sources.movielens:read_movielens",
    "amazon": "langrec.data.sources.amazon:read_amazon",
}

TABLES = {"encoders": ENCODERS, "scorers": SCORERS, "sources": SOURCES}


def find(table: str, kind: str) -> Any:
    """The class or function registered as `kind`.

    Raises:
        SettingsError: nothing has that name; the nearest one is named.
    """
    known = TABLES[table]
    target = known.get(kind)
    if target is None:
        for point in entry_points(group=f"langrec.{table}"):
            if point.name == kind:
                return point.load()
        near = difflib.get_close_matches(kind, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else f" (known: {', '.join(known)})"
        raise SettingsError(f"unknown {table[:-1]} {kind}{hint}", field=table)
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
