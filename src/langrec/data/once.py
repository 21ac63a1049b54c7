"""Files by what they hold: hashed, counted once, and equal large ones of a folder kept once, on disk and in memory."""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

# Smaller files are left apart: together they weigh nothing.
LINKED_FROM = 1_000_000


def file_hash(path: Path) -> str:
    """sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link_equal(folder: Path, least: int = LINKED_FROM) -> int:
    """Makes files of the same content links to the first of them; they must not be written into any more.

    Readers notice nothing: each name opens the same bytes, and processes that map two names share the pages. A copy to
    where links are unknown is a folder of whole files again.

    Args:
        least: bytes from which on a file is looked at.

    Returns:
        Bytes that are no longer stored twice; 0 where the file system knows no links.
    """
    saved = 0
    firsts: dict[int, list[Path]] = {}
    for path in sorted(_files(folder)):
        size = path.stat().st_size
        if size < least:
            continue
        alike = firsts.setdefault(size, [])
        first = next((one for one in alike if filecmp.cmp(one, path, shallow=False)), None)
        if first is None:
            alike.append(path)
        elif not first.samefile(path):
            link = path.with_name(f".{path.name}.link")
            try:
                os.link(first, link)
            except OSError:
                return saved
            link.replace(path)
            saved += size
    return saved


def size_of(folder: Path) -> int:
    """Bytes of all files of a folder, each file once however many names it has there."""
    found = [path.stat() for path in _files(folder)]
    return sum({(one.st_dev, one.st_ino): one.st_size for one in found}.values())


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
