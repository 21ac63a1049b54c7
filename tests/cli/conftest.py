"""A command line within the tests' process."""

from __future__ import annotations

import sys

import pytest
import typer

import langrec.cli


@pytest.fixture
def langrec_(monkeypatch, capsys):
    """Runs a command line in this process; gives its status, output and error."""

    def run(*words):
        monkeypatch.setattr(langrec.cli, "app", typer.Typer(name="langrec", pretty_exceptions_enable=False))
        monkeypatch.setattr(sys, "argv", ["langrec", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            langrec.cli.main()
        out, error = capsys.readouterr()
        return ended.value.code, out, error.strip()

    return run
