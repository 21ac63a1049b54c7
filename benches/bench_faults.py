"""Sudden deaths and other faults under load: what was acknowledged is there, what is served stays sound.

    python benches/bench_faults.py --rounds 20

Each round of `kill` starts from a running server, drives it from several clients (reads, and writes with idempotency
keys), kills it or one of its workers with -9 at a moment drawn at random, starts it again where it is gone, and checks:
every acknowledged event is in the store once, the store and the releases are sound, and the server answers again.
The other rounds put a broken release in place, take memory away, and jump the clock, each while clients go on.

`make soak` runs all rounds and writes results/soak_faults.json; the tests run a few of each.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

import common
from langrec.bundle import Bundle
from langrec.client import Client, Retries
from langrec.client.errors import ServerError
from langrec.client.replies import Event
from langrec.releases import releases

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
# Seconds within which a killed server should answer again, by the plan.
WANTED_SECONDS = 5.0
# Seconds after which something hangs; a start on a busy machine may take a minute.
_HANGS = 300
# Memory that a server in need of it has beside what it holds at its start, and bodies of 7 MB that come together.
_SPARE_MB, _AT_ONCE = 60, 12
PATIENT = Retries(most=2000, first=0.05, longest=0.5, within=_HANGS)


# ---- a server under load -------------------------------------------------------------------------------------------


class Server:
    """`langrec serve` on loopback, as processes that can be killed.

    Args:
        folder: of the releases.
        store: file of the SQLite store.
        workers: processes that answer.
        limit_mb: of the address space of each process; 0 = none.
        clock: a file with seconds that are added to its clock, read anew at every look; None = the machine's clock.
    """

    def __init__(
        self, folder: Path, store: Path, workers: int = 1, *, limit_mb: int = 0, clock: Path | None = None
    ) -> None:
        self.folder, self.store, self.workers = folder, store, workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._limit, self._clock = limit_mb, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._log = store.with_suffix(".log")

    def start(self) -> float:
        """Starts it; the seconds until it was ready.

        Raises:
            RuntimeError: it ended, or was not ready for minutes.
        """
        started = time.monotonic()
        words = ["serve", "--releases", str(self.folder), "--store", f"sqlite:///{self.store}"]
        words += ["--port", str(self.port), "--workers", str(self.workers)]
        first = [sys.executable, "-m", "langrec"]
        if self._clock is not None:
            first = [sys.executable, "-c", _JUMPING.format(file=str(self._clock))]
        limit = self._limit
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*first, *words],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self.store.parent)},
                preexec_fn=(lambda: _limit_memory(limit)) if limit else None,
            )
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() - started > _HANGS:
                said = self._log.read_text("utf-8", "replace")[-2000:]
                self.kill()
                raise RuntimeError(f"the server is not ready: {said}")
            time.sleep(0.02)
        return time.monotonic() - started

    def kill(self) -> None:
        """Ends it and its workers without a warning."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def kill_worker(self, rng: random.Random) -> float:
        """Ends one of its workers without a warning; the seconds until there are as many as before and it is ready."""
        assert self._process is not None
        children = [one for one in psutil.Process(self._process.pid).children() if _serves(one)]
        victim = rng.choice(children)
        started = time.monotonic()
        victim.kill()
        # The supervisor looks every half second; the dead one stays listed until it does.
        while True:
            alive = [one for one in psutil.Process(self._process.pid).children() if _serves(one)]
            if len(alive) >= self.workers and victim.pid not in {one.pid for one in alive} and self._ready():
                return time.monotonic() - started
            if time.monotonic() - started > _HANGS:
                raise RuntimeError(f"the killed worker was not replaced in {_HANGS} seconds")
            time.sleep(0.02)

    def make_room(self, limit_mb: int) -> None:
        """Gives it so much address space from its next start on."""
        self._limit = limit_mb

    def memory_mb(self) -> float:
        """Resident memory of all its processes."""
        assert self._process is not None
        root = psutil.Process(self._process.pid)
        return sum(one.memory_info().rss for one in (root, *root.children(recursive=True))) / 1e6

    def processor_seconds(self) -> float:
        """What all its processes have used of the processor since they were started."""
        assert self._process is not None
        root = psutil.Process(self._process.pid)
        times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/api/health/ready", timeout=2).status_code == 200
        return False


@dataclass
class Load:
    """What clients were told while faults happened.

    Attributes:
        events: acknowledged ones.
        reads: answered questions.
        failures: texts of calls that failed in spite of repeats.
        releases: stamps of the releases that answered.
    """

    events: list[tuple[str, str]] = field(default_factory=list)
    reads: int = 0
    failures: list[str] = field(default_factory=list)
    releases: set[str] = field(default_factory=set)


