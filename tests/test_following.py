"""A server over releases at an address: brought here, compared, followed, and the last good one while it is away."""

from __future__ import annotations

import os
import shutil
import threading
import time

import pytest
from fastapi.testclient import TestClient

from langrec import remote
from langrec.bundle import Bundle
from langrec.cli.serve import serve
from langrec.errors import BundleError, DataError, SettingsError
from langrec.following import Follower, folder_of
from langrec.releases import CURRENT, current, point_to, rollback
from langrec.service.http import create_app
from langrec.settings import ServeSettings
from small_release import release
from test_remote import moto_program, place  # noqa: F401 - fixtures

pytest.importorskip("fsspec", reason="the extra remote is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two releases."""
    folder = tmp_path_factory.mktemp("made")
    first = release(folder)
    second = release(folder)
    return first.parent, first.name, second.name


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "cache"))


def test_what_the_address_names_is_served_and_followed(made, place, tmp_path):  # noqa: F811
    releases, first, second = made
    remote.push_release(releases, place, first)
    follower = Follower(place, folder_of(place))
    told = []
    follower.start(lambda *step: told.append(step))
    assert current(follower.folder).name == first and told[-1][1] == told[-1][2]
    app = create_app(follower.folder, ServeSettings(store=f"sqlite:///{tmp_path / 'store.db'}"))
    with TestClient(app, base_url="http://127.0.0.1:8087") as client:
        ask = {"user": "u1", "k": 5}
        assert client.post("/api/recommend", json=ask).json()["trace"]["release"] == first
        assert follower.look() and current(follower.folder).name == first
        remote.push_release(releases, place, second)
        assert follower.look() and current(follower.folder).name == second
        served = first
        for _ in range(600):  # the server looks at CURRENT by itself
            served = client.post("/api/recommend", json=ask).json()["trace"]["release"]
            if served == second:
                break
            time.sleep(0.1)
        assert served == second


def test_while_the_address_is_away_or_damaged_the_last_good_release_stays(made, place, caplog):  # noqa: F811
    releases, first, second = made
    remote.push_release(releases, place, first)
    follower = Follower(place, folder_of(place))
    follower.start()
    remote.push_release(releases, place, second)
    kept = (releases / second / "catalog" / "items.parquet").read_bytes()
    remote.write_text(f"{place}/{second}/catalog/items.parquet", "damaged")
    for _ in range(3):
        assert not follower.look()
    assert "items.parquet" in follower.trouble and current(follower.folder).name == first
    assert sum("items.parquet" in one.message for one in caplog.records) == 1, "trouble is said once"
    again = Follower(place, folder_of(place))
    again.start()  # a server that starts meanwhile serves what was brought here before
    assert current(again.folder).name == first and "serving" in caplog.text
    path = f"{place}/{second}/catalog/items.parquet"
    system, where = remote._system(path)
    system.pipe_file(where, kept)
    assert follower.look() and follower.trouble == "" and current(follower.folder).name == second
    assert "followed again" in caplog.text


def test_an_address_that_never_answered_is_said(tmp_path):
    follower = Follower("memory://nowhere/at-all", tmp_path / "none")
    with pytest.raises(DataError, match="nowhere/at-all"):
        follower.start()


def test_damaged_releases_are_refused_where_there_is_none_of_before(made, place):  # noqa: F811
    releases, first, _ = made
    remote.push_release(releases, place, first)
    remote.write_text(f"{place}/{first}/catalog/items.parquet", "damaged")
    with pytest.raises(BundleError, match=r"items\.parquet"):
        Follower(place, folder_of(place)).start()


def test_a_release_that_was_chosen_here_stays_until_another_is_chosen_there(made, tmp_path):
    releases, first, second = made
    address = "memory://chosen/one"
    remote.push_release(releases, address, first)
    follower = Follower(address, folder_of(address))
    follower.start()
    remote.push_release(releases, address, second)
    follower.look()
    rollback(follower.folder)
    assert follower.look() and current(follower.folder).name == first
    remote.write_text(f"{address}/{CURRENT}", first + "\n")
    remote.write_text(f"{address}/{CURRENT}", second + "\n")
    assert follower.look() and current(follower.folder).name == first, "nothing has changed there since"
    remote.write_text(f"{address}/{CURRENT}", first + "\n")
    follower.look()
    point_to(follower.folder, first)
    remote.write_text(f"{address}/{CURRENT}", second + "\n")
    assert follower.look() and current(follower.folder).name == second


def test_old_releases_leave_the_disk(made, tmp_path):
    releases, first, second = made
    address = "memory://many/one"
    folder = folder_of(address)
    folder.mkdir(parents=True)
    for name in ("20200101T000000-aaaaaaaa", "20200102T000000-bbbbbbbb"):
        shutil.copytree(releases / first, folder / name)
    remote.push_release(releases, address, second)
    Follower(address, folder, keep=2).start()
    assert {one.name for one in folder.glob("[!.]*") if one.is_dir()} == {second, "20200102T000000-bbbbbbbb"}


def test_servers_of_one_machine_may_bring_the_same_release_at_once(made):
    releases, first, _ = made
    address = "memory://shared/one"
    remote.push_release(releases, address, first)
    followers = [Follower(address, folder_of(address)) for _ in range(4)]
    threads = [threading.Thread(target=one.start) for one in followers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one.seen == first for one in followers)
    assert Bundle.open(folder_of(address)).stamp == first


def test_it_is_looked_at_at_the_stated_interval_until_the_server_stops(made, monkeypatch):
    looked = threading.Semaphore(0)
    follower = Follower("memory://never/read", folder_of("memory://never/read"))
    monkeypatch.setattr(Follower, "look", lambda self: looked.release() or True)
    with follower.following(0.01):
        assert all(looked.acquire(timeout=60) for _ in range(3))
    assert not [one for one in threading.enumerate() if one.name == "following"]
    with follower.following(0):
        assert not [one for one in threading.enumerate() if one.name == "following"]


def test_the_command_serves_the_folder_that_follows(made, monkeypatch):
    import langrec.cli.serve as module

    releases, first, _ = made
    remote.push_release(releases, "memory://command/one", first)
    served = []
    monkeypatch.setattr(module, "run", lambda folder, settings: served.append(folder))
    serve(releases="memory://command/one")
    assert served == [folder_of("memory://command/one")] and current(served[0]).name == first
    assert str(served[0]).startswith(os.environ["LANGREC_CACHE"])
    with pytest.raises(SettingsError, match="followed, not written"):
        serve(releases="memory://command/one", retrain="0 3 * * *")


def test_releases_that_are_gone_from_the_address_are_served_on(made):
    import fsspec

    releases, first, _ = made
    address = "memory://going/one"
    remote.push_release(releases, address, first)
    follower = Follower(address, folder_of(address))
    follower.start()
    fsspec.filesystem("memory").rm("/going", recursive=True)
    assert not follower.look() and "cannot be reached" in follower.trouble and follower.damaged == 0
    again = Follower(address, folder_of(address))
    again.start()
    assert Bundle.open(again.folder).stamp == first
    remote.push_release(releases, address, first)
    assert again.look() and not again.trouble
