"""Wishes in words: what a query's text or ready vector says of each item, how that joins the history, what matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from langrec.errors import DataError
from langrec.protocols import Encoder
from langrec.ranking.fusion import Fusion
from langrec.types import FloatVector, IntVector, Mask, Query, QueryBlock, TimeVector

# The scorers that answer a wish: common words, and meaning.
READERS = ("bm25", "vectors")
# A centred cosine from here on counts as a match of meaning.
MEANING_MATCH = 0.25

Spoken = Mapping[str, FloatVector]
Parts = dict[str, FloatVector]


def words_of(query: Query) -> str:
    """The wish in words; a blank is none, else it would be one that no item answers."""
    return (query.text or "").strip()


def speaks(query: Query) -> bool:
    """Whether the query holds a wish: a text or a vector."""
    return bool(words_of(query)) or query.vector is not None


def spoken_scores(
    queries: Sequence[Query], at: TimeVector, fusion: Fusion, encoder: Encoder | None
) -> dict[int, Spoken]:
    """By place of a query that speaks: the (n,) raw scores of each reader; 0 where it has nothing to say.

    Raises:
        DataError: a vector that does not fit the encoder's space.
    """
    rows = [i for i, query in enumerate(queries) if speaks(query)]
    if not rows:
        return {}
    asked = spoken_block(queries, at, encoder)
    out: dict[int, Parts] = {i: {} for i in rows}
    for name in READERS:
        if name in fusion.scorers:
            scores = fusion.scorers[name].score_block(asked)
            for row, i in enumerate(rows):
                out[i][name] = np.zeros(fusion.n_items, dtype=np.float32)
                out[i][name][: scores.shape[1]] = np.nan_to_num(scores[row])
    return dict(out)


def spoken_block(queries: Sequence[Query], at: TimeVector, encoder: Encoder | None) -> QueryBlock:
    """The wishes of those queries that speak as a block without histories.

    Raises:
        DataError: a vector that does not fit the encoder's space.
    """
    rows = [i for i, query in enumerate(queries) if speaks(query)]
    return QueryBlock(
        users=np.full(len(rows), -1, dtype=np.int32),
        offsets=np.zeros(len(rows) + 1, dtype=np.int64),
        items=np.zeros(0, np.int32),
        times=np.zeros(0, np.int64),
        at=at[rows],
        texts=tuple(words_of(queries[i]) for i in rows),
        vectors={"vectors": np.stack(_vectors([queries[i] for i in rows], encoder))},
    )


def _vectors(queries: Sequence[Query], encoder: Encoder | None) -> list[FloatVector]:
    """One row per query: its own vector, or its text's, all texts read together; NaN without an encoder."""
    texts = [words_of(query) for query in queries if query.vector is None]
    read = iter(encoder.encode(texts, role="query")) if encoder is not None and texts else None
    rows = []
    for query in queries:
        if query.vector is not None:
            rows.append(_own_vector(query, encoder))
        else:
            rows.append(np.full(1, np.nan, dtype=np.float32) if read is None else next(read))
    return rows


def _own_vector(query: Query, encoder: Encoder | None) -> FloatVector:
    if encoder is None:
        raise DataError("vector: this release holds no encoder, so there is no space to compare in", field="vector")
    vector = np.asarray(query.vector, dtype=np.float32)
    if vector.shape != (encoder.dim,):
        size = "x".join(map(str, vector.shape))
        raise DataError(f"vector: {size} numbers, but the encoder's space has {encoder.dim}", field="vector")
    if not np.isfinite(vector).all():
        raise DataError("vector: holds a number that is not finite", field="vector")
    return vector


def history_parts(query: Query, parts: Parts, spoken: Spoken | None) -> Parts:
    """What the history adds to the score, by signal: all of it without a wish, else its asked share (`personal`)."""
    if spoken is None:
        return parts
    share = _share(query)
    if share == 0:
        return {}
    top = max(float(np.sum(list(parts.values()), axis=0).max(initial=0.0)), 1e-9)
    return {name: column * np.float32(share / top) for name, column in parts.items()}


def spoken_parts(query: Query, spoken: Spoken | None) -> Parts:
    """What the wish adds to the score, by reader; the best item of each reader gets that reader's whole weight."""
    out: Parts = {}
    if spoken is None:
        return out
    meaning = query.meaning if words_of(query) else 1.0
    for name, weight in zip(READERS, (1.0 - meaning, meaning), strict=True):
        if name in spoken and weight > 0:
            value = np.maximum(spoken[name], 0.0)
            out[name] = value * np.float32((1.0 - _share(query)) * weight / max(float(value.max(initial=0.0)), 1e-9))
    return out


def joined(first: Parts, second: Parts) -> Parts:
    """The sum by name."""
    return {
        name: first[name] + second[name] if name in first and name in second else column
        for name, column in {**first, **second}.items()
    }


def matches(query: Query, spoken: Spoken | None, n_items: int) -> Mask:
    """(n,) True for what may be shown: a common word, or a near meaning; without a wish, everything."""
    if spoken is None:
        return np.ones(n_items, dtype=np.bool_)
    mask = np.zeros(n_items, dtype=np.bool_)
    if "bm25" in spoken and words_of(query) and query.meaning < 1:
        mask |= spoken["bm25"] > 0
    if "vectors" in spoken and (query.meaning > 0 or not words_of(query)):
        mask |= spoken["vectors"] >= MEANING_MATCH
    return mask


def matched_words(fusion: Fusion, text: str, nums: IntVector) -> list[tuple[str, ...]]:
    """For each item number, the words of the text that the item holds."""
    lexical: Any = fusion.scorers.get("bm25")
    return [lexical.matched(text, int(num)) if lexical is not None else () for num in nums]


def _share(query: Query) -> float:
    """The history's share of the score; someone of whom nothing is said has none."""
    return query.personal if query.history or query.user else 0.0
