"""Hard negatives of pairs: texts that a simple scorer takes for the answer, and that their user is not known to like.

A sampled negative is mostly one that no model would confuse; what BM25 or EASE ranks high is one that the language
model has to tell apart. The very first ranks are passed over, because they hold what the user will come to like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from langrec.data.events import Events
from langrec.data.fitting import FitData
from langrec.errors import DataError
from langrec.lm.adapt.pairs import Pairs
from langrec.registry import find
from langrec.settings import RetrievalSettings
from langrec.types import IntVector, QueryBlock

Numbers = npt.NDArray[np.int64]
# Ranks that a negative is drawn from, by chance: below the first few, above the far ones.
FIRST, LAST = 5, 50
# Rows scored at once.
BLOCK = 256


def mined(
    scorer: str, events: Events, n_users: int, texts: Sequence[str], asked: QueryBlock, right: IntVector, seed: int
) -> Numbers:
    """(m,) number of a negative for each row, -1 where none was found.

    Args:
        scorer: bm25 (by the row's text) or ease (by its history).
        events: of training alone; what a user met there is no negative of theirs.
        n_users: users of these events.
        texts: n texts that are offered.
        asked: the m rows.
        right: (m,) the answer of each row.
    """
    fitted = find("scorers", scorer).fit(FitData(events, n_users, len(texts), texts), RetrievalSettings())
    if scorer != "bm25":
        asked = dataclasses.replace(asked, texts=(None,) * len(asked))
    met = events.by_user(n_users)
    rng, found = np.random.default_rng((seed, 11)), np.full(len(asked), -1, dtype=np.int64)
    for start in range(0, len(asked), BLOCK):
        block = asked.slice(start, start + BLOCK)
        scores = np.nan_to_num(np.asarray(fitted.score_block(block), dtype=np.float32), nan=-np.inf)
        for i, row in enumerate(scores):
            row[met.of(int(block.users[i]))] = -np.inf
            row[block.history(i)] = -np.inf
            row[right[start + i]] = -np.inf
            near = np.argpartition(-row, LAST)[:LAST] if len(row) > LAST else np.arange(len(row))
            # What has no word and no user in common with the row is not hard.
            near = near[row[near] > 0]
            near = near[np.argsort(-row[near], kind="stable")]
            near = near[min(FIRST, len(near) // 2) :]
            if len(near):
                found[start + i] = near[rng.integers(len(near))]
    return found


def of_file(pairs: Pairs, scorer: str, seed: int, path: object) -> Pairs:
    """Pairs with a negative from among their own positives, where the file gave none.

    Raises:
        DataError: ease, and no user has two rows: there is nothing to learn from.
    """
    offered = list(dict.fromkeys(pairs.positives))
    place = {text: i for i, text in enumerate(offered)}
    right = np.array([place[text] for text in pairs.positives], dtype=np.int32)
    # Rows of one anchor stand for a user where none is known.
    who = np.array(pairs.anchors) if pairs.users is None else pairs.users
    users = np.unique(who, return_inverse=True)[1].astype(np.int32)
    if scorer == "ease" and (pairs.users is None or np.bincount(users).max(initial=0) < 2):
        raise DataError(
            f"{path}: hard_negatives=ease learns from what users have in common, and no user_id has two rows; "
            "use bm25, or --events",
            field="hard_negatives",
        )
    m, n_users = len(pairs), int(users.max(initial=0)) + 1
    zeros, ones = np.zeros(m, dtype=np.int64), np.ones(m, dtype=np.float32)
    kinds = np.zeros(m, dtype=np.int8)
    events = Events(users, right, np.arange(m), kinds, ones, ones, np.arange(m), ("pair",), has_time=False)
    # A row's history: what its user has in the other rows.
    grouped = events.by_user(n_users)
    histories = [grouped.of(int(user))[grouped.of(int(user)) != own] for user, own in zip(users, right, strict=True)]
    asked = block_of(users, histories, pairs.anchors, zeros)
    found = mined(scorer, events, n_users, offered, asked, right, seed)
    negatives = (own or (offered[i] if i >= 0 else "") for own, i in zip(pairs.negatives, found, strict=True))
    return dataclasses.replace(pairs, negatives=tuple(negatives))


def block_of(users: IntVector, histories: Sequence[IntVector], texts: Sequence[str], at: Numbers) -> QueryBlock:
    """Rows as scorers read them."""
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in histories])]).astype(np.int64)
    items = np.concatenate([*histories, np.zeros(0)]).astype(np.int32)
    return QueryBlock(users, offsets, items, np.zeros(len(items), dtype=np.int64), at, tuple(texts))
