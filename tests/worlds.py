"""Small worlds with known answers, made in memory, for the tests of every room."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from langrec.data.catalogue import Catalogue
from langrec.data.dataset import Dataset
from langrec.data.events import DAY_MS, Events
from langrec.data.ids import Ids
from langrec.types import QueryBlock

START = 1_700_000_000_000

TOPIC_WORDS = (
    "ship harbour sailor whale anchor tide reef captain",
    "bakery flour oven dough yeast crust butter pastry",
    "queen bishop gambit castle pawn endgame rook checkmate",
    "crater rocket orbit lunar astronaut gravity comet telescope",
    "violin sonata concerto maestro orchestra fugue chamber melody",
    "glacier summit ridge alpine avalanche climber crevasse rope",
)


@dataclass(frozen=True)
class World:
    """A data set, its items' texts, and what was held out of it.

    Attributes:
        dataset: what training may see.
        texts: n item texts.
        held_out: (n_users,) the item that each user chooses next.
        item_topics: (n,) topic of each item.
        user_topics: (n_users,) topic of each user.
        noise: share of choices outside the user's topic.
    """

    dataset: Dataset
    texts: tuple[str, ...]
    held_out: np.ndarray
    item_topics: np.ndarray
    user_topics: np.ndarray
    noise: float = 0.0

    @property
    def n_users(self):
        return len(self.dataset.users)

    @property
    def n_items(self):
        return len(self.dataset.catalogue)

    def histories(self):
        """Item numbers per user, oldest first."""
        grouped = self.dataset.events.by_user(self.n_users)
        return [grouped.of(user).tolist() for user in range(self.n_users)]

    def ideal_ndcg(self, k):
        """Expected NDCG@k of the best possible ranking, which knows everything but chance: topic first, rest after."""
        values = []
        for user, history in enumerate(self.histories()):
            unseen = np.setdiff1d(np.arange(self.n_items), history)
            own = int((self.item_topics[unseen] == self.user_topics[user]).sum())
            gain = 1 / np.log2(np.arange(len(unseen)) + 2)
            gain[k:] = 0
            inside, outside = gain[:own], gain[own:]
            share = self.noise if own and len(outside) else float(not own)
            values.append((1 - share) * (inside.mean() if own else 0) + share * (outside.mean() if len(outside) else 0))
        return float(np.mean(values))

    def topic_vectors(self, dim=12, seed=0):
        """(n, dim) unit rows near the vector of their topic; all share a common part, as real text vectors do."""
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(int(self.item_topics.max()) + 1, dim))
        rows = centres[self.item_topics] + 0.3 * rng.normal(size=(self.n_items, dim)) + 2.0
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def catalogue(titles, **columns):
    """Items i0, i1, ... with these titles and further columns."""
    return Catalogue(
        pl.DataFrame({"item_id": [f"i{num}" for num in range(len(titles))], "title": list(titles), **columns})
    )


def events(rows, type_names=("click",)):
    """Events from (user, item, at) or (user, item, at, gain) in time order; `at` in milliseconds."""
    full = [(*row, 1.0) if len(row) == 3 else row for row in rows]
    users, items, at, gains = zip(*full, strict=True) if full else ((), (), (), ())
    m = len(full)
    return Events(
        users=np.array(users, dtype=np.int32),
        items=np.array(items, dtype=np.int32),
        at=np.array(at, dtype=np.int64),
        types=np.zeros(m, dtype=np.int8),
        values=np.full(m, np.nan, dtype=np.float32),
        gains=np.array(gains, dtype=np.float32),
        rows=np.arange(m, dtype=np.int64),
        type_names=type_names,
    )


def queries(histories, users=None, at=None, times=None, texts=None, vectors=None):
    """A block from one list of item numbers per query; the history's times are a day apart, "now" a day later."""
    q = len(histories)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in histories])]).astype(np.int64)
    if times is None:
        times = [[START + step * DAY_MS for step in range(len(row))] for row in histories]
    return QueryBlock(
        users=np.full(q, -1, dtype=np.int32) if users is None else np.array(users, dtype=np.int32),
        offsets=offsets,
        items=np.array([item for row in histories for item in row], dtype=np.int32),
        times=np.array([time for row in times for time in row], dtype=np.int64),
        at=np.full(q, START + 1000 * DAY_MS, dtype=np.int64) if at is None else np.array(at, dtype=np.int64),
        texts=(None,) * q if texts is None else tuple(texts),
        vectors=vectors or {},
    )