@contextlib.contextmanager
def load(server: Server, *, clients: int = 4, retries: Retries = PATIENT) -> Iterator[Load]:
    """Clients that write and read until the block ends; half of each."""
    found, lock, end = Load(), threading.Lock(), threading.Event()
    name = f"{time.time_ns():x}"
    with Client(server.url, retries=retries) as client:
        known = [one.id for one in client.suggest_users(k=10)]

    def work(number: int) -> None:
        with Client(server.url, retries=retries, timeout=20, rng=random.Random(number)) as client:
            turn = 0
            while not end.is_set():
                turn += 1
                user = f"u{name}-{number}"
                try:
                    if number % 2:
                        client.add_feedback([Event(user, f"i{turn}", "click", AT, 1.0)])
                        with lock:
                            found.events.append((user, f"i{turn}"))
                    else:
                        trace = client.recommend(known[turn % len(known)], k=5).trace
                        with lock:
                            found.reads += 1
                            found.releases.add(trace.release)
                except ServerError as error:
                    with lock:
                        found.failures.append(str(error))
                    time.sleep(0.05)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        end.set()
        for thread in threads:
            thread.join()


# ---- rounds --------------------------------------------------------------------------------------------------------


def kill_rounds(folder: Path, work: Path, rounds: int, rng: random.Random, *, workers: int = 2) -> dict[str, Any]:
    """Kills the whole server and a worker in turns, at moments drawn at random, and counts what is lost.

    Args:
        folder: releases to serve.
        work: folder for the store.
        rounds: how many deaths.
        rng: draws the moments and the victims.
        workers: processes that answer.

    Returns:
        Numbers of rounds, acknowledged, lost and doubled events, unsound stores and releases, failed calls, the
        seconds until each server answered again, and what those that were started anew had used of the processor then,
        which other work on the machine changes less.
    """
    server = Server(folder, work / "store.db", workers)
    server.start()
    seconds: dict[str, list[float]] = {"server": [], "worker": []}
    used: list[float] = []
    acknowledged, lost, doubled, unsound, failures, reads = 0, 0, 0, 0, [], 0
    try:
        for number in range(rounds):
            kind = "worker" if number % 2 and workers > 1 else "server"
            with load(server) as told:
                time.sleep(rng.uniform(0.2, 1.5))
                if kind == "worker":
                    seconds[kind].append(server.kill_worker(rng))
                else:
                    server.kill()
                    unsound += not _sound(server)
                    seconds[kind].append(server.start())
                    used.append(server.processor_seconds())
                time.sleep(0.2)
            kept = _kept(server.store)
            acknowledged += len(told.events)
            lost += len(set(told.events) - set(kept))
            doubled += sum(kept[pair] != (1, 1.0) for pair in set(told.events) & set(kept))
            failures += told.failures
            reads += told.reads
        server.kill()
        unsound += not _sound(server)
    finally:
        server.kill()
    return {
        "rounds": rounds,
        "workers": workers,
        "acknowledged": acknowledged,
        "lost": lost,
        "doubled": doubled,
        "unsound": unsound,
        "reads": reads,
        "failed_calls": len(failures),
        "failures": failures[:3],
        "ready_again_s": {kind: _quantiles(found) for kind, found in seconds.items() if found},
        "ready_again_cpu_s": _quantiles(used),
        "wanted_s": WANTED_SECONDS,
    }


def broken_release_rounds(folder: Path, work: Path, rounds: int, rng: random.Random) -> dict[str, Any]:
    """Puts a damaged copy of the release in place while clients ask: the sound one goes on answering, and it is said.

    Args:
        folder: releases; copied, not touched.
        work: folder for the copy and the store.
        rounds: how many damaged releases.
        rng: draws what is damaged and how.
    """
    own = Path(shutil.copytree(folder, work / "releases"))
    sound = (own / "CURRENT").read_text("utf-8").strip()
    server = Server(own, work / "broken.db")
    server.start()
    noticed, kinds = 0, Counter[str]()
    try:
        with load(server) as told:
            for number in range(rounds):
                stamp = f"20990101T{number:06d}-bad00000"
                kinds[_damage(Path(shutil.copytree(own / sound, own / stamp)), rng)] += 1
                _point(own, stamp)
                noticed += _wait(lambda stamp=stamp: stamp in str(_health(server).get("Problem")))  # type: ignore[misc]
                _point(own, sound)
                _wait(lambda: _health(server).get("Problem") is None)
                shutil.rmtree(own / stamp)
        kept = _kept(server.store)
    finally:
        server.kill()
    return {
        "rounds": rounds,
        "noticed": noticed,
        "damages": dict(kinds),
        "reads": told.reads,
        "failed_calls": len(told.failures),
        "failures": told.failures[:3],
        "other_releases": sorted(told.releases - {sound}),
        "lost": len(set(told.events) - set(kept)),
    }


