"""A PostgreSQL server of the tests' own: made in a folder of its own, on loopback, ended with them."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from ports import free_port

SUPERUSER = "langrec"
# The server only has to survive the death of processes, which the kernel's memory outlives: it need not wait for disks.
SETTINGS = {
    "fsync": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "96MB",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
}


def binaries() -> Path | None:
    """The folder of the newest PostgreSQL server on this machine; None where there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return max(found, key=lambda folder: [int(part) for part in folder.parts if part.isdigit()], default=None)


def _in_memory() -> str | None:
    """Where files lie in memory, if there is room for all of the server's; None = where temporary files lie."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 2e9 else None


class PostgresServer:
    """A running server; `new_database` gives the URL of an empty one."""

    def __init__(self) -> None:
        folder = binaries()
        if folder is None:
            pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
        pytest.importorskip("psycopg", reason="the extra postgres is not installed")
        self._bin = folder
        self._n = 0
        self._made: list[tuple[str, str]] = []  # databases, each with the test that it was made in
        self.port = free_port()
        # Not below pytest's folder, which is closed to others: PostgreSQL does not run as root.
        self.folder = Path(tempfile.mkdtemp(prefix="langrec-postgres-", dir=_in_memory()))
        self._who: dict[str, str | int] = {}
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._who = {"user": user.pw_uid, "group": user.pw_gid}
        self._run("initdb", "-D", str(self._data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        lines = [f"{name} = '{value}'" for name, value in {**SETTINGS, "port": str(self.port)}.items()]
        lines.append(f"unix_socket_directories = '{self.folder}'")
        self._run("tee", "-a", str(self._data / "postgresql.conf"), text="\n".join(lines) + "\n")
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self.folder / "log"), "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Ends it: fast closes its connections in order, immediate is a sudden death."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def new_database(self) -> str:
        """Makes an empty database; its URL. Those of tests that are over go: each is hundreds of files."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        for name, made_in in [one for one in self._made if one[1] != test]:
            self.psql("postgres", f"DROP DATABASE {name} WITH (FORCE)")
            self._made.remove((name, made_in))
        self._n += 1
        name = f"store{self._n}"
        self._made.append((name, test))
        self.psql("postgres", f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{SUPERUSER}@127.0.0.1:{self.port}/{name}"

    def psql(self, database: str, statement: str) -> str:
        """What a statement prints."""
        done = self._run(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", SUPERUSER, "-d", database, "-XAtc", statement
        )
        return done.strip()

    def close(self) -> None:
        """Ends it and removes its folder."""
        with contextlib.suppress(AssertionError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str, text: str | None = None) -> str:
        path = self._bin / program
        # The server would keep a pipe open, and its reader waiting: its output goes to a file.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                [str(path) if path.exists() else program, *arguments],
                input=text,
                stdin=None if text is not None else subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.folder,
                timeout=120,
                check=False,
                **self._who,
            )
            out.seek(0)
            said = out.read()
        assert done.returncode == 0, f"{program}: {said}"
        return said
