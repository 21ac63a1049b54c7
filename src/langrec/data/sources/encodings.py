"""Which encoding a text is in that is not UTF-8 and does not say: told by the letters that it would have."""

from __future__ import annotations

import codecs
import re
from collections import Counter

AUTO = "auto"
GB18030 = "gb18030"
# What a name means on Windows and in browsers: the same, and the characters that were added there.
_WIDER = {
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "cp950",
    "gb2312": GB18030,
    "gbk": GB18030,
    "tis-620": "cp874",
}
_SAMPLE = 100_000
_FEWEST = 10  # characters that are not ASCII, or twice as many of one byte; fewer say nothing
_HIGH, _RUN = re.compile(rb"[\x80-\xff]"), re.compile(rb"[\x80-\xff]{3,}")
_LINE = re.compile(rb"[^\n]*[\x80-\xff][^\n]*\n?")
# One byte a letter: the letters of most of a language's texts, and their least share among all that are not ASCII.
_RUSSIAN = "оеаинтсрвлкмдпуя"
_NARROW = {
    "windows-1251": (_RUSSIAN, 0.65),
    "koi8-r": (_RUSSIAN, 0.65),
    "cp866": (_RUSSIAN, 0.65),
    "windows-1253": ("αοιετσνηυρπκμλςάίόέή", 0.8),
    "windows-1255": ("יוהלארתבשמנכדםעק", 0.7),
    "windows-1256": ("اليمنورتبهةدسعكحقف", 0.7),
    "tis-620": ("านรกอเงมยลวดทสตะปบคชขห\u0e31\u0e34\u0e35\u0e48\u0e49", 0.7),
}
# Words of such letters have one beside the other; Western ones have one here and there, or two (Finnish ää).
_TOGETHER = 0.6
_KANA = re.compile("[\u3041-\u3093\u30a1-\u30f6\u30fc]")
# In GB18030, as in its older parts, the 3,755 most usual characters are one byte of each.
_FIRST, _SECOND = range(0xB0, 0xD8), range(0xA1, 0xFF)


def decoded(data: bytes, name: str, errors: str = "strict") -> str:
    """The text of bytes in an encoding; what they are in the narrower sense of its name comes first."""
    try:
        return data.decode(name)
    except UnicodeError:
        return data.decode(_WIDER.get(codecs.lookup(name).name, name), errors)


def encoding_of(data: bytes) -> str:
    """The encoding that bytes look to be in that are not UTF-8; empty where their letters tell none.

    The first 100,000 bytes of lines with others than ASCII count. Of a few characters none but Chinese is told.
    """
    sample = _sample(data)
    lines = sample.splitlines()
    if 2 * sum(map(is_utf8, lines)) > len(lines):
        return ""  # UTF-8 but for some lines: these tell more by themselves
    return (
        _one_byte(sample)
        or _japanese(sample, "euc_jp")
        or (GB18030 if is_gb18030(data) else "")
        or _japanese(sample, "shift_jis")
        or _korean_or_chinese(sample)
        or _turkish(sample)
    )


def is_improbable(data: bytes) -> bool:
    """Whether bytes make no words as Windows-1252: its accents stand one beside the other, or signs within words."""
    sample = _sample(data)
    signs = re.findall(r"(?<=[^\W\d_])[¡-©«¬®-´¶¸¹»-¿×÷]+(?=[^\W\d_])", sample.decode("cp1252", "ignore"))
    high = len(_HIGH.findall(sample))
    return high > 3 and (_together(sample) >= _TOGETHER or len(signs) >= high / 8)


def is_gb18030(data: bytes) -> bool:
    """Whether bytes are not UTF-8 but look like Chinese in GB18030, by the first 100,000 bytes.

    The most usual characters are half of all that is not ASCII. They are spread over their whole range, which tells
    them from Korean (its syllables end at 0xC8) and from Cyrillic (its letters of one case lie from 0xC0 to 0xDF).
    """
    if is_utf8(data):
        return False
    pairs = [char.encode(GB18030) for char in _others(data[:_SAMPLE].decode(GB18030, "ignore")).elements()]
    usual = [pair for pair in pairs if len(pair) == 2 and pair[0] in _FIRST and pair[1] in _SECOND]
    late = sum(pair[0] > 0xC8 for pair in usual)
    aside = sum(not 0xC0 <= pair[1] <= 0xDF for pair in usual)
    return bool(usual) and 2 * len(usual) >= len(pairs) and 10 * late >= len(usual) and 4 * aside >= len(usual)


