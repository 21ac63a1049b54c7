"""A store as a folder of Parquet files with a manifest, and back: what a backup is."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import langrec
from langrec.data.once import file_hash
from langrec.errors import StoreError, is_disk_full
from langrec.protocols import Progress, untold
from langrec.service.store import migrating, schema, tables
from langrec.service.store.copying import pour
from langrec.service.store.store import Store
from langrec.service.store.tables import Described

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1
_MANIFEST = "manifest.json"


def dump(url: str, folder: Path, *, block: int = 100_000, progress: Progress = untold) -> dict[str, int]:
    """Writes a store to a new folder, as one state of it; servers may run. The folder is there when it is whole.

    Returns:
        Rows by table.

    Raises:
        StoreError: there is no store, or the folder exists.
    """
    if folder.exists():
        raise StoreError(f"{folder}: exists; name a new folder", field="folder")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with closing(Store(url, create=None)) as store:
            said = _write(store, part, block, progress)
    except BaseException as error:
        # What is not whole must not fill the disk, which the store may live on too.
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) or is_disk_full(error):
            reason = "the disk is full" if is_disk_full(error) else str(error)
            raise StoreError(f"{folder}: cannot be written ({reason})", field="folder") from error
        raise
    part.rename(folder)
    return {name: one["rows"] for name, one in said.items()}


def _write(store: Store, part: Path, block: int, progress: Progress) -> dict[str, Any]:
    """Writes every table, and the manifest last; what it says of the tables."""
    said: dict[str, Any] = {}
    with store.read() as connection:
        for table in tables.all_tables():
            total, done = tables.count(connection, table), 0
            (part / table.name).mkdir(parents=True)
            files = []
            for i, frame in enumerate(tables.blocks(connection, table, n=block)):
                name = f"{table.name}/{i:06d}.parquet"
                frame.write_parquet(part / name)
                files.append({"name": name, "rows": frame.height, "sha256": file_hash(part / name)})
                done += frame.height
                progress(table.name, done, total)
            said[table.name] = {"rows": done, "columns": dict(table.columns), "key": list(table.key), "files": files}
    manifest = {
        "format": FORMAT,
        "revision": schema.REVISION,
        "langrec": langrec.__version__,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": said,
    }
    (part / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    return said


def restore(folder: Path, url: str, *, progress: Progress = untold) -> dict[str, int]:
    """Fills an empty database from a dump; a restore that was interrupted goes on, an older schema is migrated.

    Returns:
        Rows by table, counted and compared with the dump.

    Raises:
        StoreError: a file of the dump is absent or altered (nothing was written then), or the database holds a store.
    """
    manifest = read_manifest(folder, progress=progress)
    source = _DumpSource(folder, manifest)
    target = migrating.open_at(url, manifest["revision"])
    with closing(target):
        counts = pour(source, target, progress)
    migrating.migrate(url)
    return counts


def read_manifest(folder: Path, *, progress: Progress = untold) -> dict[str, Any]:
    """The manifest of a dump whose files are all as they were written.

    Raises:
        StoreError: there is none, or a file is absent or altered.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text("utf-8"))
        files = [file for table in manifest["tables"].values() for file in table["files"]]
        odd = [name for name in _names(manifest["tables"]) if not re.fullmatch(r"[a-z][a-z_]*", name)]
        if odd:
            raise StoreError(
                f"{folder / _MANIFEST}: names {odd[0]!r}, which no store has; nothing was restored", field="folder"
            )
        if manifest["format"] != FORMAT or manifest["revision"] > schema.REVISION:
            raise StoreError(
                f"{folder}: is a dump of format {manifest['format']} and schema {manifest['revision']}; "
                f"this langrec reads {FORMAT} and {schema.REVISION}; restore it with a newer one"
            )
        _check_tables(manifest)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{folder / _MANIFEST}: is no manifest of a dump ({error})", field="folder") from error
    for i, file in enumerate(files):
        path = folder / file["name"]
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            raise StoreError(f"{path}: is missing from the dump; nothing was restored", field="folder")
        if file_hash(path) != file["sha256"]:
            raise StoreError(f"{path}: is not as it was written (sha256); nothing was restored", field="folder")
        progress("check the dump", i + 1, len(files))
    return manifest


def _check_tables(manifest: Mapping[str, Any]) -> None:
    """Raises ValueError where a manifest says of its tables what none of ours has; KeyError where it says less."""
    if not re.fullmatch(r"\d{4}", manifest["revision"], re.ASCII) or manifest["revision"] < "0001":
        raise ValueError(f"schema {manifest['revision']!r} is none")
    absent = {table.name for table in tables.all_tables()}.difference(manifest["tables"])
    if absent and manifest["revision"] == schema.REVISION:
        raise ValueError(f"table {min(absent)} is missing")
    for name, one in manifest["tables"].items():
        kinds = set(one["columns"].values())
        if not kinds <= set(tables.KINDS) or not set(one["key"]) <= set(one["columns"]) or type(one["rows"]) is not int:
            raise ValueError(f"table {name} is described as none can be")


def _names(said: Mapping[str, Any]) -> Iterator[str]:
    """The names in a manifest that statements will hold: a dump may come from anywhere."""
    for table, one in said.items():
        yield from (table, *one["columns"], *one["columns"].values(), *one["key"])


class _DumpSource:
    """The rows of a dump; a place is the number of files that are done."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        known = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
        self.name = f"dump {known}"
        self._folder = folder
        self._said = manifest["tables"]
        self.tables = [Described(name, one["columns"], tuple(one["key"])) for name, one in self._said.items()]

    def count(self, table: Described) -> int:
        return int(self._said[table.name]["rows"])

    def blocks(self, table: Described, place: Any) -> Iterator[tuple[pl.DataFrame, Any]]:
        import polars as pl

        for i, file in enumerate(self._said[table.name]["files"][place or 0 :], place or 0):
            path = self._folder / file["name"]
            try:
                frame = pl.read_parquet(path, glob=False)
            except (OSError, pl.exceptions.PolarsError) as error:
                raise StoreError(f"{path}: cannot be read ({str(error).splitlines()[0]})", field="folder") from error
            yield frame, i + 1
