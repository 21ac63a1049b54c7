"""Texts per second of every runtime against SentenceTransformer.encode: same model, same texts, same threads, one run.

Usage: python benches/bench_encode.py [--texts 2000] [--repeats 2] [--threads 1,2] [--runtimes openvino-int8]. The texts
are titles and overviews of ml-latest-small where its folder is there (LANGREC_TEST_DATA, or ../shared/data), else made
up. The candidates' runs alternate within a repeat and the best repeat counts, so that other work on the machine meets
all of them alike; where there is much of it, the ratio of processor seconds on one thread is the steadier figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import common
from langrec.lm.runtimes import RUNTIMES

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "ml-latest-small"
PEER = "SentenceTransformer.encode"


def texts(n: int) -> tuple[str, list[str], list[str]]:
    """What the texts are, n titles, and the n overviews that belong to them."""
    if not (DATA / "tmdb_text.csv.gz").exists():
        from langrec.lm.sample import sample_pairs

        return "made up", *sample_pairs(n)
    import polars as pl

    films = pl.read_csv(DATA / "movies.csv.gz").join(pl.read_csv(DATA / "tmdb_text.csv.gz"), on="movieId", suffix="_t")
    films = films.filter(pl.col("overview").str.len_chars() > 30).sample(n, seed=0, shuffle=True)
    return "ml-latest-small", films["title"].to_list(), films["overview"].to_list()


def measure(n: int, repeats: int, threads: int, names: Sequence[str] = RUNTIMES) -> dict[str, Any]:
    """The table for one number of threads; it runs in a process of its own, for libraries fix their threads early."""
    import torch
    from sentence_transformers import SentenceTransformer

    from langrec.encoders import load_encoder
    from langrec.lm.measure import similarity_quality
    from langrec.lm.model import find_model
    from langrec.lm.runtimes import installed
    from langrec.settings import EncoderSettings

    torch.set_num_threads(threads)
    source, titles, overviews = texts(n)
    mixed = [title if i % 2 else f"{title}. {overviews[i]}" for i, title in enumerate(titles)]
    sets = {"titles": titles, "overviews": overviews, "mixed": mixed}
    peer = SentenceTransformer(str(find_model("minilm", 256).folder), device="cpu")
    readers: dict[str, Any] = {PEER: lambda some: peer.encode(some, show_progress_bar=False)}
    for name in RUNTIMES:
        # Vectors are compared with those of the first.
        if installed(name) and (name in names or name == RUNTIMES[0]):
            readers[name] = load_encoder(EncoderSettings(runtime=name, threads=threads)).encode  # type: ignore[arg-type]
    seconds: dict[str, dict[str, float]] = {name: {} for name in readers}
    busies: dict[str, dict[str, float]] = {name: {} for name in readers}
    vectors: dict[str, dict[str, Any]] = {name: {} for name in readers}
    for read in readers.values():
        read(mixed[:64])
    for kind, some in sets.items():
        for _ in range(repeats):
            for name, read in readers.items():
                started, busy = time.perf_counter(), time.process_time()
                vectors[name][kind] = read(some)
                taken, busy = time.perf_counter() - started, time.process_time() - busy
                seconds[name][kind] = min(taken, seconds[name].get(kind, np.inf))
                busies[name][kind] = min(busy, busies[name].get(kind, np.inf))
    reference = np.concatenate([vectors["onnx-fp32"]["titles"], vectors["onnx-fp32"]["overviews"]])
    rows = []
    for name in readers:
        found = np.concatenate([vectors[name]["titles"], vectors[name]["overviews"]])
        cosine, top10, ndcg = similarity_quality(found, reference)
        row = {"runtime": name, "threads": threads, "cosine": cosine, "top10": top10, "ndcg@10": ndcg}
        for kind in sets:
            row[f"{kind}_per_second"] = n / seconds[name][kind]
            row[f"{kind}_ratio"] = seconds[PEER][kind] / seconds[name][kind]
            row[f"{kind}_cpu_ratio"] = busies[PEER][kind] / busies[name][kind]
        rows.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return {"texts": source, "n": n, "repeats": repeats, "load": list(os.getloadavg()), "rows": rows}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--texts", type=int, default=2_000, help="texts that are read")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each, of which the best counts")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, comma separated")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="only these, beside the peer and onnx-fp32")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        names = arguments.runtimes.split(",")
        print(json.dumps(measure(arguments.texts, arguments.repeats, arguments.child, names)))
        return
    parts = []
    for threads in (int(one) for one in arguments.threads.split(",")):
        command = [sys.executable, __file__, "--child", str(threads), "--texts", str(arguments.texts)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        out = subprocess.run(
            [*command, "--repeats", str(arguments.repeats), "--runtimes", arguments.runtimes],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            check=True,
        )
        parts.append(json.loads(out.stdout.splitlines()[-1]))
        for row in parts[-1]["rows"]:
            speeds = "  ".join(
                f"{kind} {row[f'{kind}_per_second']:5.0f}/s {row[f'{kind}_ratio']:.2f}x"
                f" (cpu {row[f'{kind}_cpu_ratio']:.2f}x)"
                for kind in ("titles", "overviews", "mixed")
            )
            quality = f"cosine {row['cosine']:.4f}  top-10 {row['top10']:.3f}  NDCG@10 {row['ndcg@10']:.4f}"
            print(f"{row['threads']} threads  {row['runtime']:<27} {speeds}  {quality}", flush=True)
    result = {key: parts[0][key] for key in ("texts", "n", "repeats")}
    common.write(
        "encode",
        {**result, "load": [part["load"] for part in parts], "rows": [row for part in parts for row in part["rows"]]},
    )


if __name__ == "__main__":
    main()