def is_utf8(data: bytes) -> bool:
    """Whether bytes are UTF-8, as ASCII is."""
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _sample(data: bytes) -> bytes:
    lines: list[bytes] = []
    size = 0
    for line in _LINE.finditer(data):
        lines.append(line.group())
        size += len(lines[-1])
        if size >= _SAMPLE:
            break
    return b"".join(lines)[:_SAMPLE]


def _others(text: str) -> Counter[str]:
    """How often each character stands in a text that is neither ASCII nor a space."""
    return Counter({char: n for char, n in Counter(text).items() if not char.isascii() and not char.isspace()})


def _read(sample: bytes, name: str) -> Counter[str]:
    """The characters of a sample in an encoding; none where it is not in it, or has too few."""
    decoder = codecs.getincrementaldecoder(_WIDER.get(name, name))()
    try:
        found = _others(decoder.decode(sample))  # its end may be within a character
    except UnicodeError:
        return Counter()
    return found if found.total() >= _FEWEST else Counter()


def _together(sample: bytes) -> float:
    """Share of the bytes above ASCII that stand three or more beside one another."""
    sample = sample.replace(b"\xab\xa0", b"").replace(b"\xa0\xbb", b"")  # French quotes with their spaces
    return sum(map(len, _RUN.findall(sample))) / max(len(_HIGH.findall(sample)), 1)


def _one_byte(sample: bytes) -> str:
    if _together(sample) < _TOGETHER:
        return ""
    best, most = "", 0.0
    for name, (letters, least) in _NARROW.items():
        found = _read(sample, name)
        share = sum(n for char, n in found.items() if char.lower() in letters) / max(found.total(), 1)
        if found.total() >= 2 * _FEWEST and share >= least and share > most:
            best, most = name, share
    return best


def _japanese(sample: bytes, name: str) -> str:
    """By its kana; Shift-JIS also by the first bytes of its usual characters."""
    found = _read(sample, name)
    kana = sum(n for char, n in found.items() if _KANA.match(char))
    if kana and 5 * kana >= found.total():
        return name
    pairs = {pair: n for char, n in found.items() if name == "shift_jis" and len(pair := char.encode("cp932")) == 2}
    usual = sum(n for pair, n in pairs.items() if pair[0] <= 0x83 or 0x88 <= pair[0] <= 0x97)
    high = sum(n for pair, n in pairs.items() if pair[1] >= 0x80)  # few after the ’ of Windows-1252
    total = sum(pairs.values())
    if total < _FEWEST or found.total() > 2 * total:
        return ""
    return name if usual >= 0.9 * total and high >= 0.5 * total else ""


def _korean_or_chinese(sample: bytes) -> str:
    """Usual characters are one range of first bytes: 0xB0 to 0xC8 of Korean, 0xA4 to 0xC6 of traditional Chinese."""
    for name, first, last in (("euc_kr", 0xB0, 0xC8), ("big5", 0xA4, 0xC6), ("big5hkscs", 0xA4, 0xC6)):
        pairs = {char.encode(_WIDER.get(name, name)): n for char, n in _read(sample, name).items()}
        letters = {pair: n for pair, n in pairs.items() if len(pair) == 2 and pair[0] >= 0xA4}
        usual = sum(n for pair, n in letters.items() if first <= pair[0] <= last)
        # Second bytes that are ASCII are usual in Chinese and rare in Korean; after Western accents nearly all are.
        high = sum(n for pair, n in letters.items() if pair[1] > 0xA0)
        total = sum(letters.values())
        if total >= _FEWEST and usual >= 0.8 * total and high >= (0.9 if name == "euc_kr" else 0.25) * total:
            return name
    return ""


def _turkish(sample: bytes) -> str:
    """Windows-1254 is Windows-1252 but for six letters, which of the others only Icelandic has, with more accents."""
    found = _read(sample, "windows-1254")
    own, shared = (sum(found[char] for char in letters) for letters in ("ğışİĞŞ", "çöüâîÇÖÜ’“”"))
    return "windows-1254" if 5 * own >= found.total() > 0 and own + shared >= 0.95 * found.total() else ""
