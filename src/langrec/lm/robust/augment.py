"""Altered copies of training texts: synonyms, words left out, words swapped, and translation there and back.

Synonyms, deletion and swap are those of EDA (Wei & Zou 2019); back-translation is that of Sennrich et al. (2016).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from langrec.lm.robust.translate import round_trip
from langrec.lm.robust.wordnet import Synonyms, find_synonyms

Rows = npt.NDArray[np.int64]
# A unit is a character where the script has no spaces between words, else what stands between spaces.
_UNIT = re.compile(r"(\s*)([\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+)")
_WORD = re.compile(r"(\W*)([A-Za-z][A-Za-z-]*[A-Za-z])(\W*)")


def copies(
    texts: Sequence[str],
    ways: Mapping[str, float],
    n: int,
    seed: int,
    *,
    wordnet: str = "",
    there: str = "",
    back: str = "",
) -> list[str]:
    """n altered copies of each text: the first of all texts, then the second of all.

    Each copy goes through all ways in their order. A text's copies depend on itself, the seed and the number of the
    copy alone, not on what stands beside it.

    Args:
        ways: rate of each way: the share of words replaced (synonyms) or moved (swap), at least one; the chance of
            each word to be left out (delete); the share of texts translated (translate).
        wordnet: folder or file of synonyms, for the way synonyms; "" looks where WordNet is usually installed.
        there: translator into another language, for the way translate.
        back: translator back from it.

    Raises:
        SettingsError: a way lacks its data, its translator, or its command.
    """
    synonyms = find_synonyms(wordnet) if "synonyms" in ways else None
    found: list[str] = []
    for number in range(n):
        rngs = [np.random.default_rng((seed, number, _number(text))) for text in texts]
        now = list(texts)
        for way, rate in ways.items():
            if way == "translate":
                chosen = [i for i, rng in enumerate(rngs) if rng.random() < rate]
                for i, text in zip(chosen, round_trip([now[i] for i in chosen], there, back), strict=True):
                    now[i] = text
            else:
                now = [_alter(way, text, rate, rng, synonyms) for text, rng in zip(now, rngs, strict=True)]
        found += now
    return found


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _alter(way: str, text: str, rate: float, rng: np.random.Generator, synonyms: Synonyms | None) -> str:
    if way == "delete":
        return delete(text, rate, rng)
    if way == "swap":
        return swap(text, rate, rng)
    assert synonyms is not None
    return replace(text, rate, rng, synonyms)


def delete(text: str, rate: float, rng: np.random.Generator) -> str:
    """The text with each word left out by that chance; one word always stays."""
    units = _UNIT.findall(text)
    kept = rng.random(len(units)) >= rate
    if len(units) and not kept.any():
        kept[rng.integers(len(units))] = True
    return _join([unit for unit, stays in zip(units, kept, strict=True) if stays])


def swap(text: str, rate: float, rng: np.random.Generator) -> str:
    """The text with that share of its words (at least one) each put in another's place."""
    units = _UNIT.findall(text)
    if len(units) < 2:
        return text
    words = [word for _, word in units]
    for _ in range(max(1, round(rate * len(words)))):
        i, j = rng.choice(len(words), 2, replace=False)
        words[i], words[j] = words[j], words[i]
    return _join([(space, word) for (space, _), word in zip(units, words, strict=True)])


def replace(text: str, rate: float, rng: np.random.Generator, synonyms: Synonyms) -> str:
    """The text with that share of its words (at least one) replaced, of those that have synonyms.

    A synonym that shares more meanings with the word is drawn more often.
    """
    units = _UNIT.findall(text)
    wanted = max(1, round(rate * len(units)))
    for i in rng.permutation(len(units)).tolist():
        whole = _WORD.fullmatch(units[i][1])
        others = synonyms.of(whole[2]) if whole else {}
        if whole is None or not others:
            continue
        share = np.array(list(others.values()), dtype=float)
        word = list(others)[int(rng.choice(len(share), p=share / share.sum()))]
        units[i] = (units[i][0], f"{whole[1]}{_cased(word, whole[2])}{whole[3]}")
        wanted -= 1
        if not wanted:
            break
    return _join(units)


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word


def _join(units: Sequence[tuple[str, str]]) -> str:
    return "".join(space + word for space, word in units).strip()


class Varied:
    """A feed whose texts are, each time that training reads them, themselves or one of their altered copies.

    Steps and their cost stay what they were. What is drawn follows torch's seed, so that a resumed epoch draws the
    same.

    Attributes:
        lengths: (n,) of the texts themselves.

    Args:
        feed: n texts, then their copies.
        n: how many texts.
        training: True while training reads; else the texts themselves are given.
    """

    def __init__(self, feed: Any, n: int, training: Callable[[], bool]) -> None:
        self.feed, self.n, self.training = feed, n, training
        self.lengths = feed.lengths[:n]

    def __call__(self, rows: Rows) -> tuple[Tensor, ...]:
        return self.feed(self.drawn(rows) if self.training() else rows)  # type: ignore[no-any-return]

    def drawn(self, rows: Rows) -> Rows:
        """Rows of `feed`: for each text itself or one of its copies, by chance."""
        ways = len(self.feed.lengths) // self.n
        found: Rows = rows + self.n * torch.randint(ways, (len(rows),)).numpy()
        return found


def every(feed: Any) -> tuple[Any, Rows]:
    """The feed of all texts and copies, and the text of each; a plain feed is what it was."""
    if isinstance(feed, Varied):
        return feed.feed, np.arange(len(feed.feed.lengths)) % feed.n
    return feed, np.arange(len(feed.lengths))