def clock_rounds(folder: Path, work: Path, rounds: int, rng: random.Random) -> dict[str, Any]:
    """Jumps the server's clock by up to ten days, ahead and back, while clients ask and write.

    Events have times of their own; those that happen "now" are written too. Nothing may fail, hang or get lost, and an
    event is seen in its user's history as soon as the clock has reached it.
    """
    clock = work / "clock"
    clock.write_text("0", "utf-8")
    server = Server(folder, work / "clock.db", clock=clock)
    server.start()
    visible = 0
    try:
        with load(server) as told, Client(server.url, retries=PATIENT) as client:
            item = client.popular(1)[0].id
            for number in range(rounds):
                clock.write_text(str(rng.uniform(-864_000, 864_000)), "utf-8")
                time.sleep(0.3)
                user = f"jump-{number}"
                httpx.post(
                    f"{server.url}/api/feedback",
                    json=[{"FeedbackType": "click", "UserId": user, "ItemId": item}],
                    timeout=20,
                ).raise_for_status()
                visible += [one.id for one in client.history(user)] == [item]
                assert client.recommend(user, k=3).trace.reason == "history"
        kept = _kept(server.store)
    finally:
        server.kill()
    return {
        "rounds": rounds,
        "visible": visible,
        "reads": told.reads,
        "failed_calls": len(told.failures),
        "failures": told.failures[:3],
        "lost": len(set(told.events) - set(kept)),
    }


def memory_rounds(folder: Path, work: Path, rounds: int) -> dict[str, Any]:
    """Serves in an address space that is barely larger than needed, and asks for more than fits.

    Large bodies may be refused or fail; what was acknowledged stays, and small requests go on: in the same process or,
    where the system ended it, in a new one.
    """
    free = Server(folder, work / "free.db")
    free.start()
    assert free._process is not None
    with load(free) as asked:  # what is loaded with the first questions and writes is needed too
        _wait(lambda: asked.reads > 20 and len(asked.events) > 20, _HANGS)
        virtual = _address_space_mb(free._process.pid)
    free.kill()
    limit = int(virtual + _SPARE_MB)
    server = Server(folder, work / "memory.db", limit_mb=limit)
    server.start()
    large = Counter[str]()
    restarts = 0
    item = {"Comment": "large", "Labels": {f"t{i}": "x" * 4_000 for i in range(1_800)}}
    at_once = threading.Barrier(_AT_ONCE)

    def send(number: int) -> str:
        body = json.dumps([item | {"ItemId": f"large{number}"}]).encode()
        at_once.wait()
        try:
            headers = {"Content-Type": "application/json"}
            return str(httpx.post(f"{server.url}/api/items", content=body, headers=headers, timeout=60).status_code)
        except httpx.HTTPError:
            return "no answer"

    def start_anew() -> None:
        # Whoever watches it gives it room for what it has acknowledged since.
        server.kill()
        server.make_room(limit + 5 * server.store.stat().st_size // 1_000_000)
        server.start()

    try:
        with load(server) as told:
            number = 0
            # Clients that come one after the other, on a machine that is slow, all fit: then once more.
            while number < rounds or (set(large) <= {"200"} and number < rounds + 10):
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    large.update(pool.map(send, range(number * _AT_ONCE, (number + 1) * _AT_ONCE)))
                number += 1
                reads, events = told.reads, len(told.events)
                # Patient clients wait as long as it says that it has no memory: somebody has to notice.
                if not _wait(lambda r=reads, e=events: server._ready() and told.reads > r and len(told.events) > e, 30):  # type: ignore[misc]
                    start_anew()
                    restarts += 1
        kept = _kept(server.store)
        answered = _wait(lambda: _answers(server), 30)  # it may still be busy with what it had to refuse
        if not answered:  # its memory is in pieces
            start_anew()
            restarts += 1
            answered = _wait(lambda: _answers(server), _HANGS)
    finally:
        server.kill()
    return {
        "rounds": rounds,
        "limit_mb": limit,
        "large_requests": dict(large),
        "restarts": restarts,
        "reads": told.reads,
        "failed_calls": len(told.failures),
        "failures": told.failures[:3],
        "answers_after": answered,
        "lost": len(set(told.events) - set(kept)),
    }


# ---- what they look at ---------------------------------------------------------------------------------------------


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _kept(store: Path) -> dict[tuple[str, str], tuple[int, float]]:
    """By user and item of the store's events: how often they are there, and the sum of their values."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)) as connection:
        rows = connection.execute(
            "SELECT user_id, item_id, COUNT(*), SUM(value) FROM events WHERE user_id LIKE 'u%-%' GROUP BY 1, 2"
        )
        return {(user, item): (n, value) for user, item, n, value in rows}


def _sound(server: Server) -> bool:
    """Whether the store's file is intact and every release verifies."""
    with contextlib.closing(sqlite3.connect(server.store, timeout=30)) as connection:
        intact: bool = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for one in releases(server.folder):
        Bundle.open(server.folder / one.stamp, verify=True)
    return intact


def _damage(release: Path, rng: random.Random) -> str:
    """Damages one file of a release; how."""
    files = sorted(path for path in release.rglob("*") if path.is_file() and path.stat().st_size > 16)
    path = rng.choice(files)
    kind = rng.choice(["cut", "flipped", "gone", "emptied"])
    if kind == "gone":
        path.unlink()
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 0x5A
        path.write_bytes(data)
    # A card for people and a manifest's own words are not summed: there something else must be wrong.
    if path.name in ("README.md", "manifest.json"):
        (release / "manifest.json").write_text("{", "utf-8")
        return f"{kind} {path.name}"
    return kind


def _point(folder: Path, stamp: str) -> None:
    """Makes a release the current one, in one step."""
    new = folder / ".CURRENT.new"
    new.write_text(f"{stamp}\n", "utf-8")
    new.replace(folder / "CURRENT")


def _health(server: Server) -> dict[str, Any]:
    with contextlib.suppress(httpx.HTTPError):
        found: dict[str, Any] = httpx.get(f"{server.url}/api/health/live", timeout=5).json()
        return found
    return {}


def _wait(ready: Any, seconds: float = _HANGS) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return True
        time.sleep(0.05)
    return False


def _address_space_mb(pid: int) -> float:
    """Of a process, once it has not grown for some seconds: the linear models are fitted after the first requests."""
    size, since = 0.0, time.monotonic()
    while time.monotonic() - since < 5:
        now = psutil.Process(pid).memory_info().vms / 1e6
        if now > size + 1:
            size, since = now, time.monotonic()
        time.sleep(0.2)
    return size


def _answers(server: Server) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{server.url}/api/popular", timeout=20).status_code == 200
    return False


def _serves(process: psutil.Process) -> bool:
    """Whether it is a worker; Python's own tracker of resources is a child too."""
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(process.cmdline())
    return False


def _quantiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": round(ordered[len(ordered) // 2], 2),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
        "worst": round(ordered[-1], 2),
    }


