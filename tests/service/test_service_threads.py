"""Threads of linear algebra: one where products are small, which candidates' are in any catalogue."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import numpy, threadpoolctl
from langrec.service.http import calm_threads
calm_threads({n_items}, candidates={candidates})
print(max(one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"))
"""


@pytest.mark.parametrize(
    ("n_items", "candidates", "calm"), [(10_000, False, True), (1_000_000, True, True), (1_000_000, False, False)]
)
def test_only_large_products_are_shared_by_threads(n_items, candidates, calm):
    code = CODE.format(n_items=n_items, candidates=candidates)
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    out = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout
    if not calm and int(out) == 1:
        pytest.skip("one core: there is nothing to share")
    assert (int(out) == 1) == calm
