"""The language model as an encoder: exported once, run by whatever computes it fastest here."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from langrec.encoders.static import StaticEncoder
from langrec.errors import BundleError
from langrec.lm import exported
from langrec.lm.exported import Exported
from langrec.lm.reader import listed, read_texts
from langrec.lm.runtimes import Runtime, installed, open_runtime, reads_int8
from langrec.lm.tokens import Tokens
from langrec.protocols import Progress, Role
from langrec.types import FloatMatrix


class TransformerEncoder:
    """Reads texts with a transformer.

    Its vectors carry one `identity` through every runtime that keeps them; int8 has one of its own unless it was
    measured to be as good as equal.

    Args:
        folder: an exported model (see `langrec.lm.exported`).
        found: what its encoder.json says.
        runtime: what computes.
        token_budget: padded tokens in one batch.
        progress: called with (what, done, total) while texts are read.
    """

    def __init__(
        self,
        folder: Path,
        found: Exported,
        runtime: Runtime,
        *,
        token_budget: int = 768,
        progress: Progress | None = None,
    ) -> None:
        self.folder = folder
        self.exported = found
        self.runtime = runtime
        self.token_budget = token_budget
        self.progress = progress
        self._tokens = Tokens.load(folder / exported.TOKENIZER, found.max_tokens)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.exported.dim

    @property
    def identity(self) -> str:
        """Names the space: model, pooling, longest text, hash of the weights, width, and int8 where it differs."""
        lossy = reads_int8(self.runtime.name) and not self.exported.int8_exact
        return self.exported.identity + (f"/int8-{self.exported.int8_method}" if lossy else "")

    def encode(self, texts: Sequence[str], role: Role = "item") -> FloatMatrix:
        """(len(texts), dim) float32 unit rows; a blank text gets a zero row."""
        texts, prompt = listed(texts), self.exported.prompts.get(role)
        if prompt:
            texts = [prompt + text if text.strip() else "" for text in texts]
        return read_texts(
            texts,
            self._tokens,
            self.runtime,
            dim=self.dim,
            pad_id=self.exported.pad_id,
            budget=self.token_budget,
            progress=self.progress,
        )

    def unknown_share(self, texts: Sequence[str]) -> float:
        """The share of the tokens of some texts that the model does not know, as those of a script it cannot read."""
        return self._tokens.unknown_share(texts)

    def static(self) -> StaticEncoder:
        """Averaged word vectors from this encoder's own token table: the cheapest reader of the same words."""
        from safetensors.numpy import load_file

        file = self.folder / exported.TABLE
        try:
            table = load_file(file)["tokens"]
        except Exception as error:
            raise BundleError(f"{file}: the token table cannot be read ({error})") from error
        return StaticEncoder.of_table(table, self._tokens, self.exported.special, source=self.exported.identity)

    def save(self, folder: Path) -> None:
        """Writes what serving needs: the ONNX files, the tokenizer, the token table and encoder.json.

        The fp32 file is always among them, so that the folder runs on any machine.
        """
        folder.mkdir(parents=True, exist_ok=True)
        names = [exported.FP32, exported.TOKENIZER]
        if (self.folder / exported.TABLE).exists():  # one that reranks was kept without it
            names.append(exported.TABLE)
        if reads_int8(self.runtime.name):
            names.append(exported.INT8)
        for name in names:
            shutil.copyfile(self.folder / name, folder / name)
        dataclasses.replace(self.exported, runtime=self.runtime.name).save(folder)

    @classmethod
    def load(cls, folder: Path, threads: int = 0) -> TransformerEncoder:
        """Loads a saved encoder without torch, in the runtime it was saved with where that works here.

        Raises:
            BundleError: a file is missing or damaged.
        """
        found = Exported.load(folder)
        name = found.runtime
        if name.startswith("torch") or not installed(name):
            # The same file in ONNX Runtime, which every install has: the vectors stay in their space.
            name = "onnx-int8" if reads_int8(name) else "onnx-fp32"
        return cls(folder, found, open_runtime(name, folder, threads))
