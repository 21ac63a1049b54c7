"""Few-shot likes on the movie set of TALLRec: AUC at 16, 64 and 256 rows beside the floor and a published 7B model.

    python benches/bench_tallrec.py --kinds head,side --seeds 5

Every choice (ridges, epochs) is made on the validation rows; the test is measured once per seed. Intervals are by user:
the 1,000 test rows are windows of 16 users' histories. Published numbers: TALLRec, Bao et al. 2023, Table 1.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

import common
from langrec.lm.adapt.examples import read_choices
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.metrics import auc, auc_difference, auc_interval, user_auc
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings

PUBLISHED = {16: 0.6724, 64: 0.6748, 256: 0.7198}
DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "tallrec-movie"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--kinds", default="head,side", help="kinds of adaptation, comma separated")
    parser.add_argument("--seeds", type=int, default=5, help="seeds that each is repeated with")
    parser.add_argument("--shots", default="16,64,256", help="numbers of rows to learn from, comma separated")
    asked = parser.parse_args()
    suffix = next(s for s in ("jsonl.gz", "jsonl", "json") if (asked.data / f"train.{s}").exists())
    files = Files(*(asked.data / f"{part}.{suffix}" for part in ("train", "valid", "test")))
    test = read_choices(files.test)
    share = np.array([(len(a) + 1) / (len(a) + len(b) + 2) for a, b in zip(test.liked, test.disliked, strict=True)])
    floor = {
        "auc": auc(test.labels, share),
        "auc_interval": auc_interval(test.labels, share, test.users),
        "user_auc": user_auc(test.labels, share, test.users),
    }
    print(f"floor (share of liked titles): AUC {floor['auc']:.4f}, user AUC {floor['user_auc']:.4f}", flush=True)
    rows = []
    for kind in asked.kinds.split(","):
        for shots in (int(n) for n in asked.shots.split(",")):
            rows.append(one(kind, shots, asked.seeds, files, test, share))
            print(line(rows[-1]), flush=True)
    rows = common.kept("tallrec", rows, "kind", "shots") + rows
    common.write("tallrec", {"rows": rows, "floor": floor, "published": PUBLISHED, "test_rows": len(test)})


def one(kind: str, shots: int, seeds: int, files: Files, test, share) -> dict:
    """One kind at one number of rows, over seeds."""
    found, scores, started = [], [], time.perf_counter()
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as out:
            settings = AdaptSettings(task="recommend", kind=kind, shots=shots, seed=seed)
            told = adapt("minilm", settings, files, Path(out))
            scores.append(pl.read_parquet(Path(out) / "predictions.parquet")["probability"].to_numpy())
        epoch = float(np.median([row["seconds"] for row in told["epochs"][1:]]))
        found.append(
            {
                "seed": seed,
                "epoch_seconds": epoch,
                "seconds": told["seconds"],
                "valid_auc": told["valid"]["auc"],
                **told["test"],
            }
        )
    areas = np.array([row["auc"] for row in found])
    # The paired gap to the floor, for the mean of the seeds' log-odds: what is said of the method, not of one draw.
    odds = np.mean([np.log(p / (1 - p)) for p in np.clip(scores, 1e-6, 1 - 1e-6)], axis=0)
    gap = auc_difference(test.labels, odds, share, test.users)
    keep = (
        "seed",
        "seconds",
        "epoch_seconds",
        "valid_auc",
        "auc",
        "auc_interval",
        "user_auc",
        "accuracy",
        "above_floor",
    )
    return {
        "kind": kind,
        "shots": shots,
        "auc": float(areas.mean()),
        "auc_deviation": float(areas.std(ddof=1)) if len(areas) > 1 else 0.0,
        "auc_interval_of_first_seed": found[0]["auc_interval"],
        "user_auc": float(np.mean([row["user_auc"] for row in found])),
        "seeds_above_floor": int(sum(row["above_floor"] > 0 for row in found)),
        "ensemble_auc": auc(test.labels, odds),
        "ensemble_auc_interval": auc_interval(test.labels, odds, test.users),
        "ensemble_above_floor": list(gap),
        "published_7b": PUBLISHED.get(shots),
        "seconds": time.perf_counter() - started,
        "epoch_seconds": float(np.mean([row["epoch_seconds"] for row in found])),
        "seeds": [{name: row[name] for name in keep} for row in found],
    }


def line(row: dict) -> str:
    gap, low, high = row["ensemble_above_floor"]
    return (
        f"{row['kind']:5s} {row['shots']:4d} rows: AUC {row['auc']:.4f} (deviation {row['auc_deviation']:.4f}), "
        f"user AUC {row['user_auc']:.4f}, above the floor in {row['seeds_above_floor']} seeds; mean of seeds "
        f"{row['ensemble_auc']:.4f}, above the floor by {gap:+.4f} [{low:+.4f}, {high:+.4f}]; 7B published "
        f"{row['published_7b']}; {row['seconds']:.0f} s, an epoch {row['epoch_seconds']:.2f} s"
    )


if __name__ == "__main__":
    main()
