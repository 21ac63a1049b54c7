"""Users a second of the batch road of `langrec recommend`, beside the same users asked one by one in the same run.

    python benches/bench_recommend.py [--release releases]

Lists of ten for every user of MovieLens-100K from a release with the default settings (trained here where none is
given, which takes minutes), on one core and on all. The peer is the road of a single request; its lists must be the
same. Medians of three rounds, in turn. The target is 2,000 users a second. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

import common
from langrec import Bundle, Query, Settings, load_dataset, train
from langrec.data.fetch import fetch

ROUNDS, ALONE, TARGET = 3, 150, 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--release", type=Path, help="a release of MovieLens-100K, or a folder of releases")
    given = parser.parse_args().release
    with tempfile.TemporaryDirectory() as name:
        bundle = Bundle.open(given or trained(Path(name)))
        recommender = bundle.recommender()
        queries = asked(bundle)
    cores = os.cpu_count() or 1
    every = len(queries)
    roads: dict[str, tuple[int, Callable[[], list[Any]]]] = {
        "one by one": (ALONE, lambda: [recommender.recommend([query])[0] for query in queries[:ALONE]]),
        "batch, 1 core": (every, lambda: list(recommender.recommend_many(queries))),
        f"batch, {cores} cores": (every, lambda: list(recommender.recommend_many(queries, threads=cores))),
    }
    load = os.getloadavg()
    with threadpool_limits(1):
        answers = {name: road() for name, (_, road) in roads.items()}
        seconds: dict[str, list[float]] = {name: [] for name in roads}
        for _ in range(ROUNDS):
            for name, (_, road) in roads.items():
                start = time.perf_counter()
                road()
                seconds[name].append(time.perf_counter() - start)
    first = [answer.ids for answer in answers["one by one"]]
    same = {
        name: np.mean([one.ids == ids for one, ids in zip(found, first, strict=False)])
        for name, found in answers.items()
    }
    rate = {name: count / float(np.median(seconds[name])) for name, (count, _) in roads.items()}
    rows = [
        {
            "road": name,
            "users_a_second": round(rate[name], 1),
            "ratio": round(rate[name] / rate["one by one"], 2),
            "of_target": round(rate[name] / TARGET, 2),
            "same_lists": round(float(same[name]), 4),
        }
        for name in roads
    ]
    for row in rows:
        print(
            f"{row['road']:14s} {row['users_a_second']:7.0f} users a second, {row['ratio']:5.2f}x one by one, "
            f"{row['of_target']:.2f} of the target, {row['same_lists']:.1%} same lists"
        )
    result = {
        "data": "MovieLens-100K",
        "users": every,
        "items": recommender.n_items,
        "scorers": list(recommender.scorer_names),
        "trees": recommender.fusion.reranker is not None,
        "target": TARGET,
        "rows": rows,
        "load": [load, os.getloadavg()],
    }
    print(f"written to {common.write('recommend', result).name}")


def trained(folder: Path) -> Path:
    """A release with the default settings."""
    dataset, _ = load_dataset(fetch("ml-100k"))
    return train(dataset, Settings(), folder / "releases")[0]


def asked(bundle: Bundle) -> list[Query]:
    """One query per user with their whole history."""
    events = pl.read_parquet(bundle.folder / "catalog" / "events.parquet")
    return [
        Query(
            user=str(name),
            history=tuple(rows["item_id"]),
            history_at=tuple(rows["at"]),
            history_types=tuple(rows["type"]),
        )
        for (name,), rows in events.group_by(["user_id"], maintain_order=True)
    ]


if __name__ == "__main__":
    main()
