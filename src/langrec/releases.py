"""The folder of releases: which there are, which is in use, and how another one comes into use or goes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from langrec.data.cache import remove_left
from langrec.data.once import size_of
from langrec.errors import BundleError
from langrec.manifest import problem_of, read_manifest

CURRENT = "CURRENT"
# In the folder of a release that was made to be judged first: why it is not in use. It is no part of the release.
CANDIDATE = "candidate.json"


@dataclass(frozen=True, slots=True)
class ReleaseInfo:
    """One line of `langrec bundle list`: `problem` is why it cannot be served, `kept` why it was not promoted."""

    stamp: str
    folder: Path
    current: bool
    manifest: Mapping[str, Any] | None
    size_bytes: int
    problem: str | None = None
    kept: str | None = None


def current(folder: Path) -> Path:
    """The folder of the release in use.

    Raises:
        BundleError: no release was made here, or CURRENT names one that is gone.
    """
    try:
        stamp = (folder / CURRENT).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder}: holds no release (langrec train --out {folder} makes one)") from error
    if not stamp or Path(stamp).name != stamp or not (folder / stamp).is_dir():
        raise BundleError(f"{folder / CURRENT}: names {stamp!r}, which is not there (langrec bundle rollback)")
    return folder / stamp


def placeless(text: str, folder: Path) -> str:
    """A text whose paths begin at a folder: where that lies on the server is no business of its clients."""
    return text.replace(f"{folder}{os.sep}", "").replace(str(folder), folder.name)


def releases(folder: Path, verify: bool = False) -> list[ReleaseInfo]:
    """All releases, newest first, damaged ones with their problem."""
    try:
        using = (folder / CURRENT).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        using = ""
    found = []
    for release in sorted((path for path in folder.glob("[!.]*") if path.is_dir()), reverse=True):
        size = size_of(release)
        manifest, problem = None, None
        try:
            manifest = read_manifest(release)
            problem = problem_of(release, manifest, hashes=verify)
        except BundleError as error:
            problem = error.message
        found.append(
            ReleaseInfo(release.name, release, release.name == using, manifest, size, problem, kept_back(release))
        )
    return found


def kept_back(release: Path) -> str | None:
    """Why a release is a candidate and was not promoted; None for others."""
    try:
        found = json.loads((release / CANDIDATE).read_text("utf-8"))
        return str(found["reason"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return f"{release / CANDIDATE} cannot be read"


def keep_back(release: Path, reason: str) -> None:
    """Says why a candidate is not promoted."""
    half = release / f".{CANDIDATE}.half"
    half.write_text(json.dumps({"reason": reason}, ensure_ascii=False), "utf-8")
    sync(half)
    half.replace(release / CANDIDATE)


def promote(folder: Path, stamp: str) -> None:
    """Makes a release that was a candidate the one in use."""
    point_to(folder, stamp)
    (folder / stamp / CANDIDATE).unlink(missing_ok=True)


def prune(folder: Path, keep: int) -> list[str]:
    """Removes all but the newest releases, and never the one in use nor the one before it; the stamps of those gone.

    What a process that died had half made, or half removed, goes too when it is two days old.

    Args:
        keep: releases that stay, those two included; at least 2.
    """
    for left in (".*.half", ".*.gone", ".pull-*", ".measured-*"):
        remove_left(folder, left)
    known = releases(folder)
    using = next((i for i, info in enumerate(known) if info.current), None)
    if using is None:
        return []
    before = next((info.stamp for info in known[using + 1 :] if info.problem is None and info.kept is None), None)
    safe = {known[using].stamp, before}
    others = [info for info in known if info.stamp not in safe]
    gone = others[max(keep - len(safe - {None}), 0) :]
    for info in gone:
        # Renamed first: whoever opens a release finds it whole or not at all.
        doomed = folder / f".{info.stamp}.gone"
        info.folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return [info.stamp for info in gone]


def rollback(folder: Path, stamp: str | None = None) -> str:
    """Points CURRENT to the named release, or to the newest sound one before the current.

    Raises:
        BundleError: there is no such release, or it is damaged.
    """
    stamp = sound_one(folder, stamp)
    promote(folder, stamp)
    return stamp


def sound_one(folder: Path, stamp: str | None = None) -> str:
    """The named release, or the newest sound one before the current; every file of it was compared.

    Raises:
        BundleError: there is no such release, or it is damaged.
    """
    known = releases(folder)
    if not known and not folder.exists():
        raise BundleError(f"{folder}: no such folder; check the path")
    if stamp is None:
        using = next((i for i, info in enumerate(known) if info.current), -1)
        earlier = (info for info in known[using + 1 :] if info.problem is None and info.kept is None)
        sound = (info.stamp for info in earlier if _is_sound(info.folder))
        stamp = next(sound, None)
        if stamp is None:
            raise BundleError(f"{folder}: there is no earlier sound release to go back to")
    elif stamp not in {info.stamp for info in known}:
        raise BundleError(f"{folder}: no release {stamp} (langrec bundle list {folder} shows them)")
    else:
        problem = problem_of(folder / stamp, read_manifest(folder / stamp))
        if problem:
            raise BundleError(problem)
    return stamp


def _is_sound(folder: Path) -> bool:
    try:
        return problem_of(folder, read_manifest(folder)) is None
    except BundleError:
        return False


def point_to(folder: Path, stamp: str) -> None:
    """Replaces CURRENT in one step."""
    half = folder / f".{CURRENT}-{uuid4().hex}.half"  # two trainings may end at once
    half.write_text(stamp + "\n", "utf-8")
    sync(half)
    half.replace(folder / CURRENT)
    sync(folder)


def sync(path: Path) -> None:
    """Returns when a file or folder is on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
