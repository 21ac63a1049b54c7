"""Lines of text files: made UTF-8 with a note of what was not, and looked through for absurdly long ones."""

from __future__ import annotations

from langrec.data.sources.encodings import AUTO, GB18030, decoded, encoding_of, is_improbable, is_utf8

LONGEST_LINE = 1_000_000


def to_utf8(data: bytes, notes: list[str], encoding: str = AUTO) -> bytes:
    """The bytes as UTF-8 without a byte order mark.

    What neither has such a mark nor is UTF-8 is read in `encoding`; under auto as what its letters tell, as a whole or
    its lines that are not UTF-8, else line by line as Windows-1252.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        return to_utf8(data[3:], notes, encoding)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        notes.append("the file is UTF-16; it was read as such; save it as UTF-8")
        return data.decode("utf-16", "replace").encode("utf-8")
    if encoding != AUTO and (data.isascii() or not is_utf8(data)):  # some write all in ASCII: ISO-2022-JP, UTF-7
        return _as_named(data, encoding, notes)
    if is_utf8(data):
        return data
    # As a whole where it can be: a line of few characters may be UTF-8 by chance.
    found = encoding_of(data)
    if found:
        try:
            whole = decoded(data, found).encode("utf-8")
        except UnicodeError:
            pass
        else:
            if found == GB18030:
                notes.append("the file is GB18030 or GBK; it was read as such; save it as UTF-8")
            else:
                way = "save it as UTF-8, or name another in data.encoding"
                notes.append(f"the file is not UTF-8 and was read as {found}, by its letters; {way}")
            return whole
    lines = data.split(b"\n")
    wrong = [i for i, line in enumerate(lines) if not is_utf8(line)]
    rest = b"\n".join(lines[i] for i in wrong)
    found = encoding_of(rest)
    # Windows-1252 leaves five bytes undefined; Latin-1 has a place for every byte.
    encodings = [found, "cp1252", "latin-1"] if found else ["cp1252", "latin-1"]
    for i in wrong:
        lines[i] = _by_first(lines[i], encodings).encode("utf-8")
    notes.append(_told(len(wrong), _places(wrong), found, not found and is_improbable(rest)))
    return b"\n".join(lines)


def _told(n: int, places: str, found: str, improbable: bool) -> str:
    name = {"": "Windows-1252", GB18030: "GB18030"}.get(found, found)
    told = f"{n} lines are not UTF-8 and were read as {name} (lines {places})"
    if improbable:
        return (
            f"{told}, which makes no words of them; name their encoding in data.encoding, such as shift_jis, euc_kr, "
            "big5, windows-1250, windows-1251 or tis-620"
        )
    if found in ("", GB18030):
        return f"{told}; save it as UTF-8"
    return f"{told}, by their letters; save it as UTF-8, or name another in data.encoding"


def _as_named(data: bytes, encoding: str, notes: list[str]) -> bytes:
    try:
        return decoded(data, encoding).encode("utf-8", "replace")
    except UnicodeError:
        text = decoded(data, encoding, "replace")
    wrong = [i for i, line in enumerate(text.split("\n")) if "\ufffd" in line]
    notes.append(
        f"{len(wrong)} lines hold bytes that are no {encoding} (lines {_places(wrong)}), and have \ufffd for them; "
        "name another in data.encoding, or write the lines again"
    )
    return text.encode("utf-8", "replace")


def _places(rows: list[int]) -> str:
    return ", ".join(str(i + 1) for i in rows[:5]) + (", ..." if len(rows) > 5 else "")


def _by_first(line: bytes, encodings: list[str]) -> str:
    """The line by the first encoding that reads all of it; the last reads anything."""
    for encoding in encodings[:-1]:
        try:
            return decoded(line, encoding)
        except UnicodeError:
            continue
    return line.decode(encodings[-1])


def has_long_line(data: bytes) -> bool:
    """Looks backwards for a line end in every stretch of the longest allowed line: a few bytes a stretch are read."""
    start = 0
    while start + LONGEST_LINE < len(data):
        end = data.rfind(b"\n", start, start + LONGEST_LINE)
        if end < 0:
            return True
        start = end + 1
    return False
