"""A release whose files were compared once, by the process that watches the workers: they need not read them again."""

from __future__ import annotations

import os
from pathlib import Path

from langrec.errors import BundleError
from langrec.manifest import problem_of, read_manifest, state_of
from langrec.releases import current

VARIABLE = "LANGREC_CHECKED"


def told() -> str | None:
    """The state in which a release was found sound, as the environment of this process says; None where none was."""
    return os.environ.get(VARIABLE)


def check(folder: Path) -> str | None:
    """The stamp of the release in use, whose files are sound and which the processes that this one starts do not
    compare again; None where there is none.

    Args:
        folder: the releases folder.
    """
    os.environ.pop(VARIABLE, None)
    try:
        release = current(folder)
        manifest = read_manifest(release)
    except BundleError:
        return None
    before = state_of(release, manifest)
    # What is written into a file while it is read counts as not compared.
    if before is None or problem_of(release, manifest) or state_of(release, manifest) != before:
        return None
    os.environ[VARIABLE] = before
    return release.name
