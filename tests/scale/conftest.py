"""Two processes that train together, and a small Ray cluster; no test reaches the network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "lm/adapt")]

from quick_export import cache_with_graphs  # noqa: E402


@pytest.fixture(autouse=True)
def always_offline(offline):
    """No test reaches the network."""


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory):
    """Two cores of Ray, started once for all tests of the room and shut down after them."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'langrec[scale]'")
    from langrec.scale.cluster import cluster

    base = tmp_path_factory.getbasetemp()
    # Workers are born with these: the tests' own changes to the environment come too late for them.
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["LANGREC_CACHE"] = cache_with_graphs(base / "langrec-cache", base)
    with cluster(2, cores=1) as found:
        yield found
