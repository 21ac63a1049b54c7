"""Metrics of several workers, from the files that they write."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client import generate_latest

from langrec.service.monitoring.gathered import PREFIX, clear_left_behind, gathered, in_use

COUNTED = """
from prometheus_client import CollectorRegistry, Counter
Counter("asked", "Questions.", registry=CollectorRegistry()).inc({n})
"""


def count(folder, n):
    """Counts in a process of its own, which has ended when this returns."""
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", COUNTED.format(n=n)], env=environ, check=True)


def test_what_ended_workers_counted_is_added_up(tmp_path):
    count(tmp_path, 2)
    count(tmp_path, 3)
    assert b"asked_total 5.0" in generate_latest(gathered(tmp_path))


def test_a_file_that_a_worker_has_just_made_or_died_in_hides_no_other(tmp_path):
    count(tmp_path, 2)
    (tmp_path / "counter_1.db").touch()
    assert b"asked_total 2.0" in generate_latest(gathered(tmp_path))


HOLDING = """
import sys, time
from pathlib import Path
from langrec.service.monitoring.gathered import in_use
with in_use(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_server_left_is_removed_when_the_last_of_its_processes_is_gone(tmp_path):
    folder = tmp_path / f"{PREFIX}killed"
    folder.mkdir()
    (folder / "counter_1.db").touch()
    with in_use(folder):
        worker = subprocess.Popen([sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE)
        assert worker.stdout.readline() == b"holds\n"
        clear_left_behind(tmp_path)
        assert folder.exists(), "its server lives"
    clear_left_behind(tmp_path)
    assert folder.exists(), "one of its workers lives"
    worker.kill()
    worker.communicate()
    clear_left_behind(tmp_path)
    assert not folder.exists()


def test_folders_that_no_server_of_ours_left_stay(tmp_path):
    new, elsewhere = tmp_path / f"{PREFIX}new", tmp_path / "elsewhere"
    new.mkdir()  # a server has just made it
    elsewhere.mkdir()
    (elsewhere / "server").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    clear_left_behind(tmp_path)
    assert new.exists() and (elsewhere / "server").exists()