def _limit_memory(megabytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 1_000_000, megabytes * 1_000_000))


# The server with a clock that jumps: `time.time` and its kin add what a file says. The monotonic clock stays.
_JUMPING = """
import sys, time
true_time, true_ns = time.time, time.time_ns
def jump():
    try:
        with open({file!r}) as text:
            return float(text.read() or 0)
    except (OSError, ValueError):
        return 0.0
time.time = lambda: true_time() + jump()
time.time_ns = lambda: true_ns() + int(jump() * 1e9)
from langrec.cli import main
sys.argv[0] = "langrec"
main()
"""


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="deaths; a tenth of it of the other faults")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn by chance")
    parser.add_argument("--releases", type=Path, help="serve this folder in place of a drawn one of 2,000 items")
    parser.add_argument("--json", type=Path, help="write here in place of benches/results/soak_faults.json")
    chosen = parser.parse_args()
    rng, others = random.Random(chosen.seed), max(1, chosen.rounds // 10)
    with tempfile.TemporaryDirectory(prefix="langrec-faults-") as made:
        work = Path(made)
        folder = chosen.releases
        if folder is None:
            from langrec.benching.release import write_large_release

            folder = work / "drawn"
            write_large_release(folder, items=2000, users=500, events=20_000)
        # What else the machine had to do: seconds until ready are of a machine shared with it.
        result: dict[str, Any] = {"seed": chosen.seed, "load_before": round(os.getloadavg()[0], 1)}
        for name, run in (
            ("kill", lambda: kill_rounds(folder, work, chosen.rounds, rng, workers=chosen.workers)),
            ("broken_release", lambda: broken_release_rounds(folder, work, others, rng)),
            ("clock", lambda: clock_rounds(folder, work, others, rng)),
            ("memory", lambda: memory_rounds(folder, work, others)),
        ):
            result[name] = run()
            print(f"{name}: {json.dumps(result[name])}", flush=True)
    if chosen.json is None:
        print(common.write("soak_faults", result))
    else:
        chosen.json.write_text(json.dumps({"machine": common.machine(), **result}, indent=1) + "\n", "utf-8")
    bad = [
        name for name, found in result.items() if isinstance(found, dict) and (found["lost"] or found["failed_calls"])
    ]
    if bad or result["kill"]["doubled"] or result["kill"]["unsound"]:
        raise SystemExit(f"something was lost or failed: {', '.join(bad) or 'kill'}")


if __name__ == "__main__":
    main()
