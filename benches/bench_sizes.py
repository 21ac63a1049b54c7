"""How large langrec is: the megabytes of both installs, and of a process that serves MovieLens-100K without PyTorch.

    python benches/bench_sizes.py

A size is no claim of speed: the two installs are each other's peer.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import common

ROOT = Path(__file__).parents[1]
REQUESTS = 100
INSTALLS = {"base": ".", "lm": ".[lm]"}
SHOWN = ("torch", "onnxruntime", "polars")


def main() -> None:
    common.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        installs = {extra: install(folder / extra, what) for extra, what in INSTALLS.items()}
        release = train(folder)
        served = serve(folder / "base" / "bin" / "langrec", folder, release)
    result = {
        "installs": installs,
        "served": served,
        "note": "megabytes of 10^6 bytes; an install counts site-packages without pip and setuptools; a process its "
        "resident memory",
    }
    common.write("sizes", result)
    print(json.dumps(result, indent=1))


def install(folder: Path, what: str) -> dict[str, Any]:
    """A fresh environment with langrec in it: its megabytes and packages."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "-c", "constraints.txt", what], cwd=ROOT, check=True)
    listed = json.loads(subprocess.run([*pip, "list", "--format=json"], check=True, capture_output=True).stdout)
    versions = {row["name"]: row["version"] for row in listed if row["name"] not in ("pip", "setuptools")}
    [site] = (folder / "lib").glob("python*/site-packages")
    own = [path for path in site.iterdir() if not path.name.startswith(("pip", "setuptools", "pkg_resources"))]
    return {
        "mb": round(sum(_size(path) for path in own) / 1e6),
        "packages": len(versions),
        "versions": {name: versions[name] for name in SHOWN if name in versions},
    }


def train(folder: Path) -> Path:
    """A releases folder of MovieLens-100K with the default encoder, made by the environment that runs this bench."""
    langrec = [sys.executable, "-m", "langrec"]
    fetched = subprocess.run([*langrec, "data", "fetch", "ml-100k"], check=True, capture_output=True, text=True)
    data = fetched.stdout.strip().splitlines()[-1]
    out = folder / "releases"
    subprocess.run([*langrec, "train", "--events", data, "--out", out, "--json"], check=True)
    return out


def serve(langrec: Path, folder: Path, releases: Path) -> dict[str, Any]:
    """Memory of one worker after loading and after a number of recommendations and searches."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [langrec, "serve", "--releases", releases, "--store", f"sqlite:///{folder}/store.db", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        release = _until_ready(f"{url}/api/release", process)
        loaded = _resident(process.pid)
        for n in range(REQUESTS):
            _get(f"{url}/api/recommend/{n + 1}?n=10" if n % 2 else f"{url}/api/search?q=space+war+{n}&k=10")
        return {
            "data": "MovieLens-100K",
            "items": release["n_items"],
            "events": release["n_events"],
            "encoder": release["encoder"],
            "release_mb": round(release["size_bytes"] / 1e6, 1),
            "requests": REQUESTS,
            "mb_loaded": loaded,
            "mb_after": _resident(process.pid),
        }
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"langrec serve ended with status {process.returncode}")
        try:
            return _get(url)
        except urllib.error.URLError:
            time.sleep(0.2)
    raise SystemExit("langrec serve did not answer within two minutes")


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def _resident(pid: int) -> int:
    """Megabytes of a process that are in memory."""
    import psutil

    return round(psutil.Process(pid).memory_info().rss / 1e6)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


if __name__ == "__main__":
    main()
