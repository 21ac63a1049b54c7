"""Lines of text files: made UTF-8 with a note of what was not, and looked through for absurdly long ones."""

from __future__ import annotations

LONGEST_LINE = 1_000_000


def to_utf8(data: bytes, notes: list[str]) -> bytes:
    """The bytes as UTF-8 without a byte order mark; what is not UTF-8 is read as Windows-1252, line by line."""
    if data.startswith(b"\xef\xbb\xbf"):
        return to_utf8(data[3:], notes)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        notes.append("the file is UTF-16; it was read as such; save it as UTF-8")
        return data.decode("utf-16", "replace").encode("utf-8")
    if _is_utf8(data):
        return data
    lines = data.split(b"\n")
    wrong = []
    for i, line in enumerate(lines):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            # Windows-1252 leaves five bytes undefined; Latin-1 has a place for every byte.
            try:
                lines[i] = line.decode("cp1252").encode("utf-8")
            except UnicodeDecodeError:
                lines[i] = line.decode("latin-1").encode("utf-8")
            wrong.append(i + 1)
    places = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
    notes.append(f"{len(wrong)} lines are not UTF-8 and were read as Windows-1252 (lines {places}); save it as UTF-8")
    return b"\n".join(lines)


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
