"""Milliseconds that a tower takes to read one history on one core, beside the limit of 2 ms for 50 items.

    python benches/bench_towers.py

Towers of the default sizes over made-up events (1,700 items), trained for one epoch: the time does not depend on what
they learned. Medians of 200 histories, one at a time and 256 at once.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import common
from langrec.data.events import Events
from langrec.data.fitting import FitData
from langrec.settings import IdTowerSettings, TextTowerSettings
from langrec.towers.id_tower import IdTower
from langrec.towers.text_tower import TextTower
from langrec.types import QueryBlock

USERS, ITEMS, EACH = 200, 1_700, 60
LIMIT_MS = 2.0


def main() -> None:
    common.parser(__doc__).parse_args()
    rng = np.random.default_rng(0)
    m = USERS * EACH
    events = Events(
        users=np.repeat(np.arange(USERS, dtype=np.int32), EACH),
        items=rng.integers(0, ITEMS, m).astype(np.int32),
        at=np.tile(np.arange(EACH, dtype=np.int64) * 60_000, USERS),
        types=np.zeros(m, dtype=np.int8),
        values=np.ones(m, dtype=np.float32),
        gains=np.ones(m, dtype=np.float32),
        rows=np.arange(m, dtype=np.int64),
        type_names=("view",),
    )
    vectors = rng.normal(size=(ITEMS, 384)).astype(np.float32)
    data = FitData(events, USERS, ITEMS, [""] * ITEMS, {"vectors": vectors})
    towers = {
        "id_tower": IdTower.fit(data, IdTowerSettings(epochs=1, precision="fp32")),
        "text_tower": TextTower.fit(data, TextTowerSettings(epochs=1, precision="fp32")),
    }
    result: dict[str, Any] = {"limit_ms": LIMIT_MS, "rows": []}
    with threadpool_limits(1):
        for name, tower in towers.items():
            for length in (50, 200):
                one = [_median(tower, _histories(rng, 1, length)) for _ in range(5)]
                many = _median(tower, _histories(rng, 256, length), 5) / 256
                row = {"tower": name, "history": length, "ms": round(min(one), 3), "ms_of_256": round(many, 3)}
                result["rows"].append({**row, "times_limit": round(min(one) / LIMIT_MS, 3)})
                print(
                    f"{name:10s} {length:3d} items: {row['ms']:.3f} ms alone ({min(one) / LIMIT_MS:.2f} of the limit)"
                )
                print(f"{'':10s} {'':9s} {row['ms_of_256']:.3f} ms each of 256 at once")
    common.write("towers", result)


def _median(tower: Any, block: QueryBlock, repeats: int = 40) -> float:
    """Median milliseconds of a call."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        tower.queries(block)
        seconds.append(time.perf_counter() - start)
    return 1_000 * float(np.median(seconds))


def _histories(rng: np.random.Generator, queries: int, length: int) -> QueryBlock:
    m = queries * length
    return QueryBlock(
        users=np.full(queries, -1, dtype=np.int32),
        offsets=np.arange(queries + 1, dtype=np.int64) * length,
        items=rng.integers(0, ITEMS, m).astype(np.int32),
        times=np.tile(np.arange(length, dtype=np.int64) * 60_000, queries),
        at=np.full(queries, (length + 1) * 60_000, dtype=np.int64),
        texts=(None,) * queries,
    )


if __name__ == "__main__":
    main()
