"""One file from the web: to a temporary name first, going on where an earlier try stopped, checked before use."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from langrec.data.once import file_hash
from langrec.errors import DataError

TIMEOUT = 60.0


def download(url: str, target: Path, sha256: str | None = None) -> Path:
    """The file at a URL as `target`; a target that is there (and has the hash, where one is given) is kept.

    What has arrived lies in `<target>.partial` until all of it is there; the next call asks only for the rest.

    Raises:
        DataError: the server cannot be reached or refuses, the download stops early, or the hash differs.
    """
    if target.is_file() and (sha256 is None or file_hash(target) == sha256.lower()):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            # 206: the rest as asked; anything else is the whole file again.
            going_on = have and answer.status == 206
            with partial.open("ab" if going_on else "wb") as file:
                shutil.copyfileobj(answer, file)
            length = answer.headers.get("Content-Length")
            expected = int(length) + (have if going_on else 0) if length else None
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise DataError(f"{url}: the server answered {error.code} {error.reason}; check the URL") from error
        expected = None  # 416: nothing is left to send, the earlier try had all of it
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url}: download failed ({error}); run it again to go on where it stopped") from error
    size = partial.stat().st_size
    if expected is not None and size < expected:
        raise DataError(f"{url}: stopped after {size:,} of {expected:,} bytes; run it again to go on")
    if sha256 is not None and file_hash(partial) != sha256.lower():
        found = file_hash(partial)
        partial.unlink()
        raise DataError(f"{url}: sha256 is {found}, not {sha256}; the download was discarded")
    if target.suffix == ".zip" and not zipfile.is_zipfile(partial):
        partial.unlink()
        raise DataError(f"{url}: what arrived is not a zip file; the download was discarded")
    return partial.replace(target)
