"""Labelled texts, histories with candidates, and pairs of texts: read from files, checked, drawn and held out."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from langrec.data.log import as_ids
from langrec.data.sources.delimited import read_delimited
from langrec.data.sources.lines import to_utf8
from langrec.data.sources.opening import check_readable, read_bytes, suffixes
from langrec.data.sources.table import Table
from langrec.data.sources.tables import read_table
from langrec.errors import DataError

Rows = npt.NDArray[np.int64]
MARKS = (",", "\t", ";", "|")
# What a label of recommend may say in place of a number; the second two are how CSV holds booleans.
WORDS = {"recommend": 1.0, "not_recommend": 0.0, "true": 1.0, "false": 0.0}
_WORD = re.compile(r"[^\W\d_]+")
_POINTED = re.compile(r"^(-?\d+)\.0+$")


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Texts with a label each.

    Attributes:
        texts: n texts.
        labels: n labels.
        rows: (n,) 0-based data row of each in its file.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    rows: Rows

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Rows) -> Texts:
        """Some of them, in the order asked for."""
        return Texts(tuple(self.texts[i] for i in rows), tuple(self.labels[i] for i in rows), self.rows[rows])


def spelled(labels: Sequence[str]) -> Texts:
    """The names of labels as texts of theirs: `card_arrival` reads "card arrival".

    A name says what its few rows have in common, in words that they may lack. Names without a word, and those that
    differ in a number alone (`class 1`, `class 2`), are left out.
    """
    apart = {label: " ".join(_WORD.findall(label)).lower() for label in labels}
    often = Counter(apart.values())
    named = [
        label
        for label, text in apart.items()
        if often[text] == 1 and any(len(word) > 2 or not word.isascii() for word in text.split())
    ]
    return Texts(tuple(apart[label] for label in named), tuple(named), np.full(len(named), -1, dtype=np.int64))


def read_texts(path: Path, text: str = "text", label: str | None = "label") -> Texts:
    """Reads texts and labels, without the blanks around these, from CSV, JSON lines or Parquet.

    Args:
        text: column of the texts.
        label: column of the labels; None reads no labels.

    Raises:
        DataError: a column is missing, or a row has no text or no label; the row and the column are named.
    """
    frame = read_columns(path, [text, *([label] if label else [])])
    rows = frame["row"].to_numpy()
    texts = strings(frame, text, path)
    labels = tuple(map(as_label, strings(frame, label, path))) if label else ("",) * len(texts)
    return Texts(texts, labels, rows)


def as_label(text: str) -> str:
    """A label without the blanks around it (`a, x` of a CSV is the label of `b,x`); a whole number without its point.

    Each value by itself: 4 of training, 4.0 beside a 4.5 of the test, and 4.0 of Parquet are one label.
    """
    return _POINTED.sub(r"\1", text.strip())


def check_labels(labels: Sequence[str], path: Path) -> None:
    """Refuses rows of one label alone.

    Raises:
        DataError: there is nothing to tell apart; every answer would be right.
    """
    if len(set(labels)) == 1:
        raise DataError(f"{path}: every row has the label {labels[0]}; needs two or more to tell apart", field="label")


def read_columns(path: Path, wanted: Sequence[str]) -> pl.DataFrame:
    """The wanted columns of a file, and `row`: the 0-based data row.

    Raises:
        DataError: the file cannot be read, a row cannot, or a column is missing, wanted twice or named `row` itself.
    """
    for i, name in enumerate(wanted):
        if name == "row":
            raise DataError(f"{path}: column row would be taken for the number of a row; rename it", field=name)
        if name in wanted[:i]:
            raise DataError(f"{path}: column {name} is wanted twice; name two (--text, --label)", field=name)
    table = open_table(path, wanted)
    if table.refused:
        first = table.refused[0]
        raise DataError(f"{path}: row {first.row + 1}: {first.reason} {first.detail}; mend or remove it")
    for name in wanted:
        if name not in table.frame.columns:
            near = difflib.get_close_matches(name, table.frame.columns, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(table.frame.columns)}"
            raise DataError(f"{path}: has no column {name} ({hint})", field=name)
    if not table.frame.height:
        raise DataError(f"{path}: holds no rows")
    return table.frame.select(*wanted, table.row_numbers().alias("row"))


def open_table(path: Path, wanted: Sequence[str]) -> Table:
    """The file; in delimited text, whatever stands between the wanted columns is what delimits."""
    check_readable(path)
    head = read_bytes(path, 65_536)
    if head[:4] == b"PAR1" or head.lstrip()[:1] in (b"{", b"[") or suffixes(path) in (".jsonl", ".ndjson", ".json"):
        return read_table(path)
    header = to_utf8(head, []).decode("utf-8", "replace").splitlines()[:1] or [""]
    found = [{name.strip().strip('"') for name in header[0].split(mark)} for mark in MARKS]
    mark = max(range(len(MARKS)), key=lambda i: len(found[i] & set(wanted)))
    return read_delimited(path, delimiter=MARKS[mark])


def strings(frame: pl.DataFrame, name: str, path: Path) -> tuple[str, ...]:
    """A column as texts; a whole float or decimal is the whole number, as among ids.

    Raises:
        DataError: a value is missing or blank.
    """
    column = frame[name]
    if column.dtype.is_nested():
        raise DataError(f"{path}: column {name} holds lists, not texts", field=name)
    values = as_ids(column).to_list()
    for i, value in enumerate(values):
        if value is None or not value.strip():
            raise DataError(f"{path}: row {frame['row'][i] + 1}: column {name} is blank; fill or remove it", field=name)
    return tuple(values)


def draw(labels: Sequence[Any], shots: int, seed: int) -> Rows:
    """Row numbers of `shots` rows per label, drawn by the seed, in the order of the rows.

    Raises:
        DataError: a label has fewer rows.
    """
    rng, found = np.random.default_rng(seed), []
    names = np.asarray(labels)
    for label in sorted(set(labels)):
        rows = np.flatnonzero(names == label)
        if len(rows) < shots:
            raise DataError(f"--shots {shots}: label {label} has only {len(rows)} rows; draw fewer", field="shots")
        found.append(rng.permutation(rows)[:shots])
    return np.sort(np.concatenate(found))


def hold_out(labels: Sequence[Any], share: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers to train on and to validate on: a share of each label, but never its last row.

    Labels whose share is less than half a row give theirs together: a row each, of so many of them as that makes, drawn
    by the seed. At least one row is held out; of a label with others, if there is one.
    """
    rng, kept = np.random.default_rng((seed, 1)), np.ones(len(labels), dtype=bool)
    names, few = np.asarray(labels), list[Rows]()
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(names == label))
        held = min(len(rows) - 1, round(share * len(rows)))
        kept[rows[:held]] = False
        if not held and len(rows) > 1:
            few.append(rows)
    if together := round(share * sum(len(rows) for rows in few)):
        kept[[few[i][0] for i in rng.permutation(len(few))[:together]]] = False
    if kept.all() and len(labels) > 1:
        often = Counter(labels)
        among = np.flatnonzero([often[label] > 1 for label in labels])
        among = among if len(among) else np.arange(len(labels))
        kept[among[rng.integers(len(among))]] = False
    return np.flatnonzero(kept), np.flatnonzero(~kept)


