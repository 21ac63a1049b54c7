"""What enters the mix: which scorers, at which decays, and for which items once more."""

from __future__ import annotations

from collections.abc import Iterable

from langrec.ranking.fusion import Signal
from langrec.registry import find, kind_of
from langrec.retrieval.item_item import ItemItem
from langrec.settings import Settings

TEXT_SCORERS = ("bm25", "tfidf", "vectors", "tokens", "text_tower")
# Of these one of each kind (words, meaning, what was learned) enters once more for new items: others add nothing there.
NEW_SCORERS = ("tfidf", "vectors", "text_tower")


def signals(scorers: Iterable[str], settings: Settings, new: bool = False) -> tuple[Signal, ...]:
    """What enters the mix: each scorer, item-to-item ones at other decays too, readers of text for rare items too.

    Args:
        new: readers of text enter for new items as well.
    """
    names = [name for name in scorers if enters_mix(name)]
    extra = [
        Signal(name, (("decay", decay),))
        for name in names
        if issubclass(find("scorers", kind_of(name)[0]), ItemItem)
        for decay in settings.ranking.extra_decays
    ]
    rare = [Signal(name, only="rare") for name in names if name in TEXT_SCORERS]
    fresh = [Signal(name, only="new") for name in names if new and name in NEW_SCORERS]
    return (*(Signal(name) for name in names), *extra, *rare, *fresh)


def enters_mix(name: str) -> bool:
    """False for scorers that are measured beside the others and teach the mix nothing: sums of others, controls."""
    kind, own = kind_of(name)
    return not (getattr(find("scorers", kind), "measured_only", False) or "control" in own)
