"""Texts per second and retrieval of compressed models against SentenceTransformer.encode: same texts, one run.

Usage: python benches/bench_compress.py [--texts 2000] [--repeats 3] [--threads 1,2] [--epochs 6] [--out FOLDER]
[--make]. The models are made first from all-MiniLM-L6-v2 on titles and overviews of ml-latest-small (`--make` does only
that; kept in FOLDER, so that a second run only measures). After healing, the pruned one is tuned on the catalogue:
titles and the overviews that are theirs. Mixed lengths as in bench_encode.py: titles, and titles with overviews, by
turns. Retrieval is NDCG@10 of a title finding its overview among the measured ones; one pair in ten was held out of all
training, and counts apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import common

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "ml-latest-small"
PEER = "SentenceTransformer.encode"
PRUNED, TABLE = "pruned, distilled and tuned int8", "static table"
# name -> steps; the target of each, as a ratio to the peer on mixed lengths and the share of NDCG@10 that must be kept
CHAINS = {
    "whole int8": ("quantise", {"vnni": 4, "plain": 2, "kept": 0.99}),
    PRUNED: ("drop:best3,prune:units=0.3333,tune,quantise", {"vnni": 8, "plain": 4, "kept": 0.97}),
    TABLE: ("static:256", {"vnni": 100, "plain": 100, "kept": None}),
}
TRAINED = (PRUNED, TABLE)
# Of `tune`, which is no step of `langrec compress`: titles and overviews that belong together come together.
TUNING = {"kind": "full", "epochs": 1}


def catalogue() -> Any:
    """All films with an overview as pairs of title and overview."""
    import polars as pl

    from langrec.lm.compress.corpus import Corpus

    if not (DATA / "tmdb_text.csv.gz").exists():
        raise SystemExit(f"{DATA}: not there; LANGREC_TEST_DATA names the folder that holds ml-latest-small")
    films = pl.read_csv(DATA / "movies.csv.gz").join(pl.read_csv(DATA / "tmdb_text.csv.gz"), on="movieId", suffix="_t")
    films = films.filter(pl.col("overview").str.len_chars() > 30)
    return Corpus.of_pairs(films["title"].to_list(), films["overview"].to_list(), source="ml-latest-small")


def make(out: Path, epochs: int) -> dict[str, Any]:
    """Makes every model that is not there yet; what each chain reported."""
    from langrec.encoders import load_saved
    from langrec.lm.compress.chain import compress
    from langrec.lm.compress.steps import parse_steps
    from langrec.lm.compress.work import Healing

    corpus, found = catalogue(), {}
    for name, (steps, _) in CHAINS.items():
        place, model, notes, done = _folder(out, name), "minilm", [], []
        parts = steps.split(",tune,")
        for i, part in enumerate(parts):
            own, started = place if i == len(parts) - 1 else place / "student", time.perf_counter()
            if not (own / "report.json").exists():
                compress(
                    model,
                    parse_steps(part),
                    own,
                    corpus if name in TRAINED else None,
                    open_encoder=load_saved,
                    healing=Healing(epochs=epochs),
                    progress=_told,
                )
                (own / "seconds.json").write_text(json.dumps(round(time.perf_counter() - started, 1)))
            report = json.loads((own / "report.json").read_text("utf-8"))
            done += report["steps"]
            notes += [row["note"] for row in report["rows"][1:]]
            if i < len(parts) - 1:
                model, note = tuned(own / "model", place / "tuned", corpus)
                done, notes = [*done, "tune"], [*notes, note]
        seconds = [json.loads(one.read_text()) for one in place.rglob("seconds.json")]
        found[name] = {"steps": done, "notes": notes, "seconds": round(sum(seconds), 1)}
    return found


def tuned(model: Path, out: Path, corpus: Any) -> tuple[str, str]:
    """The model tuned on the pairs that are not held out, and what that took."""
    import polars as pl

    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt
    from langrec.lm.adapt.settings import AdaptSettings

    if not (out / "seconds.json").exists():
        started = time.perf_counter()
        held = {text for texts in (corpus.asked, corpus.found) for text in np.array(texts, dtype=object)[corpus.held]}
        rows = [pair for pair in zip(corpus.asked, corpus.found, strict=True) if not held.intersection(pair)]
        out.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, schema=["anchor", "positive"], orient="row").write_csv(out / "pairs.csv")
        settings = AdaptSettings(task="pairs", **TUNING)
        adapt(str(model), settings, Files(train=out / "pairs.csv"), out / "adapted", told=_told)
        (out / "seconds.json").write_text(json.dumps(round(time.perf_counter() - started, 1)))
    metrics = json.loads((out / "adapted" / "metrics.json").read_text("utf-8"))
    rows, epochs = metrics["rows"]["train"], metrics["epochs"][-1]["epoch"]
    note = f"tuned on {rows:,} pairs, {metrics['kind']}, {epochs} epoch{'s' if epochs > 1 else ''}"
    return str(out / "adapted" / "model"), note


def measure(out: Path, n: int, repeats: int, threads: int) -> dict[str, Any]:
    """The table for one number of threads, in a process of its own: libraries fix their threads early."""
    import torch
    from sentence_transformers import SentenceTransformer

    from langrec.encoders import load_saved
    from langrec.lm.compress.quality import loaded_bytes, mark, pair_gains
    from langrec.lm.model import find_model

    torch.set_num_threads(threads)
    pairs = catalogue().judged(n)
    titles, overviews = list(pairs.asked), list(pairs.found)
    mixed = [title if i % 2 else f"{title}. {overviews[i]}" for i, title in enumerate(titles)]
    peer = SentenceTransformer(str(find_model("minilm", 256).folder), device="cpu")
    readers: dict[str, Any] = {PEER: lambda some: peer.encode(some, show_progress_bar=False)}
    weights = sum(one.numel() * one.element_size() for one in peer.parameters())
    megabytes, runtimes = {PEER: round(weights / 1e6, 1)}, {PEER: "torch"}
    for name in CHAINS:
        folder = _folder(out, name) / "encoder"
        for runtime in ("table",) if name == TABLE else ("openvino-int8", "onnx-int8"):
            own = folder
            if runtime != "table":
                own = _copy(folder, out / f"{folder.parent.name}-{runtime}")
                mark(own, runtime)
            key = name if runtime == "table" else f"{name}, {runtime}"
            readers[key] = load_saved(own, threads=threads).encode
            megabytes[key], runtimes[key] = round(loaded_bytes(own, runtime) / 1e6, 1), runtime
    seconds: dict[str, float] = {}
    busies: dict[str, float] = {}
    for read in readers.values():
        read(mixed[:64])
    for _ in range(repeats):
        for name, read in readers.items():
            started, busy = time.perf_counter(), time.process_time()
            read(mixed)
            taken, busy = time.perf_counter() - started, time.process_time() - busy
            seconds[name] = min(taken, seconds.get(name, np.inf))
            busies[name] = min(busy, busies.get(name, np.inf))
    rows = []
    gains = {name: pair_gains(read(titles), read(overviews)) for name, read in readers.items()}
    held = pairs.held
    for name in readers:
        own, base = gains[name], gains[PEER]
        rows.append(
            {
                "model": name,
                "runtime": runtimes[name],
                "threads": threads,
                "megabytes": megabytes[name],
                "mixed_per_second": round(len(mixed) / seconds[name], 1),
                "mixed_ratio": round(seconds[PEER] / seconds[name], 2),
                "mixed_cpu_ratio": round(busies[PEER] / busies[name], 2),
                "ndcg@10": round(float(own.mean()), 4),
                "kept": round(float(own.mean() / base.mean()), 4),
                "ndcg@10_held_out": round(float(own[held].mean()), 4),
                "kept_held_out": round(float(own[held].mean() / base[held].mean()), 4),
            }
        )
    return {"n": len(mixed), "held_out": int(held.sum()), "load": list(os.getloadavg()), "rows": rows}


def _folder(out: Path, name: str) -> Path:
    """Where a chain's models are kept."""
    return out / name.replace(" ", "-").replace(",", "")


