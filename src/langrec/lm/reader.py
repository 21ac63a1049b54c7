"""Texts to unit vectors: tokens, batches by length, a runtime, and the order restored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from langrec.lm.batches import batches, pad
from langrec.lm.runtimes import Runtime
from langrec.lm.tokens import Tokens
from langrec.protocols import Progress
from langrec.types import FloatMatrix

# Texts tokenised and sorted at a time: enough that sorting wins all it can, few enough to hold in memory.
WINDOW = 16_384


def read_texts(
    texts: Sequence[str],
    tokens: Tokens,
    runtime: Runtime,
    *,
    dim: int,
    pad_id: int,
    budget: int,
    progress: Progress | None = None,
) -> FloatMatrix:
    """(len(texts), dim) float32 unit rows in the order of the texts; a blank text gets a zero row."""
    out = np.zeros((len(texts), dim), dtype=np.float32)
    full = [i for i, text in enumerate(texts) if not text.isspace() and text]
    done = len(texts) - len(full)
    for start in range(0, len(full), WINDOW):
        rows = np.array(full[start : start + WINDOW])
        numbers = tokens([texts[i] for i in rows])
        for batch in batches(np.array([len(one) for one in numbers]), budget):
            out[rows[batch]] = runtime.run(*pad([numbers[i] for i in batch], pad_id))
            done += len(batch)
            if progress:
                progress("encode", done, len(texts))
    return out
