"""What every step is given, and the vectors of the model that the chain began with, read once and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langrec.lm.compress.corpus import Corpus
from langrec.lm.export import export
from langrec.lm.exported import CONFIG, Exported
from langrec.lm.model import TextModel
from langrec.lm.runtimes import installed
from langrec.protocols import Encoder, Progress
from langrec.types import FloatMatrix

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
    rate: float = 4e-4
    minutes: float = 0.0
    batch: int = 48
    tokens: int = 3_072
    longest: int = 160
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
    """

    teacher: TextModel
    corpus: Corpus
    healing: Healing
    kept: Path
    open: OpenEncoder
    threads: int
    told: Progress
    cross: Path | None = None

    def vectors(self, texts: Sequence[str]) -> FloatMatrix:
        """(len(texts), d) float32 unit vectors of the teacher, in a space as good as its fp32 one."""
        digest = hashlib.sha256(f"{self.teacher.space}\n".encode())
        for text in texts:
            digest.update(text.encode("utf-8", "replace") + b"\0")
        file = self.kept / f"teacher-{digest.hexdigest()[:16]}.npy"
        if file.exists():
            found: FloatMatrix = np.load(file, allow_pickle=False)
            return found
        # In pieces, so that progress is seen; sorted by length, so that batches hold like with like.
        encoder, order = self.open(self.saved_teacher()), np.argsort([len(text) for text in texts], kind="stable")
        out = np.zeros((len(texts), encoder.dim), dtype=np.float32)
        for start in range(0, len(texts), 512):
            rows = order[start : start + 512]
            self.told("read with the teacher", start, len(texts))
            out[rows] = encoder.encode([texts[i] for i in rows])
        self.kept.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part.npy")
        np.save(part, out, allow_pickle=False)
        part.replace(file)
        return out

    def saved_teacher(self) -> Path:
        """The teacher as a saved encoder, in the fastest runtime whose vectors are its fp32 ones."""
        return saved(self.teacher, self.kept / "teacher")


def saved(model: TextModel, folder: Path) -> Path:
    """The model exported to a folder that `load_saved` reads, in the fastest fp32 runtime that is installed."""
    if not (folder / CONFIG).exists():
        found = export(model, folder)
        runtime = "openvino" if installed("openvino") else "onnx-fp32"
        dataclasses.replace(found, runtime=runtime).save(folder)
    else:
        Exported.load(folder)  # a damaged one is refused here, with its name
    return folder
