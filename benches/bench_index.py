"""The index at 100 thousand, 1 million and 10 million vectors: what it finds and costs, beside the targets.

    python benches/bench_index.py                                         # 100 thousand and 1 million, made-up texts
    python benches/bench_index.py --from FOLDER --from ITEMS --sizes 100000 1000000 10000000

`--from` names what the vectors are like, as in `langrec bench index`. Every size runs in a process of its own; beside
it run brute force and, up to a million vectors, usearch or hnswlib where one is installed. Writes results/index.json,
and keeps there the sizes of an earlier run on the same processor, so that a size of half an hour can run by itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common

# What is wanted, and how it is read from the figures of one size.
EVERY = {
    "recall@100 of the mixture at least 0.97": lambda one: (one["recall@100"], one["recall@100"] >= 0.97),
    "recall@100 of the real vectors at least 0.97": lambda one: (
        one["real"]["recall@100"],
        one["real"]["recall@100"] >= 0.97,
    ),
    "at most 160 resident bytes an item beside the mapped vectors": lambda one: (
        one["resident_bytes_per_item"],
        one["resident_bytes_per_item"] <= 160,
    ),
    "filters of 0.1 %, 1 % and 10 % within 2x of the unfiltered search": lambda one: (
        [filtered["times_unfiltered"] for filtered in one["filters"].values()],
        all(filtered["times_unfiltered"] <= 2 for filtered in one["filters"].values()),
    ),
    "filters fill the list, and are exact at 1 % and below": lambda one: (
        [filtered["recall@100"] for filtered in one["filters"].values()],
        all(filtered["filled"] == 1 for filtered in one["filters"].values())
        and all(one["filters"][share]["recall@100"] == 1 for share in ("0.1%", "1.0%")),
    ),
}
MILLION = {
    "p99 of one search at most 1 ms on one core": lambda one: (one["p99_ms"], one["p99_ms"] <= 1),
    "at least 25x faster than brute-force NumPy": lambda one: (
        one["times_faster_than_brute_force"],
        one["times_faster_than_brute_force"] >= 25,
    ),
    "built in at most 60 s on 2 cores": lambda one: (one["build_s"], one["build_s"] <= 60),
}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000], help="numbers of vectors")
    parser.add_argument("--from", dest="sources", action="append", default=[], help="what the vectors are like")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="as for langrec")
    args = parser.parse_args()
    runs = [measured(size, args.sources, args.overrides) for size in args.sizes]
    alike = [one for one in common.kept("index", runs, "items", under="runs") if one.get("cpu") == runs[0]["cpu"]]
    runs = sorted(alike + runs, key=lambda one: one["items"])
    targets = {}
    for one in runs:
        wanted = {**EVERY, **(MILLION if one["items"] == 1_000_000 else {})}
        targets[str(one["items"])] = {name: verdict(*read(one)) for name, read in wanted.items()}
    growth = round(runs[-1]["p50_ms"] / runs[0]["p50_ms"], 2)
    name = f"latency grows at most 2x from {runs[0]['items']:,} to {runs[-1]['items']:,}"
    targets["growth"] = {name: verdict(growth, growth <= 2)}
    for size, found in targets.items():
        for name, (value, held) in ((name, (said["is"], said["holds"])) for name, said in found.items()):
            print(f"{size:>9}  {'holds' if held else 'MISSED'}  {name}: {value}")
    print(common.write("index", {"runs": runs, "targets": targets}))


def measured(size: int, sources: list[str], overrides: list[str]) -> dict[str, Any]:
    """The figures of one size."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "index.json"
        words = ["bench", "index", "--items", str(size), "--json", str(out), "--folder", f"{folder}/index"]
        for source in sources:
            words += ["--from", source]
        for override in overrides:
            words += ["--set", override]
        subprocess.run([sys.executable, "-m", "langrec", *words], check=True)
        here = common.machine()
        return {"date": here["date"], "cpu": here["cpu"], **json.loads(out.read_text("utf-8"))}


def verdict(value: Any, held: bool) -> dict[str, Any]:
    return {"is": value, "holds": bool(held)}


if __name__ == "__main__":
    main()
