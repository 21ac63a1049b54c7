"""Sign codes: a bit for each dimension of a vector, searched by differing bits, the best looked at again in full.

The asked vector keeps its numbers (asymmetric rescoring, Yamada et al. 2021); stored vectors are bits alone, 32 times
smaller than float32. The mean is taken off first: without it, dimensions that share a sign tell nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from langrec.errors import UNREADABLE, BundleError
from langrec.lm.compress.steps import Step, whole
from langrec.lm.compress.work import Work
from langrec.types import FloatMatrix, FloatVector, IntMatrix

FILE, FACTOR, K = "codes.npz", 4, 10
Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class BinaryCodes:
    """n vectors as bits.

    Attributes:
        mean: (d,) float32 taken off before signs are looked at.
        bits: (n, ceil(d / 8)) uint8.
        dim: d.
    """

    mean: FloatVector
    bits: Bits
    dim: int

    @classmethod
    def of(cls, vectors: FloatMatrix) -> Self:
        """Codes of (n, d) vectors."""
        mean: FloatVector = (
            vectors.mean(0, dtype=np.float32) if len(vectors) else np.zeros(vectors.shape[1], np.float32)
        )
        return cls(mean, np.packbits(vectors > mean, axis=1), vectors.shape[1])

    def __len__(self) -> int:
        return len(self.bits)

    def search(
        self, asked: FloatMatrix, k: int, factor: int = FACTOR, vectors: FloatMatrix | None = None
    ) -> tuple[IntMatrix, FloatMatrix]:
        """The k nearest codes of each asked vector, best first: (q, k) numbers and scores.

        Args:
            asked: (q, d) float32.
            k: how many.
            factor: factor * k codes of fewest differing bits are looked at again.
            vectors: (n, d) full vectors to look at again with, such as a memory map; None uses the codes' signs.
        """
        k = min(k, len(self))
        some = min(len(self), max(k, factor * k))
        own = np.packbits(asked > self.mean, axis=1)
        found = np.empty((len(asked), k), dtype=np.int32)
        scores = np.empty((len(asked), k), dtype=np.float32)
        for i, row in enumerate(own):
            apart = np.bitwise_count(self.bits ^ row).sum(1, dtype=np.int32)
            near = np.argpartition(apart, some - 1)[:some] if some < len(self) else np.arange(len(self))
            if vectors is None:
                signs = np.unpackbits(self.bits[near], axis=1, count=self.dim).astype(np.float32) * 2 - 1
                close = signs @ (asked[i] - self.mean)
            else:
                close = np.asarray(vectors[near]) @ asked[i]
            order = np.lexsort((near, -close))[:k]
            found[i], scores[i] = near[order], close[order]
        return found, scores

    def save(self, file: Path) -> None:
        """Writes an .npz."""
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, mean=self.mean, bits=self.bits, dim=np.array(self.dim))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            BundleError: the file is missing or damaged.
        """
        try:
            with np.load(file, allow_pickle=False) as kept:
                return cls(kept["mean"], kept["bits"], int(kept["dim"]))
        except UNREADABLE as error:
            raise BundleError(f"{file}: cannot be read as sign codes ({error})") from error


def run(encoder_folder: Path, step: Step, folder: Path, work: Work) -> tuple[str, dict[str, Any]]:
    """Codes of all second texts of the pairs, written to `folder`; returns what was found, in words and as values."""
    factor = whole(step, step.value or str(FACTOR), 1, 1_000)
    encoder = work.open(encoder_folder)
    texts = list(work.corpus.found)
    work.told("read texts", 0, len(texts))
    vectors = encoder.encode(texts)
    codes = BinaryCodes.of(vectors)
    asked = encoder.encode([work.corpus.asked[i] for i in np.flatnonzero(work.corpus.held)[:500]], "query")
    values = {
        "bytes_per_vector": codes.bits.shape[1],
        "float32_bytes_per_vector": 4 * codes.dim,
        "factor": factor,
        "recall_of_codes_alone": recall(codes, asked, vectors, 1, rescored=False),
        "recall_rescored_by_codes": recall(codes, asked, vectors, factor, rescored=False),
        "recall_rescored_in_full": recall(codes, asked, vectors, factor, rescored=True),
    }
    codes.save(folder / FILE)
    (folder / "codes.json").write_text(json.dumps({**values, "identity": encoder.identity}, indent=1) + "\n", "utf-8")
    bits, found, full = (
        values[f"recall_{name}"] for name in ("of_codes_alone", "rescored_by_codes", "rescored_in_full")
    )
    return (
        f"{values['bytes_per_vector']} in place of {values['float32_bytes_per_vector']} bytes a vector; of the exact "
        f"ten nearest {bits:.3f} are found by bits, {found:.3f} rescored {factor}x with the asked vector in full, "
        f"{full:.3f} with both in full"
    ), values


def recall(codes: BinaryCodes, asked: FloatMatrix, vectors: FloatMatrix, factor: int, *, rescored: bool) -> float:
    """Share of the exact ten nearest that the codes find; `rescored` looks again with the full vectors."""
    k = min(K, len(vectors))
    exact = np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :k]
    found, _ = codes.search(asked, k, factor, vectors if rescored else None)
    same = [len(set(a) & set(b)) / k for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    return round(float(np.mean(same)), 4) if same else 1.0
