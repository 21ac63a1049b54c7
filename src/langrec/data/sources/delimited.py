"""Text tables: comma, semicolon, tab, bar or double colon between the fields, found by looking at the header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from langrec.data.aliases import EVENT_ROLES, ITEM_ROLES, key
from langrec.data.sources.lines import LONGEST_LINE, has_long_line, to_utf8
from langrec.data.sources.opening import read_bytes
from langrec.data.sources.table import Refused, Table
from langrec.errors import DataError

DELIMITERS = (",", "\t", ";", "|", "::")
_KNOWN = {key(name) for roles in (EVENT_ROLES, ITEM_ROLES) for names in roles.values() for name in names}


def read_delimited(path: Path, *, quotes: bool = True, delimiter: str | None = None) -> Table:
    """Reads a text table as strings; an empty field is null.

    A row with more fields than the header is refused; missing fields at its end are null. Bytes that are not UTF-8 are
    read line by line as Windows-1252, and the table's notes say so. Of columns with one name the first is kept.

    Raises:
        DataError: empty, no line end within a megabyte, or no known column under any delimiter.
    """
    data = read_bytes(path)
    if not data.strip():
        raise DataError(f"{path}: the file is empty; a table starts with a header such as user_id,item_id,timestamp")
    notes: list[str] = []
    data = to_utf8(data, notes)
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # line ends of old Macs
    data = data.lstrip(b"\r\n")
    end = data.find(b"\n")
    if (end if end >= 0 else len(data)) > LONGEST_LINE:
        raise DataError(
            f"{path}: line 1 is longer than {LONGEST_LINE:,} bytes; a table has a header and a row per line"
        )
    header = data[: end if end >= 0 else len(data)].decode("utf-8", "replace").rstrip("\r")
    mark = delimiter or find_delimiter(header, path)
    if mark == "::":
        if b"\t" in data:
            raise DataError(f"{path}: holds both '::' and tabs; write the table with commas")
        data, header, mark = data.replace(b"::", b"\t"), header.replace("::", "\t"), "\t"
    names = _fields(header, mark, quotes)
    columns, keep = _distinct(names, notes)
    frame, refused = _parse(data, mark, len(names), quotes)
    rows = None
    if refused:
        bad = {row.row for row in refused}
        rows = pl.Series("row", [row for row in range(frame.height + len(bad)) if row not in bad], dtype=pl.Int64)
    frame = frame.select([frame.columns[i] for i in keep])
    frame.columns = columns
    return Table(path, frame, "table", rows, refused, tuple(notes))


def find_delimiter(header: str, path: Path) -> str:
    """The delimiter under which the header holds most known columns.

    Raises:
        DataError: none holds any; the message shows the header.
    """
    best, found = ",", 0
    for mark in DELIMITERS:
        fields = _fields(header, mark, quotes=mark != "::")
        known = sum(key(name.split(":")[0].strip('"')) in _KNOWN for name in fields)
        if known > found:
            best, found = mark, known
    if not found:
        shown = header if len(header) <= 80 else header[:77] + "..."
        raise DataError(
            f"{path}: line 1 holds no column that langrec knows, with any of , ; tab | :: between them: {shown!r}; "
            "name the columns user_id, item_id, timestamp (items: item_id, title)"
        )
    return best


def _fields(header: str, mark: str, quotes: bool) -> list[str]:
    if quotes:
        try:
            return next(csv.reader([header], delimiter=mark), [])
        except csv.Error:
            pass  # a stray carriage return or quote: the plain division is as good as any
    return header.split(mark)


def _distinct(names: Sequence[str], notes: list[str]) -> tuple[list[str], list[int]]:
    """Column names once each, with their places; nameless columns are kept as column_<place>."""
    columns: list[str] = []
    keep: list[int] = []
    for i, raw in enumerate(names):
        name = raw.strip() or f"column_{i}"
        if name in columns:
            notes.append(f"the column {name} occurs twice (column {i + 1}); the first one is used, rename the other")
        else:
            columns.append(name)
            keep.append(i)
    return columns, keep


def _parse(data: bytes, mark: str, width: int, quotes: bool) -> tuple[pl.DataFrame, list[Refused]]:
    """The rows after the header, as string columns 0, 1, 2, ...; by the quick parser, else the patient one."""
    end = data.find(b"\n")
    body = data[end + 1 :].rstrip(b"\r\n") if end >= 0 else b""
    schema = {str(i): pl.String for i in range(width)}
    if not body.strip():
        return pl.DataFrame(schema=schema), []
    # Polars makes a row of nulls of a blank line; the patient parser passes over it, as blank lines are no data rows.
    if b"\n\n" in body or b"\n\r\n" in body or has_long_line(body):
        return _parse_slowly(body, mark, width, quotes)
    try:
        frame = pl.read_csv(
            io.BytesIO(body),
            has_header=False,
            separator=mark,
            schema=schema,
            quote_char='"' if quotes else None,
            raise_if_empty=False,
        )
    except pl.exceptions.PolarsError:
        return _parse_slowly(body, mark, width, quotes)
    # A quote that is never closed swallows lines without an error: more lines than rows, so look closely.
    if frame.height <= body.count(b"\n") and quotes and b'"' in body:
        slow, refused = _parse_slowly(body, mark, width, quotes)
        if refused or slow.height != frame.height:
            return slow, refused
    return frame, []


def _parse_slowly(body: bytes, mark: str, width: int, quotes: bool) -> tuple[pl.DataFrame, list[Refused]]:
    too_long: set[int] = set()
    # A line of absurd length would become millions of fields: it stands in as one row that has a field too many.
    stand_in = mark * width + "\n"
    reader = csv.reader(
        _lines(body, stand_in, too_long), delimiter=mark, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    )
    columns: list[list[str | None]] = [[] for _ in range(width)]
    refused: list[Refused] = []
    row = -1
    while True:
        row += 1
        before = reader.line_num
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            refused.append(Refused(row, "unreadable row", f"line {before + 2}: {error}"))
            continue
        if not fields:
            row -= 1
            continue
        if reader.line_num in too_long:
            refused.append(Refused(row, "unreadable row", f"line {before + 2}: over {LONGEST_LINE:,} bytes"))
            continue
        if len(fields) > width:
            refused.append(Refused(row, "too many fields", f"line {before + 2}: {len(fields)} fields, not {width}"))
            continue
        for i, column in enumerate(columns):
            column.append(fields[i] or None if i < len(fields) else None)
    return pl.DataFrame({str(i): pl.Series(c, dtype=pl.String) for i, c in enumerate(columns)}), refused


def _lines(body: bytes, stand_in: str, too_long: set[int]) -> Iterator[str]:
    for number, line in enumerate(io.BytesIO(body), start=1):
        if len(line) > LONGEST_LINE:
            too_long.add(number)
            yield stand_in
            continue
        yield line.decode("utf-8", "replace").replace("\0", "")
