"""Users a second of the batch road of `langrec recommend`, beside the same users asked one by one in the same run.

    python benches/bench_recommend.py [--release releases]

Lists of ten for every user of MovieLens-100K from a release with the default settings (trained here where none is
given, which takes minutes), on one core and on all. The peer is the road of a single request; its lists must be the
same. Medians of three rounds, in turn. The target is 2,000 users a second. Beside the seconds of the clock stands the
processor's time: on a busy machine only the second says what the work costs. Last, the share of each stage.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

import common
from langrec import Bundle, Query, Recommender, Settings, load_dataset, train
from langrec.data.fetch import fetch
from langrec.lists import TOGETHER, Histories, Lists, best_rows, lists_of

ROUNDS, ALONE, K, TARGET = 3, 150, 10, 2_000


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--release", type=Path, help="a release of MovieLens-100K, or a folder of releases")
    given = parser.parse_args().release
    with tempfile.TemporaryDirectory() as name:
        bundle = Bundle.open(given or trained(Path(name)))
        recommender = bundle.recommender()
        events = pl.read_parquet(bundle.folder / "catalog" / "events.parquet")
    names = recommender.users.names.tolist()
    queries = asked(names[:ALONE], events)
    cores = os.cpu_count() or 1

    def together(threads: int) -> list[tuple[str, ...]]:
        histories = Histories.of(recommender, names, events)
        lists = Lists.joined(list(lists_of(recommender, histories, K, threads=threads)))
        ids = recommender.items.ids.take(lists.items)
        return [ids[end - n : end] for end, n in zip(np.cumsum(lists.lengths), lists.lengths, strict=True)]

    roads: dict[str, tuple[int, Callable[[], list[tuple[str, ...]]]]] = {
        "one by one": (ALONE, lambda: [recommender.recommend([query])[0].ids for query in queries]),
        "batch, 1 core": (len(names), lambda: together(1)),
        f"batch, {cores} cores": (len(names), lambda: together(cores)),
    }
    load = os.getloadavg()
    with threadpool_limits(1):
        answers = {name: road() for name, (_, road) in roads.items()}
        clock: dict[str, list[float]] = {name: [] for name in roads}
        cpu: dict[str, list[float]] = {name: [] for name in roads}
        for _ in range(ROUNDS):
            for name, (_, road) in roads.items():
                start, busy = time.perf_counter(), time.process_time()
                road()
                clock[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - busy)
        shares = stages(recommender, names, events)
    first = answers["one by one"]
    rows = []
    for name, (count, _) in roads.items():
        rate, per_cpu = (count / float(np.median(seconds[name])) for seconds in (clock, cpu))
        same = np.mean([one == other for one, other in zip(answers[name], first, strict=False)])
        rows.append(
            {
                "road": name,
                "users_a_second": round(rate, 1),
                "users_a_cpu_second": round(per_cpu, 1),
                "of_target": round(rate / TARGET, 2),
                "same_lists": round(float(same), 4),
            }
        )
    for row in rows:
        row["ratio"] = round(row["users_a_cpu_second"] / rows[0]["users_a_cpu_second"], 2)
        print(
            f"{row['road']:14s} {row['users_a_second']:7.0f} users a second ({row['of_target']:.2f} of the target), "
            f"{row['users_a_cpu_second']:7.0f} a second of processor time, {row['ratio']:5.2f}x one by one, "
            f"{row['same_lists']:.1%} same lists"
        )
    for name, share in shares.items():
        print(f"  {share:6.1%} {name}")
    result = {
        "data": "MovieLens-100K",
        "users": len(names),
        "items": recommender.n_items,
        "scorers": list(recommender.scorer_names),
        "trees": recommender.fusion.reranker is not None,
        "target": TARGET,
        "rows": rows,
        "stages": shares,
        "load": [load, os.getloadavg()],
    }
    print(f"written to {common.write('recommend', result).name}")


def trained(folder: Path) -> Path:
    """A release with the default settings."""
    dataset, _ = load_dataset(fetch("ml-100k"))
    return train(dataset, Settings(), folder / "releases")[0]


def asked(names: list[str], events: pl.DataFrame) -> list[Query]:
    """One query per user with their whole history."""
    own = {name: rows for (name,), rows in events.group_by(["user_id"], maintain_order=True)}
    return [
        Query(
            user=name,
            history=tuple(own[name]["item_id"]),
            history_at=tuple(own[name]["at"]),
            history_types=tuple(own[name]["type"]),
            k=K,
        )
        for name in names
    ]


def stages(recommender: Recommender, names: list[str], events: pl.DataFrame) -> dict[str, float]:
    """The share of each stage of the batch road in its processor time, largest first; the best of three rounds."""
    fusion, best, now = recommender.fusion, {}, int(events["at"].max()) + 1
    for _ in range(ROUNDS):
        spent: dict[str, float] = {}

        def timed(name: str, work: Callable[[], Any], spent: dict[str, float] = spent) -> Any:
            start = time.process_time()
            done = work()
            spent[name] = spent.get(name, 0.0) + time.process_time() - start
            return done

        histories = timed("numbering", lambda: Histories.of(recommender, names, events))
        order = np.argsort(np.diff(histories.offsets), kind="stable")
        for start in range(0, len(order), TOGETHER):
            part = order[start : start + TOGETHER]
            block = timed("numbering", lambda part=part, of=histories: of.take(part).block(now))
            mixed = timed("mixed", lambda block=block: fusion.mixed(block)[0])
            shared = replace(block, kept={})
            for signal in dict.fromkeys(replace(one, rare=False) for one in fusion.signals):
                scorer = fusion.scorers[signal.scorer]
                bound = scorer.with_params(**dict(signal.params)) if signal.params else scorer
                timed(signal.scorer, lambda bound=bound, shared=shared: bound.score_block(shared))
            timed("selecting", lambda mixed=mixed: best_rows(mixed, K))
        best = {name: min(seconds, best.get(name, seconds)) for name, seconds in spent.items()}
    # A popularity is asked once for each time there is; here it was asked for every user, which is not the road.
    scoring = {name: best[name] for name in fusion.scorers if name in best and not name.startswith("popular")}
    rest = {"numbering": best["numbering"], "selecting": best["selecting"]}
    rest["scaling and adding, popularity"] = max(best["mixed"] - sum(scoring.values()), 0.0)
    found = {**scoring, **rest}
    whole = sum(found.values())
    return {name: round(found[name] / whole, 4) for name in sorted(found, key=lambda name: -found[name])}


if __name__ == "__main__":
    main()
