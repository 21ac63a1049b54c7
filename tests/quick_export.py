"""What torch works out anew for every export is worked out once: the tests export dozens of tiny models."""

from __future__ import annotations

import functools
import os
from pathlib import Path


@functools.cache
def share_tables() -> None:
    """Has all exports of this process share the table of operators and that of their decompositions.

    Both depend on the version of torch alone; a torch that keeps them elsewhere is left as it is.
    """
    try:
        from torch.onnx._internal.exporter import _decomp, _registration

        registry, decompositions = _registration.ONNXRegistry, _decomp.create_onnx_friendly_decomposition_table
        registered = registry.from_torchlib
    except (ImportError, AttributeError):
        return
    registry.from_torchlib = staticmethod(functools.cache(registered))
    kept = functools.cache(decompositions)
    # Who asks may change what it is given.
    _decomp.create_onnx_friendly_decomposition_table = lambda known: dict(kept(frozenset(known)))


def cache_with_graphs(cache: Path, base: Path) -> str:
    """Makes a cache folder, empty but for the graphs that all workers of this run of the tests have traced.

    Args:
        base: pytest's base folder for this worker.
    """
    graphs = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "graphs"
    graphs.mkdir(exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "graphs").exists():
        (cache / "graphs").symlink_to(graphs)
    return str(cache)
