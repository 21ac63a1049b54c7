"""A cache for the language model's tests; none of them reaches the network."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def always_offline(offline):
    """No test reaches the network."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")
