"""Hostile files: each is read, in part or whole, or refused with an error that names it; none takes the memory."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hostile
from langrec.data.load import load_dataset
from langrec.data.sources.opening import read_bytes
from langrec.errors import DataError, LangrecError
from langrec.settings import DataSettings


def read(path: Path) -> str:
    """What became of a file: read, or the error's text."""
    events = path if "event" in path.name else None
    try:
        dataset, report = load_dataset(events, None if events else path, DataSettings())
    except LangrecError as error:
        return error.message
    assert len(dataset.events) + report.refused >= 0
    assert not np.isnan(dataset.events.gains).any()
    for item in dataset.catalogue.frame["item_id"][:5]:
        assert isinstance(item, str) and item
    return "read"


@pytest.mark.slow
def test_every_hostile_file_is_read_or_refused_by_name(tmp_path):
    cases = itertools.islice(hostile.files(np.random.default_rng(7)), hostile.CASES)
    said = []
    for case, (name, data) in enumerate(cases):
        path = tmp_path / name
        path.write_bytes(data)
        try:
            found = read(path)
        except BaseException as error:  # Polars' panics are no Exception
            raise AssertionError(f"case {case}: {name} {data[:80]!r}: {type(error).__name__}: {error}") from error
        said.append(found)
        assert found == "read" or name in found, (case, data[:80], found)
        path.unlink()
    assert said.count("read") > 20 and len(said) - said.count("read") > 20, "both happen"


def test_a_gzip_file_that_grows_a_thousandfold_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "events.csv.gz"
    path.write_bytes(hostile.bomb(400))
    code = (
        "import resource, sys, pathlib;"
        "from langrec.data.load import load_dataset; from langrec.errors import DataError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n load_dataset(pathlib.Path(sys.argv[1])); print('read')\n"
        "except DataError as error: print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    said, megabytes = done.stdout.strip().splitlines()
    assert "gunzip" in said and "events.csv.gz" in said
    assert int(megabytes) < 300, "of 400 packed into one"


def test_a_gzip_file_of_an_even_log_is_read(tmp_path):
    path = tmp_path / "events.csv.gz"
    path.write_bytes(hostile.bomb(2))
    assert len(read_bytes(path)) > 2_000_000, "what is small may be as even as it likes"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cut short|damaged"):
        read_bytes(path)


def test_a_parquet_file_with_a_damaged_page_is_refused(tmp_path):
    path = tmp_path / "events.parquet"
    whole = hostile.parquet(2000)
    refused = 0
    for place in range(4, 260):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        refused += read(path) != "read"
    assert refused > 50
