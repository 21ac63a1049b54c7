"""The candidate path of large catalogues beside the whole-catalogue path, on the same releases in the same run.

    python benches/bench_candidates.py --data ml-100k [--data FOLDER]   # NDCG@10 of both, and their ratio
    python benches/bench_candidates.py --items 1000000 [--releases FOLDER]      # milliseconds of both, of changes

Quality: the last event of each user is held out, a release is trained on the others, and both paths answer the users.
Speed: a drawn release of so many items (built where the folder holds none, which takes minutes), histories of 50. The
peer is the dense path of the same release, asked one by one.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

import common
from langrec import Bundle, Query, Recommender, Settings, finding, load_dataset, train
from langrec.benching.release import write_large_release
from langrec.data.dataset import Dataset
from langrec.data.fetch import fetch
from langrec.types import Item

K, ASKED, DENSE_ASKED, HISTORY, NEW = 10, 240, 10, 50, 20


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument(
        "--data", action="append", default=[], help="a set of `langrec data fetch`, or a folder of one; may come again"
    )
    parser.add_argument("--scorers", default="", help="scorers of the trained releases, comma separated; default: all")
    parser.add_argument("--items", type=int, default=0, help="items of a drawn release")
    parser.add_argument("--releases", type=Path, help="the folder of the drawn release")
    asked = parser.parse_args()
    result: dict[str, Any] = {"load": os.getloadavg()[0], "quality": [], "speed": []}
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        for data in asked.data:
            result["quality"].append(quality(data, asked.scorers, Path(name)))
        if asked.items:
            result["speed"].append(speed(asked.items, asked.releases or Path(name) / "drawn"))
    print(common.write("candidates", result))


def quality(data: str, scorers: str, folder: Path) -> dict[str, Any]:
    """NDCG@10 of the next event by both paths."""
    dataset, _ = load_dataset(Path(data) if Path(data).is_dir() else fetch(data))
    events = dataset.events
    last = len(events) - 1 - np.unique(events.users[::-1], return_index=True)[1]
    kept = np.ones(len(events), dtype=np.bool_)
    kept[last] = False
    settings = Settings()
    if scorers:
        settings = replace(settings, retrieval=replace(settings.retrieval, scorers=tuple(scorers.split(","))))
    release, _ = train(
        Dataset(dataset.users, dataset.catalogue, events.take(kept), dataset.profiles),
        settings,
        folder / Path(data).name,
    )
    dense = Bundle.open(release).recommender()
    large = replace(dense, fusion=finding.near(dense.fusion, finding.build(dense.fusion, settings)[0]))
    histories = events.take(kept).by_user(len(dataset.users))
    names = dataset.catalogue.ids
    queries, targets = [], []
    for row in last:
        user = int(events.users[row])
        own = slice(histories.offsets[user], histories.offsets[user + 1])
        if own.stop > own.start:
            targets.append(names[int(events.items[row])])
            queries.append(
                Query(history=names.take(histories.items[own]), history_at=tuple(histories.at[own].tolist()), k=K)
            )
    first, second = (list(one.recommend_many(queries)) for one in (dense, large))
    ndcg = [
        float(np.mean([gain(answer.ids, target) for answer, target in zip(lists, targets, strict=True)]))
        for lists in (first, second)
    ]
    overlap = float(np.mean([len(set(a.ids) & set(b.ids)) / K for a, b in zip(first, second, strict=True)]))
    row = {
        "data": Path(data).name,
        "items": len(dataset.catalogue),
        "questions": len(queries),
        "dense_ndcg@10": round(ndcg[0], 4),
        "candidates_ndcg@10": round(ndcg[1], 4),
        "ratio": round(ndcg[1] / max(ndcg[0], 1e-9), 4),
        "overlap@10": round(overlap, 4),
    }
    print(row)
    return row


def gain(ids: tuple[str, ...], target: str) -> float:
    return 1.0 / float(np.log2(ids.index(target) + 2)) if target in ids else 0.0


def speed(items: int, releases: Path) -> dict[str, Any]:
    """Milliseconds a request on one core, by both paths, and of a new item until it is found."""
    if not (releases / "CURRENT").is_file():
        write_large_release(releases, items, max(items // 10, 100), items * 10)
    start = time.perf_counter()
    bundle = Bundle.open(releases, verify=False)
    recommender = bundle.recommender()
    loaded = time.perf_counter() - start
    queries = asked_of(bundle)
    recommender.recommend(queries[:2])
    row: dict[str, Any] = {"items": items, "load_s": round(loaded, 1), "indexes": bundle.manifest.get("indexes")}
    for block in (1, 8):
        ms = [
            timed(lambda start=start, block=block: recommender.recommend(queries[start : start + block]))
            for start in range(0, ASKED, block)
        ]
        row[f"block_{block}"] = {f"p{p}_ms": round(float(np.percentile(ms, p)) / block, 2) for p in (50, 95, 99)}
    search = [timed(lambda i=i: recommender.search([Query(text=recommender.items.title(i), k=K)])) for i in range(50)]
    row["search_p50_ms"] = round(float(np.median(search)), 2)
    dense = replace(recommender, fusion=replace(recommender.fusion, near=None))
    row["dense_p50_ms"] = round(
        float(np.median([timed(lambda q=q: dense.recommend([q])) for q in queries[:DENSE_ASKED]])), 1
    )
    row["times_faster"] = round(row["dense_p50_ms"] / row["block_1"]["p50_ms"], 1)
    row["new_item_ms"] = round(float(np.median(new_items(recommender))), 1)
    row["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(row)
    return row


def asked_of(bundle: Bundle) -> list[Query]:
    """Queries of users with their newest events."""
    events = pl.read_parquet(bundle.folder / "catalog" / "events.parquet")
    names = events["user_id"].unique(maintain_order=True)[:ASKED]
    rows = events.filter(pl.col("user_id").is_in(names.implode())).sort("at").group_by("user_id", maintain_order=True)
    last = rows.agg(pl.col("item_id").tail(HISTORY), pl.col("at").tail(HISTORY))
    found = [Query(user=user, history=tuple(ids), history_at=tuple(at), k=K) for user, ids, at in last.iter_rows()]
    return (found * (1 + ASKED // max(len(found), 1)))[:ASKED]


def new_items(recommender: Recommender) -> list[float]:
    """Milliseconds from the write of a new item to a search that finds it."""
    out = []
    for num in range(NEW):
        item = Item(f"new-{num}", title=f"unheard{num} {recommender.items.title(num)}")

        def arrives(item: Item = item) -> None:
            nonlocal recommender
            recommender = recommender.with_changes([item])
            found = recommender.search([Query(text=item.title, k=3)])[0].ids
            assert item.id in found, f"{item.id} was not found"

        out.append(timed(arrives))
    return out


def timed(work: Any) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
