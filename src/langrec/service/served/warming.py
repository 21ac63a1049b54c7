"""The first queries of a release, asked by nobody: they load what is loaded late, so that no visitor waits for it."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from langrec.errors import DataError
from langrec.types import Query

if TYPE_CHECKING:
    from langrec.recommender import Recommender

_HISTORY = 5


def warm(recommender: Recommender) -> None:
    """Runs a query through every stage: history, wish in words, popularity, filters, diversity, reasons.

    What a release does not offer (words without a reader of words) is no failure; anything else is raised.
    """
    some = recommender.items.ids.take(np.arange(min(_HISTORY, recommender.n_items)))
    title = next((item.title for name in some if (item := recommender.view(name)) is not None and item.title), "text")
    diverse = replace(recommender, ranking=replace(recommender.ranking, diversity=0.3))
    by_history = Query(history=some)
    answer = recommender.recommend([by_history])[0]
    recommender.reasons(by_history, answer)
    for asking, query in (
        (diverse.recommend, by_history),
        (recommender.recommend, Query()),
        (recommender.search, Query(text=title)),
    ):
        try:
            asking([query])
        except DataError:
            continue


def settle() -> None:
    """Takes all that is alive out of the garbage collector's sight: a process that serves calls it once it has loaded.

    A full collection looks at every object, and a release has very many that stay: of 100,000 items it stops all
    requests for a tenth of a second, every few seconds.
    """
    gc.collect()
    gc.freeze()


def settle_again() -> None:
    """The same after a release took over, in a process that had settled; what went with the old one is collected."""
    if gc.get_freeze_count():
        gc.unfreeze()
        settle()
