"""Seconds of one epoch of langrec's id tower and of RecTools' SASRec: same rows, sizes, loss and threads, one run.

    python -m benches.peers.epochs [--data FOLDER] [--sets ml-100k,amazon-beauty-2014] [--threads 1,2]

Both train by full softmax over all items at every position, in fp32, with one block, two heads and 64 dimensions, on
the newest 101 events of each user (51 where that holds nearly all): what RecTools reads of them. RecTools takes its own
128 histories a batch, all padded to one length; langrec takes the batches of its settings. The runs alternate, and the
best epoch of each counts.
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

import numpy as np
import polars as pl
from benches.peers.environments import python_of

from benches import common

SCRIPT = Path(__file__).parent / "scripts" / "epochs_rectools.py"
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
SIZES = {"dim": 64, "layers": 1, "heads": 2, "dropout": 0.2, "batch": 128}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--sets", default="ml-100k", help="data sets, comma separated")
    parser.add_argument("--threads", default="1", help="numbers of threads, comma separated")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each training")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each, of which the best counts")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ours:
        print(json.dumps({"seconds": ours(args.ours, json.loads(args.sizes))}))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets.split(","):
            file = Path(folder) / f"{name}.parquet"
            length = _write(name, args.data, file)
            for threads in (int(one) for one in args.threads.split(",")):
                sizes = json.dumps({**SIZES, "length": length, "threads": threads, "epochs": args.epochs})
                peer = [str(python_of("rectools")), str(SCRIPT), "--rows", str(file), "--sizes", sizes]
                mine = [sys.executable, "-m", "benches.peers.epochs", "--ours", str(file), "--sizes", sizes]
                seconds: dict[str, list[float]] = {"rectools": [], "langrec": []}
                for _ in range(args.rounds):
                    seconds["rectools"] += _run(peer, threads)
                    seconds["langrec"] += _run(mine, threads)
                best = {who: min(found) for who, found in seconds.items()}
                row = {"set": name, "threads": threads, "length": length, **SIZES}
                row |= {f"{who}_seconds": round(value, 2) for who, value in best.items()}
                row["times_faster"] = round(best["rectools"] / best["langrec"], 2)
                rows.append(row)
                print(
                    f"{name} {threads} threads: RecTools {best['rectools']:.2f} s an epoch, "
                    f"langrec {best['langrec']:.2f} s: {row['times_faster']:.2f}x",
                    flush=True,
                )
    common.write("epochs", {"rows": rows})


def ours(file: Path, sizes: dict[str, Any]) -> list[float]:
    """Seconds of each epoch after the first."""
    import torch

    from langrec.data.events import Events
    from langrec.settings import IdTowerSettings
    from langrec.towers.network import IdNetwork
    from langrec.towers.sequences import Sequences
    from langrec.towers.train import train

    torch.set_num_threads(sizes["threads"])
    frame = pl.read_parquet(file)
    users, items = frame["user"].to_numpy().astype(np.int32), frame["item"].to_numpy().astype(np.int32)
    m, n = len(frame), int(items.max()) + 1
    events = Events(
        users=users,
        items=items,
        at=np.arange(m, dtype=np.int64) * 1000,
        types=np.zeros(m, dtype=np.int8),
        values=np.ones(m, dtype=np.float32),
        gains=np.ones(m, dtype=np.float32),
        rows=np.arange(m, dtype=np.int64),
        type_names=("view",),
    )
    settings = IdTowerSettings(
        dim=sizes["dim"],
        layers=sizes["layers"],
        heads=sizes["heads"],
        length=sizes["length"],
        dropout=sizes["dropout"],
        epochs=1 + sizes["epochs"],
        precision="fp32",
    )
    counts = np.bincount(items, minlength=n).astype(np.int32)
    known = np.flatnonzero(counts).astype(np.int32)
    sequences = Sequences.of(events, int(users.max()) + 1)
    history = train(IdNetwork(settings, n), sequences, known, counts[known], settings, stop=settings.epochs)
    return [row.seconds for row in history[1:]]


def _write(name: str, data: Path, file: Path) -> int:
    """Rows of the newest events of each user as numbers, in the order of time; returns how many of each at most."""
    from langrec.data.fetch import fetch
    from langrec.data.load import load_dataset

    events = load_dataset(fetch(name) if name == "ml-100k" else data / name)[0].events
    length = 50 if np.quantile(np.bincount(events.users), 0.95) <= 50 else 100
    rows = pl.DataFrame({"user": events.users, "item": events.items})
    # Of one event more than a session holds the first is input only: RecTools reads no more than these.
    rows.filter(pl.int_range(pl.len()).reverse().over("user") <= length).write_parquet(file)
    return length


def _run(command: list[str], threads: int) -> list[float]:
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    start = time.perf_counter()
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ, timeout=3600)
    found: list[float] = json.loads(out.stdout.splitlines()[-1])["seconds"]
    print(
        f"  {Path(command[1]).stem}: {found[0]:.2f} s an epoch ({time.perf_counter() - start:.0f} s in all)", flush=True
    )
    return found


if __name__ == "__main__":
    main()
