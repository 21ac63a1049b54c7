"""Which new and rare items may be drawn into a list: those that fit the history or the wish by their texts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from langrec.data.among import Among
from langrec.data.items import Items
from langrec.ranking.explore import Explored, draws, explore
from langrec.ranking.scored import Scored
from langrec.settings import ExploreSettings
from langrec.types import IntVector, Mask


def drawn_into(
    settings: ExploreSettings,
    scored: Scored,
    listed: IntVector,
    mask: Mask,
    rare: Callable[[], Mask],
    items: Items | Among,
) -> Explored | None:
    """The list with its drawn items: by what their texts say of the history or the wish, else the newest.

    Args:
        scored: the query and what is said of n items.
        listed: places among these, best first; what fills a list may stand behind them.
        mask: (n,) what may be shown.
        rare: gives the (n,) items that few or none have met.
        items: the n items.

    Returns:
        None where the settings explore nothing.
    """
    if not settings.places:
        return None
    fit = scored.scores if scored.spoken or scored.rare is None else scored.rare
    may = mask & rare()
    worth = np.where(may & (fit > 0), fit, np.float32(np.nan)).astype(np.float32)
    if np.isnan(worth).all() and not scored.spoken:
        places = np.flatnonzero(may)
        newest = np.lexsort((places, items.times()[places]))
        worth[places[newest]] = np.arange(len(places), dtype=np.float32)
    beyond = max(0, int(listed.max(initial=-1)) + 1 - len(worth))
    worth = np.append(worth, np.full(beyond, np.nan, dtype=np.float32))
    rng = draws(settings.seed, scored.query, scored.asked.at)
    return explore(listed, scored.query.k, worth, settings.among, settings.places, rng)
