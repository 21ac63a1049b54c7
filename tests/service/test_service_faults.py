"""Faults under load, the short form of `make soak`: deaths, broken releases, a jumping clock, too little memory."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path

import pytest

from ports import free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def faults():
    """The bench of faults, whose rounds these tests run a few of."""
    folder = str(Path(__file__).parents[2] / "benches")
    sys.path.insert(0, folder)
    found = importlib.import_module("bench_faults")
    found.free_port = free_port
    yield found
    sys.path.remove(folder)


def test_sudden_deaths_of_servers_and_workers_lose_nothing_and_fail_no_patient_client(faults, two_releases, tmp_path):
    found = faults.kill_rounds(two_releases, tmp_path, 3, random.Random(7))
    assert found["rounds"] == 3 and set(found["ready_again_s"]) == {"server", "worker"}
    assert found["acknowledged"] > 10 and found["reads"] > 3
    assert (found["lost"], found["doubled"], found["unsound"]) == (0, 0, 0)
    assert found["failed_calls"] == 0, found["failures"]


def test_a_broken_release_that_is_put_in_place_is_refused_and_the_one_before_goes_on(faults, two_releases, tmp_path):
    found = faults.broken_release_rounds(two_releases, tmp_path, 3, random.Random(7))
    assert found["noticed"] == 3 and sum(found["damages"].values()) == 3
    assert found["failed_calls"] == 0, found["failures"]
    assert found["reads"] > 3 and found["other_releases"] == [] and found["lost"] == 0


def test_a_clock_that_jumps_by_days_fails_no_call_and_hides_no_event(faults, two_releases, tmp_path):
    found = faults.clock_rounds(two_releases, tmp_path, 3, random.Random(7))
    assert found["visible"] == 3 and found["lost"] == 0
    assert found["failed_calls"] == 0, found["failures"]


def test_a_server_without_memory_refuses_and_goes_on(faults, two_releases, tmp_path):
    found = faults.memory_rounds(two_releases, tmp_path, 1)
    assert sum(found["large_requests"].values()) >= 12 and set(found["large_requests"]) - {"200"}, "some did not fit"
    assert found["answers_after"] and found["lost"] == 0


def test_the_account_of_a_store_finds_what_is_lost_and_what_is_doubled(faults, tmp_path):
    """The rounds could not fail if their own look at the store saw nothing."""
    import sqlite3

    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE events (user_id, item_id, value)")
        rows = [("ua-1", "i1", 1.0), ("ua-1", "i2", 2.0), ("ua-1", "i3", 1.0), ("ua-1", "i3", 1.0), ("ann", "i1", 1.0)]
        connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
    kept = faults._kept(tmp_path / "x.db")
    assert kept == {("ua-1", "i1"): (1, 1.0), ("ua-1", "i2"): (1, 2.0), ("ua-1", "i3"): (2, 2.0)}
