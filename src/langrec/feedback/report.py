"""All figures of the log at one moment, and which of them are beyond what the settings call usual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from langrec.data.events import DAY_MS
from langrec.feedback.drift import beyond_chance, distance, unknown_words, vocabulary, weekly
from langrec.feedback.join import joined
from langrec.feedback.lists import coverage, rate, rates
from langrec.settings import FeedbackSettings
from langrec.types import FloatMatrix


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What a report is made of.

    Attributes:
        now: epoch milliseconds.
        shown: columns of `join.SHOWN`, of the days that are looked at.
        strangers: numbers of the lists that went to somebody of whom no event was known: popularity answered them.
        personal: numbers of the lists that were asked for somebody: of these strangers are a share.
        actions: columns of `join.ACTIONS`, since the first list.
        weeks: columns of `drift.CHOSEN`, of the newest weeks.
        n_items: items that may be shown.
        newest: by what it is ("event", "item", "release") the time of the newest one; None where there is none.
        trained_texts: texts of the training's items; `new_texts` those of items that came since.
        trained_vectors: their vectors; None without an encoder; `new_vectors` likewise.
    """

    now: int
    shown: pl.DataFrame
    strangers: frozenset[int]
    personal: frozenset[int]
    actions: pl.DataFrame
    weeks: pl.DataFrame
    n_items: int
    newest: dict[str, int | None]
    trained_texts: Sequence[str]
    new_texts: Sequence[str]
    trained_vectors: FloatMatrix | None = None
    new_vectors: FloatMatrix | None = None


def report(observed: Observed, settings: FeedbackSettings) -> dict[str, Any]:
    """The figures as JSON knows them (None for what has no value), with `warnings`: name, value, limit."""
    places = joined(observed.shown, observed.actions, int(settings.window_minutes * 60_000))
    by_place = rates(places)
    fallback = rate(len(observed.strangers & observed.personal), len(observed.personal))
    weeks = weekly(observed.weeks)
    words = unknown_words(observed.new_texts, vocabulary(observed.trained_texts))
    far = float("nan")
    if observed.trained_vectors is not None and observed.new_vectors is not None:
        far = distance(observed.new_vectors, observed.trained_vectors)
    ages = {
        name: None if at is None else round(max(observed.now - at, 0) / DAY_MS, 4)
        for name, at in observed.newest.items()
    }
    found = {
        "at": observed.now,
        "days": settings.days,
        "lists": observed.shown["list"].n_unique(),
        "click_through": asdict(by_place[0]),
        "click_through_by_place": [asdict(one) for one in by_place[1:]],
        "fallback": asdict(fallback),
        "coverage": {str(k): coverage(places, observed.n_items, k) for k in (5, 10, 20)},
        "age_days": ages,
        "new_items": len(observed.new_texts),
        "unknown_words": words,
        "text_distance": far,
        "weeks": [{"at": at, "events": n, "divergence": moved} for at, n, moved in weeks],
        "popularity_drift": weeks[-1][2] if weeks else float("nan"),
    }
    clean: dict[str, Any] = _clean(found)
    clean["warnings"] = warnings(clean, beyond_chance(observed.weeks), settings)
    return clean


def warnings(found: dict[str, Any], moved: float, settings: FeedbackSettings) -> list[dict[str, Any]]:
    """What is beyond its limit; a limit of 0 warns of nothing, and few lists, or items, say nothing.

    Args:
        moved: of `drift.beyond_chance`; NaN is beyond no limit.
    """
    rows: list[dict[str, Any]] = []

    def beyond(name: str, value: float | None, limit: float, low: bool = False) -> None:
        if value is not None and limit and (value < limit if low else value > limit):
            rows.append({"name": name, "value": value, "limit": limit})

    if found["fallback"]["n"] >= settings.least:
        beyond("many_fallback_lists", found["fallback"]["low"], settings.most_fallback)
    if found["click_through"]["n"] >= settings.least:
        beyond("low_click_through", found["click_through"]["high"], settings.least_click_through, low=True)
    if found["lists"] >= settings.least:
        beyond("low_coverage", found["coverage"]["10"], settings.least_coverage, low=True)
    for name, limit in (
        ("event", settings.most_event_days),
        ("item", settings.most_item_days),
        ("release", settings.most_release_days),
    ):
        beyond(f"stale_{name}", found["age_days"].get(name), limit)
    if found["new_items"] >= min(settings.least, 20):
        beyond("unknown_words", found["unknown_words"], settings.most_unknown_words)
        beyond("texts_drifted", found["text_distance"], settings.most_text_distance)
    if len(found["weeks"]) > 1 and min(week["events"] for week in found["weeks"][-2:]) >= settings.least:
        beyond("popularity_drifted", moved, settings.most_divergence)
    return rows


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _clean(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
