"""Whether a candidate may replace the release in use: compared on later events, which neither has learned."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from langrec.bundle import Bundle
from langrec.data.dataset import Dataset
from langrec.data.splits import Split
from langrec.errors import SettingsError
from langrec.evaluation.compare import compare
from langrec.evaluation.report import Report
from langrec.evaluation.slices import MEANING, slices
from langrec.evaluation.suite import metric_names, of_slice
from langrec.ranking.alone import Answered, Mixed
from langrec.recommender import Recommender
from langrec.service.store.importing import catalogue_items
from langrec.settings import EvaluateSettings, RetrainSettings, Settings
from langrec.types import Candidates, FloatMatrix, QueryBlock

IN_USE = "in_use"
CANDIDATE = "mix"
# Where an event of the training stands as seen from the test: all before the cut, the last part of it for validation.
VALIDATION = 0.15


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate is promoted, and why; `figures` are those that it was judged by."""

    promoted: bool
    reason: str
    figures: dict[str, float | int | str]


class Serving:
    """The release in use as a scorer over the new data's numbers: with new items by their texts, as it serves them."""

    def __init__(self, recommender: Recommender, dataset: Dataset) -> None:
        new = [item for item in catalogue_items(dataset.catalogue) if item.id not in recommender.items.ids]
        self._recommender = recommender.with_changes(new) if new else recommender
        names = dataset.catalogue.ids.names
        self._own = self._recommender.items.ids.numbers(names)

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n) scores in the order of the new data's items."""
        known = self._own[block.items]
        asked = replace(block, users=np.full_like(block.users, -1), items=known.astype(np.int32), kept=None)
        return self._recommender.fusion.score_block(asked)[:, self._own]


class ServingFound(Serving):
    """The same over a catalogue that is too large to score whole: it answers from candidates, as it serves."""

    def answer(self, block: QueryBlock, k: int, also: Candidates) -> Answered:
        """As `Answering.answer`, in the numbers of the new data; what that data no longer holds is left out."""
        own, n_there = self._own, self._recommender.fusion.n_items
        here = np.full(n_there, -1, dtype=np.int32)
        here[own] = np.arange(len(own), dtype=np.int32)
        asked = replace(block, users=np.full_like(block.users, -1), items=own[block.items].astype(np.int32), kept=None)
        more = Candidates.of([np.sort(own[also[i]]).astype(np.int32) for i in range(len(also))])
        mixed = Mixed(self._recommender.fusion, self._recommender.ranking.retrieved)
        answered = mixed.answer(asked, k, more)
        rows, scores, found = [], [np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.bool_)]
        for lo, hi in pairwise(answered.asked.offsets):
            nums = here[answered.asked.nums[lo:hi]]
            order = np.argsort(nums, kind="stable")
            order = order[nums[order] >= 0]
            rows.append(nums[order])
            scores.append(answered.scores[lo:hi][order])
            found.append(answered.found[lo:hi][order])
        return Answered(Candidates.of(rows), np.concatenate(scores), np.concatenate(found))


def check(settings: Settings) -> None:
    """Refuses before any training what no candidate could be judged by.

    Raises:
        SettingsError: `retrain.metric` is not measured, or there is no such slice.
    """
    own = settings.retrain
    for field, value, known in (
        ("retrain.metric", own.metric, metric_names(settings.evaluate.k)),
        ("retrain.slice", own.slice, tuple(MEANING)),
    ):
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise SettingsError(f"{field}: nothing is measured as {value!r} ({hint})", field=field)


def serving(recommender: Recommender, dataset: Dataset) -> Serving:
    """The release in use as what is measured beside a candidate."""
    kind = Serving if recommender.fusion.near is None else ServingFound
    return kind(recommender, dataset)


