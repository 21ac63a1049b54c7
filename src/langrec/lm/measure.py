"""Which runtime is fastest on this machine without losing quality: measured once, then remembered."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langrec.errors import LangrecError
from langrec.lm import exported
from langrec.lm.exported import Exported
from langrec.lm.int8 import make_int8
from langrec.lm.machine import cores, this_machine
from langrec.lm.model import TextModel
from langrec.lm.reader import read_texts
from langrec.lm.runtimes import RUNTIMES, Runtime, installed, open_runtime, reads_int8
from langrec.lm.sample import sample_pairs
from langrec.lm.tokens import Tokens
from langrec.protocols import Progress
from langrec.types import FloatMatrix

REFERENCE = "onnx-fp32"
# A runtime may lose at most this share of fp32's NDCG@10 of raw text similarity.
NDCG_KEPT = 0.99
# Lists read beside one another should be the same lists: bounds that NDCG alone is too blunt to guard.
COSINE_KEPT, TOP10_KEPT = 0.99, 0.90
# Vectors this close may share the identity of the fp32 space.
EXACT_COSINE, EXACT_TOP10 = 0.9999, 0.98
# An inexact runtime brings a space of its own, so it must win by more than the noise of a measurement.
INEXACT_GAIN = 1.10
# A candidate this much slower than the reference on the first few texts is not measured further.
HOPELESS = 0.5
PAIRS, PROBE = 64, 12
# Of so few pairs one that changes its place moves NDCG by a percent, so the quality is judged on more.
JUDGED = 256


@dataclass(frozen=True, slots=True)
class Measured:
    """One runtime on one machine.

    Attributes:
        name: the runtime.
        texts_per_second: on the sample; 0 where it did not run.
        cosine: mean cosine to the fp32 vectors of the same texts.
        top10: share of the ten nearest texts that fp32 finds too.
        ndcg: NDCG@10 of finding each title's description.
        note: why it was not measured or not kept; empty where it is eligible.
    """

    name: str
    texts_per_second: float
    cosine: float = 0.0
    top10: float = 0.0
    ndcg: float = 0.0
    note: str = ""

    @property
    def exact(self) -> bool:
        """Whether its vectors are as good as equal to fp32's."""
        return self.cosine >= EXACT_COSINE and self.top10 >= EXACT_TOP10


@dataclass(frozen=True, slots=True)
class Choice:
    """The measured runtimes, fp32 first, and the one taken."""

    runtime: str
    rows: tuple[Measured, ...]
    threads: int
    seconds: float


def known_choice(root: Path, found: Exported, threads: int) -> Choice | None:
    """The choice made earlier on this machine with these libraries and threads, None where there is none."""
    try:
        values = json.loads(_file(root, found, threads).read_text("utf-8"))
        rows = tuple(Measured(**row) for row in values.pop("rows"))
        return Choice(rows=rows, **values) if values["runtime"] in RUNTIMES else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # absent, damaged, or written by another version: it is measured again


def choose_runtime(
    root: Path,
    folder: Path,
    found: Exported,
    model: TextModel | None,
    threads: int,
    *,
    texts: tuple[Sequence[str], Sequence[str]] | None = None,
    budget: int = 768,
    progress: Progress | None = None,
) -> Choice:
    """Measures every runtime that is installed, keeps the table in the cache and says which to take.

    Args:
        root: the cache folder.
        folder: the exported model.
        found: its encoder.json.
        model: the source folder; None leaves the torch runtimes out.
        threads: threads to compute with; 0 = all cores.
        texts: short texts and the long text that belongs to each; None takes made-up ones. The first `PAIRS` are timed.
        budget: padded tokens in a batch.
        progress: called with ("measure", done, total).
    """
    started = time.perf_counter()
    threads = threads or cores()
    tokens = Tokens.load(folder / exported.TOKENIZER, found.max_tokens)
    pairs = texts or sample_pairs(JUDGED)

    def read(runtime: Runtime, some: Sequence[str]) -> FloatMatrix:
        return read_texts(some, tokens, runtime, dim=found.dim, pad_id=found.pad_id, budget=budget)

    rows: list[Measured] = []
    reference: FloatMatrix | None = None
    names = [REFERENCE, *(name for name in RUNTIMES if name != REFERENCE)]
    for done, name in enumerate(names):
        if progress:
            progress("measure", done, len(names))
        if not installed(name) or (name.startswith("torch") and model is None):
            rows.append(Measured(name, 0.0, note="not installed" if not installed(name) else "no source model"))
            continue
        try:
            if reads_int8(name):
                make_int8(folder, found, tokens)
            runtime = open_runtime(name, folder, threads, model)
            row, vectors = _measure(name, runtime, pairs, read, reference, rows[0] if rows else None)
        except LangrecError as error:
            if name == REFERENCE:
                raise
            row, vectors = Measured(name, 0.0, note=error.message), None
        except Exception as error:  # a library that fails here must not stop those that work
            if name == REFERENCE:
                raise
            row, vectors = Measured(name, 0.0, note=f"{type(error).__name__}: {error}".splitlines()[0]), None
        rows.append(row)
        if reference is None:
            reference = vectors
    if progress:
        progress("measure", len(names), len(names))
    choice = Choice(fastest(rows), tuple(rows), threads, round(time.perf_counter() - started, 1))
    _keep(_file(root, found, threads), choice)
    return choice


