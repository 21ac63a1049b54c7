"""Text to words: any script, and bigrams where a script writes no spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Runs of Chinese, Japanese or Korean characters are cut into overlapping pairs; anything else into letters and digits.
# The iteration marks of 人々 belong to them, the middle dot between two names does not.
_CJK = (
    "\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0002fa1f"
)
# Vowel signs and accents that no letter swallows (Hindi, Thai, vocalised Arabic) are no \w, but stand within words.
MARKS = "".join(chr(c) for c in range(0x0300, 0x1D00) if unicodedata.category(chr(c)).startswith("M"))
_LETTERS = rf"[^\W_{_CJK}](?:[^\W_{_CJK}]|[{MARKS}])*"
_PIECE = re.compile(rf"[{_CJK}]+|{_LETTERS}(?:['’]{_LETTERS})*")
_IS_CJK = re.compile(rf"[{_CJK}]")


def words(text: str) -> list[str]:
    """Words of a text in order, case folded, in Unicode form NFKC.

    >>> words("The Devil's Advocate (1997) 東京物語")
    ['the', "devil's", 'advocate', '1997', '東京', '京物', '物語']
    """
    return list(_words(unicodedata.normalize("NFKC", text).casefold()))


def is_lone(word: str) -> bool:
    """Whether a word is one Chinese, Japanese or Korean character, which in most texts is part of pairs."""
    return len(word) == 1 and _IS_CJK.match(word) is not None


def _words(text: str) -> Iterator[str]:
    for match in _PIECE.finditer(text):
        piece = match.group()
        if _IS_CJK.match(piece) and len(piece) > 1:
            yield from (piece[i : i + 2] for i in range(len(piece) - 1))
        else:
            yield piece.replace("’", "'")