def fresh_split(dataset: Dataset, after: int, most: float = 0.5, fewest: int = 1) -> Split | None:
    """The log cut at the last event of the release in use: what came later is the test; None where there is none.

    A test that would be more than `most` of the log is none: then there is too little left to learn from. Nor is one of
    fewer than `fewest` events, which could not ask as many questions.
    """
    events = dataset.events
    if not events.has_time:
        return None
    test_from = int(np.searchsorted(events.at, after, side="right"))
    n_later = len(events) - test_from
    if test_from == 0 or n_later < max(1, fewest) or n_later > most * len(events):
        return None
    valid_at = int(events.at[int(test_from * (1 - VALIDATION))])
    valid_from = int(np.searchsorted(events.at, valid_at, side="left"))
    if valid_from in (0, test_from):
        return None
    train, valid, test = (
        events.take(slice(*bounds)) for bounds in ((0, valid_from), (valid_from, test_from), (test_from, len(events)))
    )
    return Split(train, valid, test, "time", valid_at, int(events.at[test_from]))


def judge(
    report: Report | None,
    counts: np.ndarray[tuple[int], np.dtype[np.int64]],
    texts: Sequence[str],
    settings: RetrainSettings,
    measuring: EvaluateSettings,
) -> Verdict | None:
    """The verdict of the paired comparison; None where there are too few questions, or users, for one.

    Args:
        report: of the candidate's test, with the release in use as a rival.
        counts: (n,) events of each item before the test.
        texts: n texts, for the slices.
    """
    if report is None or IN_USE not in report.measured:
        return None
    ours, theirs = report.measured[CANDIDATE], report.measured[IN_USE]
    parts = slices(ours.targets, counts, np.array([bool(text) for text in texts]), measuring)
    mask = parts.get(settings.slice)
    if mask is None or int(mask.sum()) < settings.min_questions:
        return None
    ours, theirs = (replace(side, columns=of_slice(side.columns, mask)) for side in (ours, theirs))
    gap = compare(ours, theirs, (settings.metric,), measuring)[0]
    if np.isnan(gap.low):
        return None
    value = float(np.nanmean(theirs.columns[settings.metric].values))
    figures: dict[str, float | int | str] = {
        "metric": settings.metric,
        "slice": settings.slice,
        "questions": int(mask.sum()),
        "in_use": round(value, 6),
        "candidate": round(value + gap.difference, 6),
        "difference": round(gap.difference, 6),
        "low": round(gap.low, 6),
        "high": round(gap.high, 6),
    }
    allowed = -settings.max_loss * value
    told = (
        f"{settings.metric} on {settings.slice}: {value + gap.difference:.4f} against {value:.4f} of the one in use, "
        f"a difference of {gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}) over {int(mask.sum()):,} questions "
        "from after it"
    )
    if gap.low >= allowed:
        return Verdict(True, told, figures)
    return Verdict(False, f"{told}; a loss of more than {-allowed:.4f} cannot be ruled out", figures)


def judge_by_record(report: Report | None, in_use: Bundle, settings: RetrainSettings) -> Verdict:
    """The verdict where no later events allow a comparison: the candidate's own test against what the release in use
    measured in its own. Different questions, so no interval.
    """
    recorded = [
        row["value"]
        for row in in_use.manifest["metrics"]
        if (row["model"], row["metric"], row["slice"]) == (CANDIDATE, settings.metric, "all")
    ]
    if report is None or not recorded or recorded[0] is None:
        return Verdict(False, "nothing to judge by: one of the two releases was not measured", {})
    value, own = float(recorded[0]), report.value(CANDIDATE, settings.metric)
    figures: dict[str, float | int | str] = {"metric": settings.metric, "in_use": value, "candidate": own}
    told = f"{settings.metric}: {own:.4f} in its own test, {value:.4f} in that of the release in use"
    if own >= value * (1 - settings.max_loss):
        return Verdict(True, f"{told}; too few later events for a comparison", figures)
    return Verdict(False, f"{told}: a loss of more than {settings.max_loss:.0%}", figures)


def last_event(release: Path) -> int:
    """Time of the newest event that a release was trained on; -1 without events."""
    import polars as pl

    last = pl.scan_parquet(release / "catalog" / "events.parquet").select(pl.col("at").max()).collect().item()
    return -1 if last is None else int(last)
