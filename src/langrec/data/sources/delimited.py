"""Text tables: comma, semicolon, tab, bar or double colon between the fields, found by looking at the header."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from langrec.data.aliases import EVENT_ROLES, ITEM_ROLES, key
from langrec.data.sources.encodings import AUTO
from langrec.data.sources.lines import LONGEST_LINE, has_long_line, to_utf8
from langrec.data.sources.opening import read_bytes
from langrec.data.sources.table import Refused, Table
from langrec.errors import DataError

DELIMITERS = (",", "\t", ";", "|", "::")
_NULL = r"\N"  # how PostgreSQL and MySQL write what is missing
_KNOWN = {key(name) for roles in (EVENT_ROLES, ITEM_ROLES) for names in roles.values() for name in names}


def read_delimited(
    path: Path,
    *,
    quotes: bool = True,
    delimiter: str | None = None,
    encoding: str = AUTO,
    known: Collection[str] = (),
) -> Table:
    """Reads a text table as strings; an empty field is null, and so is the \\N of databases.

    A row with more fields than the header is refused; missing fields at its end are null. What is not UTF-8 is read in
    `encoding`, or as what `to_utf8` takes it for, and the table's notes say so. Of columns with one name the first is
    kept.

    Raises:
        DataError: empty, no line end within a megabyte, or no known column under any delimiter.
    """
    data = read_bytes(path)
    if not data.strip():
        raise DataError(f"{path}: the file is empty; a table starts with a header such as user_id,item_id,timestamp")
    notes: list[str] = []
    data = to_utf8(data, notes, encoding)
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # line ends of old Macs
    data = data.lstrip(b"\r\n")
    end = data.find(b"\n")
    if (end if end >= 0 else len(data)) > LONGEST_LINE:
        raise DataError(
            f"{path}: line 1 is longer than {LONGEST_LINE:,} bytes; a table has a header and a row per line"
        )
    header = data[: end if end >= 0 else len(data)].decode("utf-8", "replace").rstrip("\r")
    try:
        mark = delimiter or find_delimiter(header, path, known)
    except DataError as error:
        raise DataError("; ".join([error.message, *notes]), field=error.field) from error
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


def find_delimiter(header: str, path: Path, known: Collection[str] = ()) -> str:
    """The delimiter under which the header holds most known columns.

    Raises:
        DataError: none holds any; the message shows the header.
    """
    best, found = ",", 0
    names = {*_KNOWN, *map(key, known)}
    for mark in DELIMITERS:
        fields = _fields(header, mark, quotes=mark != "::")
        n_known = sum(key(name.split(":")[0].strip('"')) in names for name in fields)
        if n_known > found:
            best, found = mark, n_known
    if not found:
        shown = header if len(header) <= 80 else header[:77] + "..."
        raise DataError(
            f"{path}: line 1 holds no column that langrec knows, with any of , ; tab | :: between them: {shown!r}; "
            "name the columns user_id, item_id, timestamp (items: item_id, title), or name them in data.columns"
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
            null_values=[_NULL],
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
    # A line of absurd length would become millions of fields: it stands in as one row that has a field too many.
    source = _Lines(body, mark * width + "\n")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    strict = csv.reader(source, delimiter=mark, quoting=quoting, strict=True)
    lenient = csv.reader(source, delimiter=mark, quoting=quoting)
    columns: list[list[str | None]] = [[] for _ in range(width)]
    refused: list[Refused] = []
    row = -1
    while True:
        row += 1
        source.begin()
        line = source.number + 2  # the header is line 1
        try:
            try:
                fields = next(strict)
            except csv.Error:
                source.give_back(0)
                fields = next(lenient)
                if len(source.taken) > 1 and _is_open(source.taken, mark, width):
                    raise csv.Error("a quote is opened and not closed") from None
        except StopIteration:
            break
        except csv.Error as error:
            refused.append(Refused(row, "unreadable row", f"line {line}: {error}"))
            source.give_back(1)
            continue
        if not fields:
            row -= 1
            continue
        if source.number in source.too_long:
            refused.append(Refused(row, "unreadable row", f"line {line}: over {LONGEST_LINE:,} bytes"))
            continue
        if len(fields) > width:
            refused.append(Refused(row, "too many fields", f"line {line}: {len(fields)} fields, not {width}"))
            continue
        for i, column in enumerate(columns):
            column.append(fields[i] or None if i < len(fields) and fields[i] != _NULL else None)
    return pl.DataFrame({str(i): pl.Series(c, dtype=pl.String) for i, c in enumerate(columns)}), refused


def _is_open(lines: Sequence[str], mark: str, width: int) -> bool:
    """True where a row runs over several lines because of a stray quote, and not because a quoted text does.

    The quote is never closed; or what closes it is no closing quote, and the last line is a whole row by itself.
    """
    try:
        list(csv.reader(lines, delimiter=mark, strict=True))
    except csv.Error as error:
        return "end of data" in str(error) or len(next(csv.reader(lines[-1:], delimiter=mark))) == width
    return False


class _Lines(Iterator[str]):
    """The lines of a body; those that a row has taken can be given back."""

    def __init__(self, body: bytes, stand_in: str) -> None:
        self._lines = io.BytesIO(body)
        self._stand_in = stand_in
        self._back: list[str] = []  # the next one is the last
        self.taken: list[str] = []
        self.number = 0
        self.too_long: set[int] = set()

    def begin(self) -> None:
        """A row begins."""
        self.taken = []

    def give_back(self, keep: int) -> None:
        """The row is its first `keep` lines: the others come again."""
        again = self.taken[keep:]
        self._back += reversed(again)
        self.number -= len(again)
        self.taken = self.taken[:keep]

    def __next__(self) -> str:
        line = self._back.pop() if self._back else self._read()
        self.number += 1
        self.taken.append(line)
        return line

    def _read(self) -> str:
        line = next(self._lines)
        if len(line) > LONGEST_LINE:
            self.too_long.add(self.number + 1)
            return self._stand_in
        return line.decode("utf-8", "replace").replace("\0", "")
