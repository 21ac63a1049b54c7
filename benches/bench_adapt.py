"""Seconds and memory of an epoch of each kind of adaptation, beside full fine-tuning in fp32 on the same rows.

    python benches/bench_adapt.py --kinds full,side,head --rows 20

Each kind runs in a process of its own, so that its peak memory is its own; states that are kept are computed anew, and
the time that takes is given apart. Seconds are the processor's, so that other work on the machine does not count. Full
fine-tuning has epochs enough to stop by itself; `side` and `head`, whose epochs cost little, ten times as many; the
other kinds only a few, as their accuracy is not what is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "banking77"
KINDS = "full,side,head,last,adapter,lora,adalora,dora,ia3,bitfit"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--kinds", default=KINDS, help="kinds of adaptation, comma separated")
    parser.add_argument("--rows", type=int, default=20, help="training rows per label; 0 = all")
    parser.add_argument("--epochs", type=int, default=5, help="of full; side and head have 10 times as many")
    parser.add_argument("--few", type=int, default=2, help="epochs of the other kinds")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked)))
        return
    rows, kinds = [], asked.kinds.split(",")
    if "full" not in kinds:  # compared with, and written beside, what was measured before
        was = json.loads((common.RESULTS / "adapt.json").read_text("utf-8"))["rows"]
        rows = [row for row in was if row["kind"] not in kinds]
    for kind in kinds:
        command = [sys.executable, __file__, "--data", asked.data, "--rows", asked.rows]
        command += ["--epochs", asked.epochs, "--few", asked.few]
        done = subprocess.run([*map(str, command), "--one", kind], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        rows[-1]["faster_than_full"] = rows[0]["seconds_per_epoch"] / rows[-1]["seconds_per_epoch"]
        rows[-1]["accuracy_lost"] = rows[0]["accuracy"] - rows[-1]["accuracy"]
        print(line(rows[-1]), flush=True)
        common.write("adapt", {"data": "banking77", "rows_per_label": asked.rows, "rows": rows})


def one(asked) -> dict:
    """One kind, measured in this process."""
    import resource
    import time

    import numpy as np
    import torch

    from langrec.lm.adapt.classify import Classify, measure
    from langrec.lm.adapt.examples import draw, hold_out, read_texts
    from langrec.lm.adapt.kinds import Adapted
    from langrec.lm.adapt.loop import choose_precision, fit
    from langrec.lm.adapt.settings import AdaptSettings
    from langrec.lm.model import find_model

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1)
    every = read_texts(asked.data / "train.csv.gz", "text", "category")
    if asked.rows:
        every = every.take(draw(every.labels, asked.rows, 0))
    kept, held = hold_out(every.labels, 0.1, 0)
    train, valid = every.take(kept), every.take(held)
    test = read_texts(asked.data / "test.csv.gz", "text", "category")
    kind = asked.one
    with tempfile.TemporaryDirectory() as cache:
        epochs = {"full": asked.epochs, "side": 10 * asked.epochs, "head": 10 * asked.epochs}.get(kind, asked.few)
        settings = AdaptSettings(kind=kind, epochs=epochs, precision="fp32", max_tokens=128)
        adapted = Adapted(find_model("minilm", 128), settings, Path(cache))
        start = time.perf_counter()
        adapted.feed(list(train.texts))  # where states are kept, this computes them
        states = time.perf_counter() - start
        start = time.perf_counter()
        task = Classify(adapted, train, valid, sorted(set(train.labels)), asked.data)
        probe = time.perf_counter() - start
        loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        chosen, timed = choose_precision(adapted, task, "auto")
        spent: dict[str, list[float]] = {}
        history = fit(
            adapted,
            task,
            precision="fp32",
            told=lambda what, *_: spent.setdefault(what, []).append(time.process_time()),
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        told, _ = measure(task, test)
        share = adapted.share(task.heads)
    return {
        "kind": kind,
        "trainable_share": share,
        "train_rows": len(train),
        "epochs": len(history) - 1,
        "seconds_per_epoch": float(np.median([an_epoch(times) for times in spent.values()])),
        "wall_seconds_per_epoch": float(np.median([row.seconds for row in history[1:]])),
        "seconds_of_states": states,
        "seconds_of_start": probe,
        "faster_precision": chosen,
        "seconds_of_a_step": timed,
        "peak_mb": peak / 1024,
        "mb_before_training": loaded / 1024,
        "valid_accuracy": max(row.valid["accuracy"] for row in history),
        "valid_accuracy_at_start": history[0].valid["accuracy"],
        "accuracy": told["accuracy"],
    }


def an_epoch(times: list[float]) -> float:
    """Processor seconds of an epoch, from the times at the end of each of its steps."""
    return (times[-1] - times[0]) * len(times) / max(1, len(times) - 1)


def line(row: dict) -> str:
    return (
        f"{row['kind']:8s} {row['trainable_share']:7.2%}  {row['seconds_per_epoch']:8.2f} s an epoch "
        f"({row['faster_than_full']:6.1f}x), states {row['seconds_of_states']:5.1f} s, peak {row['peak_mb']:6.0f} MB "
        f"(+{row['peak_mb'] - row['mb_before_training']:.0f}), valid {row['valid_accuracy']:.4f} "
        f"(start {row['valid_accuracy_at_start']:.4f}), test {row['accuracy']:.4f} ({-row['accuracy_lost']:+.4f})"
    )


if __name__ == "__main__":
    main()
