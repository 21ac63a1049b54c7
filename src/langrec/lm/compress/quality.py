"""What a saved encoder is worth and costs on given texts: retrieval, neighbours, speed, megabytes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from langrec.lm import exported
from langrec.lm.compress.corpus import Corpus
from langrec.lm.compress.project import overlap
from langrec.lm.compress.work import OpenEncoder
from langrec.lm.exported import Exported, read_config
from langrec.lm.runtimes import installed, reads_int8
from langrec.protocols import Encoder
from langrec.types import FloatMatrix

# Texts that speed is taken on, times that they are read, and single queries that are timed.
SPEED_TEXTS, REPEATS, SINGLE = 240, 2, 24
# Rows whose neighbours are compared.
NEIGHBOURS = 1_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One saved encoder.

    Attributes:
        name: the step that made it; `original` for the model that the chain began with.
        runtime: what computes; `table` for a static one.
        dim: width of a vector.
        megabytes: what the runtime loads: its model file or table, and the tokenizer (10^6 bytes).
        parameters: numbers in that model; 0 = not counted.
        texts_per_second: texts of mixed length, both sides of the pairs.
        ms: milliseconds for one short text, median.
        ndcg: NDCG@10 of each pair's first text finding its second.
        ndcg_held_out: the same over pairs that no step trained on, among the same candidates.
        kept: `ndcg` over the original's.
        kept_held_out: `ndcg_held_out` over the original's.
        cosine: mean cosine to the original's vectors; None where the widths differ.
        top10: share of the original's ten nearest texts that are found too.
        note: what the step did.
    """

    name: str
    runtime: str
    dim: int
    megabytes: float
    parameters: int
    texts_per_second: float
    ms: float
    ndcg: float
    ndcg_held_out: float
    kept: float = 1.0
    kept_held_out: float = 1.0
    cosine: float | None = 1.0
    top10: float = 1.0
    note: str = ""


@dataclass(slots=True)
class Judge:
    """Measures saved encoders on one corpus against the first one that it is shown.

    Attributes:
        corpus: the pairs, drawn once.
        open: opens a saved encoder.
    """

    corpus: Corpus
    open: OpenEncoder
    _reference: FloatMatrix | None = None
    _first: Measured | None = None
    _mixed: list[str] = field(default_factory=list)

    def __call__(self, folder: Path, name: str, note: str = "", parameters: int = 0) -> Measured:
        """Measures a saved encoder in the fastest of the runtimes that its file is for, which is then marked in it."""
        runtime, encoder, speed = self._fastest(folder)
        corpus = self.corpus
        vectors = np.concatenate([encoder.encode(corpus.asked, "query"), encoder.encode(corpus.found)])
        half = len(corpus)
        gains = pair_gains(vectors[:half], vectors[half:])
        held = float(gains[corpus.held].mean()) if corpus.held.any() else float(gains.mean())
        cosine: float | None = 1.0
        top10 = kept = kept_held = 1.0
        if self._reference is not None and self._first is not None:
            rows = np.linspace(0, len(vectors) - 1, min(len(vectors), NEIGHBOURS)).astype(int)
            top10 = overlap(vectors[rows], self._reference[rows])
            same = vectors.shape[1] == self._reference.shape[1]
            cosine = float((vectors * self._reference).sum(1).mean()) if same else None
            kept = float(gains.mean()) / max(self._first.ndcg, 1e-9)
            kept_held = held / max(self._first.ndcg_held_out, 1e-9)
        row = Measured(
            name=name,
            runtime=runtime,
            dim=int(vectors.shape[1]),
            megabytes=round(loaded_bytes(folder, runtime) / 1e6, 2),
            parameters=parameters,
            texts_per_second=round(speed, 1),
            ms=round(_one(encoder, corpus), 3),
            ndcg=round(float(gains.mean()), 5),
            ndcg_held_out=round(held, 5),
            kept=round(kept, 4),
            kept_held_out=round(kept_held, 4),
            cosine=None if cosine is None else round(cosine, 5),
            top10=round(top10, 4),
            note=note,
        )
        if self._first is None:
            self._reference, self._first = vectors, row
        return row

    def _fastest(self, folder: Path) -> tuple[str, Encoder, float]:
        if not self._mixed:
            pairs = [text for pair in zip(self.corpus.asked, self.corpus.found, strict=True) for text in pair]
            self._mixed = pairs[:: max(1, len(pairs) // SPEED_TEXTS)][:SPEED_TEXTS]
        if read_config(folder).get("kind") != "transformer":
            encoder = self.open(folder)
            return "table", encoder, _speed(encoder.encode, self._mixed)
        int8 = (folder / exported.INT8).exists()
        names = ("openvino-int8", "onnx-int8") if int8 else ("openvino", "onnx-fp32")
        found: list[tuple[float, str, Encoder]] = []
        for name in names:
            if not installed(name):
                continue
            try:
                mark(folder, name)
                encoder = self.open(folder)
                found.append((_speed(encoder.encode, self._mixed), name, encoder))
            except Exception:  # a runtime that cannot read this file is not the one to take
                if name == names[-1] and not found:
                    raise
        speed, name, encoder = max(found, key=lambda one: one[0])
        mark(folder, name)
        return name, encoder, speed


def mark(folder: Path, runtime: str) -> None:
    """Writes into a saved encoder which runtime it is opened in."""
    dataclasses.replace(Exported.load(folder), runtime=runtime).save(folder)


def pair_gains(asked: FloatMatrix, found: FloatMatrix) -> np.ndarray:
    """(n,) gain at 10 of row i of `asked` finding row i of `found`, the one right answer: its mean is NDCG@10.

    A row of zeros or NaN finds nothing and is not found: it stands for a text that could not be read.
    """
    out = np.zeros(len(asked))
    for start in range(0, len(asked), 1_024):
        some = asked[start : start + 1_024]
        scores = some @ found.T
        own = scores[np.arange(len(some)), start + np.arange(len(some))]
        rank = (scores > own[:, None]).sum(1)
        read = some.any(1) & found[start : start + 1_024].any(1) & np.isfinite(own)
        out[start : start + 1_024] = np.where(read & (rank < 10), 1 / np.log2(rank + 2), 0.0)
    return out


def loaded_bytes(folder: Path, runtime: str) -> int:
    """Bytes of the files that a runtime loads of a saved encoder: model or table, and tokenizer."""
    model = exported.TABLE if runtime == "table" else exported.INT8 if reads_int8(runtime) else exported.FP32
    return sum(file.stat().st_size for name in (model, exported.TOKENIZER) if (file := folder / name).exists())


def _speed(read: Callable[[list[str]], FloatMatrix], texts: list[str]) -> float:
    read(texts[:16])  # the first batch pays for kernels and memory
    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        read(texts)
        taken.append(time.perf_counter() - begun)
    return len(texts) / max(min(taken), 1e-9)


def _one(encoder: Encoder, corpus: Corpus) -> float:
    taken = []
    for text in corpus.asked[:SINGLE]:
        begun = time.perf_counter()
        encoder.encode([text], "query")
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken)) * 1000
