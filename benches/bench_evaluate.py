"""Measures every scorer and the mix on public sets, beside figures that an independent harness reached.

    python benches/bench_evaluate.py [--sets ml-100k,ml-latest-small,amazon-beauty-2014,amazon-office-2018] [--data DIR]
                                     [--cache DIR] [--lists DIR]

Protocol: `langrec evaluate` with its defaults, and what SETTINGS says of a set, found on validation; settings and mix
weights are chosen on validation only. The floors were measured once by a separate harness under the same definitions
(full catalogue, history excluded, ties by number). The global time split asks the next item of every test event;
leave-one-out leaks other users' future and is for comparison with papers; own takes the parts that the set names.
MovieLens-100K is fetched from the package registry; the other sets are read from --data and skipped where they are
absent. `--lists` keeps whole reports in DIR/<set>-<split>, as `python -m benches.peers.run --ours` reads them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
from peers import prepare

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
# The rows of one user and time that stand by item id are drawn anew: such an order says nothing of the user.
SETTINGS = {
    "amazon-beauty-2014": ("id_tower.dim=128",),
    **dict.fromkeys(prepare.DRAWN, ("data.equal_times=drawn",)),
}
SETS = {
    "ml-100k": ("time", "loo"),
    "ml-latest-small": ("time", "loo"),
    "amazon-beauty-2014": ("loo",),
    "amazon-office-2018": ("own",),
}
# Measured where it is named: 1.5 million events of 68,509 products take hours on two cores.
LARGE = {"complete-journey-grocery": ("time",)}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--sets", default=",".join(SETS), help="data sets, comma separated")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).parents[1] / ".." / "shared" / "data",
        help="folder of the sets that cannot be fetched; absent ones are skipped",
    )
    parser.add_argument("--cache", type=Path, help="keep steps there; then no seconds are told")
    parser.add_argument("--lists", type=Path, help="keep reports and lists there")
    parser.add_argument("--own", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.own:
        _measure_own(args.own[0], args.data, Path(args.own[1]))
        return
    with contextlib.ExitStack() as stack:
        # A cache of this run's own: the seconds hold everything that a first run pays.
        cache = str(args.cache) if args.cache else stack.enter_context(tempfile.TemporaryDirectory())
        lists = args.lists or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _run(args.sets.split(","), args.data, lists, {**os.environ, "LANGREC_CACHE": cache}, bool(args.cache))


def _run(sets: list[str], data: Path, lists: Path, environ: dict[str, str], kept: bool) -> None:
    for name in sets:
        folder = _folder(name, data)
        if folder is None:
            print(f"{name}: no data in {data}, skipped")
            continue
        for split in {**SETS, **LARGE}[name]:
            result = measure(name, folder, split, lists / f"{name}-{split}", environ)
            if kept:
                result["seconds"] = None  # of the run alone; what the steps took is not in them
            common.write(f"evaluate-{name}-{split}", result)
            _show(result)


def measure(name: str, folder: Path, split: str, out: Path, environ: dict[str, str]) -> dict[str, Any]:
    """One evaluation in a process of its own, so that its peak memory is its own."""
    if split == "own":
        command = [sys.executable, __file__, "--data", str(folder.parent), "--own", name, str(out)]
    else:
        command = [sys.executable, "-m", "langrec", "evaluate", "--events", str(folder), "--split", split]
        command += [word for one in SETTINGS.get(name, ()) for word in ("--set", one)]
        command += ["--out", str(out), "--json"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)
    seconds = time.perf_counter() - start
    rows = json.loads((out / "metrics.json").read_text("utf-8"))
    protocol = json.loads((out / "protocol.json").read_text("utf-8"))
    differences = json.loads((out / "differences.json").read_text("utf-8"))
    per_user = out / "per_user" / "metrics.json"
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


def _measure_own(name: str, data: Path, out: Path) -> None:
    """The parts that the set names itself, as the peers are asked them."""
    from langrec.recipe import load_settings
    from langrec.training import evaluate_models

    asked = prepare.ask(name, prepare.OWN, data)
    split = dataclasses.replace(asked.split, kind="given")
    report, _ = evaluate_models(asked.dataset, load_settings(overrides=SETTINGS.get(name, ())), split=split)
    report.write(out)


def _folder(name: str, data: Path) -> Path | None:
    if name == "ml-100k":
        from langrec.data.fetch import fetch

        return fetch("ml-100k")
    return data / name if (data / name).is_dir() else None


def _show(result: dict[str, Any]) -> None:
    took = "steps kept" if result["seconds"] is None else f"{result['seconds']} s"
    print(f"{result['set']} {result['split']}: {took}")
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