def _copy(folder: Path, target: Path) -> Path:
    import shutil

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target


def _told(what: str, done: int, total: int) -> None:
    if done == 0 and total != 0:
        print(f"  {what}", flush=True)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--texts", type=int, default=2_000, help="texts that are read")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, of which the best counts")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, comma separated")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of each training")
    parser.add_argument("--out", type=Path, help="folder that keeps what was made, so that a second run only measures")
    parser.add_argument("--make", action="store_true", help="makes the models and measures nothing")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.out is None:
        from langrec.data.cache import cache_folder

        arguments.out = cache_folder() / "bench-compress"
    if arguments.child:
        print(json.dumps(measure(arguments.out, arguments.texts, arguments.repeats, arguments.child)))
        return
    made = make(arguments.out, arguments.epochs)
    if arguments.make:
        return
    parts = []
    for threads in (int(one) for one in arguments.threads.split(",")):
        command = [sys.executable, __file__, "--child", str(threads), "--texts", str(arguments.texts)]
        command += ["--repeats", str(arguments.repeats), "--out", str(arguments.out)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
        parts.append(json.loads(out.stdout.splitlines()[-1]))
        for row in parts[-1]["rows"]:
            speed = f"{row['mixed_per_second']:8.0f}/s {row['mixed_ratio']:6.2f}x (cpu {row['mixed_cpu_ratio']:.2f}x)"
            quality = f"NDCG@10 {row['ndcg@10']:.4f} ({row['kept']:.1%}; held out {row['kept_held_out']:.1%})"
            name = f"{row['threads']} threads  {row['model']:<42} {row['megabytes']:6.1f} MB"
            print(f"{name}  {speed}  {quality}", flush=True)
    vnni = any("vnni" in flag for flag in common.machine()["flags"])
    verdicts = {}
    for name, (_, target) in CHAINS.items():
        own = [row for part in parts for row in part["rows"] if row["model"].startswith(name)]
        own = [row for row in own if target["kept"] is None or row["kept"] >= target["kept"]] or own
        best = max(own, key=lambda row: row["mixed_ratio"])
        wanted = target["vnni" if vnni else "plain"]
        met = best["mixed_ratio"] >= wanted and (target["kept"] is None or best["kept"] >= target["kept"])
        verdicts[name] = {"wanted": wanted, "kept": target["kept"], "best": best["mixed_ratio"], "met": met}
        said = "met" if met else "missed"
        print(f"{name}: {best['mixed_ratio']:.1f}x of {wanted}x wanted, {best['kept']:.1%} kept: {said}")
    rows = [row for part in parts for row in part["rows"]]
    head = {"texts": "ml-latest-small", **{key: parts[0][key] for key in ("n", "held_out")}}
    common.write(
        "compress",
        {**head, "load": [part["load"] for part in parts], "made": made, "targets": verdicts, "rows": rows},
    )


if __name__ == "__main__":
    main()
