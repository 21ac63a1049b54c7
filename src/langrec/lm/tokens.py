"""Text to token numbers: a tokenizer file, its cut and its batches, without transformers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langrec.errors import BundleError, MissingExtra
from langrec.lm.model import TextModel
from langrec.types import IntVector

# Characters read per token: a text of megabytes must not be tokenised whole to keep its first 256 tokens.
CHARS_PER_TOKEN = 64
# How vocabularies write what is no text: [CLS], [unused7], <pad>, <|endoftext|>.
_BRACKETS = re.compile(r"\[\w+\]|<[|/\w]+>")


class Tokens:
    """Splits texts into token numbers, special tokens included, cut at `max_tokens`."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.vocabulary = int(tokenizer.get_vocab_size(with_added_tokens=True))

    @classmethod
    def load(cls, file: Path, max_tokens: int) -> Tokens:
        """Reads a tokenizer.json.

        Raises:
            BundleError: the file is missing or damaged.
        """
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_file(str(file)), max_tokens)
        except Exception as error:  # the library raises the bare Exception
            raise BundleError(f"{file}: not a readable tokenizer ({error})") from error

    @classmethod
    def of_model(cls, model: TextModel) -> Tokens:
        """The tokenizer of a model folder; one without tokenizer.json is converted by transformers."""
        found = cls._of_folder(model)
        if model.lower:
            from tokenizers.normalizers import Lowercase, Sequence

            own = found._tokenizer.normalizer
            found._tokenizer.normalizer = Sequence([Lowercase(), own]) if own else Lowercase()
        return found

    @classmethod
    def _of_folder(cls, model: TextModel) -> Tokens:
        file = model.folder / "tokenizer.json"
        if file.exists():
            return cls.load(file, model.max_tokens)
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise MissingExtra("lm", f"{model.folder} without a tokenizer.json") from error
        return cls(AutoTokenizer.from_pretrained(str(model.folder), use_fast=True).backend_tokenizer, model.max_tokens)

    def __call__(self, texts: Sequence[str], special: bool = True) -> list[IntVector]:
        """Token numbers of each text, int32."""
        texts = [text[: CHARS_PER_TOKEN * self.max_tokens] for text in texts]
        try:
            found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=special)
        except (TypeError, UnicodeError):
            # Half a surrogate pair cannot be written as UTF-8; it is read as the replacement character.
            texts = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
            found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=special)
        return [np.asarray(one.ids, dtype=np.int32) for one in found]

    def unknown_share(self, texts: Sequence[str]) -> float:
        """The share of the tokens of some texts that the vocabulary does not hold; 0 where it spells everything out."""
        unknown = self._tokenizer.token_to_id(getattr(self._tokenizer.model, "unk_token", None) or "")
        numbers = np.concatenate([np.zeros(0, dtype=np.int32), *self(texts, special=False)])
        return 0.0 if unknown is None or not len(numbers) else float((numbers == unknown).mean())

    def ordinary(self) -> IntVector:
        """Numbers of the tokens that stand in texts, ascending: neither special ones nor places kept free."""
        found = self._tokenizer.get_vocab(with_added_tokens=True).items()
        return np.array(sorted(n for text, n in found if not _BRACKETS.fullmatch(text)), dtype=np.int32)

    def number(self, token: str) -> int:
        """The number of a token, such as that of masks.

        Raises:
            BundleError: the vocabulary does not hold it.
        """
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise BundleError(f"token {token}: not in the vocabulary")
        return int(found)

    def save(self, file: Path) -> None:
        """Writes a tokenizer.json that `load` reads."""
        self._tokenizer.save(str(file))
