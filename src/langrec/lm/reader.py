"""Texts to unit vectors: tokens, batches by length, a runtime, and the order restored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from langrec.errors import DataError
from langrec.lm.batches import batches, pad
from langrec.lm.runtimes import Runtime
from langrec.lm.tokens import Tokens
from langrec.protocols import Progress
from langrec.types import FloatMatrix, IntVector

# Texts tokenised and sorted at a time: enough that sorting wins all it can, few enough to hold in memory.
WINDOW = 16_384


def listed(texts: Sequence[str]) -> Sequence[str]:
    """The texts, when they are texts.

    Raises:
        DataError: one text, which would be read letter by letter, or something that is none among them.
    """
    if isinstance(texts, str):
        raise DataError(f"texts: {texts[:40]!r} is one text where several are meant; write [text]", field="texts")
    if not all(issubclass(kind, str) for kind in set(map(type, texts))):
        place = next(place for place, text in enumerate(texts) if not isinstance(text, str))
        raise DataError(f"texts: number {place} is {texts[place]!r}, no text; write '' for none", field="texts")
    return texts


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
    with ThreadPoolExecutor(runtime.lanes) as pool:
        for start in range(0, len(full), WINDOW):
            rows = np.array(full[start : start + WINDOW])
            numbers = tokens([texts[i] for i in rows])
            packs = list(batches(np.array([len(one) for one in numbers]), budget))

            def read(batch: npt.NDArray[np.int64], numbers: Sequence[IntVector] = numbers) -> FloatMatrix:
                return runtime.run(*pad([numbers[i] for i in batch], pad_id))

            # One batch, such as one query's, is computed here: it need not wait for another thread.
            read_all = pool.map(read, packs) if len(packs) > 1 and runtime.lanes > 1 else map(read, packs)
            for batch, vectors in zip(packs, read_all, strict=True):
                out[rows[batch]] = vectors
                done += len(batch)
                if progress:
                    progress("encode", done, len(texts))
    return out
