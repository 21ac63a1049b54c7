"""What holds for all tests: property tests draw the same examples every run, no clock judges them, CI skips nothing.

And what several rooms begin with: a command line within the process, a tiny model, no network.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
from pathlib import Path

import httpx._config
import httpx._transports.default
import pytest
from hypothesis import HealthCheck, settings

from long_files import LONG, SLOW_FILES, SLOW_ROOMS
from quick_export import cache_with_graphs

settings.register_profile(
    "langrec", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("langrec")

# httpx gives up after five seconds where nothing else is said: a busy machine may need more, and what hangs still ends.
for wait in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, wait, 120.0)
# Each of its thousands of clients would read all certificates of the machine anew, to talk to loopback.
httpx._transports.default.create_ssl_context = functools.cache(httpx._config.create_ssl_context)


@pytest.hookimpl(tryfirst=True)  # before `-m` takes its pick
def pytest_collection_modifyitems(items):
    """Sorts the files; within each the order stays. Marks what is slow as a whole."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))
    here = Path(__file__).parent
    for item in items:
        room = item.path.parent.relative_to(here).as_posix() if item.path.is_relative_to(here) else ""
        if item.path.name in SLOW_FILES or any(f"{room}/".startswith(f"{one}/") for one in SLOW_ROOMS):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish(session):
    """Has the garbage collector leave alone what the collected modules hold: it would walk it a thousand times."""
    gc.collect()
    gc.freeze()


# With LANGREC_TEST_STRICT=1 a test that is skipped fails: an absent tool or client must not go unnoticed. Spared is
# what a clean machine cannot have: a user other than root, data sets that are not in packages.
SPARED = (
    "root may read every file",
    "(LANGREC_TEST_DATA names the folder of the sets)",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return judged((yield))


def judged(report):
    """The report, failed where a skip is not allowed; a test that is expected to fail is no skip."""
    if os.environ.get("LANGREC_TEST_STRICT") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(spared in reason for spared in SPARED):
        report.outcome = "failed"
        report.longrepr = f"LANGREC_TEST_STRICT=1 and {reason}"
    return report


@pytest.fixture(autouse=True)
def of_one_rank(monkeypatch):
    """A retraining within this process would have all tests after it stand back from those of other workers."""
    if hasattr(os, "nice"):
        monkeypatch.setattr(os, "nice", lambda by: by)


@pytest.fixture
def langrec_(monkeypatch, capsys):
    """Runs a command line in this process; gives its status, output and error."""
    import typer

    import langrec.cli

    def run(*words):
        monkeypatch.setattr(langrec.cli, "app", typer.Typer(name="langrec", pretty_exceptions_enable=False))
        monkeypatch.setattr(sys, "argv", ["langrec", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            langrec.cli.main()
        out, error = capsys.readouterr()
        return ended.value.code, out, error.strip()

    return run


@pytest.fixture
def offline(monkeypatch, tmp_path_factory):
    """No model comes from the network or from the machine's own cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("LANGREC_CACHE", cache_with_graphs(base / "langrec-cache", base))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder of a language model of two narrow layers, made once."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tiny_lm import tiny_lm

    return tiny_lm(tmp_path_factory.mktemp("tiny") / "tiny")
