"""JSON lines: one object a line, whatever its keys; a line that is not one is refused, the others are read."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from langrec.data.sources.encodings import AUTO
from langrec.data.sources.lines import LONGEST_LINE, has_long_line, to_utf8
from langrec.data.sources.opening import read_bytes
from langrec.data.sources.table import Refused, Table
from langrec.errors import DataError

_CHUNK = 1 << 23
_DEEP = 32
_EXACT = 2**53  # floats hold whole numbers up to here


def read_jsonl(path: Path, encoding: str = AUTO) -> Table:
    """Reads JSON lines (or one JSON array of objects).

    Of a key that an object has twice the first counts. Scalars keep their type where all rows agree, else they become
    strings. A list, nested or not, becomes one flat list of strings; an inner object becomes its JSON text. The quote
    style of old Amazon files (Python literals instead of JSON) is understood. What is not UTF-8 is read in `encoding`,
    or as what `to_utf8` takes it for, and the table's notes say so; a line over a megabyte is refused.

    Raises:
        DataError: the file is empty or holds no object at all.
    """
    notes: list[str] = []
    data = to_utf8(read_bytes(path), notes, encoding)
    if not data.strip():
        raise DataError(f"{path}: the file is empty; JSON lines hold one object a line")
    if data.lstrip()[:1] != b"[":
        frame = None if has_long_line(data) else _read_quickly(data)
        if frame is not None:
            return Table(path, frame, "jsonl", notes=tuple(notes))
        rows, places, refused = _read_lines(data)
    else:
        rows, places, refused = _read_array(data, path)
    if not rows:
        raise DataError(f"{path}: no line is a JSON object; {refused[0].detail if refused else 'write one a line'}")
    return Table(path, _frame(rows), "jsonl", pl.Series("row", places, dtype=pl.Int64), refused, tuple(notes))


def _read_quickly(data: bytes) -> pl.DataFrame | None:
    """The frame by Polars' parser, where the file is well-formed and flat; None says to look closer."""
    if _is_deep(data):
        return None  # Polars' types of objects within objects grow past all memory
    try:
        # All lines are looked at first: a key that only later ones have would be passed over in silence.
        frame = pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeDecodeError):
        return None
    if any(dtype.is_nested() or dtype == pl.Null for dtype in frame.dtypes) or any(map(_is_rounded, frame)):
        return None
    # A file with lines lost is read again.
    return frame if frame.height == sum(bool(line.strip()) for line in io.BytesIO(data)) else None


def _is_rounded(column: pl.Series) -> bool:
    """Whether long whole numbers may have become floats that hold fewer digits."""
    return column.dtype == pl.Float64 and bool((column.abs() > _EXACT).any())


def _is_deep(data: bytes) -> bool:
    """Whether a line has more brackets open at once than a flat object has; brackets in texts count too."""
    steps = np.zeros(256, dtype=np.int32)
    steps[list(b"{[")], steps[list(b"}]")] = 1, -1
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _CHUNK) + 1 or len(data)
        part = np.frombuffer(data, dtype=np.uint8, count=end - start, offset=start)
        depth = np.concatenate(([0], np.cumsum(steps[part], dtype=np.int32)))
        lines = np.concatenate(([0], np.flatnonzero(part[:-1] == ord("\n")) + 1))
        if (np.maximum.reduceat(depth[1:], lines) - depth[lines]).max() > _DEEP:
            return True
        start = end
    return False


def _read_lines(data: bytes) -> tuple[list[dict[str, Any]], list[int], list[Refused]]:
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    refused: list[Refused] = []
    row = -1
    for number, raw in enumerate(io.BytesIO(data), start=1):
        line = raw.strip()
        if not line:
            continue
        row += 1
        if len(line) > LONGEST_LINE:
            refused.append(Refused(row, "unreadable row", f"line {number}: over {LONGEST_LINE:,} bytes"))
            continue
        text = line.decode("utf-8", "replace")
        try:
            value = json.loads(text, object_pairs_hook=_first)
            if "\\u" in text:
                # Half of a surrogate pair is no character: it becomes a question mark.
                value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            value = _python_literal(text)
            if value is None:
                refused.append(Refused(row, "not JSON", f"line {number}: {error}"))
                continue
        if not isinstance(value, dict):
            refused.append(Refused(row, "not JSON", f"line {number}: a {type(value).__name__}, not an object"))
            continue
        rows.append(value)
        places.append(row)
    return rows, places, refused


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which the first of equal keys counts, as it does in Polars' parser."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def _python_literal(text: str) -> Any:
    if not text.startswith("{'"):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _read_array(data: bytes, path: Path) -> tuple[list[dict[str, Any]], list[int], list[Refused]]:
    try:
        values = json.loads(data, object_pairs_hook=_first)
        if b"\\u" in data:
            values = json.loads(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); write one object a line") from error
    rows = [value for value in values if isinstance(value, dict)]
    places = [i for i, value in enumerate(values) if isinstance(value, dict)]
    refused = [
        Refused(i, "not JSON", f"entry {i}: a {type(value).__name__}, not an object")
        for i, value in enumerate(values)
        if not isinstance(value, dict)
    ]
    return rows, places, refused


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame([_series(str(name), [row.get(name) for row in rows]) for name in names])


def _series(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {list, str} and list in kinds:
        return pl.Series(name, [None if value is None else flat(value) for value in values], pl.List(pl.String))
    if kinds == {int, float} and any(abs(value) > _EXACT for value in values if type(value) is int):
        # As floats, ids of many digits would become one another.
        values = [int(value) if type(value) is float and value.is_integer() else value for value in values]
        return pl.Series(name, [_text(value) for value in values], pl.String)
    for allowed, dtype in (({bool}, pl.Boolean), ({int}, pl.Int64), ({int, float}, pl.Float64)):
        if kinds and kinds <= allowed and all(abs(v) < 2**63 for v in values if type(v) is int):
            return pl.Series(name, [None if v is None else v for v in values], dtype)
    return pl.Series(name, [_text(value) for value in values], pl.String)


def flat(value: Any) -> list[str]:
    """The parts of a list, of lists in it likewise, as strings; what is empty is left out."""
    if isinstance(value, (list, tuple)):
        return [text for inner in value for text in flat(inner)]
    text = _text(value)
    return [text] if text else []


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, (Mapping, list)):
        return json.dumps(value, ensure_ascii=False) if value else None
    return str(value)
