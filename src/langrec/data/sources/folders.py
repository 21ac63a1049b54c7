"""Folders of data files: which one holds the events, which the items and which the users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langrec.errors import DataError

_EVENTS = ("interactions", "events", "ratings", "transactions", "feedback", "reviews", "clicks", "behaviors")
_ITEMS = ("items", "movies", "products", "meta", "catalogue", "catalog", "articles", "books")
_USERS = ("users", "customers", "demographics")
_SUFFIXES = (".parquet", ".csv", ".tsv", ".dat", ".jsonl", ".ndjson", ".json")


def find_events(folder: Path) -> Path | None:
    """The folder's event file: *.inter, or a table called interactions, events, ratings, ...; None where it has none.

    Raises:
        DataError: several files could be meant.
    """
    return _only(folder, ".inter") or _named(folder, _EVENTS)


def find_items(folder: Path) -> Path | None:
    """The folder's item file: *.item, or a table called items, movies, products, ...; None where it has none."""
    return _only(folder, ".item") or _named(folder, _ITEMS)


def find_users(folder: Path) -> Path | None:
    """The folder's users file: *.user, or a table called users, customers or demographics; None where it has none."""
    return _only(folder, ".user") or _named(folder, _USERS)


def passed_over(chosen: Path) -> list[Path]:
    """Files beside the chosen one that could be meant as well: of the same kind, by another name or suffix."""
    stem = chosen.name.split(".")[0]
    stems = next((kind for kind in (_EVENTS, _ITEMS, _USERS) if stem in kind), ())
    names = [f"{one}{suffix}{packed}" for one in stems for suffix in _SUFFIXES for packed in ("", ".gz")]
    return [path for path in map(chosen.with_name, names) if path != chosen and path.is_file()]


def find_beside(folder: Path, stem: str) -> Path | None:
    """The table of this name in the folder, packed or not."""
    return _named(folder, (stem,))


def _only(folder: Path, suffix: str) -> Path | None:
    found = sorted(folder.glob(f"*{suffix}")) + sorted(folder.glob(f"*{suffix}.gz"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder}: holds several {suffix} files ({names}); name the one that you mean")
    return found[0] if found else None


def _named(folder: Path, stems: Sequence[str]) -> Path | None:
    for stem in stems:
        for suffix in _SUFFIXES:
            for packed in ("", ".gz"):
                path = folder / f"{stem}{suffix}{packed}"
                if path.is_file():
                    return path
    return None
