"""One run at a time: a second one is refused or waits, and a killed one holds nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from langrec.alone import alone, in_turn
from langrec.errors import SettingsError

HOLDER = """
import sys, time
from pathlib import Path
from langrec.alone import alone

with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "out")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline().strip() == b"held"
        with pytest.raises(SettingsError, match=rf"--out {tmp_path / 'out'}: another run"), alone(tmp_path / "out"):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with alone(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    "words",
    [
        ["adapt", "--task", "classify", "--train", "rows.csv"],
        ["compress", "minilm", "--steps", "quantise"],
        ["frontier", "--events", "shop"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_names_the_folder_where_another_is_at_work(langrec_, tmp_path, words):
    with alone(tmp_path):
        status, _, error = langrec_(*words, "--out", tmp_path)
    assert status == 2
    assert error == (
        f"SettingsError: --out {tmp_path}: another run is at work there; wait for its end, or name another folder"
    )


def test_the_next_in_turn_waits_and_is_told_so(tmp_path):
    told, done = [], []

    def second():
        with in_turn(tmp_path, lambda what, *_: (told.append(what), waiting.set())):
            done.append("second")

    waiting = threading.Event()
    with in_turn(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        assert waiting.wait(60)
        done.append("first")
    other.join()
    assert done == ["first", "second"] and told == ["wait for another run that does the same"]


def test_a_run_that_failed_before_it_wrote_anything_leaves_no_lock(tmp_path):
    with pytest.raises(KeyboardInterrupt), alone(tmp_path / "out"):
        raise KeyboardInterrupt
    assert not list((tmp_path / "out").iterdir())
    with alone(tmp_path / "out"), pytest.raises(SettingsError, match="another run"), alone(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    "words",
    [
        ["encode", "--items", "absent.csv"],
        ["train", "--events", "absent.csv"],
        ["adapt", "--task", "classify", "--train", "absent.csv"],
        ["compress", "minilm", "--steps", "quantise", "--texts", "absent.csv"],
        ["frontier", "--events", "absent.csv"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_whose_file_is_absent_leaves_no_empty_folder(langrec_, tmp_path, words):
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "out", tmp_path / "there"):
        status, _, error = langrec_(*words, "--out", out)
        assert status == 2 and "absent.csv" in error
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]
