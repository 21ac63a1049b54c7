"""What workers cost and what they bring: encoding, an epoch of a tower, an epoch of an adaptation; with 1 and with 2.

Run from the repository: `OMP_NUM_THREADS=1 python benches/bench_scale.py`. The plain run computes in this process with
one thread, a worker with one core. Times are those of the work itself, the best of several alternating rounds; how long
Ray and the workers take to come up is told apart. Without the real data sets it says so and stops.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from common import machine, write
from langrec.scale.cluster import Cluster, cluster

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[1] / "../shared/data"))
MOVIES, INTENTS = DATA / "ml-latest-small", DATA / "banking77"


def movies() -> Any:
    from langrec.data.load import load_dataset
    from langrec.settings import DataSettings

    return load_dataset(MOVIES, None, DataSettings(near_duplicates="off"))[0]


def encoding(dataset: Any, texts: int, clusters: dict[str, Cluster | None], rounds: int) -> dict[str, float]:
    """Seconds of reading the texts, by who reads."""
    from contextlib import ExitStack

    from langrec.encoders import load_encoder
    from langrec.scale.encode import spread
    from langrec.settings import EncoderSettings

    settings = EncoderSettings(runtime="onnx-fp32", threads=1)
    encoder = load_encoder(settings)
    some = dataset.catalogue.texts(settings.fields)[:texts]
    best = dict.fromkeys(clusters, np.inf)
    for _ in range(rounds):
        for name, crew in clusters.items():
            with ExitStack() as stack:
                reader = encoder if crew is None else stack.enter_context(spread(encoder, crew))
                reader.encode(some[:64])  # the workers are up, and warm
                start = time.perf_counter()
                reader.encode(some)
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def tower_epochs(_rank: int, _say: Any, dataset: Any, epochs: int) -> list[float]:
    """Seconds of each epoch of the id tower."""
    import torch

    from langrec.settings import IdTowerSettings
    from langrec.towers.network import IdNetwork
    from langrec.towers.sequences import Sequences
    from langrec.towers.train import train

    torch.set_num_threads(1)
    settings = IdTowerSettings(precision="fp32", epochs=epochs)
    events, n_items = dataset.events, len(dataset.catalogue)
    counts = np.bincount(events.items[events.gains > 0], minlength=n_items).astype(np.int32)
    nums = np.flatnonzero(counts).astype(np.int32)
    torch.manual_seed(0)
    network = IdNetwork(settings, n_items)
    sequences = Sequences.of(events, len(dataset.users))
    return [row.seconds for row in train(network, sequences, nums, counts[nums], settings, stop=epochs)]


def adapt_epochs(out: Path, rows: Path, crew: Cluster | None, epochs: int) -> list[float]:
    """Seconds of each epoch of LoRA on intents."""
    import torch

    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt as alone
    from langrec.lm.adapt.settings import AdaptSettings
    from langrec.scale.adapt import adapt

    torch.set_num_threads(1)
    settings = AdaptSettings(task="classify", kind="lora", epochs=epochs, precision="fp32", max_tokens=32, patience=9)
    found = (
        alone("minilm", settings, Files(rows), out)
        if crew is None
        else adapt("minilm", settings, Files(rows), out, crew)
    )
    return [row["seconds"] for row in found["epochs"][1:]]


def some_rows(n: int, to: Path) -> Path:
    """The first n training rows of banking77 as a CSV file."""
    import polars as pl

    file = next(path for path in sorted(INTENTS.rglob("*train*")) if path.is_file())
    lines = pl.read_csv(file) if ".csv" in file.name else pl.read_parquet(file)
    text = next(name for name in lines.columns if name in ("text", "query"))
    label = next(name for name in lines.columns if name in ("category", "label", "intent"))
    lines.select(pl.col(text).alias("text"), pl.col(label).cast(pl.String).alias("label")).sample(
        n, seed=0, shuffle=True
    ).write_csv(to)
    return to


def ratios(seconds: dict[str, float]) -> dict[str, Any]:
    """Best seconds, the overhead of one worker and the speed-up of two, against the plain run."""
    plain = seconds["plain"]
    found = {"seconds": {name: round(value, 3) for name, value in seconds.items()}}
    return {
        **found,
        "one_worker_over_plain": round(seconds["1 worker"] / plain, 3),
        "two_workers_speed_up": round(plain / seconds["2 workers"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    if not (MOVIES.is_dir() and INTENTS.is_dir()):
        print(f"{DATA}: has no ml-latest-small and banking77; set LANGREC_TEST_DATA")
        sys.exit(0)
    from langrec.scale.together import together

    dataset, load = movies(), []
    begun = time.perf_counter()
    with cluster(2, cores=1) as two, tempfile.TemporaryDirectory() as name:
        up, folder = time.perf_counter() - begun, Path(name)
        clusters: dict[str, Cluster | None] = {"plain": None, "1 worker": Cluster(1), "2 workers": two}
        load.append(os.getloadavg()[0])
        result: dict[str, Any] = {"ray_up_seconds": round(up, 1)}
        result["encode"] = ratios(encoding(dataset, asked.texts, clusters, asked.rounds))
        result["encode"]["texts_per_second_and_core"] = round(asked.texts / result["encode"]["seconds"]["plain"], 1)
        print("encode", result["encode"], flush=True)

        best, started = dict.fromkeys(clusters, np.inf), dict.fromkeys(clusters, np.inf)
        for number in range(asked.rounds):
            for who, crew in clusters.items():
                start = time.perf_counter()
                epochs = (
                    tower_epochs(0, None, dataset, asked.epochs)
                    if crew is None
                    else together(
                        crew, tower_epochs, dataset, asked.epochs, name=f"tower{number}", storage=folder / "ray"
                    )
                )
                started[who] = min(started[who], time.perf_counter() - start - sum(epochs))
                best[who] = min(best[who], *epochs)
        result["tower_epoch"] = ratios(best)
        result["workers_up_seconds"] = round(started["2 workers"] - started["plain"], 1)
        print("tower epoch", result["tower_epoch"], flush=True)

        best, rows = dict.fromkeys(clusters, np.inf), some_rows(asked.rows, folder / "rows.csv")
        for number in range(asked.rounds):
            for who, crew in clusters.items():
                best[who] = min(best[who], *adapt_epochs(folder / f"{number}-{who}", rows, crew, asked.epochs))
        result["adapt_epoch"] = ratios(best)
        result["adapt_epoch"]["rows_per_second"] = round(asked.rows * 0.9 / best["plain"], 1)
        print("adapt epoch", result["adapt_epoch"], flush=True)
        load.append(os.getloadavg()[0])
    result["bytes_per_item"] = {
        "vector": 4 * 384,
        "text": round(float(np.mean([len(text.encode()) for text in dataset.catalogue.texts()])), 1),
    }
    result["load_before_and_after"] = [round(value, 1) for value in load]
    result["shared_machine"] = max(load) > (os.cpu_count() or 1) + 1
    result["ray"] = _ray_version()
    if result["shared_machine"]:
        print("The machine was shared: rounds alternate and the best counts, but two workers did not have two cores.")
    print("written to", write("scale", result), "on", machine()["cpu"])


def _ray_version() -> str:
    from importlib.metadata import version

    return version("ray")


if __name__ == "__main__":
    main()
