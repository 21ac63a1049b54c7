"""A shop of any size, drawn from distributions: items with texts, users with tastes, and what they chose when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from langrec.data.catalogue import Catalogue
from langrec.data.dataset import Dataset
from langrec.data.events import DAY_MS, Events
from langrec.data.ids import Ids
from langrec.types import IntVector

# Spread of the logarithm of how often an item is chosen, and of how much a user does: both are about what logs of shops
# and of films show (a few items and people hold most of the events, most hold few).
ITEM_SPREAD, USER_SPREAD = 1.6, 1.1
# How a user's events part over the topics they like, best first; the rest goes to any topic.
TASTE = (0.55, 0.2, 0.1)
ITEMS_PER_TOPIC, TOPICS = 500, 2_000
# Words of a text: of the item's topic, and of the whole language.
TOPIC_WORDS, COMMON_WORDS = 5, 5
WORDS_PER_TOPIC, WORDS = 30, 20_000
DAYS = 365
KINDS = 200
END = 1_760_000_000_000
_SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]


@dataclass(frozen=True, slots=True, eq=False)
class Shop:
    """A drawn shop.

    Attributes:
        dataset: users u0..., items p0..., and events in time order.
        topics: (n,) int32 the topic of each item.
        words: the language.
        counts: (n, len(words)) float32 CSR word counts of the texts.
    """

    dataset: Dataset
    topics: IntVector
    words: tuple[str, ...]
    counts: sparse.csr_array


def draw_shop(items: int, users: int, events: int, seed: int = 0) -> Shop:
    """A shop of so many items, users and events; equal arguments give equal shops.

    Items belong to topics, which share words; a user likes a few topics; popularity and activity have heavy tails.
    """
    rng = np.random.default_rng(seed)
    n_topics = int(np.clip(items // ITEMS_PER_TOPIC, 4, TOPICS))
    size = rng.lognormal(0.0, 0.7, n_topics)
    topics = rng.choice(n_topics, items, p=size / size.sum()).astype(np.int32)
    words = _language(n_topics * WORDS_PER_TOPIC + WORDS)
    placed = _texts(topics, n_topics, rng)
    catalogue = _catalogue(topics, words, placed, rng)
    names = Ids(np.array([f"u{num}" for num in range(users)], dtype=object))
    log = _events(topics, n_topics, users, events, rng)
    # The categories are read as words too.
    said = (*words, "kind", "topic", *(str(num) for num in range(max(n_topics, KINDS))))
    ends = [np.full(items, len(words)), len(words) + 2 + topics % KINDS, np.full(items, len(words) + 1)]
    read = np.concatenate([placed, np.stack([*ends, len(words) + 2 + topics], axis=1)], axis=1)
    rows = np.repeat(np.arange(items), read.shape[1])
    counts = sparse.csr_array(
        (np.ones(read.size, dtype=np.float32), (rows, read.ravel())), shape=(items, len(said)), dtype=np.float32
    )
    counts.sum_duplicates()
    return Shop(Dataset(names, catalogue, log), topics, said, counts)


def _language(n: int) -> tuple[str, ...]:
    """n distinct words of three syllables."""
    s = len(_SYLLABLES)
    return tuple(
        _SYLLABLES[i % s] + _SYLLABLES[i // s % s] + _SYLLABLES[i // s**2 % s] + "n" * (i // s**3) for i in range(n)
    )


def _texts(topics: IntVector, n_topics: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(n, words of a text) numbers of words: first the topic's, then common ones, few of which are very common."""
    n = len(topics)
    own = topics[:, None] * WORDS_PER_TOPIC + np.minimum(
        rng.exponential(WORDS_PER_TOPIC / 4, (n, TOPIC_WORDS)).astype(np.int64), WORDS_PER_TOPIC - 1
    )
    common = np.minimum(np.exp(rng.uniform(0, np.log(WORDS), (n, COMMON_WORDS))).astype(np.int64), WORDS - 1)
    return np.concatenate([own, n_topics * WORDS_PER_TOPIC + common], axis=1)


def _catalogue(
    topics: IntVector, words: tuple[str, ...], placed: npt.NDArray[np.int64], rng: np.random.Generator
) -> Catalogue:
    n, said = len(topics), np.array(words, dtype=object)
    titles = [" ".join(row) for row in said[placed[:, [0, 1, TOPIC_WORDS]]]]
    texts = [" ".join(row) for row in said[np.delete(placed, [0, 1, TOPIC_WORDS], axis=1)]]
    kinds = pl.Series([[f"kind {topic % KINDS}", f"topic {topic}"] for topic in range(int(topics.max(initial=0)) + 1)])
    frame = pl.DataFrame(
        {
            "item_id": pl.Series([f"p{num}" for num in range(n)], dtype=pl.String),
            "title": pl.Series(titles, dtype=pl.String),
            "description": pl.Series(texts, dtype=pl.String),
            "categories": kinds.gather(topics),
            "price": np.round(rng.lognormal(3.0, 0.8, n), 2),
            "brand": pl.Series([f"brand {num}" for num in np.minimum(rng.exponential(300, n).astype(int), 3_000)]),
            "at": END - (rng.uniform(0, 3 * DAYS, n) * DAY_MS).astype(np.int64),
        }
    )
    return Catalogue(frame, ("description",))


def _events(topics: IntVector, n_topics: int, users: int, m: int, rng: np.random.Generator) -> Events:
    """m events: each of a user, a topic that the user likes, and an item of the topic by its popularity."""
    active = rng.lognormal(0.0, USER_SPREAD, users)
    who = np.repeat(np.arange(users, dtype=np.int32), rng.multinomial(m, active / active.sum()))
    liked = rng.integers(0, n_topics, (users, len(TASTE) + 1))
    place = np.searchsorted(np.cumsum(TASTE), rng.uniform(size=m))
    wanted = liked[who, place]
    wanted[place == len(TASTE)] = rng.integers(0, n_topics, int((place == len(TASTE)).sum()))
    items = _chosen(topics, n_topics, wanted, rng)
    at = END - (rng.uniform(0, DAYS, m) * DAY_MS).astype(np.int64)
    order = np.argsort(at, kind="stable")
    return Events(
        users=who[order],
        items=items[order],
        at=at[order],
        types=np.zeros(m, dtype=np.int8),
        values=np.full(m, np.nan, dtype=np.float32),
        gains=np.ones(m, dtype=np.float32),
        rows=np.arange(m, dtype=np.int64),
        type_names=("click",),
    )


def _chosen(topics: IntVector, n_topics: int, wanted: npt.NDArray[np.int64], rng: np.random.Generator) -> IntVector:
    """(m,) an item of each wanted topic, the popular ones more often; topics without items give any item."""
    order = np.argsort(topics, kind="stable")
    popular = np.cumsum(rng.lognormal(0.0, ITEM_SPREAD, len(topics))[order])
    starts = np.searchsorted(topics[order], np.arange(n_topics + 1))
    bounds = np.concatenate([[0.0], popular])[starts]
    low, high = bounds[wanted], bounds[wanted + 1]
    empty = high <= low
    low[empty], high[empty] = 0.0, popular[-1]
    drawn = low + rng.uniform(size=len(wanted)) * (high - low)
    place = np.minimum(np.searchsorted(popular, drawn, side="right"), len(topics) - 1)
    items: IntVector = order[place].astype(np.int32)
    return items