def fastest(rows: Sequence[Measured]) -> str:
    """The fastest eligible runtime; one with a space of its own must win by more than noise."""
    able = [row for row in rows if not row.note]
    exact = max((row for row in able if row.exact), key=lambda row: row.texts_per_second)
    best = max(able, key=lambda row: row.texts_per_second)
    if best.exact or best.texts_per_second < INEXACT_GAIN * exact.texts_per_second:
        return exact.name
    return best.name


def similarity_quality(vectors: FloatMatrix, reference: FloatMatrix) -> tuple[float, float, float]:
    """Mean cosine, top-10 agreement, and NDCG@10 of finding row i + n/2 from row i among the last n/2 rows."""
    half = len(vectors) // 2
    cosine = float((vectors * reference).sum(1).mean())
    mine, theirs = _nearest(vectors), _nearest(reference)
    same = [len(set(a) & set(b)) / len(b) for a, b in zip(mine.tolist(), theirs.tolist(), strict=True)]
    return cosine, float(np.mean(same)), text_ndcg(vectors[:half], vectors[half:])


def text_ndcg(queries: FloatMatrix, items: FloatMatrix) -> float:
    """NDCG@10 of row i of the queries finding row i of the items, the one relevant item."""
    scores = queries @ items.T
    rank = (scores > np.diagonal(scores)[:, None]).sum(1)
    return float(np.where(rank < 10, 1 / np.log2(rank + 2), 0.0).mean())


def _nearest(vectors: FloatMatrix, k: int = 10) -> np.ndarray:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def _measure(
    name: str,
    runtime: Runtime,
    pairs: tuple[Sequence[str], Sequence[str]],
    read: Callable[[Runtime, Sequence[str]], FloatMatrix],
    reference: FloatMatrix | None,
    first: Measured | None,
) -> tuple[Measured, FloatMatrix]:
    probe, timed, texts = ([text for part in pairs for text in part[:n]] for n in (PROBE // 2, PAIRS, None))
    read(runtime, probe)  # the first batch pays for kernels and memory
    started = time.perf_counter()
    read(runtime, probe)
    speed = len(probe) / (time.perf_counter() - started)
    if first is not None and speed < HOPELESS * first.texts_per_second:
        row = Measured(name, round(speed, 1), note="far slower than fp32 on the first texts")
        return row, np.zeros((0, 0), dtype=np.float32)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        read(runtime, timed)
        seconds.append(time.perf_counter() - started)
    vectors = read(runtime, texts)
    cosine, top10, ndcg = similarity_quality(vectors, vectors if reference is None else reference)
    row = Measured(name, round(len(timed) / min(seconds), 1), round(cosine, 5), round(top10, 4), round(ndcg, 4))
    lost = first is not None and (
        ndcg < NDCG_KEPT * first.ndcg or cosine < COSINE_KEPT or top10 < TOP10_KEPT or not np.isfinite(cosine)
    )
    return (dataclasses.replace(row, note="loses quality") if lost else row), vectors


def _file(root: Path, found: Exported, threads: int) -> Path:
    key = this_machine().key(found.identity, str(threads or cores()), str(found.int8_method), str(JUDGED))
    return root / "runtimes" / f"{key}.json"


def _keep(file: Path, choice: Choice) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {"machine": dataclasses.asdict(this_machine()), **dataclasses.asdict(choice)}
    values.pop("machine")
    beside = file.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    beside.replace(file)
