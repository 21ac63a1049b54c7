"""Options that several verbs share, and the progress bar that they show."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from langrec.cli.made import make
from langrec.errors import DataError, SettingsError
from langrec.recipe import load_settings
from langrec.settings import Settings

if TYPE_CHECKING:
    from langrec.data.dataset import Dataset
    from langrec.scale.cluster import Cluster

EventsPath = Annotated[Path, typer.Option("--events", help="Events: a file, or a folder with events and items.")]
EventsOrRecipe = Annotated[
    Path | None,
    typer.Option("--events", help="Events: a file, or a folder with events and items; default: files.events."),
]
ItemsPath = Annotated[Path | None, typer.Option("--items", help="Items: a file or folder.")]
UsersPath = Annotated[
    Path | None, typer.Option("--users", help="Users: a file or folder; default: that in the folder of the events.")
]
Recipe = Annotated[Path | None, typer.Option("--recipe", help="TOML file with settings.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be given often.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Ray workers that share the work; 0 = this process alone.")
]
Address = Annotated[
    str,
    typer.Option("--address", help="--workers: the Ray cluster to join, auto or host:port; default: started here."),
]


class Bar:
    """A progress bar on standard error; callable with (what, done, total) as training and measuring tell it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("start", total=None)
        self._what = "start"

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        if what != self._what:
            self._progress.update(self._task, description=f"[green]done[/] {self._what}")
            self._progress.stop_task(self._task)
            self._task = self._progress.add_task(what, total=total or None)
            self._what = what
        self._progress.update(self._task, completed=done, total=total or None)


# Seconds of work before a log hears of it: what is quick says nothing.
_QUICK = 10.0


class Lines:
    """A line on standard error for each part of long work, with the seconds so far: for a log, where no bar moves."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._told = ""

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        seconds = time.monotonic() - self._start
        if what != self._told and seconds >= _QUICK:
            self._told = what
            print(f"{seconds:6.0f} s  {what}", file=sys.stderr, flush=True)


Told = Bar | Lines


def wide_console() -> Console:
    """Standard output for tables, 80 columns wide or more: a narrower table would cut names and figures, whereas a
    terminal breaks lines by itself.
    """
    made = Console()
    made.width = max(made.width, 80)
    return made


@contextmanager
def bar() -> Iterator[Told]:
    """Shows how far the block is while it runs: a bar, or lines where standard error is not a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    error = Console(file=sys.stderr)
    if not error.is_terminal:
        yield Lines()
        return
    with Progress(*columns, console=error, transient=True) as progress:
        yield Bar(progress)


@contextmanager
def workers_of(workers: int, address: str) -> Iterator[Cluster | None]:
    """The workers that the command line asks for, while the block runs; None where it asks for none.

    Raises:
        MissingExtra: Ray is not installed.
        SettingsError: an address without workers, or no such cluster.
    """
    if address and not workers:
        raise SettingsError(f"--address {address}: needs --workers N; name how many are to work", field="address")
    if not workers:
        yield None
        return
    from langrec.scale.cluster import cluster

    with cluster(workers, address) as found:
        yield found


def settings_of(recipe: Path | None, overrides: list[str] | None) -> Settings:
    """Settings from defaults, recipe, environment and `--set`."""
    return load_settings(recipe, overrides or [])


def with_files(
    settings: Settings, events: Path | None, items: Path | None, users: Path | None, out: Path | None = None
) -> Settings:
    """Settings with the files of the command line; where it names events, items and users of a recipe count no more.

    Raises:
        DataError: neither names events.
    """
    named = {"events": events, "items": items, "users": users, "out": out}
    files = settings.files if events is None else dataclasses.replace(settings.files, events="", items="", users="")
    files = dataclasses.replace(files, **{name: str(path) for name, path in named.items() if path is not None})
    if not files.events:
        raise DataError(
            "--events: name a file or a folder of events, or write files.events in a recipe", field="events"
        )
    return dataclasses.replace(settings, files=files)


def read_files(settings: Settings, rejected: Path | None, told: Told) -> Dataset:
    """The dataset of `settings.files`, see `read`."""
    files = settings.files
    items, users = (Path(name).expanduser() if name else None for name in (files.items, files.users))
    return read(Path(files.events).expanduser(), items, settings, rejected, told, users)


def read(
    events: Path,
    items: Path | None,
    settings: Settings,
    rejected: Path | None,
    told: Told,
    users: Path | None = None,
) -> Dataset:
    """The dataset; what cleaning set aside is said on standard error, and where the file's order would be learned."""
    from langrec.data.load import load_dataset

    dataset, report = load_dataset(
        events, items, settings.data, users=users, rejected=rejected, progress=lambda what: told(f"read: {what}")
    )
    if report.refused:
        where = f" (see {rejected})" if rejected else ""
        print(f"set aside {report.refused} rows{where}; `langrec data check` lists why", file=sys.stderr)
    for step in report.steps:
        if step.name == "order_of_file":
            print(f"{step.count:,} {step.what}; {step.fix}", file=sys.stderr)
    return dataset


def check_out(folder: Path, option: str = "--out") -> Path:
    """The folder that results go to, made where it is absent: it is better to fail before hours of work than after.

    Args:
        option: that names it.

    Raises:
        DataError: it cannot be made or written to.
    """
    try:
        make(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"{option} {folder}: cannot be written to ({error.strerror}); choose another", field=option.lstrip("-")
        ) from error
    return folder


def check_out_file(file: Path, option: str = "--out", such: str = "lists.parquet") -> Path:
    """The file that a result goes to; its folder is made where it is absent.

    Args:
        option: that names it.
        such: a name that it could have.

    Raises:
        DataError: it is a folder, or it cannot be written.
    """
    if file.is_dir():
        field = option.lstrip("-")
        raise DataError(f"{option} {file}: is a folder; name a file in it, such as {file / such}", field=field)
    check_out(file.parent, option)
    if file.exists() and not os.access(file, os.W_OK):
        raise DataError(f"{option} {file}: may not be written to; choose another", field=option.lstrip("-"))
    return file


def with_cut(settings: Settings, split: str | None, cut: str | None) -> Settings:
    """Settings with the split of the command line."""
    overrides = [f"split.kind={split}"] if split else []
    if cut:
        overrides.append(f"split.cut={cut}")
    if not overrides:
        return settings
    parsed = load_settings(None, overrides, environ={}).split
    kind = parsed.kind if split else settings.split.kind
    return dataclasses.replace(
        settings, split=dataclasses.replace(parsed, kind=kind, cut=parsed.cut if cut else settings.split.cut)
    )
