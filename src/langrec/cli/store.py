"""`langrec store`: bring the store to a new schema, and what else is done to a store while no server runs on it."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langrec.cli.options import AsJson, Overrides, Recipe

if TYPE_CHECKING:
    from langrec.service.store.store import Store

app = typer.Typer(
    no_args_is_help=True,
    help="Migrate, import, export, dump, restore, copy and compact the store.",
    rich_markup_mode="markdown",
)

StoreOption = Annotated[str, typer.Option("--store", help="Database URL, such as sqlite:///langrec.db.")]
Kind = Annotated[str, typer.Option("--kind", help="users, items or events.")]
Url = Annotated[str, typer.Argument(help="Database URL, such as sqlite:///langrec.db.")]


@app.command()
def migrate(store: Url = "sqlite:///langrec.db", as_json: AsJson = False) -> None:
    """Bring a store that an older langrec made to this one's schema, wholly or not at all. Stop its servers first.

    Example: `langrec store migrate sqlite:///shop.db`
    """
    from langrec.service.store.migrating import migrate as bring_here

    before, after = bring_here(store)
    if as_json:
        print(json.dumps({"before": before, "after": after}))
    elif before == after:
        print(f"schema {after}, nothing to do")
    else:
        print(f"schema {before} -> {after}")


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="JSON lines (.jsonl) or Parquet (.parquet) files.")],
    store: StoreOption = "sqlite:///langrec.db",
    kind: Kind = "events",
    repeat: Annotated[bool, typer.Option("--again", help="Also files that were imported before.")] = False,
    rejected: Annotated[
        Path | None, typer.Option("--rejected", help="Write the refused rows to this file, as JSON lines.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import users, items or events. One that was interrupted goes on where it stopped; servers may run.

    Example: `langrec store import events.parquet --store sqlite:///shop.db`

    Example: `langrec store import items.jsonl --kind items --rejected refused.jsonl`
    """
    from langrec.cli.options import bar, check_out_file
    from langrec.service.bulk import import_file, refused_of
    from langrec.service.store.store import Store

    if rejected is not None:
        check_out_file(rejected, "--rejected", "refused.jsonl")
    opened = Store(store)
    lines: list[str] = []
    found = []
    try:
        with bar() as told:
            for path in files:
                done = import_file(opened, path, kind, repeat=repeat, progress=told)
                found.append({"file": str(path), "rows": done.rows, "refused": done.refused, "new": done.again})
                with opened.read() as connection:
                    for one in refused_of(connection, done.source):
                        row = {"file": str(path), "row": one.row, "reason": one.reason, "data": one.data}
                        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
                if done.again:
                    _note(opened, f"import {kind}", path.name, {"rows": done.rows, "refused": done.refused})
    finally:
        opened.close()
    if rejected is not None:
        rejected.write_text("".join(lines), "utf-8")
    if as_json:
        print(json.dumps(found))
        return
    for told_of in found:
        was = "" if told_of["new"] else " (imported before; --again repeats it)"
        print(f"{told_of['file']}: {told_of['rows']} rows, {told_of['refused']} refused{was}")
    if lines and rejected is None:
        print(lines[0].strip()[:300], file=sys.stderr)
        print("the refused rows are in the store; --rejected FILE writes them all", file=sys.stderr)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to: a file that ends with .jsonl or .parquet.")],
    store: StoreOption = "sqlite:///langrec.db",
    kind: Kind = "events",
    as_json: AsJson = False,
) -> None:
    """Write all users, items or events to a file, as one state of the store has them; servers may run.

    Example: `langrec store export events.parquet --store sqlite:///shop.db`
    """
    from langrec.cli.options import bar
    from langrec.service.bulk import export_file
    from langrec.service.store.store import Store

    opened = Store(store, create=None)
    try:
        with bar() as told:
            n = export_file(opened, file, kind, progress=told)
    finally:
        opened.close()
    print(json.dumps({"file": str(file), "rows": n}) if as_json else f"{file}: {n} rows")


