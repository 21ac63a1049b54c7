"""Which new and rare items may be drawn into a list: those that fit the history or the wish by their texts."""

from __future__ import annotations

import numpy as np

from langrec.data.items import Items
from langrec.ranking.explore import Explored, draws, explore
from langrec.ranking.fusion import Fusion
from langrec.ranking.scored import Scored
from langrec.settings import ExploreSettings
from langrec.types import IntVector, Mask


def drawn_into(
    settings: ExploreSettings, scored: Scored, listed: IntVector, mask: Mask, fusion: Fusion, items: Items
) -> Explored | None:
    """The list with its drawn items: by what their texts say of the history or the wish, else the newest.

    Args:
        scored: the query and what is said of every item.
        listed: item numbers, best first.
        mask: (n,) what may be shown.

    Returns:
        None where the settings explore nothing.
    """
    if not settings.places:
        return None
    fit = scored.scores if scored.spoken or scored.rare is None else scored.rare
    may = mask & fusion.is_rare()
    worth = np.where(may & (fit > 0), fit, np.float32(np.nan)).astype(np.float32)
    if np.isnan(worth).all() and not scored.spoken:
        nums = np.flatnonzero(may)
        newest = np.lexsort((nums, items.times()[nums]))
        worth[nums[newest]] = np.arange(len(nums), dtype=np.float32)
    rng = draws(settings.seed, scored.query, scored.asked.at)
    return explore(listed, scored.query.k, worth, settings.among, settings.places, rng)
