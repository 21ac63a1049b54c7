"""Files of labelling: the pool and what is labelled, what to label next, and the labels that come back."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from langrec.data.cache import remove_left
from langrec.data.log import as_ids
from langrec.errors import DataError
from langrec.lm.adapt.examples import Rows, Texts, as_label, open_table, read_columns, read_texts, strings
from langrec.lm.labels.noise import Flag
from langrec.lm.labels.pick import Picks
from langrec.lm.labels.spread import Spread

# Columns that langrec writes beside text and label.
OWN = ("row", "why")


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Texts that can be labelled: each once, and none that is labelled already.

    Attributes:
        texts: n texts, and the 0-based data row where each stands first.
        left_out: rows that repeat a text, or hold a labelled one.
    """

    texts: Texts
    left_out: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two labels of one text, or a row that is no longer what it was; nothing of it was taken over."""

    text: str
    label: str
    where: str
    other: str
    other_where: str


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """Labelled rows with the new ones after them.

    Attributes:
        frame: every column of the labelled file; of new rows only text and label.
        added: how many rows are new.
        known: answers that were there already, with the same label.
        open: rows of the answers without a label.
        conflicts: what was left out.
        new_labels: labels that the labelled file did not have, with the nearest one that it has, or nothing.
    """

    frame: pl.DataFrame
    added: int
    known: int
    open: int
    conflicts: tuple[Conflict, ...]
    new_labels: dict[str, str]


def read_pool(path: Path, known: Texts | None, text: str = "text") -> Pool:
    """The texts of a file that are not labelled yet.

    Raises:
        DataError: the file cannot be read, or a row has no text.
    """
    found = read_texts(path, text, None)
    seen = {one.strip() for one in known.texts} if known else set()
    kept = []
    for i, one in enumerate(found.texts):
        if one.strip() not in seen:
            seen.add(one.strip())
            kept.append(i)
    return Pool(found.take(np.array(kept, dtype=np.int64)), len(found) - len(kept))


def write_next(path: Path, pool: Pool, picks: Picks, text: str = "text", label: str = "label") -> None:
    """Writes `row, text, why, label`: the label is blank, for a person to fill in."""
    chosen = pool.texts.take(picks.rows)
    frame = pl.DataFrame(
        {"row": chosen.rows, text: chosen.texts, "why": picks.why, label: [""] * len(picks)},
        schema_overrides={text: pl.String, "why": pl.String, label: pl.String},
    )
    write(frame, path)


def write_flags(path: Path, flags: Sequence[Flag], known: Texts, text: str = "text", label: str = "label") -> None:
    """Writes `row, text, label, suggested, share, share_suggested, why`."""
    rows = np.array([flag.row for flag in flags], dtype=np.int64)
    frame = pl.DataFrame(
        {
            "row": known.rows[rows],
            text: [known.texts[i] for i in rows],
            label: [flag.label for flag in flags],
            "suggested": [flag.suggested for flag in flags],
            "share": [round(flag.share, 4) for flag in flags],
            "share_suggested": [round(flag.share_suggested, 4) for flag in flags],
            "why": [flag.why for flag in flags],
        }
    )
    write(frame, path)


def write_spread(path: Path, pool: Pool, found: Sequence[Spread], text: str = "text", label: str = "label") -> None:
    """Writes `row, text, label, probability, round`."""
    chosen = pool.texts.take(np.array([one.row for one in found], dtype=np.int64))
    frame = pl.DataFrame(
        {
            "row": chosen.rows,
            text: chosen.texts,
            label: [one.label for one in found],
            "probability": [round(one.probability, 4) for one in found],
            "round": [one.round for one in found],
        },
        schema_overrides={text: pl.String, label: pl.String},
    )
    write(frame, path)


def merge(
    labelled: Path | None,
    answers: Sequence[Path],
    pool: Path | None = None,
    text: str = "text",
    label: str = "label",
) -> Merged:
    """The labelled rows, unchanged and in their order, and after them what the answers add.

    A text with two labels is a conflict: of the answers nothing of it is taken, and the labelled rows stay as they are.

    Args:
        labelled: what was labelled before; None = nothing.
        answers: files as `write_next` wrote them, labels filled in; a blank label is not answered yet.
        pool: where the answers' rows came from; an answer whose text is another than that row's is a conflict too.

    Raises:
        DataError: a file cannot be read, or a column is missing.
    """
    frame = pl.DataFrame(schema={text: pl.String, label: pl.String})
    place: dict[str, list[tuple[str, str]]] = {}  # labels of a text, and where each stands
    if labelled is not None:
        old = read_texts(labelled, text, label)
        frame = open_table(labelled, (text, label)).frame
        for one, given, row in zip(old.texts, old.labels, old.rows, strict=True):
            place.setdefault(one.strip(), []).append((given.strip(), f"{labelled} row {row + 1}"))
    before = {given for all_ in place.values() for given, _ in all_}
    texts_of = dict(_pool_rows(pool, text)) if pool else None
    new: dict[str, list[tuple[str, str]]] = {}
    conflicts: list[Conflict] = []
    open_rows, known = 0, 0
    for path in answers:
        for one, given, where, row in _answers(path, text, label, with_rows=texts_of is not None):
            if not given:
                open_rows += 1
            elif texts_of is not None and texts_of.get(row, "").strip() != one.strip():
                other = texts_of.get(row, "")
                conflicts.append(Conflict(one, given, where, other, f"{pool} row {row + 1}"))
            else:
                new.setdefault(one.strip(), []).append((given, where))
    rows = []
    for one, found in new.items():
        held = place.get(one, [])
        among = held or found[:1]
        odd = [(given, where) for given, where in found if all(given != other for other, _ in among)]
        for given, where in odd:
            conflicts.append(Conflict(one, given, where, *among[0]))
        if held:
            known += len(found) - len(odd)
        elif not odd:
            known += len(found) - 1
            rows.append((one, found[0][0]))
    added = pl.DataFrame(rows, schema={text: pl.String, label: pl.String}, orient="row")
    frame = frame.with_columns(as_ids(frame[text]), as_ids(frame[label]))
    unknown = sorted({given for _, given in rows} - before) if before else []
    near = {given: next(iter(difflib.get_close_matches(given, before, n=1)), "") for given in unknown}
    return Merged(pl.concat([frame, added], how="diagonal"), len(rows), known, open_rows, tuple(conflicts), near)


def write_conflicts(path: Path, conflicts: Sequence[Conflict]) -> None:
    """Writes `text, label, where, other, other_where`."""
    names = ("text", "label", "where", "other", "other_where")
    write(pl.DataFrame({name: [getattr(one, name) for one in conflicts] for name in names}), path)


def write(frame: pl.DataFrame, path: Path) -> None:
    """Writes CSV, JSON lines (.jsonl, .ndjson) or Parquet by the name's end, in one motion: a file is old or new.

    Raises:
        DataError: the name's end is none of these, or CSV cannot hold what is written.
    """
    remove_left(path.parent, f".{glob.escape(path.name)}.*.half")
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    end = path.suffix.lower()
    try:
        if end == ".csv":
            nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
            if nested:
                raise DataError(f"{path}: CSV cannot hold the lists of column {nested[0]}; name it .jsonl", field="out")
            text = frame.write_csv()
            # Without the mark Excel in China reads UTF-8 as GBK.
            half.write_text(text, "utf-8" if text.isascii() else "utf-8-sig", newline="")
        elif end in (".jsonl", ".ndjson"):
            frame.write_ndjson(half)
        elif end == ".parquet":
            frame.write_parquet(half)
        else:
            raise DataError(f"{path}: must end in .csv, .jsonl or .parquet", field="out")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def check_kept(path: Path, kept: Iterable[str], text: str, label: str, way_out: str) -> None:
    """Raises DataError where a file that is to be written over holds labels of texts that are not among the kept ones.

    A person gave them: they are not replaced by a command that was not told of them.
    """
    try:
        held = _answers(path, text, label, with_rows=False) if path.exists() else []
    except DataError:  # another kind of file
        return
    known = {one.strip() for one in kept}
    lost = sum(bool(given) and one.strip() not in known for one, given, _, _ in held)
    if lost:
        raise DataError(
            f"{path}: holds {lost} labels that would be lost; {way_out}, or name another --out", field="out"
        )


def check_names(text: str, label: str) -> None:
    """Raises DataError where a column would have the name of one that langrec writes."""
    for option, name in (("text", text), ("label", label)):
        if name in OWN or text == label:
            raise DataError(f"--{option} {name}: is the name of another column; rename it", field=option)


def _answers(path: Path, text: str, label: str, with_rows: bool) -> list[tuple[str, str, str, int]]:
    """(text, label or blank, where, row of the pool) of each line."""
    frame = read_columns(path, [text, label])
    texts = strings(frame, text, path)
    labels = map(as_label, as_ids(frame[label]).fill_null("").to_list())
    lines: Rows = frame["row"].to_numpy()
    rows = [-1] * len(texts)
    if with_rows:
        table = open_table(path, ("row", text, label)).frame
        if "row" not in table.columns:
            raise DataError(f"{path}: has no column row, which says where in the pool a text stands", field="row")
        found = table["row"].cast(pl.Int64, strict=False)
        rows = [-1 if row is None else row for row in found.to_list()]
    return [
        (one, given, f"{path} row {line + 1}", row)
        for one, given, line, row in zip(texts, labels, lines, rows, strict=True)
    ]


def _pool_rows(pool: Path, text: str) -> list[tuple[int, str]]:
    found = read_texts(pool, text, None)
    return list(zip(found.rows.tolist(), found.texts, strict=True))
