"""A release's manifest: what its folder holds, with every file's sha256; written last, and checked before all else."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from langrec.data.once import file_hash
from langrec.errors import BundleError

# 2: large releases hold indexes; 3: arrays with a row per item or event are files of their own, which are mapped.
FORMAT = 3
MANIFEST = ("stamp", "made_at", "settings", "versions", "models", "encoders", "metrics", "data", "files")
VERSIONED = ("langrec", "numpy", "scipy", "polars", "onnxruntime", "tokenizers")


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest of a folder whose other files are all there, which it names with their sha256."""
    files = {
        path.relative_to(folder).as_posix(): {"sha256": file_hash(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    whole = _without_nan({**manifest, "files": files})
    text = json.dumps(whole, indent=1, default=str, allow_nan=False)
    (folder / "manifest.json").write_text(text, "utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a release folder.

    Raises:
        BundleError: it is missing, damaged or of another format.
    """
    if not folder.exists():
        raise BundleError(f"{folder}: no such folder; check the path, or langrec train --out {folder} makes it")
    manifest = read_json(folder / "manifest.json")
    if manifest.get("format") != FORMAT:
        found = manifest.get("format")
        newer = isinstance(found, int) and found > FORMAT
        raise BundleError(
            f"{folder / 'manifest.json'}: format {found!r}, this version reads {FORMAT}; "
            + ("install a newer langrec" if newer else "train again or install the version that wrote it")
        )
    missing = [name for name in MANIFEST if name not in manifest]
    if missing or not all(
        isinstance(entry, Mapping) and {"bytes", "sha256"} <= set(entry) for entry in _files(manifest)
    ):
        raise BundleError(f"{folder / 'manifest.json'}: is damaged (no {missing[0] if missing else 'sound files'})")
    if outside := _leading_out(manifest):
        raise BundleError(f"{folder / 'manifest.json'}: names {outside!r}, which is not of this release")
    return manifest


def _leading_out(manifest: Mapping[str, Any]) -> str | None:
    """The first name that would be looked for outside of the release's folder."""
    names = [manifest["stamp"], *manifest["models"], *manifest["encoders"]]
    odd = [
        name for name in names if not isinstance(name, str) or name in ("", "..") or PurePosixPath(name).name != name
    ]
    odd += [name for name in manifest["files"] if name.startswith("/") or ".." in PurePosixPath(name).parts]
    return str(odd[0]) if odd else None


def _files(manifest: Mapping[str, Any]) -> list[Any]:
    files = manifest["files"]
    return list(files.values()) if isinstance(files, Mapping) else [None]


def made_at(manifest: Mapping[str, Any]) -> int | None:
    """Epoch milliseconds of a release's making; None where the manifest does not say it."""
    try:
        return int(datetime.fromisoformat(manifest["made_at"]).timestamp() * 1000)
    except (KeyError, TypeError, ValueError):
        return None


def problem_of(
    folder: Path, manifest: Mapping[str, Any], hashes: bool = True, checked: str | None = None
) -> str | None:
    """What is wrong with the first unsound file; None where all are as they were written.

    Args:
        hashes: compare every file's sha256; without them, sizes alone.
        checked: a state (`state_of`) in which the hashes were found right; files still in it are not read again.
    """
    if hashes and checked is not None and state_of(folder, manifest) == checked:
        hashes = False
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{path}: is missing; roll back or train again"
        if path.stat().st_size != entry["bytes"]:
            return f"{path}: has {path.stat().st_size} bytes instead of {entry['bytes']}; roll back or train again"
        if hashes and file_hash(path) != entry["sha256"]:
            return f"{path}: its content has changed since it was written; roll back or train again"
    return None


def state_of(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """A word for what the system says of every file of a release on this machine; None where one is not there.

    Whoever writes into a file, or puts another in its place, changes its time of change or its number, which no program
    can set back.
    """
    found = hashlib.sha256()
    try:
        for name in ("manifest.json", *manifest["files"]):
            one = (folder / name).stat()
            found.update(repr((name, one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)).encode())
    except OSError:
        return None
    return found.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file of a release.

    Raises:
        BundleError: it is missing or damaged.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); is this a release folder?") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: is damaged ({error})") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path}: is damaged (no JSON object)")
    return value


def versions() -> dict[str, str]:
    """Versions of what made a release, for its manifest and for protocol stamps."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: null stands for what has no value."""
    if isinstance(value, Mapping):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
