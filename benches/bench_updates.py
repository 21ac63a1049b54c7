"""What a change of some users' logs costs the linear models, against a fit of all: both in one run, and equal.

    python benches/bench_updates.py --events ml-latest-small --users 1 20
    python benches/bench_updates.py --items 2000 --people 20000 --json benches/results/updates.json

Prints seconds of `fit` and of `with_logs`, their ratio, the largest difference of a weight, and the bytes of the sums.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

import common
from langrec.data.events import Events
from langrec.data.fitting import FitData
from langrec.data.load import load_dataset
from langrec.retrieval.ease import EASE
from langrec.retrieval.itemknn import ItemKNN
from langrec.retrieval.transitions import Transitions
from langrec.settings import RetrievalSettings
from langrec.types import UserLogs

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "itemknn": (ItemKNN, {"neighbours": 50}),
    "transitions": (Transitions, {"back": 1.0}),
    "ease": (EASE, {"reg": 150.0}),
}


def drawn(people: int, items: int, length: int, seed: int) -> tuple[Events, int, int]:
    """A log of people who each choose items by a popularity that falls as a power of the rank."""
    rng = np.random.default_rng(seed)
    chance = 1.0 / np.arange(1, items + 1) ** 0.8
    lengths = rng.poisson(length, people).clip(1)
    users = np.repeat(np.arange(people, dtype=np.int32), lengths)
    chosen = rng.choice(items, size=len(users), p=chance / chance.sum()).astype(np.int32)
    m = len(users)
    at = np.sort(rng.integers(1_600_000_000_000, 1_700_000_000_000, m))
    order = rng.permutation(m)
    log = Events(
        users[order],
        chosen[order],
        at,
        np.zeros(m, np.int8),
        np.full(m, np.nan, np.float32),
        np.ones(m, np.float32),
        np.arange(m),
        ("click",),
    )
    return log, people, items


def measure(log: Events, n_users: int, n_items: int, changed: int, seed: int) -> list[dict[str, Any]]:
    """One row per scorer: some users deleted."""
    rng, settings = np.random.default_rng(seed), RetrievalSettings()
    gone = rng.choice(n_users, changed, replace=False)
    mask = np.isin(log.users, gone)
    before, left = log.take(mask), log.take(~mask)
    nothing = log.take(slice(0, 0))
    rows = []
    for name, (kind, params) in KINDS.items():
        if not kind.grows(n_items, settings):
            print(f"{name}: not worked in at {n_items:,} items")
            continue
        whole = kind.fit(FitData(log, n_users, n_items, growing=True), settings, **params)
        start = time.perf_counter()
        fitted = kind.fit(FitData(left, n_users, n_items), settings, **params)
        fit_seconds = time.perf_counter() - start
        start = time.perf_counter()
        grown = whole.with_logs(_logs(before), _logs(nothing))
        seconds = time.perf_counter() - start
        rows.append(
            {
                "scorer": name,
                "items": n_items,
                "events": len(log),
                "users_changed": changed,
                "fit_seconds": round(fit_seconds, 3),
                "with_logs_seconds": round(seconds, 3),
                "ratio": round(fit_seconds / seconds, 1),
                "largest_difference": float(np.abs(_dense(grown) - _dense(fitted)).max()),
                "sums_mb": round(_bytes(whole.sums) / 1e6, 1),
            }
        )
        print(rows[-1])
    return rows


def _logs(events: Events) -> UserLogs:
    return UserLogs(events.users, events.items, events.at, events.gains)


def _dense(scorer: Any) -> Any:
    return scorer.weights.toarray() if sparse.issparse(scorer.weights) else scorer.weights


def _bytes(value: Any) -> int:
    if sparse.issparse(value):
        return int(value.data.nbytes + value.indices.nbytes + value.indptr.nbytes)
    if isinstance(value, np.ndarray):
        return value.nbytes
    return sum(_bytes(getattr(value, name)) for name in getattr(value, "__slots__", ()))


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--events", type=Path, help="a log; default: one is drawn")
    parser.add_argument("--items", type=int, default=2000, help="items of the log that is drawn")
    parser.add_argument("--people", type=int, default=20_000, help="users of the log that is drawn")
    parser.add_argument("--length", type=int, default=40, help="events of each of them")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 20, 200], help="users that change at once")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn by chance")
    parser.add_argument("--json", type=Path, help="writes the figures there")
    given = parser.parse_args()
    if given.events is None:
        log, n_users, n_items = drawn(given.people, given.items, given.length, given.seed)
    else:
        dataset, _ = load_dataset(given.events)
        log, n_users, n_items = dataset.events, len(dataset.users), len(dataset.catalogue)
    rows = [row for changed in given.users for row in measure(log, n_users, n_items, changed, given.seed)]
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