def _world(sequences, texts, item_topics, user_topics, noise=0.0, type_names=("click",)):
    """A world from each user's items in order; the last of each is held out. All users' steps share one clock."""
    rows = [
        (user, int(item), START + step * DAY_MS + user)
        for user, items in enumerate(sequences)
        for step, item in enumerate(items[:-1])
    ]
    rows.sort(key=lambda row: row[2])
    users = Ids([f"u{user}" for user in range(len(sequences))])
    dataset = Dataset(users, catalogue(texts), events(rows, type_names))
    return World(
        dataset,
        tuple(texts),
        np.array([items[-1] for items in sequences], dtype=np.int32),
        np.asarray(item_topics),
        np.asarray(user_topics),
        noise,
    )


def planted_topics(users=60, items=48, noise=0.1, topics=4, length=7, seed=0):
    """Users who each keep to one topic: each choice is a new item of the topic, with chance `noise` one of the others.

    Two texts of one topic share at least two of its eight words, two of different topics share none.
    Within a topic nothing is preferred, so a ranking can know the topic but not more: `ideal_ndcg` follows.
    """
    rng = np.random.default_rng(seed)
    item_topics = np.arange(items) % topics
    user_topics = np.arange(users) % topics
    texts = []
    for num, topic in enumerate(item_topics):
        vocabulary = TOPIC_WORDS[topic].split()
        texts.append(" ".join([*rng.choice(vocabulary, 5, replace=False), f"number{num}"]))
    sequences = []
    for topic in user_topics:
        left = set(range(items))
        chosen = []
        for _ in range(length + 1):
            own = sorted(item for item in left if item_topics[item] == topic)
            other = sorted(item for item in left if item_topics[item] != topic)
            pool = other if other and (not own or rng.random() < noise) else own
            chosen.append(int(rng.choice(pool)))
            left.discard(chosen[-1])
        sequences.append(chosen)
    return _world(sequences, texts, item_topics, user_topics, noise)


def checkerboard(n=20):
    """n users and n items; a user chose every item of the same colour except that of the own number, which is next."""
    sequences = [[item for item in range(u % 2, n, 2) if item != u] + [u] for u in range(n)]
    texts = [f"{'white' if item % 2 else 'black'} square number{item}" for item in range(n)]
    return _world(sequences, texts, np.arange(n) % 2, np.arange(n) % 2)


def cycle(n=12, users=24, length=6):
    """Users who walk round a ring of n items, each from another place: after item i always comes i + 1."""
    sequences = [[(user + step) % n for step in range(length + 1)] for user in range(users)]
    return _world(sequences, [f"station number{item}" for item in range(n)], np.zeros(n, int), np.zeros(users, int))


@dataclass(frozen=True)
class Faq:
    """Answers, and questions about them in other words.

    Attributes:
        dataset: the answers as items; nobody chose any.
        texts: n answers.
        questions: what people ask.
        answers: number of the right answer to each question.
    """

    dataset: Dataset
    texts: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[int, ...] = field(default=())


_FAQ = {
    "Reset a forgotten password from the sign-in page.": (
        "I forgot my password",
        "how can a forgotten password be reset?",
    ),
    "Refunds reach your bank account within five days.": (
        "when do refunds reach my bank?",
        "refund to my account, how many days",
    ),
    "Parcels are delivered on weekdays; track them by number.": (
        "track my parcel",
        "are parcels delivered on weekdays only",
    ),
    "An invoice can be downloaded as PDF from your orders.": (
        "download invoice",
        "where is the PDF invoice of my orders",
    ),
    "如何更改收货地址：请在订单页面修改。": ("更改收货地址", "怎样修改收货地址"),
}


def faq_paraphrases():
    """A small service desk whose every question shares words with its right answer alone."""
    questions, answers = [], []
    for num, asked in enumerate(_FAQ.values()):
        questions.extend(asked)
        answers.extend([num] * len(asked))
    dataset = Dataset(Ids([]), catalogue(list(_FAQ)), events([]))
    return Faq(dataset, tuple(_FAQ), tuple(questions), tuple(answers))
