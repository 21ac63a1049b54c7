"""Seconds and memory of `langrec demo --no-serve` where nothing but the installation is there, and of a second run.

Usage: python benches/bench_demo.py. The peers are the limits that the main job has to keep on two cores: 5 minutes and
3 GB. The working folder and all caches are new. Memory is the resident memory of the process and all its children,
summed, looked at twenty times a second; pages that they share count more than once. Run it on a quiet machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

import common

LIMIT_SECONDS = 300
LIMIT_GB = 3
PAUSE = 0.05


def main() -> None:
    common.parser(__doc__).parse_args()
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as name:
        runs = {run: demo(Path(name)) for run in ("first", "second")}
    said = runs["first"].pop("said")
    again = runs["second"].pop("said")
    if again["release"] != said["release"]:
        raise SystemExit("the second run trained again")
    for name, run in runs.items():
        print(
            f"{name:6} run: {run['seconds']:6.1f} s ({run['seconds_ratio']:.2f} of {LIMIT_SECONDS} s), "
            f"{run['peak_gb']:.2f} GB ({run['memory_ratio']:.2f} of {LIMIT_GB} GB)"
        )
    result = {
        "data": "MovieLens-100K",
        "size": {part: said["data"][f"n_{part}"] for part in ("users", "items", "events")},
        "limits": {"seconds": LIMIT_SECONDS, "gb": LIMIT_GB},
        "runs": runs,
        "ndcg@10": {row["model"]: row["value"] for row in said["metrics"] if row["metric"] == "ndcg@10"},
        "load": [load, os.getloadavg()],
    }
    print(f"written to {common.write('demo', result).name}")


def demo(folder: Path) -> dict[str, Any]:
    """One run in a folder: its seconds, the peak of its memory in GB, their shares of the limits, and what it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LANGREC_")}
    caches = {"LANGREC_CACHE": str(folder / "cache"), "XDG_CACHE_HOME": str(folder / "other"), "PIP_NO_CACHE_DIR": "1"}
    command = [sys.executable, "-m", "langrec", "demo", "--no-serve", "--json"]
    with (folder / "said").open("w+b") as out, (folder / "errors").open("w+b") as errors:
        start, peak = time.perf_counter(), 0
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=errors, env={**clean, **caches})
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(PAUSE)
        seconds = time.perf_counter() - start
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"langrec demo ended with status {process.returncode}: {errors.read().decode()[-2000:]}")
        said = json.loads(out.read())
    return {
        "seconds": round(seconds, 2),
        "seconds_ratio": round(seconds / LIMIT_SECONDS, 3),
        "peak_gb": round(peak / 1e9, 3),
        "memory_ratio": round(peak / 1e9 / LIMIT_GB, 3),
        "said": said,
    }


def resident(pid: int) -> int:
    """Bytes in memory of a process and its children, of all generations; 0 where it has just ended."""
    total = 0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in family:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


if __name__ == "__main__":
    main()
