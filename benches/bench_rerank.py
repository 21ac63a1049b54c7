"""What a tuned cross-encoder brings to lists, and what a list then costs.

    python benches/bench_rerank.py --data ml-latest-small [--rows 3000] [--load quiet]

MiniLM's two upper layers are tuned on questions of the training part (what was chosen next, beside an item drawn evenly
and one that EASE ranks high), the release is trained with it, and measured: NDCG@10 with and without the rerank on
questions of validation and of the test, both with the paired interval by user, and milliseconds of one list with and
without it, in turn, on one thread. `--load` is kept with the figures: on a busy machine the times say little.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

import common
from langrec import Bundle, Query, Settings, load_dataset, train
from langrec.lm.adapt.from_log import FromLog
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.settings import RerankSettings
from peers import prepare

SCORERS = ("popular", "popular_7d", "popular_decayed", "itemknn", "ease", "transitions", "bm25", "vectors")


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with events and items")
    parser.add_argument("--work", type=Path, default=Path("rerank-bench"), help="for rows, models and releases")
    parser.add_argument("--rows", type=int, default=3000, help="likes that are learned from; with two negatives each")
    parser.add_argument("--epochs", type=int, default=3, help="of the tuning")
    parser.add_argument("--questions", type=int, default=1000, help="of validation and of the test")
    parser.add_argument("--top", type=int, default=30, help="items that are looked at again")
    parser.add_argument("--learn", type=int, default=8000, help="validation questions that scorers and mix learn from")
    parser.add_argument("--scorers", default=",".join(SCORERS), help="of the release, comma separated")
    parser.add_argument("--judge", type=Path, help="the output of an earlier tuning, instead of tuning")
    parser.add_argument("--runtime", default="auto", help="what computes: auto measures, or one by name")
    parser.add_argument("--lists", type=int, default=100, help="lists that are timed")
    parser.add_argument("--load", default="unknown", help="quiet or loaded: how busy the machine was")
    parser.add_argument("--keep", action="store_true", help="write benches/results/rerank.json")
    given = parser.parse_args()
    tuned = (
        _tuned(given) if given.judge is None else _told(json.loads((given.judge / "metrics.json").read_text("utf-8")))
    )
    result = {"load": given.load, "load_average": os.getloadavg(), "data": given.data.name, "tuned": tuned}
    bundle = Bundle.open(_trained(given))
    told = bundle.manifest["rerank"]
    result |= {part: told[part] for part in ("top", "validation", "test")}
    result["reader"] = told["reader"]
    result["ms"] = _timed(bundle, given.lists)
    for part in ("validation", "test"):
        print(f"{part}: weight {told['validation']['weight']}, {told[part]['why']}")
    print(f"milliseconds of a list: {result['ms']}")
    if given.keep:
        print(common.write("rerank", result))


def _tuned(given: argparse.Namespace) -> dict[str, Any]:
    """Tunes the model on rows of the training part, judged on rows of validation."""
    log = FromLog(given.data, None, 0, "choices", "titles")
    files = []
    for name, n in (("train", given.rows), ("valid", given.rows // 5)):
        log.asked[name] = [log.asked[name][i] for i in _some(len(log.asked[name]), n)]
        rows = log.choices(name, "ease")
        files.append(given.work / f"{name}.parquet")
        given.work.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(
            {
                "history": [list(row) for row in rows.liked],
                "candidate": list(rows.candidates),
                "label": rows.labels,
                "user_id": rows.users.tolist() if rows.users is not None else [],
            }
        ).write_parquet(files[-1])
    own = AdaptSettings(
        task="recommend", kind="last", reads="question", past="titles", beside=False, epochs=given.epochs
    )
    told = adapt("minilm", own, Files(*files), given.work / "judge", told=lambda *said: print(*said, flush=True))
    return _told(told)


def _told(told: dict[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in ("seconds", "rows", "kind", "precision")} | {"auc": told["valid"]["auc"]}


def _some(n: int, wanted: int) -> list[int]:
    return np.sort(np.random.default_rng(0).permutation(n)[:wanted]).tolist()


def _trained(given: argparse.Namespace) -> Path:
    own = RerankSettings(str(given.judge or given.work / "judge"), "always", given.top, questions=given.questions)
    settings = Settings()
    settings = dataclasses.replace(
        settings,
        encoder=dataclasses.replace(settings.encoder, runtime=given.runtime),
        retrieval=dataclasses.replace(settings.retrieval, scorers=tuple(given.scorers.split(","))),
        ranking=dataclasses.replace(
            settings.ranking, rerank=own, questions=given.learn, tune_questions=min(given.learn, 4000)
        ),
    )
    dataset = load_dataset(given.data, None, prepare.data_settings(given.data.name))[0]
    told = lambda *said: print(*said, flush=True)  # noqa: E731
    return train(dataset, settings, given.work / "releases", progress=told, steps=given.work / "steps")[0]


def _timed(bundle: Bundle, n: int) -> dict[str, Any]:
    """Milliseconds of one list with and without the rerank, the two in turn."""
    recommender = bundle.recommender()
    plain = dataclasses.replace(recommender, cross=None)
    events = pl.read_parquet(bundle.folder / "catalog" / "events.parquet")
    queries = []
    for user in recommender.users.names[:n].tolist():
        rows = events.filter(pl.col("user_id") == user)
        queries.append(Query(user=user, history=tuple(rows["item_id"]), history_at=tuple(rows["at"])))
    spent: dict[str, list[float]] = {"with": [], "without": []}
    with threadpool_limits(1):
        for query in [queries[0], *queries]:
            for name, one in (("with", recommender), ("without", plain)):
                start = time.perf_counter()
                one.recommend([query])
                spent[name].append(1000 * (time.perf_counter() - start))
    return {
        name: {f"p{at}": round(float(np.percentile(one[1:], at)), 2) for at in (50, 95)} for name, one in spent.items()
    }


if __name__ == "__main__":
    main()
