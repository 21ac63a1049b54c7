"""What reading a damaged or foreign file of a scorer can raise; each `load` turns it into a BundleError."""

from __future__ import annotations

from zipfile import BadZipFile

# EOFError: an empty .npy or .npz. BadZipFile: an .npz cut short, or one whose checksums do not hold.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, BadZipFile)
