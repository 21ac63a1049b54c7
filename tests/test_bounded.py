"""The bounded cache keeps to its bytes, forgets what was used longest ago, and counts."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from langrec.bounded import ENTRY_BYTES, Bounded


def test_what_was_used_longest_ago_makes_room():
    cache: Bounded[str, int] = Bounded(3 * (ENTRY_BYTES + 100))
    for i, name in enumerate("abc"):
        cache.put(name, i, 100)
    assert cache.get("a") == 0
    cache.put("d", 3, 100)
    assert [cache.get(name) for name in "abcd"] == [0, None, 2, 3]
    counts = cache.counts()
    assert (counts.evictions, counts.entries, counts.bytes) == (1, 3, 3 * (ENTRY_BYTES + 100))
    assert (counts.hits, counts.misses) == (4, 1)


def test_a_look_in_passing_counts_nothing_and_saves_nobody():
    cache: Bounded[str, int] = Bounded(2 * (ENTRY_BYTES + 100))
    cache.put("a", 0, 100)
    cache.put("b", 1, 100)
    assert (cache.peek("a"), cache.peek("c")) == (0, None)
    cache.put("c", 2, 100)
    assert [cache.peek(name) for name in "abc"] == [None, 1, 2]
    assert (cache.counts().hits, cache.counts().misses) == (0, 0)


def test_the_sum_never_passes_the_bound_whatever_is_put():
    rng = np.random.default_rng(0)
    cache: Bounded[int, bytes] = Bounded(50_000)
    for _ in range(3000):
        size = int(rng.integers(0, 9000))
        cache.put(int(rng.integers(0, 200)), b"", size)
        assert cache.counts().bytes <= 50_000
    assert cache.counts().entries > 0


def test_a_value_over_the_bound_is_not_held_and_takes_its_former_state_with_it():
    cache: Bounded[str, str] = Bounded(1000)
    cache.put("a", "small", 10)
    cache.put("a", "large", 5000)
    assert cache.get("a") is None and cache.counts().bytes == 0


def test_without_bytes_nothing_is_held():
    cache: Bounded[str, int] = Bounded(0)
    cache.put("a", 1, 0)
    assert cache.get("a") is None and cache.counts().entries == 0


def test_an_entry_past_its_time_is_a_miss(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("langrec.bounded.time.monotonic", lambda: now[0])
    cache: Bounded[str, int] = Bounded(10_000, seconds=5)
    cache.put("a", 1, 0)
    now[0] = 104.9
    assert cache.get("a") == 1
    now[0] = 105.1
    assert cache.get("a") is None and cache.counts().bytes == 0


@pytest.mark.parametrize("forget", ["drop", "clear"])
def test_what_is_forgotten_frees_its_bytes(forget):
    cache: Bounded[str, int] = Bounded(10_000)
    cache.put("a", 1, 70)
    cache.drop("a") if forget == "drop" else cache.clear()
    assert cache.get("a") is None and cache.counts().bytes == 0


def test_many_threads_leave_the_sum_right():
    cache: Bounded[int, int] = Bounded(20 * (ENTRY_BYTES + 50))

    def work(seed: int) -> None:
        for i in range(2000):
            cache.put((seed * 7 + i) % 60, i, 50)
            cache.get(i % 60)
            if i % 5 == 0:
                cache.drop(i % 60)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = cache.counts()
    assert counts.bytes == counts.entries * (ENTRY_BYTES + 50) and counts.entries <= 20
