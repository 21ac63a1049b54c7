"""Every error that langrec raises on purpose: the thing, its value and the way out, in one line."""

from __future__ import annotations

import errno
import re
import shutil
from zipfile import BadZipFile

# What reading a damaged or foreign file of a part can raise; each `load` turns it into a BundleError.
# EOFError: an empty .npy or .npz. BadZipFile: an .npz cut short, or one whose checksums do not hold.
# RecursionError: JSON that nests without end. MemoryError: an array whose header claims more than there is.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, BadZipFile, RecursionError, MemoryError)


class LangrecWarning(UserWarning):
    """Something worth a person's look that does not stop the work."""


class LangrecError(Exception):
    """Base of all errors that a caller can act on.

    Args:
        message: one line that names the place, the value and the way out.
        field: the input field or setting at fault, where there is one.
    """

    code = "error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class DataError(LangrecError):
    """Input data that cannot be used."""

    code = "bad_data"


class SettingsError(LangrecError):
    """A setting that is unknown, of the wrong type, or out of range."""

    code = "bad_settings"


class BundleError(LangrecError):
    """A bundle that is missing, damaged or of another format."""

    code = "bad_bundle"


class StoreError(LangrecError):
    """The store cannot be read or written."""

    code = "store"


class NotTrained(LangrecError):  # noqa: N818 - reads as a sentence where it is raised
    """A part was asked to work before it was fitted or loaded."""

    code = "not_trained"


class MissingExtra(LangrecError, ImportError):  # noqa: N818
    """An optional dependency is not installed; the message holds the pip line."""

    code = "missing_extra"

    def __init__(self, extra: str, purpose: str) -> None:
        LangrecError.__init__(self, f"{purpose} needs the extra '{extra}': pip install 'langrec[{extra}]'")
        self.extra = extra


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full, or somebody's share of it, as Python or a library says so."""
    # NumPy gives no number: it counts what it could not write. PyTorch names the place in its file, and no reason.
    short = isinstance(error, OSError) and re.fullmatch(r"\d+ requested and \d+ written", str(error))
    tensors = isinstance(error, RuntimeError) and re.search(r"iostream error|unexpected pos|write failed", str(error))
    return bool(short or tensors) or _says(error, errno.ENOSPC, errno.EDQUOT)


def is_forbidden(error: BaseException) -> bool:
    """Whether an error says that a place may not be read or written, as Python or a library says so."""
    return _says(error, errno.EACCES, errno.EROFS)


def _says(error: BaseException, *numbers: int) -> bool:
    """Whether an error bears one of the numbers, or words it, as libraries in Rust and copies of folders do."""
    said = str(error)
    return getattr(error, "errno", None) in numbers or any(
        f"(os error {number})" in said or (isinstance(error, shutil.Error) and f"[Errno {number}]" in said)
        for number in numbers
    )