@app.command()
def dump(
    folder: Annotated[str, typer.Argument(help="A new folder, or an address such as s3://bucket/monday.")],
    store: StoreOption = "sqlite:///langrec.db",
    as_json: AsJson = False,
) -> None:
    """Write the whole store to a folder of Parquet files with a manifest; servers may run.

    Example: `langrec store dump backups/monday --store sqlite:///shop.db`

    Example: `langrec store dump s3://shop-backups/monday --store sqlite:///shop.db`
    """
    from langrec.cli.options import bar
    from langrec.remote import new_folder
    from langrec.service.store.dumping import dump as write

    with bar() as told, new_folder(folder, progress=told) as made:
        rows = write(store, made, progress=told)
    _say(rows, folder, as_json)


@app.command()
def restore(
    folder: Annotated[str, typer.Argument(help="A folder or an address that `langrec store dump` wrote.")],
    store: Annotated[str, typer.Option("--store", help="URL of an empty database.")],
    as_json: AsJson = False,
) -> None:
    """Fill an empty database from a dump. A damaged dump is refused; one that was interrupted goes on.

    Example: `langrec store restore backups/monday --store sqlite:///shop.db`
    """
    from langrec.cli.options import bar
    from langrec.remote import local_copy
    from langrec.service.store.dumping import restore as fill

    with bar() as told, local_copy(folder, progress=told) as here:
        rows = fill(here, store, progress=told)
    note_in(store, "restore store", folder.rstrip("/").rpartition("/")[2], {"rows": sum(rows.values())})
    _say(rows, "the store", as_json)


@app.command()
def copy(
    source: Annotated[str, typer.Argument(help="URL of the store.")],
    target: Annotated[str, typer.Argument(help="URL of an empty database.")],
    as_json: AsJson = False,
) -> None:
    """Copy a store into an empty database, SQLite to PostgreSQL or any other way; stop its servers first.

    Rows are counted and compared on both sides; a copy that was interrupted goes on where it stopped.

    Example: `langrec store copy sqlite:///shop.db postgresql://shop@db.example/shop`
    """
    from langrec.cli.options import bar
    from langrec.service.store.copying import copy_store

    with bar() as told:
        rows = copy_store(source, target, progress=told)
    note_in(target, "copy store", "", {"rows": sum(rows.values())})
    _say(rows, "the target", as_json)


@app.command()
def compact(
    store: StoreOption = "sqlite:///langrec.db",
    recipe: Recipe = None,
    overrides: Overrides = None,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Give the space back to the disk; SQLite writes its file anew meanwhile.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what the settings of the section `store` keep no longer. A server does so by itself every hour.

    Example: `langrec store compact --store sqlite:///shop.db --set store.events_days=365 --vacuum`
    """
    import time

    from langrec.cli.options import settings_of
    from langrec.service import keeping
    from langrec.service.store.store import Store

    settings = settings_of(recipe, overrides)
    keeping.check(settings.store, settings.serve.history)
    opened = Store(store, create=None)
    try:
        gone = keeping.compact(opened, settings.store, now=int(time.time() * 1000), vacuum=vacuum)
        _note(opened, "compact store", "", gone)
    finally:
        opened.close()
    if as_json:
        print(json.dumps(gone))
    else:
        said = ", ".join(f"{n} of {table}" for table, n in gone.items())
        print(f"deleted {said}" if said else "the settings keep everything")


def note_in(url: str, action: str, target: str, detail: Any) -> None:
    """Notes in a store's audit what was done to the whole of it."""
    with noting(url) as note:
        note(action, target, detail)


@contextlib.contextmanager
def noting(url: str) -> Iterator[Callable[[str, str, Any], None]]:
    """A store that is open before the act, and what notes the act (action, target, detail) in its audit."""
    from langrec.service.store.store import Store

    opened = Store(url, create=None)
    try:
        yield functools.partial(_note, opened)
    finally:
        opened.close()


def _note(opened: Store, action: str, target: str, detail: Any) -> None:
    from langrec.service.store import audit

    with opened.write() as connection:
        audit.note(connection, audit.cli_actor(), action, target, detail)


def _say(rows: dict[str, int], where: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    kept = ", ".join(f"{n} {name}" for name, n in rows.items() if n)
    print(f"{where} holds every row: {kept or 'none'}")
