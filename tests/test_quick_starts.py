"""What the README tells a newcomer to type works, in the order of the page, on a small shop and without a model."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from live_server import wait_until

from ports import free_port
from small_shop import write_shop

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
BINARY = Path(sys.executable).parent
PORT = "8087"


def block(heading: str) -> str:
    """The first code block below a heading of the README."""
    return re.search(rf"^## {heading}$.*?^```\w+\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folder that the quick starts are typed in."""
    folder = tmp_path_factory.mktemp("quick")
    write_shop(folder)
    return folder


@pytest.fixture(scope="module")
def environment(shop):
    own = {
        "PATH": f"{BINARY}:{os.environ['PATH']}",
        "LANGREC_ENCODER_NAME": "hashing",
        "LANGREC_CACHE": str(shop / "cache"),
    }
    return {**os.environ, **own}


@pytest.fixture(scope="module")
def typed(shop, environment):
    """Output of each line of the command line's quick start."""
    lines = block("Quick start: command line").splitlines()
    return {line: run(shlex.split(line), shop, environment) for line in lines if line}


def run(command, folder, environment):
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_command_lines_quick_start_works(typed, shop):
    said = {line.split()[1]: out for line, out in typed.items()}
    assert {"data", "train", "bundle", "search", "recommend", "evaluate", "doctor"} == set(said)
    assert "releases" in said["train"]
    assert "i" in said["search"]
    assert (shop / "lists.parquet").stat().st_size > 0
    assert (shop / "evaluation" / "report.html").exists()


@pytest.mark.slow
def test_pythons_quick_start_works(typed, shop, environment):
    code = block("Quick start: Python")
    assert len(code.splitlines()) <= 16
    out = run([sys.executable, "-c", code], shop, environment).splitlines()
    mix, ease = map(float, out[0].split())
    assert 0 < ease <= 1 and 0 < mix <= 1
    assert len(out) == 1 + 5 + 1 + 1
    assert all(re.match(r"i\d+ \w+ \d+ [\d.]+$", line) for line in out[1:6])
    assert not {line.split()[0] for line in out[1:6]} & {"i1", "i7", "i13"}
    assert out[6].startswith("Contribution(scorer=")


@pytest.mark.slow
def test_https_quick_start_works(typed, shop, environment):
    lines = [line for line in block("Quick start: HTTP").splitlines() if line]
    with served(shop, environment) as url:
        answers = [called(line, url) for line in lines]
    before, written, after, stored, listed, found, why, release, document = answers
    assert len(before) == len(after) == 5 and before != after
    assert "i1" not in after
    assert written == {"RowAffected": 1} and stored == {"RowAffected": 1}
    assert "i7" not in [item["id"] for item in listed["items"]] and listed["trace"]["reason"] == "history"
    assert "new1" in [item["id"] for item in found["items"]]
    assert why["item"] == "new1" and why["contributions"]
    assert release["overlay_items"] == 1
    assert "/api/recommend" in document["paths"]


def called(line, url):
    """The JSON answer to a line with curl."""
    words = shlex.split(line)
    assert words[0] == "curl"
    content = words[2] if words[1] == "--json" else None
    address = words[-1]
    target = address.replace(f"http://127.0.0.1:{PORT}", url)
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(target, content=content, headers=headers) if content else httpx.get(target)
    assert answer.status_code == 200, f"{line}: {answer.status_code} {answer.text}"
    return answer.json()


@contextlib.contextmanager
def served(folder, environment):
    """The address of the server that the README starts, on a free port."""
    [command] = re.findall(r"`(langrec serve --releases \w+)`", README)
    port = free_port()
    log = (folder / "serve.log").open("w")
    process = subprocess.Popen(
        [*shlex.split(command), "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}"
    try:

        def ready():
            assert process.poll() is None, (folder / "serve.log").read_text()
            return httpx.get(f"{url}/api/health/ready").status_code == 200

        wait_until(ready)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
        log.close()
