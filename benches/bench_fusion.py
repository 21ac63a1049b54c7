"""Measures how MovieLens-100K's classical scorers fuse: by learned weights and by rank, beside the best of them.

    python benches/bench_fusion.py [--cache DIR]

Protocol: `langrec evaluate` with the scorers below, no towers among them, once with `ranking.mix=linear` and once with
`ranking.mix=rrf`; the voters of rank fusion, its constant, the weights and every setting are chosen on validation. The
floors are those of a separate harness under the same definitions: rank fusion of all its classical scorers. The gain is
paired by question, against the best scorer of the same run, with an interval by user.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
from langrec.data.fetch import fetch

SCORERS = (
    *("popular", "popular_1d", "popular_7d", "popular_30d", "popular_decayed"),
    *("itemknn", "ease", "transitions", "bm25", "tfidf", "vectors", "tokens"),
)
FLOORS = {"time": 0.118, "loo": 0.123}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--cache", type=Path, help="keep steps there, for a second run")
    args: argparse.Namespace = parser.parse_args()
    with contextlib.ExitStack() as stack:
        cache = str(args.cache) if args.cache else stack.enter_context(tempfile.TemporaryDirectory())
        rows = [measure(split, mix, cache) for split in FLOORS for mix in ("linear", "rrf")]
    common.write("fusion", {"set": "ml-100k", "scorers": list(SCORERS), "rows": rows})


def measure(split: str, mix: str, cache: str) -> dict[str, Any]:
    """One evaluation: the fused lists against the floor and against the best scorer."""
    folder = str(fetch("ml-100k"))
    command = [sys.executable, "-m", "langrec", "evaluate", "--events", folder, "--split", split, "--json"]
    command += ["--set", "retrieval.scorers=" + ",".join(SCORERS), "--set", f"ranking.mix={mix}"]
    with tempfile.TemporaryDirectory() as out:
        environ = {**os.environ, "LANGREC_CACHE": cache}
        subprocess.run([*command, "--out", out], check=True, stdout=subprocess.DEVNULL, env=environ)
        rows = json.loads((Path(out) / "metrics.json").read_text("utf-8"))
        gaps = json.loads((Path(out) / "differences.json").read_text("utf-8"))
    fused = next(row for row in rows if (row["model"], row["slice"], row["metric"]) == ("mix", "all", "ndcg@10"))
    gap = next(row for row in gaps if (row["model"], row["slice"], row["metric"]) == ("mix", "all", "ndcg@10"))
    single = fused["value"] - gap["difference"]
    result = {
        "split": split,
        "mix": mix,
        **{key: fused[key] for key in ("value", "low", "high", "n")},
        "ratio_to_floor": round(fused["value"] / FLOORS[split], 3) if mix == "rrf" else None,
        "best_single": gap["reference"],
        "ratio_to_best_single": round(fused["value"] / single, 3),
        **{f"gain_{key}": gap[key] for key in ("difference", "low", "high")},
    }
    floor = f", {result['ratio_to_floor']:.3f}x the floor" if mix == "rrf" else ""
    gain = f"{result['ratio_to_best_single']:.3f}x {gap['reference']} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
    print(f"{split:5s} {mix:7s} {fused['value']:.4f}, {gain}{floor}", flush=True)
    return result


if __name__ == "__main__":
    main()
