"""What every step is given, and the vectors of the model that the chain began with, read once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from langrec.data.mapped import new_memmap
from langrec.lm.compress.corpus import Corpus
from langrec.lm.compress.exports import name_of, saved
from langrec.lm.model import TextModel
from langrec.protocols import Encoder, Progress
from langrec.sealed import file_is_sealed, seal_file
from langrec.types import FloatMatrix

# Texts that a killed reading with the teacher loses at most.
PIECE = 512
# Reads what a folder with an encoder.json holds; `langrec.encoders.load_saved` is one.
OpenEncoder = Callable[[Path], Encoder]


@dataclass(frozen=True, slots=True)
class Healing:
    """How a model is trained towards its teacher's vectors.

    Attributes:
        epochs: passes over the texts; it stops earlier where held-out texts no longer gain.
        rate: highest learning rate.
        minutes: no epoch begins after so long; 0 = no limit.
        batch: most texts in a batch.
        tokens: most padded tokens in a batch.
        longest: texts are cut at so many tokens while training.
        patience: epochs without gain before it stops.
        precision: auto times a few steps of each; fp32 or bf16.
        seed: of the order of texts.
    """

    epochs: int = 6
    rate: float = 3e-4
    minutes: float = 0.0
    batch: int = 48
    tokens: int = 3_072
    longest: int = 128
    patience: int = 2
    precision: str = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What every step is given.

    Attributes:
        teacher: the model that the chain began with.
        corpus: texts.
        healing: how to train.
        kept: folder for what a later run can take over.
        open: opens a saved encoder.
        threads: to compute with; 0 = all cores.
        told: progress.
        cross: a cross-encoder's folder, for the step that learns from one.
        exports: where exports are kept that other chains of the same model may take over; None = in `kept`.
    """

    teacher: TextModel
    corpus: Corpus
    healing: Healing
    kept: Path
    open: OpenEncoder
    threads: int
    told: Progress
    cross: Path | None = None
    exports: Path | None = None

    @property
    def exported(self) -> Path:
        """The folder of what has been exported."""
        return self.exports or self.kept / "exports"

    def vectors(self, texts: Sequence[str]) -> FloatMatrix:
        """(len(texts), d) float32 unit vectors of the teacher, in a space as good as its fp32 one."""
        digest = hashlib.sha256(f"{self.teacher.space}\n".encode())
        for text in texts:
            digest.update(text.encode("utf-8", "replace") + b"\0")
        file = self.kept / f"teacher-{digest.hexdigest()[:16]}.npy"
        if file_is_sealed(file):
            return np.asarray(np.load(file, allow_pickle=False), dtype=np.float32)
        # In pieces, so that progress is seen and a killed run goes on; sorted by length, so that batches hold like
        # with like.
        encoder, order = self.open(self.saved_teacher()), np.argsort([len(text) for text in texts], kind="stable")
        self.kept.mkdir(parents=True, exist_ok=True)
        part, count = file.with_suffix(".part"), file.with_suffix(".count")
        shape = (len(texts), encoder.dim)
        out, done = _begun(part, count, shape)
        for start in range(done, len(texts), PIECE):
            rows = order[start : start + PIECE]
            self.told("read with the teacher", start, len(texts))
            out[rows] = encoder.encode([texts[i] for i in rows])
            out.flush()
            half = count.with_suffix(".half")
            half.write_text(str(start + PIECE))
            half.replace(count)
        found = np.array(out)
        seal_file(file, part)
        part.replace(file)
        count.unlink(missing_ok=True)
        return found

    def saved_teacher(self) -> Path:
        """The teacher as a saved encoder, in the fastest runtime whose vectors are its fp32 ones."""
        return saved(self.teacher, self.kept / f"teacher-{name_of(self.teacher)}", self.exported)


def _begun(part: Path, count: Path, shape: tuple[int, int]) -> tuple[Any, int]:
    """The array that a killed run had begun and its rows that are done, or a new one."""
    try:
        done, out = int(count.read_text()), open_memmap(part, mode="r+")
        if out.shape == shape and out.dtype == np.float32:
            return out, done
    except (OSError, ValueError):
        pass
    return new_memmap(part, np.float32, shape), 0
