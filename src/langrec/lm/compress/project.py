"""Narrower vectors: a linear layer after the pooling, from the principal axes of the texts' vectors or by cutting."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from langrec.errors import SettingsError
from langrec.lm.compress.folder import write_model
from langrec.lm.compress.read import load_here, read_torch
from langrec.lm.compress.steps import Step, whole
from langrec.lm.compress.work import Work
from langrec.lm.model import TextModel
from langrec.types import FloatMatrix

WAYS = ("pca", "truncate")
# Texts that axes are learned from, and texts that cutting and axes are compared on.
LEARN, COMPARE = 4_000, 400
# Cutting is taken where it keeps this share of what the axes keep: it depends on no texts.
AS_GOOD = 0.98


def run(model: TextModel, step: Step, folder: Path, work: Work) -> tuple[TextModel, str]:
    """Writes the model with one more linear layer; returns it and which way was taken, in words.

    Raises:
        SettingsError: the width is not below the model's own, or the way does not exist.
    """
    module = load_here(model)
    way = step.options.get("by", "")
    if way and way not in WAYS:
        raise SettingsError(f"--steps {step}: by={way} is not one of {', '.join(WAYS)}", field="steps")
    texts = work.corpus.training()
    texts = texts[:: max(1, len(texts) // LEARN)][:LEARN]
    work.told("read texts", 0, len(texts))
    vectors = read_torch(module, model, texts)
    wide = vectors.shape[1]
    width = whole(step, step.value or str(max(1, wide // 3)), 1, wide - 1)
    held = read_torch(module, model, work.corpus.held_out(COMPARE))
    choices = {"pca": axes(vectors, width), "truncate": np.eye(width, wide, dtype=np.float32)}
    kept = {name: overlap(_unit(held @ weights.T), held) for name, weights in choices.items()}
    if not way:
        # A model trained Matryoshka-wise has what matters in front; any other loses much by cutting.
        way = "truncate" if kept["truncate"] >= AS_GOOD * kept["pca"] else "pca"
    written = write_model(module.core, model, folder, [choices[way]])
    return written, (
        f"{wide} to {width} dimensions by {way}; ten nearest kept on held-out texts: "
        f"pca {kept['pca']:.3f}, truncate {kept['truncate']:.3f}"
    )


def axes(vectors: FloatMatrix, width: int) -> FloatMatrix:
    """(width, d) orthonormal rows: the axes along which the vectors' second moments are largest.

    No mean is taken off: products of vectors are what is kept, as nearly as a linear map of this width can.
    """
    _, found = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    return np.ascontiguousarray(found[:, ::-1][:, :width].T, dtype=np.float32)


def overlap(found: FloatMatrix, wanted: FloatMatrix, k: int = 10) -> float:
    """Share of each row's k nearest rows that both have."""
    mine, theirs = (_nearest(one, min(k, len(one) - 1)) for one in (found, wanted))
    same = [len(set(a) & set(b)) / max(len(b), 1) for a, b in zip(mine.tolist(), theirs.tolist(), strict=True)]
    return float(np.mean(same)) if same else 1.0


def _nearest(vectors: FloatMatrix, k: int) -> np.ndarray:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def _unit(rows: FloatMatrix) -> FloatMatrix:
    found: FloatMatrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return found
