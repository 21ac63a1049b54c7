"""The texts that a model is made cheaper for: what it heals on, what is held out, and the question that judges it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from langrec.data.catalogue import Catalogue
from langrec.data.sources.delimited import read_delimited
from langrec.data.sources.opening import suffixes
from langrec.data.sources.tables import read_table
from langrec.errors import DataError
from langrec.lm.sample import sample_pairs
from langrec.types import Mask

TITLES = "a title finds its text among all texts"
HALVES = "the first half of a text finds its second half"
# One text in so many is held out: never trained on.
HELD = 10
JUDGED = 1_500
# Fewest pairs, and fewest words of a text that is taken as two halves.
FEWEST, WORDS = 8, 4


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """n pairs of texts that belong together.

    Attributes:
        asked: n short texts.
        found: n texts that they look for.
        held: (n,) pairs that no step trains on.
        question: what looking for a pair's second text asks, in words.
        more: further texts without a partner.
        source: where the texts are from, for the report.
    """

    asked: tuple[str, ...]
    found: tuple[str, ...]
    held: Mask
    question: str
    more: tuple[str, ...] = ()
    source: str = ""

    @classmethod
    def of_pairs(
        cls,
        asked: Sequence[str],
        found: Sequence[str],
        question: str = TITLES,
        source: str = "",
        more: Sequence[str] = (),
    ) -> Self:
        """Pairs with one in HELD held out by a hash of the second text, so that the same text is always held out."""
        digests = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).digest() for text in found]
        held = np.array([int.from_bytes(one, "big") % HELD == 0 for one in digests], dtype=bool)
        if len(held) and not held.any():
            held[-1] = True
        return cls(tuple(asked), tuple(found), held, question, tuple(more), source)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Texts of a CSV, JSON lines or Parquet file: a column `text`, and `title` where there is one.

        Raises:
            DataError: the file has no such column, or too few texts.
        """
        # A file with the column text alone does not tell its delimiter.
        mark = {".csv": ",", ".tsv": "\t"}.get(suffixes(file))
        frame = (read_delimited(file, delimiter=mark) if mark else read_table(file)).frame
        names = {name.lower(): name for name in frame.columns}
        if "text" not in names:
            held = ", ".join(frame.columns[:8])
            raise DataError(f"{file}: has no column 'text'; it has {held}", field="texts")
        texts = [str(text or "").strip() for text in frame[names["text"]].to_list()]
        titles = [str(one or "").strip() for one in frame[names["title"]].to_list()] if "title" in names else None
        return cls._of(texts, titles, file.name)

    @classmethod
    def of_catalogue(cls, catalogue: Catalogue, source: str = "the catalogue") -> Self:
        """Titles and the other text fields of all items.

        Raises:
            DataError: too few items have a text.
        """
        return cls._of(catalogue.texts(("*text",)), catalogue.texts(("title",)), source)

    @classmethod
    def made_up(cls, n: int = 256) -> Self:
        """Made-up pairs, for measuring where no texts are given; nothing should be trained on them."""
        return cls.of_pairs(*sample_pairs(n), source="made up")

    @classmethod
    def _of(cls, texts: Sequence[str], titles: Sequence[str] | None, source: str) -> Self:
        if titles is not None:
            both = [(title, text) for title, text in zip(titles, texts, strict=True) if title and text]
            pairs = [(title, text) for title, text in both if title != text]
            if len(pairs) >= FEWEST:
                lone = [title or text for title, text in zip(titles, texts, strict=True) if bool(title) != bool(text)]
                return cls.of_pairs([a for a, _ in pairs], [b for _, b in pairs], TITLES, source, lone)
            texts = [text or title for title, text in zip(titles, texts, strict=True)]
        halves = [_halves(text) for text in dict.fromkeys(texts) if len(text.split()) >= WORDS]
        if len(halves) < FEWEST:
            raise DataError(
                f"{source}: holds {len(halves)} texts of {WORDS} words or more; {FEWEST} are needed", field="texts"
            )
        return cls.of_pairs([a for a, _ in halves], [b for _, b in halves], HALVES, source)

    def __len__(self) -> int:
        return len(self.asked)

    def training(self) -> list[str]:
        """Distinct texts to train on, in a fixed order."""
        rows = np.flatnonzero(~self.held)
        kept_out = {self.found[i] for i in np.flatnonzero(self.held)}
        texts = dict.fromkeys([*(self.asked[i] for i in rows), *(self.found[i] for i in rows), *self.more])
        return [text for text in texts if text not in kept_out]

    def held_out(self, at_most: int = 600) -> list[str]:
        """Distinct held-out texts, both sides of the pairs."""
        rows = np.flatnonzero(self.held)[: at_most // 2]
        return list(dict.fromkeys([*(self.asked[i] for i in rows), *(self.found[i] for i in rows)]))

    def judged(self, at_most: int = JUDGED, seed: int = 0) -> Corpus:
        """The pairs that models are judged on: the held-out ones first, then others drawn under the seed."""
        held, others = np.flatnonzero(self.held), np.flatnonzero(~self.held)
        drawn = np.random.default_rng(seed).permutation(others)[: max(0, at_most - len(held))]
        rows = np.sort(np.concatenate([held[:at_most], drawn]))
        return Corpus(
            tuple(self.asked[i] for i in rows),
            tuple(self.found[i] for i in rows),
            self.held[rows],
            self.question,
            source=self.source,
        )

    def hash(self) -> str:
        """Hex digest of all texts."""
        digest = hashlib.sha256()
        for text in (*self.asked, *self.found, *self.more):
            digest.update(text.encode("utf-8", "replace") + b"\0")
        return digest.hexdigest()[:16]


def _halves(text: str) -> tuple[str, str]:
    words = text.split()
    return " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])
