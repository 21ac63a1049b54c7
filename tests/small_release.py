"""A planted world as a shop with every kind of item, the settings that train it in a second, and its release."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl

from langrec.data.catalogue import Catalogue
from langrec.data.dataset import Dataset
from langrec.data.events import DAY_MS
from langrec.settings import (
    EncoderSettings,
    EvaluateSettings,
    RankingSettings,
    RetrievalSettings,
    Settings,
    SplitSettings,
)
from worlds import START, planted_topics

KINDS = ("sea", "bread", "chess", "space")
WORLD = planted_topics(users=60, items=48, noise=0.1)
N = WORLD.n_items
# After the items with events: one with a text alone, one with nothing, one that is hidden.
WARM, COLD, HIDDEN = "warm", "cold", "secret"
# The end of the log.
NOW = int(WORLD.dataset.events.at[-1]) + DAY_MS


def dataset():
    """The shop: items i0... by topic in turn (sea, bread, chess, space), each a day older than the one before."""
    frame = pl.DataFrame(
        {
            "item_id": [*(f"i{num}" for num in range(N)), WARM, COLD, HIDDEN],
            "title": [*WORLD.texts, "whale anchor harbour captain", "", "whale anchor harbour sailor"],
            "categories": [*([KINDS[topic]] for topic in WORLD.item_topics), ["sea"], [], ["sea"]],
            "price": [*(float(5 + num) for num in range(N)), None, 1.0, 2.0],
            "at": [*(NOW - num * DAY_MS for num in range(N)), NOW - 500 * DAY_MS, None, NOW],
            "hidden": [*([False] * N), False, False, True],
        },
        schema_overrides={"at": pl.Int64},
    )
    return Dataset(WORLD.dataset.users, Catalogue(frame), WORLD.dataset.events)


def settings(folder, scorers=None, split=None, **ranking):
    """Settings of one grid point each, whose encoder needs no weights; caches lie in `folder`."""
    return Settings(
        encoder=EncoderSettings(name="hashing", cache=str(folder)),
        split=split or SplitSettings(),
        retrieval=RetrievalSettings(
            scorers=scorers
            or (
                "popular",
                "popular_7d",
                "popular_decayed",
                "itemknn",
                "ease",
                "transitions",
                "bm25",
                "tfidf",
                "vectors",
                "tokens",
            ),
            decay=(0.1,),
            popular_efold=(0.1,),
            itemknn_neighbours=(50,),
            itemknn_shrink=(0.0,),
            ease_reg=(50.0,),
            transition_power=(0.3,),
            transition_back=(1.0,),
        ),
        ranking=RankingSettings(**ranking),
        evaluate=EvaluateSettings(bootstrap=20),
    )


def release(folder: Path, of=None, **changed):
    """The folder of a release of the shop."""
    from langrec.training import train

    chosen = dataclasses.replace(settings(folder), **changed)
    made, _ = train(of or dataset(), chosen, folder / "releases", steps=folder / "steps")
    return made


def history(user):
    """Ids and times of a user's events."""
    events = WORLD.dataset.events
    rows = np.flatnonzero(events.users == user)
    return tuple(f"i{num}" for num in events.items[rows]), tuple(int(at) for at in events.at[rows])


__all__ = ["COLD", "HIDDEN", "KINDS", "NOW", "START", "WARM", "WORLD", "N", "dataset", "history", "release", "settings"]
