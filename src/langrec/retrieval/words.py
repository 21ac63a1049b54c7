"""Text to words: any script, and runs cut into short pieces where a script writes no spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Runs of Chinese, Japanese or Korean characters are cut into overlapping pairs; anything else into letters and digits.
# The iteration marks of 人々 belong to them, the middle dot between two names does not.
_CJK = (
    "\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0002fa1f"
)
# Thai, Lao, Burmese and Khmer have letters, of which two say little: overlapping threes.
_THREES = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109f"
    "\u1780-\u17d3\u17dc\u17dd\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"
)
# Vowel signs and accents that no letter swallows (Hindi, vocalised Arabic) are no \w, but stand within words.
MARKS = "".join(chr(c) for c in range(0x0300, 0x1D00) if unicodedata.category(chr(c)).startswith("M"))
_LETTERS = rf"[^\W_{_CJK}{_THREES}](?:[a-z]+|[^\W_{_CJK}{_THREES}]|[{MARKS}])*"
_PIECE = re.compile(rf"{_LETTERS}(?:'{_LETTERS})*|[{_CJK}]+|[{_THREES}]+")
_ASCII_PIECE = re.compile("[a-z0-9]+(?:'[a-z0-9]+)*")
_WITHOUT_SPACES = re.compile(rf"[{_CJK}{_THREES}]")
_IS_CJK, _IS_THREES = re.compile(f"[{_CJK}]"), re.compile(f"[{_THREES}]")
_LONE = re.compile(rf"[{_CJK}]|[{_THREES}]{{1,2}}")


def _plain_letters() -> dict[str, str]:
    """What people leave out or write in several ways, in a search or in a text, and what stands for all of them."""
    latin_and_greek = (*range(0xC0, 0x250), *range(0x370, 0x400), *range(0x1E00, 0x2000))
    table = {chr(c): re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", chr(c))) for c in latin_and_greek}
    table |= {chr(c): str(unicodedata.decimal(chr(c))) for c in range(0x80, 0x10000) if chr(c).isdecimal()}
    table |= dict(re.findall("(.)(.)", "ıiøołlđdħhёеأاإاآاٱاىيیيکكةه\u0901\u0902")) | {"œ": "oe", "æ": "ae"}
    # Accents, points and vowels of Hebrew and Arabic, stretched Arabic, the dot of फ़, soft hyphens and joiners.
    gone = "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u093c\u00ad\u200c\u200d"
    table |= {chr(c): "" for c in range(0x80, 0x2100) if re.match(f"[{gone}]", chr(c))}
    return {letter: plain for letter, plain in table.items() if letter != plain}


_PLAIN = _plain_letters()
_VARYING = re.compile(f"[{''.join(_PLAIN)}]")


def words(text: str) -> list[str]:
    """Words of a text in order, case folded, in Unicode form NFKC, letters without their accents.

    >>> words("The Devil's Café (1997) 東京物語")
    ['the', "devil's", 'cafe', '1997', '東京', '京物', '物語']
    """
    if text.isascii():
        return _ASCII_PIECE.findall(text.lower())
    text = plain(text)
    pieces = _PIECE.findall(text)
    return _cut(pieces) if _WITHOUT_SPACES.search(text) else pieces


def plain(text: str) -> str:
    """A text in which letters that people write in several ways are one: of one case and width, without accents."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return _VARYING.sub(lambda found: _PLAIN[found.group()], text)


def is_lone(word: str) -> bool:
    """Whether a word is a run without spaces so short that in most texts it is part of longer pieces."""
    return _LONE.fullmatch(word) is not None


def _cut(pieces: Sequence[str]) -> list[str]:
    """The pieces, runs without spaces as overlapping parts of them."""
    found: list[str] = []
    for piece in pieces:
        size = 2 if _IS_CJK.match(piece) else 3 if _IS_THREES.match(piece) else len(piece)
        found += [piece[i : i + size] for i in range(max(len(piece) - size + 1, 1))]
    return found
