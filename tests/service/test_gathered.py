"""Metrics of several workers, from the files that they write."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client import generate_latest

from langrec.service.monitoring.gathered import gathered

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
