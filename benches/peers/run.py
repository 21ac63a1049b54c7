"""Asks other libraries the questions that langrec is asked, and measures their lists with langrec's metrics.

    python -m benches.peers.run --set ml-100k --split loo [--peers all] [--threads 2] [--ours FOLDER]

Every peer is installed from pinned versions into an environment of its own, tuned on validation only over the grid that
its script states, and answers the test's questions in a process of its own, whose seconds and peak memory the table
shows. A peer that does not install or fails is reported with its error. Lists are kept: a second run only measures.
`--ours` names a folder written by `langrec evaluate --out` on the same set and split; its lists join the table, and the
paired differences are taken from them to the best peer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
from benches.peers import measure, prepare
from benches.peers.environments import PeerError, cache, python_of, requirements_key

from benches import common
from langrec.data.cache import cache_folder
from langrec.evaluation.compare import compare
from langrec.evaluation.report import plain

SCRIPTS = Path(__file__).parent / "scripts"
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
PEERS: dict[str, tuple[str, ...]] = {
    "implicit": ("als", "bpr", "itemknn-cosine", "itemknn-bm25"),
    "lenskit": ("ials", "itemknn"),
    "cornac": ("bpr",),
    "lightfm": ("warp",),
    "minilm": ("zero-shot",),
    "rectools": ("sasrec",),
    "recbole": ("sasrec",),
}
NEURAL = 1200.0  # seconds of training that a model may take for a set
LATE = 3.0  # times these and an hour, on the wall: then a process is ended
ERROR = 400  # characters of an error in the table
COMPARED = ("ndcg@10", "ndcg_debiased@10", "recall@10")


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--set", default="all", help=f"{', '.join(prepare.SETS)}, or all")
    parser.add_argument("--split", default="all", help="loo, time, own (the set's own parts), or all that the set has")
    parser.add_argument("--peers", default="all", help=f"peer or peer/model: {', '.join(PEERS)}")
    parser.add_argument("--threads", type=int, default=2, help="threads of each library")
    parser.add_argument("--seconds", type=float, default=NEURAL, help="of training that each model may take")
    parser.add_argument("--questions", type=int, help="ask at most so many of the test's questions, for a quick look")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sets")
    parser.add_argument("--ours", type=Path, help="folder that `langrec evaluate --out` wrote on this set and split")
    parser.add_argument("--fresh", action="store_true", help="run the peers anew though their lists are kept")
    parser.add_argument("--out", type=Path, default=common.RESULTS, help="folder of the result")
    args = parser.parse_args()
    for name in list(prepare.SETS) if args.set == "all" else args.set.split(","):
        for kind in prepare.SETS.get(name, ()) if args.split == "all" else (args.split,):
            _run(name, kind, args)


def _run(name: str, kind: str, args: argparse.Namespace) -> None:
    asked = prepare.ask(name, kind, args.data, args.questions)
    work = cache() / "questions" / f"{name}-{kind}-{asked.key()}"
    prepare.write(asked, work)
    print(f"{name} {kind}: {len(asked.test):,} questions, {len(asked.valid):,} for validation", flush=True)
    rows: list[dict[str, Any]] = []
    found: dict[str, pl.DataFrame] = {}
    for peer, model in chosen(args.peers):
        row: dict[str, Any] = {"peer": peer, "model": model}
        try:
            lists, summary = answers(peer, model, work, args)
            frame = pl.read_parquet(lists)
            measure.top_lists(asked, f"{peer}/{model}", frame)
            found[f"{peer}/{model}"] = frame
            row |= summary
        except Exception as error:  # whatever a peer does, the others are measured
            row["error"] = f"{type(error).__name__}: {error}"[:ERROR]
            print(f"  {peer}/{model}: {row['error']}", flush=True)
        else:
            # Under leave-one-out the model that answers is one of those that were tried.
            row["training_seconds"] = row["tune_seconds"] + (row["fit_seconds"] if kind != "loo" else 0.0)
            shown = f"valid {row['valid_ndcg@10']:.4f}  {row['training_seconds']:.0f} s  {row['peak_mb']:.0f} MB"
            print(f"  {peer}/{model}: {shown}  {row['point']}", flush=True)
        rows.append(row)
    ours = measure.own_lists(asked, args.ours) if args.ours else {}
    result = {"set": name, "split": kind, "threads": args.threads, "allowed_seconds": args.seconds, "rows": rows}
    if found or ours:
        result |= _measured(asked, found, ours, rows)
    _write(args.out / f"peers-{name}-{kind}.json", result)


def chosen(wanted: str) -> list[tuple[str, str]]:
    """Peers and their models: all, some peers, or single models as peer/model."""
    every = [(peer, model) for peer, models in PEERS.items() for model in models]
    if wanted == "all":
        return every
    names = wanted.split(",")
    found = [(peer, model) for peer, model in every if peer in names or f"{peer}/{model}" in names]
    known = {peer for peer, _ in every} | {f"{peer}/{model}" for peer, model in every}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"--peers {', '.join(unknown)}: unknown; choose from {', '.join(sorted(known))}")
    return found


def answers(peer: str, model: str, work: Path, args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """A model's lists and what they cost, from the cache where the same model answered the same questions.

    Raises:
        PeerError: it does not install, crashes, or takes far too long.
    """
    script = SCRIPTS / f"peer_{peer}.py"
    digest = hashlib.sha256(f"{requirements_key(peer)} {args.threads} {args.seconds:g}".encode())
    digest.update((SCRIPTS / "asked.py").read_bytes() + script.read_bytes())
    out = cache() / "lists" / work.name / f"{peer}-{model}-{digest.hexdigest()[:12]}"
    lists, summary = out / "lists.parquet", out / "summary.json"
    if args.fresh or not summary.exists():
        command = [str(python_of(peer)), str(script), "--model", model, "--work", str(work), "--out", str(out)]
        _process([*command, "--threads", str(args.threads), "--seconds", f"{args.seconds:g}"], args, out)
    return lists, json.loads(summary.read_text("utf-8"))


def _process(command: list[str], args: argparse.Namespace, out: Path) -> None:
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "POLARS_MAX")
    threads = {f"{name}{'' if 'MAX' in name else '_NUM'}_THREADS": str(args.threads) for name in names}
    # Threads that wait for one another sleep: where they share a core with others, spinning would stop them all.
    threads |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    environ = {**os.environ, **threads, "LANGREC_CACHE": str(cache_folder()), "CUDA_VISIBLE_DEVICES": ""}
    out.mkdir(parents=True, exist_ok=True)
    log, patience = out / "log.txt", args.seconds * LATE + 3600
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environ, cwd=out, start_new_session=True
        )
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise PeerError(f"still running after {patience:.0f} s; ended") from None
        finally:
            if process.poll() is None:  # this program is ending: the peer must not outlive it
                os.killpg(process.pid, signal.SIGKILL)
    if code:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        raise PeerError(f"exit {code}: {lines[-1] if lines else 'no output'}")


def _measured(
    asked: prepare.Asked, found: dict[str, pl.DataFrame], ours: dict[str, pl.DataFrame], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Adds each peer's numbers to its row, and returns the stamp, our own models, and the differences."""
    report = measure.measure(asked, {**found, **{f"langrec/{name}": frame for name, frame in ours.items()}})
    for row in rows:
        if (name := f"{row['peer']}/{row['model']}") in found:
            row["metrics"] = measure.rows_of(report, name)
    out: dict[str, Any] = {"protocol": plain({k: v for k, v in report.protocol.items() if k not in UNKNOWN})}
    if found:
        best = max(found, key=lambda name: report.value(name, "ndcg@10"))
        out["best_peer"] = {"name": best, "ndcg@10": round(report.value(best, "ndcg@10"), 5)}
        print(f"  best peer: {best} {report.value(best, 'ndcg@10'):.4f}", flush=True)
        names = [f"langrec/{name}" for name in ours]
        out["against_best_peer"] = [
            {key: plain(getattr(gap, key)) for key in ("model", "reference", "metric", "difference", "low", "high")}
            | {"ratio": round(report.value(name, gap.metric) / max(report.value(best, gap.metric), 1e-12), 3)}
            for name in names
            for gap in compare(report.measured[name], report.measured[best], COMPARED)
        ]
    out["langrec"] = [{"model": name, "metrics": measure.rows_of(report, f"langrec/{name}")} for name in ours]
    return out


# Of the stamp: what speaks of the measuring process, not of the peers'.
UNKNOWN = ("seconds", "peak_memory_mb", "chosen", "reference", "models")


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": common.machine(), **result}, indent=1) + "\n", "utf-8")
    print(f"  {path}", flush=True)


if __name__ == "__main__":
    main()
