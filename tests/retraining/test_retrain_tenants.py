"""Retraining of many shops: one after the other, each from its own store into its own folder."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest
import typer
from typer.testing import CliRunner

from langrec.cli.retrain import retrain
from langrec.errors import BundleError, SettingsError
from langrec.releases import current
from langrec.retraining import schedule
from langrec.retraining.schedule import Place, place_of, places_of, retrain_all, retraining
from langrec.service.served.snapshot import Releases
from langrec.service.store.store import Store
from langrec.settings import ServeSettings
from small_release import release


@pytest.fixture
def tenants(tmp_path):
    """Three tenants with a release in use, one whose settings are broken, one without a release."""
    folder = tmp_path / "tenants"
    for name, text in (
        ("acme", ""),
        ("bloom", "store = 'sqlite:///elsewhere.db'"),
        ("cobalt", "stor = 1"),
        ("dune", ""),
    ):
        own = folder / name / "releases"
        (own / "20260101T000000-aaaaaaaa").mkdir(parents=True)
        (folder / name / "tenant.toml").write_text(text)
        if name != "dune":
            (own / "CURRENT").write_text("20260101T000000-aaaaaaaa")
    return folder


def test_every_tenant_with_a_release_is_found_with_its_own_store(tenants, caplog):
    found = places_of(tenants, ServeSettings(store="sqlite:///control.db"))
    assert found == [
        Place(tenants / "acme" / "releases", f"sqlite:///{tenants / 'acme' / 'store.db'}"),
        Place(tenants / "bloom" / "releases", "sqlite:///elsewhere.db"),
    ]
    said = " ".join(one.getMessage() for one in caplog.records)
    assert "tenant cobalt is not retrained" in said and "tenant dune is not retrained" in said


def test_a_tenant_that_is_not_there_is_named(tenants):
    with pytest.raises(SettingsError, match=r"holds no such tenant .langrec tenants list"):
        place_of(tenants, "nobody", ServeSettings())
    with pytest.raises(SettingsError, match="a name has"):
        place_of(tenants, "../acme", ServeSettings())
    with pytest.raises(BundleError, match="holds no release"):
        place_of(tenants, "dune", ServeSettings())


def script(monkeypatch, code):
    """In place of a training, a process that runs a line of Python with the tenant's name; the names begun."""
    begun = []

    def start(releases, store, arguments, threads):
        begun.append(releases.parent.name)
        return subprocess.Popen([sys.executable, "-c", code, releases.parent.name])

    monkeypatch.setattr(schedule, "start", start)
    return begun


def test_what_fails_for_one_is_said_and_the_next_has_its_turn(tenants, monkeypatch, caplog):
    begun = script(monkeypatch, "import sys; sys.exit(3 if sys.argv[1] == 'acme' else 0)")
    places = places_of(tenants, ServeSettings())
    retrain_all(lambda: places, [], 1, threading.Event(), [])
    assert begun == ["acme", "bloom"]
    assert "ended with 3" in caplog.text and "acme" in caplog.text and "bloom/releases/retrain.log" not in caplog.text


def test_once_the_server_stops_nothing_more_is_begun(tenants, monkeypatch):
    begun = script(monkeypatch, "import time; time.sleep(600)")
    stopped, running = threading.Event(), []
    places = places_of(tenants, ServeSettings())
    thread = threading.Thread(target=retrain_all, args=(lambda: places, [], 1, stopped, running))
    thread.start()
    while not running:
        pass
    stopped.set()
    running[0].terminate()
    thread.join()
    assert begun == ["acme"]


def test_a_wrong_expression_is_refused_before_the_server_starts():
    with pytest.raises(SettingsError), retraining("often", list, []):
        pass


def test_one_tenant_is_retrained_by_its_name(tmp_path):
    own = tmp_path / "tenants" / "acme" / "releases"
    own.parent.mkdir(parents=True)
    release(tmp_path / "made").parent.rename(own)
    (own.parent / "tenant.toml").write_text("")
    store = Store(f"sqlite:///{own.parent / 'store.db'}")
    Releases(own, store)
    store.close()
    asked = ["--tenant", "acme", "--tenants", str(tmp_path / "tenants"), "--set", "retrain.nice=0", "--json"]
    app = typer.Typer()
    app.command()(retrain)
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout.splitlines()[-1])
    assert told["state"] == "nothing to do" and "0 events beyond" in told["reason"]
    assert current(own)
