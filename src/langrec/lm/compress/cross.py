"""A cross-encoder: reads a history and a candidate together and says how well they fit; dear, and a good teacher."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from langrec.errors import MissingExtra, SettingsError
from langrec.lm.adapt.head import CONFIG, Head
from langrec.lm.adapt.question import LONGEST, QUESTION, question, short
from langrec.lm.device import chosen_device, device_of
from langrec.lm.model import find_model, read_json
from langrec.types import FloatMatrix, FloatVector, QueryBlock

# History items that are read, newest first: what is further back would be cut anyway.
RECENT = 5
BATCH = 32


class Cross(Protocol):
    """What reads two texts together, whichever way it was made.

    Attributes:
        megabytes: of its weights (10^6 bytes).
    """

    megabytes: float

    def score(self, asked: Sequence[str], candidates: Sequence[str]) -> FloatVector:
        """(n,) how well text i of both fit, higher is better."""
        ...


def load_cross(folder: Path, max_tokens: int = 256) -> Cross:
    """A cross-encoder: a sequence classifier, or what `langrec adapt --task recommend --set reads=question` wrote.

    Raises:
        SettingsError: the folder holds neither.
        MissingExtra: torch or transformers is not installed.
    """
    return Question(folder, max_tokens) if (folder / CONFIG).is_file() else CrossEncoder.load(folder, max_tokens)


@dataclass(slots=True, eq=False)
class CrossEncoder:
    """A sequence classifier over pairs of texts.

    Attributes:
        model: a transformers sequence classifier with one or two labels.
        tokenizer: its tokenizer.
        max_tokens: longest pair.
        megabytes: of its weights (10^6 bytes).
    """

    model: Any
    tokenizer: Any
    max_tokens: int
    megabytes: float

    @classmethod
    def load(cls, folder: Path, max_tokens: int = 256) -> Self:
        """Reads a folder that holds a sequence classifier and its tokenizer.

        Raises:
            SettingsError: the folder holds none, or one with more than two labels.
            MissingExtra: torch or transformers is not installed.
        """
        try:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise MissingExtra("lm", f"the cross-encoder {folder}") from error
        if not folder.is_dir():  # its name would be looked for in the hub
            raise SettingsError(f"{folder}: is no folder; name that of a cross-encoder", field="cross")
        try:
            model, told = AutoModelForSequenceClassification.from_pretrained(
                str(folder), dtype=torch.float32, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise SettingsError(f"{folder}: holds no sequence classifier ({reason})", field="cross") from error
        if told["missing_keys"]:  # transformers would draw the head at random
            lacks = sorted(told["missing_keys"])[0]
            raise SettingsError(f"{folder}: holds no sequence classifier (it lacks {lacks})", field="cross")
        if model.config.num_labels not in (1, 2):
            raise SettingsError(f"{folder}: has {model.config.num_labels} labels; 1 or 2 are needed", field="cross")
        size = sum(one.numel() * one.element_size() for one in model.parameters()) / 1e6
        return cls(model.eval().to(chosen_device()), tokenizer, max_tokens, round(size, 2))

    def score(self, asked: Sequence[str], candidates: Sequence[str]) -> FloatVector:
        """(n,) how well text i of both fit: the logit of the one label, or that of "yes" over that of "no"."""
        import torch

        parts = []
        with torch.inference_mode():
            for start in range(0, len(asked), BATCH):
                batch = self.tokenizer(
                    list(asked[start : start + BATCH]),
                    list(candidates[start : start + BATCH]),
                    truncation=True,
                    max_length=self.max_tokens,
                    padding=True,
                    return_tensors="pt",
                )
                logits = self.model(**batch.to(device_of(self.model))).logits.float().cpu().numpy()
                parts.append(logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


class Question:
    """The model of the task recommend, which reads candidate and history as one text: the query is the history.

    Args:
        longest: characters that are read of a candidate, as in its training; None = all.
    """

    def __init__(self, folder: Path, max_tokens: int, longest: int | None = LONGEST) -> None:
        told = read_json(folder / CONFIG)
        if told.get("reads") != QUESTION:
            raise SettingsError(
                f"{folder}: reads the candidate alone; adapt it with --task recommend --set reads=question",
                field="cross",
            )
        from langrec.lm.adapt.kinds import Adapted
        from langrec.lm.adapt.settings import AdaptSettings

        frozen = AdaptSettings(task="recommend", kind="head", max_tokens=max_tokens, cached=False)
        self._adapted = Adapted(find_model(str(folder), max_tokens), frozen)
        self._head, self._longest = Head.load(folder), longest
        size = sum(one.numel() * one.element_size() for one in self._adapted.module.parameters()) / 1e6
        self.megabytes = round(size, 2)

    def score(self, asked: Sequence[str], candidates: Sequence[str]) -> FloatVector:
        """(n,) the log-odds of a like."""
        pairs = zip(asked, candidates, strict=True)
        texts = [question(short(b, self._longest), (a,), longest=None) for a, b in pairs]
        vectors = self._adapted.vectors(self._adapted.feed(texts)).cpu().numpy()
        return np.asarray(vectors @ self._head.weight[0] + self._head.bias[0], dtype=np.float32)


def seconds(cross: Cross, texts: Sequence[str]) -> float:
    """Seconds to score these candidates for one short text."""
    cross.score(texts[:2], texts[:2])
    begun = time.perf_counter()
    cross.score([texts[0][:80]] * len(texts), texts)
    return time.perf_counter() - begun


class _Base(Protocol):
    def score_block(self, block: QueryBlock) -> FloatMatrix: ...


@dataclass(frozen=True, slots=True, eq=False)
class Reranked:
    """A scorer whose best items a cross-encoder looks at again; all others stay behind them in their order.

    Attributes:
        base: scores the catalogue.
        encoder: scores pairs of history and candidate.
        titles: (n,) of the items, which make up the history's text.
        texts: (n,) of the items, which candidates are read by.
        best: how many are looked at again.
    """

    base: _Base
    encoder: Cross
    titles: Sequence[str]
    texts: Sequence[str]
    best: int

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n) scores."""
        scores = np.array(self.base.score_block(block), dtype=np.float32)
        for i in range(len(block)):
            row = np.where(np.isnan(scores[i]), -np.inf, scores[i])
            history = block.history(i)
            row[history[history < len(row)]] = -np.inf
            near = np.argsort(-row, kind="stable")[: self.best]
            near = near[np.isfinite(row[near])]
            if not len(near):
                continue
            asked = "; ".join(self.titles[j] for j in history[::-1][:RECENT] if j < len(self.titles))
            fit = self.encoder.score([asked] * len(near), [self.texts[j] for j in near])
            # Above every other score, in the order of the second look.
            scores[i, near] = float(row[near].max()) + 1 + (fit - fit.min())
        return scores
