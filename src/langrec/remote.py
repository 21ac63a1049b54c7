"""Folders at any address that fsspec knows, such as s3://bucket/backups: brought here and there whole, and compared."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from langrec.errors import BundleError, DataError, MissingExtra, is_disk_full
from langrec.protocols import Progress, untold


def is_remote(place: str) -> bool:
    """Whether a place is an address and no path."""
    return "://" in place


def shown(url: str) -> str:
    """An address as it may be shown: without the password that may stand in it."""
    return re.sub(r"(?<=://)([^/:@]*):[^/]*@", r"\1:***@", url)


def push(folder: Path, url: str, *, last: str = "manifest.json", progress: Progress = untold) -> int:
    """Copies a folder to an address; the file `last` comes last, so that a folder with it is whole.

    Returns:
        How many files were copied.

    Raises:
        DataError: something is there already, or the address cannot be written.
    """
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: (p.name == last, p.as_posix()))
    with _talking(url):
        system, root = _system(url)
        if system.exists(f"{root}/{last}"):
            raise DataError(f"{shown(url)}: exists; name a new place", field="url")
        for i, path in enumerate(files):
            name = path.relative_to(folder).as_posix()
            if name.count("/"):
                system.makedirs(f"{root}/{name.rpartition('/')[0]}", exist_ok=True)
            else:
                system.makedirs(root, exist_ok=True)
            system.pipe_file(f"{root}/{name}", path.read_bytes())
            progress("copy", i + 1, len(files))
    return len(files)


def fetch(url: str, folder: Path, *, progress: Progress = untold) -> int:
    """Copies what is at an address into a new folder, which is there when it is whole.

    Returns:
        How many files were copied.

    Raises:
        DataError: there is nothing, or it cannot be read.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with _talking(url):
        system, root = _system(url)
        names = sorted(system.find(root))
        if not names:
            raise DataError(f"{shown(url)}: there is nothing; check the address", field="url")
        for i, name in enumerate(names):
            inner = PurePosixPath(str(name)).relative_to(PurePosixPath(root))
            if ".." in inner.parts:
                raise DataError(f"{shown(url)}: holds a file outside of itself, {name}", field="url")
            path = part / inner
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(system.cat_file(name))
            progress("copy", i + 1, len(names))
    part.rename(folder)
    return len(names)


def read_text(url: str) -> str:
    """A small file at an address.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    with _talking(url):
        system, path = _system(url)
        return bytes(system.cat_file(path)).decode("utf-8")


def write_text(url: str, text: str) -> None:
    """Writes a small file at an address, over one that is there."""
    with _talking(url):
        system, path = _system(url)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.pipe_file(path, text.encode("utf-8"))


@contextmanager
def local_copy(place: str, *, progress: Progress = untold) -> Iterator[Path]:
    """A folder of this machine that holds what is at a place, while the block runs."""
    if not is_remote(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="langrec-") as name:
        fetch(place, Path(name) / "copy", progress=progress)
        yield Path(name) / "copy"


@contextmanager
def new_folder(place: str, *, progress: Progress = untold) -> Iterator[Path]:
    """A folder that is yet to be made; what the block makes goes to the place where that is an address."""
    if not is_remote(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="langrec-") as name:
        yield Path(name) / "copy"
        push(Path(name) / "copy", place, progress=progress)


def _system(url: str) -> tuple[Any, str]:
    """The file system of an address and the path in it."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtra("remote", f"the address {shown(url)}") from error
    protocol = url.partition("://")[0]
    if protocol in ("s3", "s3a", "gs", "az", "abfs"):
        try:
            from obstore.fsspec import register
        except ModuleNotFoundError as error:
            raise MissingExtra("remote", f"the address {shown(url)}") from error
        # Its keys, region and endpoint come from the variables that the vendors' own tools read.
        register(protocol)
    system, path = fsspec.core.url_to_fs(url)
    return system, str(path).rstrip("/")


@contextmanager
def _talking(url: str) -> Iterator[None]:
    """Makes one line of whatever goes wrong on the way."""
    try:
        yield
    except (DataError, MissingExtra):
        raise
    except Exception as error:  # every file system has errors of its own
        if is_disk_full(error):
            raise DataError(
                f"{shown(url)}: the disk that it is copied to is full; free some space", field="url"
            ) from error
        reason = str(error).replace(url, shown(url)).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(f"{shown(url)}: cannot be reached or read ({reason})", field="url") from error


def push_release(folder: Path, url: str, stamp: str | None = None, *, progress: Progress = untold) -> str:
    """Copies a sound release to an address and points its CURRENT there, as the last of all.

    Args:
        folder: the releases folder.
        url: the releases' address.
        stamp: which release; None = the one in use.
        progress: called with what, files done, and in all.

    Returns:
        The release's stamp.
    """
    from langrec.bundle import Bundle
    from langrec.releases import CURRENT

    release = Bundle.open(folder if stamp is None else folder / stamp)
    place = f"{url.rstrip('/')}/{release.stamp}"
    if not _exists(f"{place}/manifest.json"):
        push(release.folder, place, progress=progress)
    write_text(f"{url.rstrip('/')}/{CURRENT}", release.stamp + "\n")
    return release.stamp


def pull_release(url: str, folder: Path, stamp: str | None = None, *, progress: Progress = untold) -> str:
    """Copies a release from an address, compares every file with its manifest, and only then puts it in use here.

    Args:
        url: the releases' address.
        folder: the releases folder; servers on it take the release up by themselves.
        stamp: which release; None = the one that CURRENT at the address names.
        progress: called with what, files done, and in all.

    Raises:
        BundleError: what came is not as it was written; nothing changed here.
    """
    from langrec.bundle import Bundle
    from langrec.releases import CURRENT, point_to

    wanted = (stamp or read_text(f"{url.rstrip('/')}/{CURRENT}")).strip()
    if not wanted or wanted != Path(wanted).name or wanted.startswith("."):
        raise DataError(f"{shown(url)}: CURRENT names {wanted!r}, which is no release", field="url")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / wanted).exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-") as name:
            half = Path(name) / wanted
            fetch(f"{url.rstrip('/')}/{wanted}", half, progress=progress)
            try:
                Bundle.open(half)
            except BundleError as error:
                there = error.message.replace(str(half), f"{shown(url).rstrip('/')}/{wanted}")
                raise BundleError(f"{there.partition(';')[0]}; push it again, or another") from error
            half.rename(folder / wanted)
    Bundle.open(folder / wanted)
    point_to(folder, wanted)
    return wanted


def _exists(url: str) -> bool:
    with _talking(url):
        system, path = _system(url)
        return bool(system.exists(path))
