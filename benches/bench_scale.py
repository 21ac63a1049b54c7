"""What workers cost and what they bring: encoding, an epoch of a tower, an epoch of an adaptation; with 1 and with 2.

Run from the repository: `OMP_NUM_THREADS=1 python benches/bench_scale.py`. The plain run computes in this process with
one thread, a worker with one core. Times are those of the work itself, the best of several alternating rounds; how long
Ray and the workers take to come up is told apart (for encoding: a run that reads one text for each). Without the real
data sets it says so and stops.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import common
from langrec.scale.cluster import Cluster, cluster

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[1] / "../shared/data"))
MOVIES, INTENTS = DATA / "ml-latest-small", DATA / "banking77"


def movies() -> Any:
    from langrec.data.load import load_dataset
    from langrec.settings import DataSettings

    return load_dataset(MOVIES, None, DataSettings(near_duplicates="off"))[0]


def encoding(
    dataset: Any, texts: int, clusters: dict[str, Cluster | None], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of reading the texts, and of reading one for each worker, by who reads."""
    from langrec.encoders import load_encoder
    from langrec.encoders.cache import read_here
    from langrec.scale.blocks import read_blocks
    from langrec.settings import EncoderSettings

    encoder = load_encoder(EncoderSettings(runtime="onnx-fp32", threads=1))
    some = dataset.catalogue.texts(EncoderSettings().fields)[:texts]
    best, up = dict.fromkeys(clusters, np.inf), dict.fromkeys(clusters, np.inf)
    encoder.encode(some[:64])
    for _ in range(rounds):
        for name, crew in clusters.items():
            few = some[: crew.workers if crew else 1]
            for part, seconds in ((few, up), (some, best)):
                asked = [("texts", part)]
                start = time.perf_counter()
                list(read_here(encoder, asked, "item") if crew is None else read_blocks(encoder, crew, asked, "item"))
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return best, up


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


def measure_encode(dataset: Any, clusters: dict[str, Cluster | None], asked: Any, _folder: Path) -> dict[str, Any]:
    """Reading texts, without the time in which workers come up, which is told apart."""
    whole, up = encoding(dataset, asked.texts, clusters, asked.rounds)
    waited = {name: up[name] if crew else 0.0 for name, crew in clusters.items()}
    found = ratios({name: seconds - waited[name] for name, seconds in whole.items()})
    found["workers_up_seconds"] = round(waited["2 workers"], 1)
    plain = found["seconds"]["plain"]
    bytes_of = float(np.mean([len(text.encode()) for text in dataset.catalogue.texts()]))
    return {**found, "texts": asked.texts, "plain_texts_per_second": round(asked.texts / plain, 1)} | {
        "bytes_per_item": {"vector": 4 * 384, "text": round(bytes_of, 1)}
    }


def measure_tower(dataset: Any, clusters: dict[str, Cluster | None], asked: Any, folder: Path) -> dict[str, Any]:
    """An epoch of the id tower, and what it takes until the workers train."""
    from langrec.scale.together import together

    best, rest = dict.fromkeys(clusters, np.inf), dict.fromkeys(clusters, np.inf)
    for _ in range(asked.rounds):
        for who, crew in clusters.items():
            start = time.perf_counter()
            if crew is None:
                epochs = tower_epochs(0, None, dataset, asked.epochs)
            else:
                given = (dataset, asked.epochs)
                epochs = together(crew, tower_epochs, *given, name="tower", storage=folder / "ray")
            rest[who] = min(rest[who], time.perf_counter() - start - sum(epochs))
            best[who] = min(best[who], *epochs)
    return {**ratios(best), "workers_up_seconds": round(rest["2 workers"] - rest["plain"], 1)}


def measure_adapt(_dataset: Any, clusters: dict[str, Cluster | None], asked: Any, folder: Path) -> dict[str, Any]:
    """An epoch of LoRA."""
    best, rows = dict.fromkeys(clusters, np.inf), some_rows(asked.rows, folder / "rows.csv")
    for number in range(asked.rounds):
        for who, crew in clusters.items():
            best[who] = min(best[who], *adapt_epochs(folder / f"{number}-{who}", rows, crew, asked.epochs))
    return {**ratios(best), "rows": asked.rows}


PARTS = {"encode": measure_encode, "tower_epoch": measure_tower, "adapt_epoch": measure_adapt}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of " + ", ".join(PARTS))
    parser.add_argument("--texts", type=int, default=1000, help="texts that are read")
    parser.add_argument("--rows", type=int, default=400, help="rows of the adaptation")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each training")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each, of which the best counts")
    asked = parser.parse_args()
    if not (MOVIES.is_dir() and INTENTS.is_dir()):
        print(f"{DATA}: has no ml-latest-small and banking77; set LANGREC_TEST_DATA")
        sys.exit(0)
    file = common.RESULTS / "scale.json"
    result: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    result.pop("machine", None)
    dataset, begun = movies(), time.perf_counter()
    with cluster(2, cores=1) as two, tempfile.TemporaryDirectory() as name:
        result["ray"], result["ray_up_seconds"] = version("ray"), round(time.perf_counter() - begun, 1)
        clusters: dict[str, Cluster | None] = {"plain": None, "1 worker": Cluster(1), "2 workers": two}
        for part in asked.parts.split(","):
            before = os.getloadavg()[0]
            found = PARTS[part](dataset, clusters, asked, Path(name))
            load = round(max(before, os.getloadavg()[0]), 1)
            # Others computed too: two workers did not have two cores to themselves, and no ratio is the machine's own.
            result[part] = {**found, "load": load, "shared_machine": load > 3.5}
            print(part, result[part], flush=True)
            path = common.write("scale", result)
    print("written to", path)


if __name__ == "__main__":
    main()
