"""The topology of compose.yaml with local processes: PostgreSQL, two servers, and nginx with TLS, on loopback.

    python deploy/local.py                    makes a small release, starts everything, tests it, and ends it
    python deploy/local.py --releases releases --keep      serves your own until Ctrl-C

It needs Debian's nginx and PostgreSQL (apt-get install nginx-light postgresql) and langrec[client,postgres].
The tests ask as clients would, while servers are killed and restarted; not one request may fail.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from langrec.client import Client, Retries
from langrec.client.replies import Event
from langrec.types import Item

HERE = Path(__file__).parent
# Seconds for which nginx leaves a server out that failed twice.
LEFT_OUT = 2
CLIENTS = 6


class Absent(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """A program that the topology needs is not on this machine."""


class Topology:
    """All processes, in a folder of their own; `close` ends every one of them and removes the folder.

    Args:
        releases: folder of releases that both servers serve.
        public: TCP port of nginx with TLS; None takes a free one.
    """

    def __init__(self, releases: Path, public: int | None = None) -> None:
        self._programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="langrec-local-"))
        self.folder.chmod(0o755)
        self.releases = releases.resolve()
        self.keys = {role: secrets.token_urlsafe(18) for role in ("read", "write", "admin")}
        self.ports = {name: free_port() for name in ("postgres", "server-1", "server-2", "http")}
        self.ports["https"] = public or free_port()
        self.url = f"https://localhost:{self.ports['https']}"
        self.certificate = self.folder / "server.crt"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> Topology:
        """Starts everything and waits until nginx hands requests to both servers."""
        self._start_postgres()
        for name in ("server-1", "server-2"):  # the first brings the release into the store
            self.start_server(name)
            self.wait_for(name)
        self._make_certificate()
        self._start_nginx()
        return self

    def server_url(self, name: str) -> str:
        """Where a server answers without nginx."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def client(self, role: str = "write", *, server: str | None = None, retries: Retries | None = None) -> Client:
        """A client of nginx, or of one server."""
        if server is not None:
            return Client(self.server_url(server), key=self.keys[role], retries=retries)
        return Client(self.url, key=self.keys[role], verify=str(self.certificate), retries=retries)

    def start_server(self, name: str) -> None:
        """Starts a server that is not running."""
        command = [sys.executable, "-m", "langrec", "serve", "--releases", str(self.releases)]
        command += ["--host", "127.0.0.1", "--port", str(self.ports[name]), "--workers", "1"]
        own = {
            "LANGREC_SERVE_STORE": f"postgresql+psycopg://langrec@127.0.0.1:{self.ports['postgres']}/langrec",
            "LANGREC_SERVE_KEYS": ",".join(f"{role}:{key}" for role, key in self.keys.items()),
            "TMPDIR": str(self.folder),
        }
        self._spawn(name, command, env={**os.environ, **own})

    def stop_server(self, name: str, how: signal.Signals) -> None:
        """Sends a signal to a server and waits for its end."""
        process = self._running.pop(name)
        os.killpg(process.pid, how)
        process.wait(120)

    def wait_for(self, name: str, seconds: float = 300) -> None:
        """Waits until a server is ready."""

        def ready() -> bool:
            self._check_alive(name)
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{self.server_url(name)}/api/health/ready", timeout=5).status_code == 200
            return False

        wait_until(ready, seconds, f"{name} is not ready")

    def close(self) -> None:
        """Ends what runs, the last started first, and removes the folder."""
        for name in reversed(list(self._running)):
            process = self._running.pop(name)
            how = signal.SIGINT if name == "postgres" else signal.SIGTERM
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_postgres(self) -> None:
        """PostgreSQL refuses to run as root: there it runs as the user postgres."""
        data, owner = self.folder / "postgres", {}
        data.mkdir()
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(data, user.pw_uid, user.pw_gid)
            owner = {"user": user.pw_uid, "group": user.pw_gid, "cwd": data}
        initdb, postgres = self._programs["initdb"], self._programs["postgres"]
        run([initdb, "-D", str(data / "data"), "-U", "langrec", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"], owner)
        # As compose's would: every commit waits for the disk.
        options = {
            "port": self.ports["postgres"],
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(data),
        }
        command = [postgres, "-D", str(data / "data"), *(f"--{k}={v}" for k, v in options.items())]
        self._spawn("postgres", command, **owner)
        psql = [
            self._programs["psql"],
            "-h",
            "127.0.0.1",
            "-p",
            str(self.ports["postgres"]),
            "-U",
            "langrec",
            "-X",
            "-q",
        ]

        def answers() -> bool:
            self._check_alive("postgres")
            asked = subprocess.run([*psql, "-d", "postgres", "-c", "SELECT 1"], capture_output=True, check=False)
            return asked.returncode == 0

        wait_until(answers, 120, "PostgreSQL does not answer")
        run([*psql, "-d", "postgres", "-c", "CREATE DATABASE langrec"], {})

    def _make_certificate(self) -> None:
        """A certificate for localhost that signs itself."""
        key = self.folder / "server.key"
        command = [self._programs["openssl"], "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-keyout", str(key), "-out", str(self.certificate), "-subj", "/CN=localhost"]
        run([*command, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], {})

    def _start_nginx(self) -> None:
        (self.folder / "langrec.conf").write_text(nginx_site(self._nginx_values()), "utf-8")
        (self.folder / "nginx.conf").write_text(nginx_main(self.folder), "utf-8")
        command = [self._programs["nginx"], "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        run([*command, "-t", "-q"], {})
        self._spawn("nginx", command)

        def answers() -> bool:
            self._check_alive("nginx")
            with contextlib.suppress(httpx.HTTPError):
                context = ssl.create_default_context(cafile=str(self.certificate))
                return httpx.get(f"{self.url}/api/health/ready", verify=context).status_code == 200
            return False

        wait_until(answers, 120, "nginx does not answer")

    def _nginx_values(self) -> dict[str, str]:
        servers = (self.ports["server-1"], self.ports["server-2"])
        return {
            "LANGREC_SERVERS": " ".join(
                f"server 127.0.0.1:{port} max_fails=2 fail_timeout={LEFT_OUT}s;" for port in servers
            ),
            "LANGREC_HTTP": f"127.0.0.1:{self.ports['http']}",
            "LANGREC_HTTPS": f"127.0.0.1:{self.ports['https']}",
            "LANGREC_HTTPS_PUBLIC": str(self.ports["https"]),
            "LANGREC_CERTIFICATE": str(self.certificate),
            "LANGREC_CERTIFICATE_KEY": str(self.folder / "server.key"),
        }

    def _spawn(self, name: str, command: list[str], **more: Any) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more
            )

    def _check_alive(self, name: str) -> None:
        if self._running[name].poll() is not None:
            log = (self.folder / f"{name}.log").read_text("utf-8", "replace")
            raise RuntimeError(f"{name} ended: {log[-2000:]}")


# ---- tests ---------------------------------------------------------------------------------------------------------


def check(topology: Topology, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Tests the running topology; what was found, by test.

    Raises:
        AssertionError: something does not hold.
    """
    found: dict[str, Any] = {}
    tests = (reads_are_balanced, writes_are_seen_by_both, tls_is_ended_by_nginx, a_server_dies, servers_are_restarted)
    for test in tests:
        found[test.__name__] = test(topology)
        say(f"{test.__name__.replace('_', ' ')}: {json.dumps(found[test.__name__])}")
    return found


def reads_are_balanced(topology: Topology) -> dict[str, Any]:
    """Each server answers at least a quarter of the requests."""
    with httpx.Client(
        base_url=topology.url, verify=trusted(topology), headers=key_of(topology, "read"), timeout=60
    ) as client:
        seen = Counter(client.get("/api/health/stats").json()["worker"] for _ in range(60))
    assert len(seen) == 2 and min(seen.values()) >= 15, seen
    return {"answers_by_server": sorted(seen.values())}


def writes_are_seen_by_both(topology: Topology) -> dict[str, Any]:
    """What one server acknowledged the other answers with at once."""
    rounds = 20
    with topology.client(server="server-1") as one, topology.client(server="server-2") as other:
        for i in range(rounds):
            writer, reader = (one, other) if i % 2 else (other, one)
            writer.write_items([Item(f"local-{i}", f"zanzibar{i} lantern")])
            writer.add_feedback([Event(f"local-user-{i}", f"local-{i}", "click")])
            assert reader.search(f"zanzibar{i}", k=1, meaning=0).ids == (f"local-{i}",)
            assert [event.id for event in reader.history(f"local-user-{i}")] == [f"local-{i}"]
            assert f"local-{i}" not in reader.recommend(f"local-user-{i}", k=50).ids, "it counts as seen"
    return {"rounds": rounds}


def tls_is_ended_by_nginx(topology: Topology) -> dict[str, Any]:
    """HTTPS with a certificate that is checked, HTTP sent there, old versions of TLS and unknown callers refused."""
    with httpx.Client(verify=trusted(topology), timeout=60) as client:
        assert client.get(f"{topology.url}/api/health/ready").json()["Ready"]
        secure = client.get(f"{topology.url}/api/release", headers=key_of(topology, "read"))
        assert secure.status_code == 200 and "max-age" in secure.headers["strict-transport-security"]
        assert client.get(f"{topology.url}/api/release").status_code == 401
        assert client.get(f"{topology.url}/metrics", headers=key_of(topology, "admin")).status_code == 404
        plain = client.get(f"http://localhost:{topology.ports['http']}/api/popular?n=1")
        assert plain.status_code == 308 and plain.headers["location"] == f"{topology.url}/api/popular?n=1"
        said = client.get(f"{topology.url}/api/release", headers={"X-Request-Id": "mine-1"})
        assert said.headers["x-request-id"] == "mine-1"
    with contextlib.suppress(httpx.ConnectError):
        httpx.get(f"{topology.url}/api/health/ready")
        raise AssertionError("a certificate that nobody signed was taken")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(), contextlib.suppress(ssl.SSLError, OSError):
        warnings.simplefilter("ignore")  # that these are old is the point
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", topology.ports["https"])) as raw, old.wrap_socket(raw):
            raise AssertionError("TLS 1.1 was taken")
    with (
        socket.create_connection(("127.0.0.1", topology.ports["https"])) as raw,
        trusted(topology).wrap_socket(raw, server_hostname="localhost") as secured,
    ):
        version = secured.version()
    assert version == "TLSv1.3"
    return {"version": version}


def a_server_dies(topology: Topology) -> dict[str, Any]:
    """Killed without a warning under load: no request fails, no acknowledged event is lost or doubled."""
    with load(topology) as counts:
        time.sleep(1.5)
        topology.stop_server("server-1", signal.SIGKILL)
        time.sleep(2)
        before = counts["reads"]
        topology.start_server("server-1")
        topology.wait_for("server-1")
        time.sleep(1)
        assert counts["reads"] > before, "the other server went on"
    return verdict(topology, counts)


def servers_are_restarted(topology: Topology) -> dict[str, Any]:
    """One after the other in order, each ready again before the next one goes: no request fails."""
    with load(topology) as counts:
        for name in ("server-1", "server-2"):
            # Until nginx asks the one before again, this one must not go.
            time.sleep(0.5 if name == "server-1" else LEFT_OUT + 1)
            topology.stop_server(name, signal.SIGTERM)
            topology.start_server(name)
            topology.wait_for(name)
        time.sleep(1)
    return verdict(topology, counts)


@contextlib.contextmanager
def load(topology: Topology) -> Iterator[dict[str, Any]]:
    """Clients that read (without repeats of their own) and write (with them) until the block ends.

    Gives what they count: reads, writes, the acknowledged events, and the failures as texts.
    """
    counts: dict[str, Any] = {"reads": 0, "writes": 0, "failures": [], "events": []}
    lock, end = threading.Lock(), threading.Event()
    run_id = secrets.token_hex(4)

    def read(number: int) -> None:
        headers = key_of(topology, "read")
        with httpx.Client(base_url=topology.url, verify=trusted(topology), headers=headers, timeout=60) as client:
            turn = 0
            while not end.is_set():
                turn += 1
                try:
                    if turn % 2:
                        answer = client.get(f"/api/recommend/local-user-{turn % 20}?n=5")
                    else:
                        answer = client.post("/api/recommend", json={"user": f"local-user-{turn % 20}", "k": 5})
                    failure = "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
                except httpx.HTTPError as error:
                    failure = f"{type(error).__name__}: {error}"
                with lock:
                    counts["reads"] += 1
                    counts["failures"] += [f"read {number}: {failure}"] if failure else []
                time.sleep(0.01)

    def write(number: int) -> None:
        with topology.client("write", retries=Retries(most=8, first=0.05, longest=1)) as client:
            turn = 0
            while not end.is_set():
                turn += 1
                event = Event(f"{run_id}-{number}", f"item-{turn}", "click", value=1.0)
                try:
                    client.add_feedback([event])
                except Exception as error:
                    with lock:
                        counts["failures"].append(f"write {number}: {error}")
                    continue
                with lock:
                    counts["writes"] += 1
                    counts["events"].append((event.user, event.item))
                time.sleep(0.01)

    threads = [threading.Thread(target=read if n % 2 else write, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        end.set()
        for thread in threads:
            thread.join()


def verdict(topology: Topology, counts: dict[str, Any]) -> dict[str, Any]:
    """What a load came to.

    Raises:
        AssertionError: a request failed, or an acknowledged event is not there exactly once.
    """
    assert not counts["failures"], f"{len(counts['failures'])} failed: {counts['failures'][:3]}"
    assert counts["reads"] and counts["writes"]
    kept: Counter[tuple[str, str]] = Counter()
    with topology.client("read", server="server-2") as client:
        for user in {user for user, _ in counts["events"]}:
            for event in client.user_feedback(user):
                kept[user, event.item] += 1
                assert event.value == 1.0, f"{user} {event.item} counts {event.value} times"
    assert set(counts["events"]) <= set(kept), "an acknowledged event is lost"
    assert max(kept.values()) == 1, "an event was written twice"
    return {"reads": counts["reads"], "writes": counts["writes"], "failed": 0, "lost": 0}


# ---- what it stands on ---------------------------------------------------------------------------------------------


def programs() -> dict[str, str]:
    """Paths of nginx, openssl and PostgreSQL's programs.

    Raises:
        Absent: one is not there.
    """
    places = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = {}
    for name in ("nginx", "openssl", "initdb", "postgres", "psql"):
        database = name in ("initdb", "postgres", "psql")
        path = next((str(one / name) for one in versions if database and (one / name).exists()), None)
        path = path or shutil.which(name, path=places)
        if path is None:
            package = "postgresql" if database else "nginx-light" if name == "nginx" else name
            raise Absent(f"{name} is not on this machine: apt-get install {package}")
        found[name] = path
    return found


def nginx_site(values: dict[str, str]) -> str:
    """nginx/langrec.conf.template with its names filled.

    Raises:
        KeyError: a name has no value.
    """
    template = (HERE / "nginx" / "langrec.conf.template").read_text("utf-8")
    text = "".join(line for line in template.splitlines(keepends=True) if not line.lstrip().startswith("#"))
    return re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], text)


def nginx_main(folder: Path) -> str:
    """What stands around the site where no image brings it; everything nginx writes stays in the folder."""
    kept = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    return f"""daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{ access_log off; {kept} include {folder}/langrec.conf; }}
"""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], seconds: float, said: str) -> None:
    """Waits until something holds.

    Raises:
        TimeoutError: it did not in time.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(said)
        time.sleep(0.1)


def run(command: list[str], more: dict[str, Any]) -> None:
    """Runs a program to its end.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **more)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr or done.stdout}")


def trusted(topology: Topology) -> ssl.SSLContext:
    """TLS that trusts the topology's own certificate alone."""
    return ssl.create_default_context(cafile=str(topology.certificate))


def key_of(topology: Topology, role: str) -> dict[str, str]:
    """The header with a key of a role."""
    return {"X-API-Key": topology.keys[role]}


def small_release(folder: Path) -> Path:
    """A drawn release to serve where none was given."""
    from langrec.benching.release import write_large_release

    write_large_release(folder, items=2000, users=500, events=20_000)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--releases", type=Path, help="folder of releases; default: a drawn one of 2,000 items")
    parser.add_argument("--port", type=int, help="TCP port of nginx; default: a free one")
    parser.add_argument("--keep", action="store_true", help="serve until Ctrl-C in place of testing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as ending:
        releases = chosen.releases
        if releases is None:
            made = ending.enter_context(tempfile.TemporaryDirectory(prefix="langrec-drawn-"))
            releases = small_release(Path(made))
        try:
            topology = Topology(releases, chosen.port)
        except Absent as error:
            print(error, file=sys.stderr)
            return 3
        ending.callback(topology.close)
        topology.start()
        print(f"{topology.url}   (certificate: {topology.certificate})", flush=True)
        if chosen.keep:
            for role, key in topology.keys.items():
                print(f"{role}: {key}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
            return 0
        found = check(topology, lambda line: print(line, flush=True))
        if chosen.json:
            chosen.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
