"""10 million events through read, clean, number, sort and split, against Polars' read, unique and sort of the file.

    python benches/bench_data_scale.py --events 10000000

Target: at most 3 times Polars' seconds and at most 3 GB of peak memory. Each side runs in a process of its own, in
turn, several times; the ratio is between the best runs.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

N_EVENTS = 10_000_000
N_USERS = 300_000
N_ITEMS = 60_000
LARGEST_RATIO = 3.0
LARGEST_GB = 3.0


def write_events(path: Path, n_events: int) -> None:
    """A log with string ids, skewed users and items, a year of unsorted times, 1 % duplicates and some broken rows."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    users = (rng.pareto(1.2, n_events) * N_USERS / 20).astype(np.int64) % N_USERS
    items = (rng.pareto(1.0, n_events) * N_ITEMS / 50).astype(np.int64) % N_ITEMS
    at = rng.integers(1_680_000_000, 1_711_536_000, n_events)
    at[rng.integers(0, n_events, 1000)] = -5
    copies = rng.integers(0, n_events, n_events // 100)
    places = rng.integers(0, n_events, n_events // 100)
    for column in (users, items, at):
        column[places] = column[copies]
    frame = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": at}).with_columns(
        ("user-" + pl.col("user_id").cast(pl.String)).alias("user_id"),
        ("item-" + pl.col("item_id").cast(pl.String)).alias("item_id"),
        (pl.col("timestamp") % 5 + 1).cast(pl.Float32).alias("rating"),
    )
    gaps = pl.Series(np.isin(np.arange(n_events), rng.integers(0, n_events, 1000)))
    frame.with_columns(pl.when(gaps).then(None).otherwise(pl.col("item_id")).alias("item_id")).write_parquet(path)


def run_polars(path: Path) -> dict[str, float]:
    import polars as pl

    start = time.perf_counter()
    frame = pl.read_parquet(path)
    read = time.perf_counter()
    frame = frame.unique()
    unique = time.perf_counter()
    frame = frame.sort("timestamp")
    end = time.perf_counter()
    return {"seconds": end - start, "read": read - start, "unique": unique - read, "sort": end - unique}


def run_langrec(path: Path) -> dict[str, float]:
    import langrec.data.item_table  # noqa: F401 - imports are not timed on either side
    from langrec.data.load import load_dataset
    from langrec.data.splits import split_events

    steps: dict[str, float] = {}
    start = last = time.perf_counter()
    name = "find files"

    def tell(next_name: str) -> None:
        nonlocal name, last
        now = time.perf_counter()
        steps[name] = now - last
        name, last = next_name, now

    dataset, report = load_dataset(path, progress=tell)
    tell("split")
    split = split_events(dataset.events, len(dataset.users))
    tell("end")
    assert len(split.train) + len(split.valid) + len(split.test) == report.events
    assert report.count("duplicate") > 0 and report.count("missing_item") > 0
    return {"seconds": time.perf_counter() - start, **steps, "events": report.events, "refused": report.refused}


def run_apart(side: str, path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--side", side, "--file", str(path)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--side", choices=("polars", "langrec"), help="runs this side alone, in this process")
    parser.add_argument("--file", type=Path, help="a log in place of one that is made up")
    parser.add_argument("--events", type=int, default=N_EVENTS, help="events of the log that is made up")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side, of which the best counts")
    args = parser.parse_args()
    if args.side:
        found = (run_polars if args.side == "polars" else run_langrec)(args.file)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(json.dumps({**{name: round(value, 3) for name, value in found.items()}, "peak_gb": round(peak, 2)}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        write_events(path, args.events)
        runs: dict[str, list[dict[str, float]]] = {"polars": [], "langrec": []}
        for _ in range(args.runs):
            for side, found in runs.items():
                found.append(run_apart(side, path))
                print(side, found[-1], flush=True)
        best = {side: min(found, key=lambda run: run["seconds"]) for side, found in runs.items()}
        ratio = best["langrec"]["seconds"] / best["polars"]["seconds"]
        peak = max(run["peak_gb"] for run in runs["langrec"])
        result = {
            "events": args.events,
            "file_mb": round(path.stat().st_size / 1e6, 1),
            "ratio_to_polars": round(ratio, 2),
            "target_ratio": LARGEST_RATIO,
            "peak_gb": peak,
            "target_gb": LARGEST_GB,
            "met": ratio <= LARGEST_RATIO and peak <= LARGEST_GB,
            "best": best,
            "runs": runs,
        }
    common.write("data_scale", result)
    print(f"langrec / Polars = {ratio:.2f} (at most {LARGEST_RATIO:g}), peak {peak:.2f} GB (at most {LARGEST_GB:g})")


if __name__ == "__main__":
    main()
