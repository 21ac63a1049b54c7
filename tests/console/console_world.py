"""A small shop with two trained releases behind a real server, made for people to walk through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import langrec.service

TOPICS = {
    "Sea": ("harbour", "whale", "anchor", "tide", "sailor", "reef"),
    "Bread": ("bakery", "oven", "dough", "yeast", "crust", "flour"),
    "Chess": ("queen", "bishop", "gambit", "castle", "pawn", "endgame"),
    "Moon": ("crater", "rocket", "orbit", "lunar", "comet", "gravity"),
}
SHAPES = ("The Silent {}", "A History of the {}", "Under the {}", "Letters from the {}", "The Last {}")
START = 1_700_000_000
HOUR = 3600


@dataclass(frozen=True)
class Shop:
    """What the walks need to know of the world.

    Attributes:
        url: the server's origin.
        user: someone with a history; the first to be suggested for the id that is typed.
        other_user: someone else.
        measured_user: someone with a list in the test of the release.
        words: two words that several items hold.
        item: an item that `user` has not seen.
        title: its title, which no other item's title begins like.
        keys: every key of the console's messages.
    """

    url: str
    user: str = "ann"
    other_user: str = "ben"
    measured_user: str = "reader-30"
    words: str = "quiet whale"
    item: str = "bread-3"
    title: str = "Letters from the Bakery"
    keys: frozenset[str] = field(default_factory=frozenset)


def message_keys() -> frozenset[str]:
    path = Path(langrec.service.__file__).parent / "console" / "words" / "en.json"
    return frozenset(json.loads(path.read_text("utf-8")))


def item_rows() -> Iterator[dict[str, object]]:
    """Each topic has 15 items: five shapes of title over three of its words."""
    for t, (topic, words) in enumerate(TOPICS.items()):
        for i in range(15):
            word, other, third = words[i // 5], words[(i + 2) % 6], words[(i + 4) % 6]
            yield {
                "item_id": f"{topic.lower()}-{i}",
                "title": SHAPES[i % 5].format(word.title()),
                "description": f"A quiet story of the {word} and the {other}, told by those who know the {third}.",
                "categories": f"{topic}|{'Long' if i % 2 else 'Short'}",
                "price": 5 + (7 * i + t) % 20,
                "timestamp": START + 24 * HOUR * (i + 15 * t),
            }


def event_rows() -> Iterator[dict[str, object]]:
    """40 people, each with a topic of their own and now and then another's; ann likes the sea, ben bakes."""
    names = ["ann", "ben", *(f"reader-{n}" for n in range(38))]
    for u, name in enumerate(names):
        for step in range(8):
            topic = list(TOPICS)[(u + (step == 5)) % 4].lower()
            number = (3 * u + 2 * step) % 15
            yield {
                "user_id": name,
                "item_id": f"{topic}-{number}",
                "type": "purchase" if step % 3 == 0 else "click",
                "timestamp": START + 24 * HOUR * 70 + HOUR * (step * 50 + u),
            }


def write_csv(path: Path, rows: Iterator[dict[str, object]]) -> Path:
    import polars as pl

    pl.DataFrame(list(rows)).write_csv(path)
    return path


def train_twice(folder: Path) -> Path:
    """A releases folder with two releases of the shop, the second trained on more events."""
    import dataclasses
    import time

    from langrec.data.load import load_dataset
    from langrec.settings import EncoderSettings, EvaluateSettings, RetrievalSettings, Settings
    from langrec.training import train

    settings = dataclasses.replace(
        Settings(),
        encoder=EncoderSettings(name="hashing", cache=str(folder / "cache")),
        retrieval=RetrievalSettings(
            scorers=("popular", "popular_decayed", "itemknn", "ease", "transitions", "bm25", "vectors"),
            decay=(0.1,),
            popular_efold=(0.1,),
            itemknn_neighbours=(50,),
            itemknn_shrink=(0.0,),
            ease_reg=(50.0,),
            transition_steps=(3,),
            transition_power=(0.3,),
        ),
        evaluate=EvaluateSettings(bootstrap=50),
    )
    items = write_csv(folder / "items.csv", item_rows())
    events = list(event_rows())
    for share in (0.8, 1.0):
        some = sorted(events, key=lambda row: str(row["timestamp"]))[: int(share * len(events))]
        dataset, _ = load_dataset(write_csv(folder / "events.csv", iter(some)), items, settings.data)
        train(dataset, settings, folder / "releases", steps=folder / "steps")
        time.sleep(1.1)  # a stamp has seconds
    return folder / "releases"
