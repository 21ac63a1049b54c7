"""A release made with PyTorch is served without it: the base install answers as the full one does."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from live_server import wait_until

from ports import free_port
from small_shop import write_shop

ROOT = Path(__file__).parents[1]
OFFLINE = ("connection broken by", "Could not fetch URL", "Temporary failure in name resolution", "Read timed out")

# Runs in both environments: the answers of a release to the same queries, as JSON.
ASK = """
import importlib.util, json, sys
from pathlib import Path
from langrec import Bundle, Condition, Filters, Query
from langrec.types import Item

recommender = Bundle.open(Path(sys.argv[1])).recommender()
at = __import__("datetime").datetime(2024, 1, 1, tzinfo=__import__("datetime").UTC)
queries = [
    Query(history=("i1", "i5", "i9"), k=8, at=at),
    Query(user="nobody", k=8, at=at),
    Query(history=("i2",), filters=Filters(where=(Condition("price", "le", 20),)), k=8, at=at),
    Query(text="a story about a ship and the sea", k=8, at=at),
]
later = recommender.with_changes([Item("new", "Rocket orbit", {"overview": "a rocket in orbit"})])
answers = [
    *recommender.recommend(queries),
    *recommender.search([Query(text="bread and butter", k=8, meaning=m, at=at) for m in (0.0, 0.5, 1.0)]),
    *later.recommend([Query(history=("i3", "i7"), k=20, at=at)]),
    *later.search([Query(text="rocket orbit", k=3, at=at)]),
]
json.dump(
    {
        "torch": importlib.util.find_spec("torch") is not None or "torch" in sys.modules,
        "answers": [[list(answer.ids), [float(score) for score in answer.items.scores]] for answer in answers],
    },
    sys.stdout,
)
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Releases of a small shop whose texts a tiny language model read, exported to ONNX."""
    pytest.importorskip("torch")
    from langrec import load_dataset, load_settings, train
    from tiny_lm import tiny_lm

    folder = tmp_path_factory.mktemp("release")
    model = tiny_lm(folder / "tiny")
    dataset, _ = load_dataset(*write_shop(folder))
    own = [f"encoder.name={model}", f"encoder.cache={folder / 'cache'}", "encoder.runtime=onnx-fp32"]
    scorers = "popular,popular_decayed,itemknn,ease,als,bm25,vectors,tokens,id_tower,text_tower"
    few = ["id_tower.epochs=2", "text_tower.epochs=2", "ranking.ranker=trees", "ranking.tree_min_leaf=2"]
    settings = load_settings(overrides=[*own, *few, f"retrieval.scorers={scorers}"])
    out, _ = train(dataset, settings, folder / "releases", steps=folder / "steps")
    assert list(out.glob("encoder/vectors/*.onnx")), "the release holds no ONNX encoder"
    assert (out / "ranking" / "second" / "trees" / "trees.onnx").is_file(), "the release holds no trees"
    return folder / "releases"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Python of an environment with the base install, and the variables under which it sees this langrec.

    What langrec needs is kept under the cache folder, by a hash of the pins; langrec itself is built and installed
    anew, as `pip install .` would.
    """
    needs = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    key = hashlib.sha256(needs + sys.version.encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langrec-tests" / f"base-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder / "venv"], check=True)
            # Not byte-compiled: most modules of what is installed are never imported.
            pip(python, "install", "--no-compile", "-c", "constraints.txt", ".", "hatchling")
            pip(python, "uninstall", "-y", "langrec")
            (folder / "ready").touch()
        site = tmp_path_factory.mktemp("site")
        pip(python, "install", "--no-compile", "--no-deps", "--no-build-isolation", "--target", str(site), ".")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LANGREC_", "PYTHON"))}
    return python, {**clean, "PYTHONPATH": str(site)}


def pip(python, verb, *what):
    """This environment's pip, at work in the environment of `python`: that one needs none of its own."""
    command = [sys.executable, "-m", "pip", "--python", python, verb, "-q", *what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode and any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("no package index can be reached, so there is no environment without torch to test in")
    assert done.returncode == 0, done.stderr[-2000:]


def asked(python, release, environment):
    done = subprocess.run(
        [python, "-c", ASK, release], env=environment, cwd=release, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_base_install_answers_as_the_full_one_does(release, base):
    python, environment = base
    here = asked(sys.executable, release, dict(os.environ))
    there = asked(python, release, environment)
    assert here["torch"] and not there["torch"]
    assert len(here["answers"]) == len(there["answers"])
    assert all(ids for ids, _ in here["answers"])
    assert "new" in here["answers"][-1][0]
    for (ids, scores), (same_ids, same_scores) in zip(here["answers"], there["answers"], strict=True):
        assert same_ids == ids
        assert same_scores == pytest.approx(scores, abs=1e-4)


@pytest.mark.slow
def test_the_base_install_serves_over_http_with_its_console(release, base, tmp_path):
    python, environment = base
    port = free_port()
    words = ["serve", "--releases", release, "--store", f"sqlite:///{tmp_path}/store.db", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [python, "-m", "langrec", *words], env=environment, cwd=tmp_path, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:

        def ready():
            assert process.poll() is None, (tmp_path / "log").read_text()
            return httpx.get(f"{url}/api/health/ready").status_code == 200

        wait_until(ready)
        item = {"ItemId": "new", "Comment": "Rocket orbit", "Labels": {"overview": "a rocket in orbit"}}
        assert httpx.post(f"{url}/api/item", json=item).status_code == 200
        body = {"history": ["i1", "i5", "i9"], "k": 8}
        listed = httpx.post(f"{url}/api/recommend", json=body).json()
        found = httpx.get(f"{url}/api/search", params={"q": "rocket orbit", "k": 3}).json()
        assert len(listed["items"]) == 8
        assert found["items"][0]["id"] == "new"
        assert "<html" in httpx.get(f"{url}/").text
        assert httpx.get(f"{url}/console/main.js").status_code == 200
        assert httpx.get(f"{url}/console/plotly.js").status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


@pytest.mark.slow
def test_the_base_install_names_the_extra_that_it_lacks(base, tmp_path):
    python, environment = base
    events, items = write_shop(tmp_path)
    words = ["train", "--events", events, "--items", items, "--out", tmp_path / "out"]
    done = subprocess.run(
        [python, "-m", "langrec", *words], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "pip install 'langrec[lm]'" in done.stderr and "\n" not in done.stderr.strip()
