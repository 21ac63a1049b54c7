"""Scores every peer's lists with langrec's own metrics, on langrec's own questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benches.peers.prepare import Asked

from langrec.errors import DataError
from langrec.evaluation import lists as answers
from langrec.evaluation.outside import OutsideLists
from langrec.evaluation.report import Report
from langrec.evaluation.run import measure_lists
from langrec.settings import EvaluateSettings


def measure(asked: Asked, found: Mapping[str, pl.DataFrame]) -> Report:
    """The report of lists `question, item_id, rank, score` by model, all on the test's questions.

    Raises:
        DataError: a list names an unknown item, an item of its question's history, an item or a rank twice, or a rank
            below 1.
    """
    dataset = asked.dataset
    return measure_lists(
        {name: top_lists(asked, name, frame) for name, frame in found.items()},
        asked.test,
        users=dataset.users,
        items=dataset.catalogue.ids,
        counts=np.bincount(asked.seen.items, minlength=len(dataset.catalogue)),
        has_text=np.array([bool(text) for text in dataset.catalogue.texts()]),
        settings=EvaluateSettings(),
        protocol=asked.stamp(),
    )


def own_lists(asked: Asked, folder: Path) -> dict[str, pl.DataFrame]:
    """The lists that `langrec evaluate --out` wrote, as peers write theirs, by model.

    Raises:
        DataError: the folder answers other questions.
    """
    events = pl.DataFrame({"event": asked.test.events}).with_row_index("question")
    out = {}
    for path in sorted((folder / "lists").glob("*.parquet")):
        frame = pl.read_parquet(path).join(events, on="event", how="inner", maintain_order="left")
        if frame["question"].n_unique() < 0.9 * len(asked.test):
            raise DataError(f"{path}: answers {frame['question'].n_unique()} of the {len(asked.test)} questions asked")
        out[path.stem] = frame
    if not out:
        raise DataError(f"{folder}: holds no lists; run langrec evaluate --out there")
    return out


def top_lists(asked: Asked, name: str, frame: pl.DataFrame) -> answers.TopLists:
    """One peer's lists in numbers. What stands on no list shares the mean of the ranks behind it."""
    k, n = EvaluateSettings().ranks, len(asked.dataset.catalogue)
    frame = frame.filter(pl.col("rank") <= k)
    question, place = frame["question"].to_numpy().astype(np.int64), frame["rank"].to_numpy().astype(np.int64) - 1
    items = asked.dataset.catalogue.ids.numbers(frame["item_id"])
    _check(asked, name, question, place, items)
    order = np.lexsort((place, asked.test.events[question]))
    scores = frame["score"].to_numpy().astype(np.float32)
    found = OutsideLists("event", asked.test.events[question][order], items[order], scores[order])
    return found.lists(asked.test, k, n)


def rows_of(report: Report, model: str) -> list[dict[str, Any]]:
    """The numbers that a result file keeps of one model: the whole test, and the primary metric by slice."""
    kept = ("ndcg", "recall", "mrr", "coverage", "novelty", "ndcg_debiased")
    return [
        {
            "slice": row.slice,
            "metric": row.metric,
            **{key: _plain(getattr(row, key)) for key in ("value", "low", "high")},
            "n": row.n,
        }
        for row in report.rows
        if row.model == model
        and row.metric.split("@")[0] in kept
        and (row.slice == "all" or row.metric in ("ndcg@10", "recall@10"))
    ]


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _check(asked: Asked, name: str, question: Any, place: Any, items: Any) -> None:
    q, n = len(asked.test), len(asked.dataset.catalogue)
    if len(question) and not (question.min() >= 0 and question.max() < q):
        raise DataError(f"{name}: answers question {question.max()} of {q}")
    if len(place) and place.min() < 0:
        raise DataError(f"{name}: rank {place.min() + 1}; ranks begin at 1")
    if (items < 0).any():
        raise DataError(f"{name}: lists an item that the catalogue does not hold")
    if len(np.unique(question * 1000 + place)) < len(question):
        raise DataError(f"{name}: two items share a rank")
    if len(np.unique(question * n + items)) < len(question):
        raise DataError(f"{name}: lists an item twice")
    block = asked.test.block
    seen = block.rows().astype(np.int64) * n + block.items
    if np.isin(question * n + items, seen).any():
        raise DataError(f"{name}: lists an item of the history")
