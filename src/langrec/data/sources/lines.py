"""Lines of text files: made UTF-8 with a note of what was not, and looked through for absurdly long ones."""

from __future__ import annotations

LONGEST_LINE = 1_000_000
_SAMPLE = 100_000
# In GB18030, as in its older parts, the 3,755 most usual characters are one byte of each.
_FIRST, _SECOND = range(0xB0, 0xD8), range(0xA1, 0xFF)


def to_utf8(data: bytes, notes: list[str]) -> bytes:
    """The bytes as UTF-8 without a byte order mark.

    Chinese that is not UTF-8 is read as GB18030, anything else line by line as Windows-1252.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        return to_utf8(data[3:], notes)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        notes.append("the file is UTF-16; it was read as such; save it as UTF-8")
        return data.decode("utf-16", "replace").encode("utf-8")
    if _is_utf8(data):
        return data
    # As a whole where it can be: a line of few characters may be UTF-8 by chance.
    if is_gb18030(data):
        try:
            whole = data.decode("gb18030").encode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            notes.append("the file is GB18030 or GBK; it was read as such; save it as UTF-8")
            return whole
    lines = data.split(b"\n")
    wrong = [i for i, line in enumerate(lines) if not _is_utf8(line)]
    # Windows-1252 leaves five bytes undefined; Latin-1 has a place for every byte.
    encodings, name = ["cp1252", "latin-1"], "Windows-1252"
    if is_gb18030(b"\n".join(lines[i] for i in wrong)):
        encodings, name = ["gb18030", *encodings], "GB18030"
    for i in wrong:
        lines[i] = _decoded(lines[i], encodings).encode("utf-8")
    places = ", ".join(str(i + 1) for i in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
    notes.append(f"{len(wrong)} lines are not UTF-8 and were read as {name} (lines {places}); save it as UTF-8")
    return b"\n".join(lines)


def is_gb18030(data: bytes) -> bool:
    """Whether bytes are not UTF-8 but look like Chinese in GB18030, by the first 100,000 bytes.

    The most usual characters are half of all that is not ASCII. They are spread over their whole range, which tells
    them from Korean (its syllables end at 0xC8) and from Cyrillic (its letters of one case lie from 0xC0 to 0xDF).
    """
    if _is_utf8(data):
        return False
    others = [char for char in data[:_SAMPLE].decode("gb18030", "ignore") if not char.isascii()]
    pairs = [char.encode("gb18030") for char in others]
    usual = [pair for pair in pairs if len(pair) == 2 and pair[0] in _FIRST and pair[1] in _SECOND]
    late = sum(pair[0] > 0xC8 for pair in usual)
    aside = sum(not 0xC0 <= pair[1] <= 0xDF for pair in usual)
    return bool(usual) and 2 * len(usual) >= len(pairs) and 10 * late >= len(usual) and 4 * aside >= len(usual)


def _decoded(line: bytes, encodings: list[str]) -> str:
    """The line by the first encoding that reads all of it; the last reads anything."""
    for encoding in encodings[:-1]:
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode(encodings[-1])


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def has_long_line(data: bytes) -> bool:
    """Looks backwards for a line end in every stretch of the longest allowed line: a few bytes a stretch are read."""
    start = 0
    while start + LONGEST_LINE < len(data):
        end = data.rfind(b"\n", start, start + LONGEST_LINE)
        if end < 0:
            return True
        start = end + 1
    return False
