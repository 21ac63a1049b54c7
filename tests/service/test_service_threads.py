"""Threads of linear algebra: one where products are small, which candidates' are in any catalogue."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Number of items, whether there are candidates, whether one thread is enough.
CASES = [(10_000, False, True), (1_000_000, True, True), (1_000_000, False, False)]
# All cases in one process, which has two threads before each.
CODE = """
import json, sys, numpy, threadpoolctl
from langrec.service.http import calm_threads

def threads():
    return max(one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas")

for n_items, candidates, _ in json.loads(sys.argv[1]):
    threadpoolctl.threadpool_limits(2, "blas")
    before = threads()
    calm_threads(n_items, candidates=candidates)
    print(before, threads())
"""


@pytest.fixture(scope="module")
def counted():
    """Threads of linear algebra before and after, by case."""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", CODE, json.dumps(CASES)]
    out = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    return {case: [int(n) for n in line.split()] for case, line in zip(CASES, out.splitlines(), strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_only_large_products_are_shared_by_threads(counted, case):
    before, after = counted[case]
    if before == 1:
        pytest.skip("one core: there is nothing to share")
    assert before == 2 and (after == 1) == case[2]
