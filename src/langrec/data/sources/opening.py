"""Opening of files, plain or gzip, with every way that can fail said in one line."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from langrec.data.cache import cache_folder
from langrec.data.once import file_hash
from langrec.errors import DataError

# Logs of events shrink to a tenth, the most even ones to a fiftieth. A gzip file can grow a thousandfold.
_FREE = 64_000_000
_TIMES = 200
# What other packed and binary files begin with, and the way out.
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it (zstd -d) or pack it with gzip",
    b"PK\x03\x04": "a zip file or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"BZh": "packed with bzip2; unpack it (bunzip2) or pack it with gzip",
    b"\xfd7zXZ": "packed with xz; unpack it (unxz) or pack it with gzip",
    b"7z\xbc\xaf": "a 7-Zip file; unpack it",
}


def check_readable(path: Path) -> None:
    """Raises DataError where the path is missing, a folder, or may not be read."""
    if not path.exists():
        fetched = cache_folder() / "data" / path.name
        lies = fetched.exists() and not path.is_absolute()
        way = f"the set that `langrec data fetch` brought lies in {fetched}" if lies else "check the path"
        raise DataError(f"{path}: no such file; {way}")
    if path.is_dir():
        raise DataError(f"{path}: is a folder without files that langrec knows; name the file itself")
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def is_gzip(path: Path) -> bool:
    """True where the content (not the name) says gzip."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """The file's content, unpacked where it is gzip; at most `limit` bytes where that is not negative.

    Raises:
        DataError: missing, a folder, not permitted, packed in another way, or a gzip file that is damaged, cut short or
            a bomb.
    """
    check_readable(path)
    if not is_gzip(path):
        with path.open("rb") as file:
            head = file.read(8)
            for mark, what in _OTHERS.items():
                if head.startswith(mark):
                    raise DataError(f"{path}: is {what}")
            file.seek(0)
            return file.read(limit)
    try:
        with gzip.open(path, "rb") as packed:
            return packed.read(limit) if limit >= 0 else _all_of(packed, path)
    except EOFError as error:
        raise DataError(f"{path}: the gzip file is cut short; copy or download it again") from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error}); copy or download it again") from error


def _all_of(packed: gzip.GzipFile, path: Path) -> bytes:
    """The whole content, unless it grows as only what was made to fill the memory does."""
    most = max(_FREE, _TIMES * path.stat().st_size)
    data = packed.read(most + 1)
    if len(data) > most:
        raise DataError(
            f"{path}: unpacks to more than {_TIMES} times its {path.stat().st_size} bytes, as no table does; "
            "if you trust it, unpack it yourself (gunzip) and give the plain file"
        )
    return data


def suffixes(path: Path) -> str:
    """The file's kind by its name, in lower case and without .gz: '.csv' of 'Ratings.CSV.gz'."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def hash_of(path: Path) -> str:
    """sha256 of a file in hexadecimal.

    Raises:
        DataError: see `check_readable`.
    """
    check_readable(path)
    return file_hash(path)
