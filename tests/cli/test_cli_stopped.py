"""Commands that are stopped before their end, and those that cannot read what they were given."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile

import pytest

from langrec.cli import verbs


def test_ctrl_c_ends_with_its_usual_status(langrec_, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("langrec.releases.releases", stopped)
    assert langrec_("bundle", "list", "here")[0] == 130


def test_ctrl_c_while_the_verbs_are_imported_is_no_traceback(langrec_, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs, "register", stopped)
    code, _, error = langrec_("bundle", "list", "here")
    assert (code, error.strip()) == (130, "stopped")


def test_ctrl_c_while_the_command_line_is_imported_is_no_traceback(monkeypatch, capsys):
    class Slow:
        @property
        def main(self):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "langrec.cli", Slow())
    with pytest.raises(SystemExit) as end:
        importlib.import_module("langrec.__main__").main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_sigterm_removes_what_was_half_made(langrec_, monkeypatch, tmp_path):
    def preempted(*_, **__):
        with tempfile.TemporaryDirectory(dir=tmp_path):
            signal.raise_signal(signal.SIGTERM)

    # Where the command line leaves SIGTERM as it was, this ends the test and not the whole run.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        monkeypatch.setattr("langrec.releases.releases", preempted)
        code, _, error = langrec_("bundle", "list", "here")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (code, error.strip()) == (143, "stopped")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows reads paths as UTF-8")
def test_a_locale_that_cannot_read_a_path_is_named(tmp_path):
    command = [sys.executable, "-m", "langrec", "search", "sea", "--release", str(tmp_path / "发布")]
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=env, check=False)
    assert done.returncode == 2
    assert "发布" in done.stderr and "PYTHONUTF8=1" in done.stderr and done.stderr.count("\n") == 1
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=env | {"PYTHONUTF8": "1"}, check=False)
    assert "no such folder" in done.stderr
