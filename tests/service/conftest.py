"""Servers over a planted world, for the tests of this folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import Live, Process, planted, write_planted
from postgres_server import PostgresServer

from langrec.settings import ServeSettings


@pytest.fixture(scope="session")
def two_releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two sound releases of the planted world; tests copy it."""
    folder = tmp_path_factory.mktemp("planted") / "releases"
    _, events = planted()
    write_planted(folder, events.head(events.height - 1))
    time.sleep(1.1)  # a release is named by its second
    write_planted(folder, events)
    return folder


@pytest.fixture
def releases(two_releases: Path, tmp_path: Path) -> Path:
    """This test's own copy of the releases."""
    return Path(shutil.copytree(two_releases, tmp_path / "releases", copy_function=linked_page))


def linked_page(source: str, target: str) -> None:
    """Copies a file of a release; its page, the five megabytes that no test writes into, is linked."""
    if Path(source).name == "report.html":
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of this process; those that stop it start it again."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not there yet, in each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def serve(releases: Path, tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Starts servers over this test's releases; settings may be given by name."""
    started: list[Live] = []

    def start(**settings: Any) -> Live:
        values = {"store": f"sqlite:///{tmp_path / 'store.db'}", **settings}
        started.append(Live(releases, ServeSettings(**values)))
        return started[-1]

    yield start
    for live in started:
        live.close()


@pytest.fixture
def live(serve: Callable[..., Live]) -> Live:
    """One server with the default settings."""
    return serve()


@pytest.fixture(scope="module")
def shared(two_releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for the tests of a file that only read."""
    folder = tmp_path_factory.mktemp("shared")
    releases = Path(shutil.copytree(two_releases, folder / "releases", copy_function=linked_page))
    server = Live(releases, ServeSettings(store=f"sqlite:///{folder / 'store.db'}"))
    yield server
    server.close()


@pytest.fixture
def start_process(releases: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts `langrec serve` over this test's releases and store."""
    started: list[Process] = []

    def start(*arguments: str, **values: Any) -> Process:
        store = values.pop("store", f"sqlite:///{tmp_path / 'store.db'}")
        started.append(Process(releases, store, *arguments, **values))
        return started[-1]

    yield start
    for process in started:
        process.close()
