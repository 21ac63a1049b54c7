"""Dumps and releases at addresses: in memory, and in S3 as a server on loopback plays it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from langrec import remote
from langrec.bundle import Bundle
from langrec.errors import BundleError, DataError, MissingExtra
from ports import free_port
from small_release import release

pytest.importorskip("fsspec", reason="the extra remote is not installed")
# Its needs are older than what langrec is tested with: it lives in an environment of its own.
MOTO = ("moto[s3,server]==5.2.5", "boto3==1.44.8")
OFFLINE = ("connection broken by", "Could not fetch URL", "Temporary failure in name resolution", "Read timed out")


def wait_until_there(url):
    """Makes the bucket as soon as the server answers."""
    for _ in range(1200):
        try:
            assert httpx.put(url).status_code == 200
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError("the S3 server does not answer")


@pytest.fixture(scope="module")
def moto_program():
    """The program of an S3 server, installed once and kept under the cache folder."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langrec-tests" / "moto-5.2.5"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder / "venv"], check=True)
            command = [sys.executable, "-m", "pip", "--python", folder / "venv" / "bin" / "python", "install", "-q"]
            done = subprocess.run([*command, "--no-compile", *MOTO], capture_output=True, text=True)
            if done.returncode and any(sign in done.stderr for sign in OFFLINE):
                pytest.skip("no package index can be reached, so there is no S3 server to test with")
            assert done.returncode == 0, done.stderr[-2000:]
            (folder / "ready").touch()
    return folder / "venv" / "bin" / "moto_server"


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def place(request, monkeypatch):
    """An address where nothing is yet."""
    if request.param == "memory":
        import fsspec

        yield "memory://shop/one"
        fsspec.filesystem("memory").rm("/", recursive=True)
        return
    pytest.importorskip("obstore", reason="the extra remote is not installed")
    port = free_port()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        ("AWS_ALLOW_HTTP", "true"),
    ):
        monkeypatch.setenv(name, value)
    command = [str(request.getfixturevalue("moto_program")), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_there(f"http://127.0.0.1:{port}/shop")
    yield "s3://shop/one"
    server.kill()
    server.wait()


def test_a_folder_comes_back_as_it_went(place, tmp_path):
    folder = tmp_path / "folder"
    (folder / "events").mkdir(parents=True)
    (folder / "events" / "0.parquet").write_bytes(bytes(range(256)))
    (folder / "manifest.json").write_text("{}", "utf-8")
    order = []
    assert remote.push(folder, place, progress=lambda *step: order.append(step)) == 2
    assert order[-1] == ("copy", 2, 2)
    with remote.local_copy(place) as back:
        assert (back / "events" / "0.parquet").read_bytes() == bytes(range(256))
        assert (back / "manifest.json").read_text("utf-8") == "{}"
    assert not back.exists()
    with pytest.raises(DataError, match="exists"):
        remote.push(folder, place)
    with pytest.raises(DataError, match="there is nothing"):
        remote.fetch(f"{place}-none", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_release_travels_and_is_compared_before_it_is_used(place, tmp_path):
    releases = release(tmp_path / "made").parent
    stamp = remote.push_release(releases, place)
    assert remote.push_release(releases, place) == stamp
    here = tmp_path / "here"
    assert remote.pull_release(place, here) == stamp
    assert Bundle.open(here).stamp == stamp
    shutil.rmtree(here / stamp)
    path = f"{place}/{stamp}/catalog/items.parquet"
    remote.write_text(path, "damaged")
    with pytest.raises(BundleError, match=r"items\.parquet"):
        remote.pull_release(place, here)
    assert [one.name for one in here.iterdir()] == ["CURRENT"]
    remote.write_text(f"{place}/CURRENT", "../elsewhere\n")
    with pytest.raises(DataError, match="no release"):
        remote.pull_release(place, here)


def test_a_dump_of_a_store_travels(place, tmp_path):
    from langrec.service.store import event_rows
    from langrec.service.store.dumping import dump, restore
    from langrec.service.store.event_rows import Event
    from langrec.service.store.store import Store

    url, back = (f"sqlite:///{tmp_path / name}" for name in ("store.db", "back.db"))
    store = Store(url)
    with store.write() as connection:
        event_rows.put_events(connection, [Event("ann", "tea", "click", 1)], overwrite=False)
    store.close()
    with remote.new_folder(place) as folder:
        counts = dump(url, folder)
    with remote.local_copy(place) as folder:
        assert restore(folder, back) == counts
    assert counts["events"] == 1


def test_an_address_that_nobody_knows_is_said(tmp_path):
    with pytest.raises(DataError, match="nobody://x/y"):
        remote.fetch("nobody://x/y", tmp_path / "x")
    assert not remote.is_remote("backups/monday") and remote.is_remote("s3://bucket/x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_not_taken_for_an_address_that_is_away():
    with pytest.raises(DataError, match="the disk that it is copied to is full; free some space"):
        remote.write_text("file:///dev/full", "a stamp")


def test_no_error_of_an_address_holds_its_password(tmp_path):
    for url in ("https://shop:s3cret@127.0.0.1:1/x", "nothing://shop:s3cret@host/x"):
        with pytest.raises((DataError, MissingExtra)) as error:
            remote.pull_release(url, tmp_path)
        assert "s3cret" not in error.value.message and "shop:***@" in error.value.message
    assert remote.shown("s3://bucket/a:b@c") == "s3://bucket/a:b@c"
