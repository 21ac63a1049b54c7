"""Averaged word vectors: a text is the weighted mean of its tokens' rows in a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from langrec.errors import BundleError
from langrec.lm.exported import CONFIG, FORMAT, TABLE, TOKENIZER, read_config
from langrec.lm.reader import listed
from langrec.lm.tokens import Tokens
from langrec.protocols import Role
from langrec.types import FloatMatrix, FloatVector

# Smooth inverse frequency (Arora et al. 2017): a word of probability p weighs SIF / (SIF + p). Measured with minilm's
# table on MovieLens titles that look for their overviews: NDCG@10 is 0.16 with the paper's 1e-3, 0.21 with 1e-4, 0.27
# with 1e-5, 0.26 with 1e-6 (the whole model: 0.36).
SIF = 1e-5
# Rows averaged at a time.
BLOCK = 8_192


class StaticEncoder:
    """Reads texts by averaging token vectors.

    Args:
        table: (v, d) float16 token vectors, weights included.
        tokens: the tokenizer whose numbers are the table's rows.
        identity: names the space.
    """

    def __init__(self, table: npt.NDArray[np.float16], tokens: Tokens, identity: str) -> None:
        self._table = table
        self._tokens = tokens
        self._identity = identity

    @classmethod
    def of_table(cls, table: npt.NDArray[Any], tokens: Tokens, special: Sequence[int], source: str) -> Self:
        """Shapes a language model's input embeddings into word vectors.

        The mean and the first principal direction, which all words share, are taken out; then each row is weighted by
        its smooth inverse frequency (Arora, Liang & Ma 2017). The frequency comes from the token's number: vocabularies
        are ordered by it, so Zipf's law gives p = 1 / (rank * ln(v)). Special tokens get zero rows.
        """
        rows = table.astype(np.float32)
        rows -= rows.mean(0)
        _, vectors = np.linalg.eigh(rows.T @ rows)
        top = vectors[:, -1:]
        rows -= (rows @ top) @ top.T
        rank = np.arange(1, len(rows) + 1, dtype=np.float32)
        probability = 1 / (rank * np.log(max(len(rows), 3)))
        rows *= (SIF / (SIF + probability))[:, None]
        rows[list(special)] = 0
        kept = rows.astype(np.float16)
        digest = hashlib.sha256(kept.tobytes()).hexdigest()[:12]
        return cls(kept, tokens, f"static/{source}/{digest}")

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self._table.shape[1])

    @property
    def identity(self) -> str:
        """Names the space: the source model's identity and the table's hash."""
        return self._identity

    def encode(self, texts: Sequence[str], role: Role = "item") -> FloatMatrix:
        """(len(texts), dim) float32 unit rows; a text without a known word gets a zero row."""
        from scipy.sparse import csr_array

        texts = listed(texts)
        out = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), BLOCK):
            numbers = self._tokens(texts[start : start + BLOCK], special=False)
            ends = np.cumsum([0, *(len(one) for one in numbers)])
            # Only the rows in use are widened to float32; the table stays small in memory.
            used, places = np.unique(np.concatenate(numbers), return_inverse=True)
            counts = csr_array((np.ones(len(places), dtype=np.float32), places, ends), shape=(len(numbers), len(used)))
            out[start : start + len(numbers)] = counts @ self._table[used].astype(np.float32)
        return _unit(out)

    def static(self) -> Self:
        """Itself."""
        return self

    def save(self, folder: Path) -> None:
        """Writes the table, the tokenizer and encoder.json."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({"tokens": self._table}, folder / TABLE)
        self._tokens.save(folder / TOKENIZER)
        config = {
            "format": FORMAT,
            "kind": "static",
            "identity": self.identity,
            "max_tokens": self._tokens.max_tokens,
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path, threads: int = 0) -> Self:
        """Loads what `save` wrote.

        Raises:
            BundleError: a file is missing or damaged.
        """
        from safetensors.numpy import load_file

        config = read_config(folder)
        try:
            table = load_file(folder / TABLE)["tokens"]
        except Exception as error:
            raise BundleError(f"{folder / TABLE}: the token table cannot be read ({error})") from error
        return cls(table, Tokens.load(folder / TOKENIZER, int(config["max_tokens"])), str(config["identity"]))


def _unit(rows: FloatMatrix) -> FloatMatrix:
    lengths: FloatVector = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-9)
