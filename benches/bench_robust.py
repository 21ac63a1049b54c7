"""What altered texts, attacks and keeping gain on banking77 at 10 rows per label, over the same runs without them.

Rows, seeds, steps and precision are the same; gains are paired by test row, averaged over seeds, with a bootstrap
interval over rows. An interval that holds 0 is told as no gain. Seconds are processor seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

import common
from langrec.errors import LangrecError
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.metrics import interval
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings, with_overrides

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
WAYS = {
    "synonyms": ["augment=synonyms:0.1", "augment.copies=4"],
    "delete": ["augment=delete:0.1", "augment.copies=4"],
    "swap": ["augment=swap:0.1", "augment.copies=4"],
    "synonyms, swap, delete": ["augment=synonyms:0.1,swap:0.1,delete:0.1", "augment.copies=4"],
    "back-translation": ["augment=translate:1", "augment.there=apertium:eng-spa", "augment.back=apertium:spa-eng"],
    "fgm": ["adversarial=fgm"],
    "freelb": ["adversarial=freelb"],
    "l2 toward the start": ["keep.l2=0.01"],
    "interpolate 0.5": ["keep.interpolate=0.5"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="ways", choices=("ways",))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--kind", default="full")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", default=";".join(WAYS), help="names of WAYS, joined by ;")
    parser.add_argument("--quick", action="store_true", help="little data, one seed, one epoch; writes nothing")
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds = 1
    {"ways": ways}[asked.part](asked)


def keep(part: str, result: dict, asked: argparse.Namespace) -> None:
    """Puts a part's result beside those of the others; a part that is not whole says so."""
    if asked.quick:
        return
    path = common.RESULTS / "robust.json"
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    parts = {name: value for name, value in known.items() if name != "machine"}
    common.write("robust", {**parts, part: {"date": common.machine()["date"], **result}})


def ways(asked: argparse.Namespace) -> None:
    """What altered texts, attacks and keeping gain on banking77 at 10 rows per label."""
    there = asked.data / "banking77"
    with tempfile.TemporaryDirectory() as name:
        place, labels = Path(name), 6 if asked.quick else None
        files = Files(
            *(cut(there / f"{part}.csv.gz", place, labels) if part else None for part in ("train", "", "test"))
        )
        base = AdaptSettings(kind=asked.kind, shots=10, precision="fp32", epochs=1 if asked.quick else 0)
        plain, seconds = measure(base, [], files, asked.seeds)
        rows = [{"way": "plain", "accuracy": float(plain.mean()), "seconds": seconds}]
        print(rows[0], flush=True)
        for way in asked.ways.split(";"):
            changes = list(WAYS[way])
            if "synonyms" in changes[0] and (asked.data / "wordnet-synsets").is_dir():
                changes.append(f"augment.wordnet={asked.data / 'wordnet-synsets'}")
            try:
                right, seconds = measure(base, changes, files, asked.seeds)
            except LangrecError as error:
                rows.append({"way": way, "left_out": error.message})
            else:
                rows.append(gain(way, right, plain) | {"seconds": seconds, "times_plain": seconds / rows[0]["seconds"]})
            print(rows[-1], flush=True)
            keep(
                "ways",
                {"set": "banking77, 10 per label", "kind": asked.kind, "seeds": asked.seeds, "rows": rows},
                asked,
            )


def cut(file: Path, place: Path, labels: int | None) -> Path:
    """The file with the columns that adapt reads, of the first few labels where so many are asked for."""
    frame = pl.read_csv(file).rename({"category": "label"})
    if labels:
        frame = frame.filter(pl.col("label").is_in(sorted(set(frame["label"]))[:labels]))
    out = place / file.name.removesuffix(".gz")
    frame.write_csv(out)
    return out


def measure(base: AdaptSettings, changes: list[str], files: Files, seeds: int) -> tuple[np.ndarray, float]:
    """(seeds, rows) whether each test row was right, and processor seconds of a run."""
    found, start = [], time.process_time()
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as out:
            settings = with_overrides(base, [*changes, f"seed={seed}"])
            adapt("minilm", settings, files, Path(out))
            told = pl.read_parquet(Path(out) / "predictions.parquet")
            found.append((told["label"] == told["predicted"]).to_numpy())
    return np.array(found, dtype=float), (time.process_time() - start) / seeds


def gain(way: str, right: np.ndarray, plain: np.ndarray) -> dict:
    """The paired gain in accuracy with its interval over test rows, and what each seed gained."""
    each = (right - plain).mean(0)
    low, high = interval(each)
    return {
        "way": way,
        "accuracy": float(right.mean()),
        "gain": float(each.mean()),
        "gain_interval": [low, high],
        "gain_by_seed": [float(value) for value in (right - plain).mean(1)],
        "says": "gain" if low > 0 else "loss" if high < 0 else "no gain that the test shows",
    }


if __name__ == "__main__":
    main()
