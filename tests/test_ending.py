"""A process that was started to end with its parent does so, however the parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from langrec.ending import with_us

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")

PARENT = """
import subprocess, sys
from langrec.ending import with_us

child = subprocess.Popen(with_us([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]),
                         stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def gone(pid, seconds=30):
    end = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_it_ends_when_its_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert psutil.pid_exists(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert gone(child)
    finally:
        parent.kill()
        if psutil.pid_exists(child):
            os.kill(child, signal.SIGKILL)


def test_it_is_the_command_with_its_output_and_status():
    done = subprocess.run(
        with_us([sys.executable, "-c", "print('said'); raise SystemExit(3)"]), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (3, b"said")


def test_one_whose_parent_is_gone_already_is_not_begun():
    words = [sys.executable, "-m", "langrec.ending", "1", sys.executable, "-c", "print('said')"]
    done = subprocess.run(words, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (143, b"")
