"""The road of recipes/adapted.toml on ml-latest-small: the command's time, and what it does to lists and to search.

    python benches/bench_adapted.py [--data FOLDER] [--set section.key=value ...] [--cache FOLDER] [--no-command]

First `langrec train recipes/adapted.toml` runs as a person would run it, from an empty cache, and is timed. Then the
test is asked three times in one process: the encoder as it was, adapted, and adapted and made cheaper (what the release
serves). Beside the lists stands search: a title finding its own text, or where items have only a title one half of it
the other. The differences are paired, users resampled.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import common
from langrec.steps import step_hash
from peers import prepare

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "adapted.toml"
DATA = Path(os.environ.get("LANGREC_TEST_DATA", ROOT / ".." / "shared" / "data")) / "ml-latest-small"
MODELS = ("vectors", "text_tower", "mix")
BEFORE, ADAPTED, SERVED = "as it was", "adapted", "adapted and made cheaper"
OFF = {BEFORE: ["encoder.adapt.task=off", "compress.steps="], ADAPTED: ["compress.steps="], SERVED: []}
MINUTES = 30


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", help="section.key=value over the recipe; may come again"
    )
    parser.add_argument("--cache", type=Path, help="Keeps what was done, so that an interrupted bench goes on.")
    parser.add_argument("--no-command", action="store_true", help="Leaves the timed command out.")
    asked = parser.parse_args()
    if not asked.data.exists():
        raise SystemExit(f"{asked.data}: not there; LANGREC_TEST_DATA names the folder that holds ml-latest-small")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LANGREC_CACHE"] = str(asked.cache or Path(folder) / "cache")
        ran = None if asked.no_command else timed(asked, Path(folder) / "releases")
        result = {"set": asked.data.name, "recipe": RECIPE.name, "set_beside": asked.overrides, "command": ran}
        result |= measure(asked.data, asked.overrides)
        common.write(f"adapted-{asked.data.name}", {**result, "load": list(os.getloadavg())})
        show(result)


def timed(asked: argparse.Namespace, out: Path) -> dict[str, Any]:
    """What the command took; kept beside the steps, as an interrupted bench would find these done and time nothing."""
    if asked.cache is None:
        return command(asked.data, asked.overrides, out)
    what = step_hash(
        "command", {"data": str(asked.data.resolve()), "set": asked.overrides, "recipe": RECIPE.read_text()}
    )
    kept = asked.cache / f"command-{what[:16]}.json"
    if not kept.exists():
        ran = command(asked.data, asked.overrides, out)
        kept.write_text(json.dumps(ran, indent=1), "utf-8")
    found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    return found


def command(data: Path, overrides: list[str], out: Path) -> dict[str, Any]:
    """The command from raw files to a release, timed: seconds on the clock and of the processor."""
    words = [sys.executable, "-m", "langrec", "train", str(RECIPE), "--events", str(data), "--out", str(out)]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*words, "--json", *(f"--set={one}" for one in overrides)], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    release = out / (out / "CURRENT").read_text("utf-8").strip()
    manifest = json.loads((release / "manifest.json").read_text("utf-8"))
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "load": list(os.getloadavg()),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "peak_memory_mb": round(after.ru_maxrss / 1e3),
        "within_minutes": seconds <= 60 * MINUTES,
        "encoders": manifest["encoders"],
        "notes": manifest["notes"],
        "adapted": manifest["adapted"],
        "compressed": manifest["compressed"],
        "release_mb": round(sum(file["bytes"] for file in manifest["files"].values()) / 1e6, 1),
    }


def measure(data: Path, overrides: list[str]) -> dict[str, Any]:
    """NDCG@10 of each way on the test by slice, the paired differences to the encoder as it was, and search."""
    from langrec.data.load import load_dataset
    from langrec.recipe import load_settings
    from langrec.training import evaluate_models

    dataset, _ = load_dataset(data, None, prepare.data_settings(data.name))
    reports, ways = {}, {}
    for way, off in OFF.items():
        settings = load_settings(RECIPE, ["evaluate.controls=false", *overrides, *off], environ={})
        report, _ = evaluate_models(dataset, settings, MODELS)
        reports[way] = report
        rows = [dataclasses.asdict(row) for row in report.rows if row.metric == "ndcg@10"]
        ways[way] = {
            "ndcg": [row for row in rows if row["model"] in MODELS and row["slice"] in ("all", "hot", "warm", "cold")],
            "validation": {name: report.protocol["validation"].get(name) for name in MODELS},
            "mix_validation": report.protocol["mix"]["validation"],
            "search": search(dataset, settings),
            "encoder": report.protocol["encoders"]["vectors"],
        }
        print(f"{way}: measured", flush=True)
    return {
        "ways": ways,
        "differences": differences(dataset, settings.split, reports),
        "protocol": reports[BEFORE].protocol,
    }


def search(dataset: Any, settings: Any) -> float:
    """NDCG@10 of a title finding its own text among all texts that are judged."""
    from langrec.adapting import reader
    from langrec.data.splits import split_events
    from langrec.lm.compress.corpus import Corpus
    from langrec.lm.compress.quality import pair_gains

    split = split_events(dataset.events, len(dataset.users), settings.split)
    encoder = reader(dataset, split.train, settings, lambda *_: None).encoder
    corpus = Corpus.of_catalogue(dataset.catalogue).judged()
    return float(pair_gains(encoder.encode(corpus.asked, "query"), encoder.encode(corpus.found)).mean())


def differences(dataset: Any, how: Any, reports: dict[str, Any]) -> list[dict[str, Any]]:
    """Each way less the encoder as it was on the same questions: all, items in training (hot), and others (warm)."""
    from langrec import compare
    from langrec.data.events import joined
    from langrec.data.splits import split_events

    split = split_events(dataset.events, len(dataset.users), how)
    seen = split.train if split.kind == "loo" else joined(split.train, split.valid)
    counts = np.bincount(seen.items, minlength=len(dataset.catalogue))
    found = []
    for way in (ADAPTED, SERVED):
        for model in MODELS:
            ours, theirs = (reports[name].measured[model] for name in (way, BEFORE))
            hot = counts[ours.targets.items] > 0
            for part, kept in (("all", np.ones(len(hot), dtype=bool)), ("hot", hot), ("warm", ~hot)):
                [gap] = compare(_only(ours, kept), _only(theirs, kept))
                found.append({"way": way, **dataclasses.asdict(gap), "slice": part, "reference": BEFORE})
    return found


def _only(measured: Any, kept: Any) -> Any:
    """The same questions with a value only where kept."""
    from langrec.evaluation.suite import of_slice

    return dataclasses.replace(measured, columns=of_slice(measured.columns, kept))


def show(result: dict[str, Any]) -> None:
    """The command's time, and a line for each difference."""
    if result["command"]:
        print(
            f"command: {result['command']['seconds']:.0f} s ({result['command']['processor_seconds']:.0f} s processor)"
        )
    for way, found in result["ways"].items():
        print(f"{way}: a text finds its other half {found['search']:.4f}")
    for gap in result["differences"]:
        bounds = f"[{gap['low']:+.4f}, {gap['high']:+.4f}]"
        print(f"{gap['way']}, {gap['model']}, {gap['slice']}: {gap['difference']:+.4f} {bounds} {gap['verdict']}")


if __name__ == "__main__":
    main()
