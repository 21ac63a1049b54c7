"""Training and measuring a large catalogue from candidates: against the whole-catalogue way, and what its steps cost.

    python benches/bench_large_training.py --data ml-100k           # NDCG@10 both ways, on the same questions
    python benches/bench_large_training.py --items 300000 --users 100000 --events 3000000    # what each step takes

Quality: a set of ordinary size is chosen for and measured twice, once as it is and once with `ranking.dense_below`
under its size. The difference of the mixes' NDCG@10 is paired by user; agreeing means that its interval holds zero.
Cost: a drawn shop is trained from nothing in this process, with as many threads as the environment says; each step's
own seconds of processor time and of the clock, and the most memory held by its end.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

import common
from langrec import Settings, load_dataset, train
from langrec.benching.shop import draw_shop
from langrec.data.fetch import fetch
from langrec.evaluation.compare import compare
from langrec.evaluation.report import Report
from langrec.evaluation.run import peak_memory
from langrec.settings import EncoderSettings
from langrec.training import evaluate_models

METRIC = "ndcg@10"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", action="append", default=[], help="a public data set, or a folder; may come again")
    parser.add_argument("--split", default="", choices=["", "time", "loo"], help="empty: by time where it is known")
    parser.add_argument("--items", type=int, default=0, help="items of a drawn shop")
    parser.add_argument("--users", type=int, default=0, help="its users; default a third of its items")
    parser.add_argument("--events", type=int, default=0, help="its events; default ten an item")
    parser.add_argument("--scorers", default="", help="comma separated; default: all")
    parser.add_argument("--questions", type=int, default=0, help="of validation and of the test, at most; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn shop and of the questions")
    parser.add_argument("--name", default="large_training", help="of the result")
    asked = parser.parse_args()
    result: dict[str, Any] = {"load": os.getloadavg()[0], "quality": [], "cost": []}
    with tempfile.TemporaryDirectory() as name, threadpool_limits(int(os.environ.get("OMP_NUM_THREADS", "0")) or None):
        settings = settings_of(asked, Path(name))
        for data in asked.data:
            result["quality"].append(quality(data, settings, Path(name) / Path(data).name))
        if asked.items:
            result["cost"].append(cost(asked, settings, Path(name) / "drawn"))
    print(common.write(asked.name, result))


def settings_of(asked: argparse.Namespace, folder: Path) -> Settings:
    settings = Settings(encoder=EncoderSettings(name="hashing", cache=str(folder / "vectors")))
    settings = replace(settings, evaluate=replace(settings.evaluate, controls=False, seed=asked.seed))
    if asked.scorers:
        settings = replace(settings, retrieval=replace(settings.retrieval, scorers=tuple(asked.scorers.split(","))))
    if asked.split:
        settings = replace(settings, split=replace(settings.split, kind=asked.split))
    if asked.questions:
        ranking = replace(settings.ranking, questions=asked.questions, tune_questions=asked.questions)
        evaluate = replace(settings.evaluate, max_questions=asked.questions)
        settings = replace(settings, ranking=ranking, evaluate=evaluate)
    return settings


def quality(data: str, settings: Settings, folder: Path) -> dict[str, Any]:
    """The mix and each scorer by both ways."""
    dataset, _ = load_dataset(Path(data) if Path(data).is_dir() else fetch(data))
    if not dataset.events.has_time:
        settings = replace(settings, split=replace(settings.split, kind="loo"))
    data = Path(data).name
    reports: list[Report] = []
    seconds = []
    for below in (len(dataset.catalogue), len(dataset.catalogue) - 1):
        own = replace(settings, ranking=replace(settings.ranking, dense_below=below))
        start = time.process_time()
        reports.append(evaluate_models(dataset, own, steps=folder / str(below))[0])
        seconds.append(round(time.process_time() - start, 1))
    whole, found = reports
    gap = compare(found.measured["mix"], whole.measured["mix"], (METRIC,), settings.evaluate)[0]
    row = {
        "data": data,
        "items": len(dataset.catalogue),
        "split": settings.split.kind,
        "questions": whole.protocol["questions"],
        "scorers": list(settings.retrieval.scorers),
        "whole": round(whole.value("mix", METRIC), 5),
        "candidates": round(found.value("mix", METRIC), 5),
        "difference": round(gap.difference, 5),
        "low": round(gap.low, 5),
        "high": round(gap.high, 5),
        "agree": bool(gap.low <= 0 <= gap.high),
        "targets_found": found.protocol["targets_found"]["mix"],
        "single": {name: [round(one.value(name, METRIC), 5) for one in reports] for name in settings.retrieval.scorers},
        "processor_s": seconds,
    }
    print(row)
    return row


class Steps:
    """What a training tells of its steps, with what each took; a step is what is told until the number or colon."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._since = (time.perf_counter(), time.process_time())

    def __call__(self, what: str, done: int, total: int) -> None:
        name = what.split(":")[0]
        if not self.rows or self.rows[-1]["step"] != name:
            self.close()
            self.rows.append({"step": name})
            print(f"{name} ...", flush=True)

    def close(self) -> None:
        """Ends the step that was told last."""
        now = (time.perf_counter(), time.process_time())
        if self.rows:
            clock, processor = (round(a - b, 1) for a, b in zip(now, self._since, strict=True))
            self.rows[-1] |= {"s": clock, "processor_s": processor, "peak_mb": peak_memory() // 1_000_000}
            print(self.rows[-1], flush=True)
        self._since = now


def cost(asked: argparse.Namespace, settings: Settings, folder: Path) -> dict[str, Any]:
    """Every step of a training of a drawn shop."""
    users, events = asked.users or max(asked.items // 3, 10), asked.events or 10 * asked.items
    shop = draw_shop(asked.items, users, events, asked.seed)
    steps, start = Steps(), (time.perf_counter(), time.process_time())
    _, report = train(shop.dataset, settings, folder / "releases", progress=steps, steps=folder / "steps")
    steps.close()
    row = {
        "items": asked.items,
        "users": users,
        "events": events,
        "scorers": list(settings.retrieval.scorers),
        "questions": asked.questions,
        "s": round(time.perf_counter() - start[0], 1),
        "processor_s": round(time.process_time() - start[1], 1),
        "peak_mb": peak_memory() // 1_000_000,
        "ndcg@10": None if report is None else round(report.value("mix", METRIC), 5),
        "popular_ndcg@10": None if report is None else round(report.value("popular_decayed", METRIC), 5),
        "targets_found": None if report is None else report.protocol.get("targets_found", {}).get("mix"),
        "steps": steps.rows,
    }
    print({name: value for name, value in row.items() if name != "steps"})
    return row


if __name__ == "__main__":
    main()