def check_held_out(kept: Rows, held: Rows, path: Path) -> None:
    """Refuses rows of which none is left to train on, or none was held out.

    Raises:
        DataError: so few rows that validation needs a file of its own.
    """
    if not len(kept) or not len(held):
        raise DataError(
            f"{path}: {len(kept) + len(held)} rows are too few to hold some out for validation; "
            "give more, or validation rows of their own (--valid)"
        )


def numbers_of(labels: Sequence[str], known: Sequence[str], path: Path, rows: Rows) -> Rows:
    """The number of each label among the known ones.

    Raises:
        DataError: a label that training did not have.
    """
    place = {label: i for i, label in enumerate(known)}
    for label, row in zip(labels, rows, strict=True):
        if label not in place:
            raise DataError(
                f"{path}: row {row + 1}: label {label} is not among the {len(known)} labels of training", field="label"
            )
    return np.array([place[label] for label in labels], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """Candidates beside what a user liked and disliked before.

    Attributes:
        liked: n tuples of texts, oldest first.
        disliked: n tuples of texts.
        candidates: n texts.
        labels: (n,) float64 in [0, 1]: how much the candidate was liked.
        users: (n,) user of each row; None where unknown.
        rows: (n,) 0-based data row of each in its file.
    """

    liked: tuple[tuple[str, ...], ...]
    disliked: tuple[tuple[str, ...], ...]
    candidates: tuple[str, ...]
    labels: npt.NDArray[np.float64]
    users: npt.NDArray[Any] | None
    rows: Rows

    def __len__(self) -> int:
        return len(self.candidates)

    def take(self, rows: Rows) -> Choices:
        """Some of them, in the order asked for."""
        return Choices(
            tuple(self.liked[i] for i in rows),
            tuple(self.disliked[i] for i in rows),
            tuple(self.candidates[i] for i in rows),
            self.labels[rows],
            None if self.users is None else self.users[rows],
            self.rows[rows],
        )


# A quoted title and what is said of it ("X" written by Y), up to the next one; a title may hold quotes itself.
_ITEM = re.compile(r'"(.*?)"([^"]*?)(?=,\s*"|$)', re.DOTALL)
_PROMPT = re.compile(r"Preference:(?P<liked>.*)\n.*Unpreference:(?P<disliked>.*)\n(?P<asked>.*)", re.DOTALL)


def read_choices(path: Path) -> Choices:
    """Reads histories with candidates: the TALLRec layout (`input`, `output`), or `history, candidate, label`.

    In the second a history is a list, perhaps written as text, or a text with `|` between titles; it holds what was
    liked. A column `disliked` and a column `user_id` (or `user`) are read where they are there.

    Raises:
        DataError: neither layout, or a row that cannot be read; the row and the column are named.
    """
    names = open_table(path, ("input", "output", "history", "candidate", "label")).frame.columns
    who = next((name for name in ("user_id", "user") if name in names), None)
    if "input" in names and "output" in names and "candidate" not in names:
        frame = read_columns(path, ["input", "output", *([who] if who else [])])
        found = [_prompt(text, path, row) for text, row in zip(frame["input"], frame["row"], strict=True)]
        labels = [_yes(text, path, row) for text, row in zip(frame["output"], frame["row"], strict=True)]
        liked, disliked, candidates = (tuple(part) for part in zip(*found, strict=True))
    else:
        more = ["disliked"] if "disliked" in names else []
        frame = read_columns(path, ["history", "candidate", "label", *more, *([who] if who else [])])
        liked = tuple(titles(value) for value in frame["history"])
        disliked = tuple(titles(value) for value in frame["disliked"]) if more else ((),) * frame.height
        candidates = strings(frame, "candidate", path)
        labels = [_label(value, path, row) for value, row in zip(frame["label"], frame["row"], strict=True)]
    users = frame[who].cast(pl.String).fill_null("").to_numpy() if who else None
    return Choices(liked, disliked, candidates, np.array(labels), users, frame["row"].to_numpy())


def _prompt(text: Any, path: Path, row: int) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    found = _PROMPT.search(str(text))
    asked = _items(found["asked"].strip().rstrip("? ")) if found else ()
    if found is None or not asked:
        raise DataError(
            f"{path}: row {row + 1}: column input is not a prompt of liked, disliked and a quoted target", field="input"
        )
    return _items(found["liked"].strip()), _items(found["disliked"].strip()), asked[-1]


def _items(text: str) -> tuple[str, ...]:
    """The quoted titles of a list, each with the words that follow it."""
    return tuple(f"{title} {more.strip(' ,')}".strip() for title, more in _ITEM.findall(text))


def _yes(text: Any, path: Path, row: int) -> float:
    word = str(text).strip().strip(".").lower()
    if word not in ("yes", "no"):
        raise DataError(f"{path}: row {row + 1}: column output is {text}, neither Yes. nor No.", field="output")
    return float(word == "yes")


def _label(value: Any, path: Path, row: int) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = WORDS.get(str(value).strip().lower(), float("nan"))
    if not 0 <= number <= 1:
        raise DataError(
            f"{path}: row {row + 1}: column label is {value}: needs a number in [0, 1], recommend or not_recommend",
            field="label",
        )
    return number


def titles(value: Any) -> tuple[str, ...]:
    """Titles of a list, of a text that writes one as JSON or Python do, or of one with `|` between; none of a blank."""
    if value is None:
        return ()
    parts = value if not isinstance(value, str) else _parts(value)
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _parts(text: str) -> list[str]:
    """What a text lists: delimited files hold a list as JSON, or as Python shows it; else bars stand between."""
    bare = text.strip()
    for read in (json.loads, ast.literal_eval) if bare.startswith("[") and bare.endswith("]") else ():
        try:
            found = read(bare)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        # `[2012]` and `[REC]` are titles.
        if isinstance(found, list) and all(isinstance(part, str) for part in found):
            return found
    return text.split("|")


def hold_out_choices(train: Choices, share: float, seed: int) -> tuple[Any, Any]:
    """Whole users where they are known and several, because a user's rows resemble one another; else rows by label."""
    users = np.unique(train.users) if train.users is not None else np.array([])
    if len(users) < 5 or train.users is None:
        return hold_out([int(label >= 0.5) for label in train.labels], share, seed)
    held = np.random.default_rng((seed, 1)).permutation(users)[: max(1, round(share * len(users)))]
    away = np.isin(train.users, held)
    return np.flatnonzero(~away), np.flatnonzero(away)
