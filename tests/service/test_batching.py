"""Blocks: what waits together is worked on together, within what the deadline has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from clocks import Clock
from langrec.service.batching import Batcher, Busy


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The batcher's clock; it moves by what jobs say that they took, and by nothing else."""
    made = Clock(stands=True)
    monkeypatch.setattr("langrec.service.batching.time", made)
    return made


def run(batcher: Batcher, waves: Sequence[int]) -> list[int | BaseException]:
    """Asks in waves, each when the one before was answered; the answers of the last."""

    async def ask() -> list[int | BaseException]:
        found: list[int | BaseException] = []
        for n in waves:
            found = await asyncio.gather(*(batcher.ask(i) for i in range(n)), return_exceptions=True)
        return found

    try:
        return asyncio.run(ask())
    finally:
        batcher.close()


def test_what_waits_is_worked_on_together_and_in_order():
    blocks: list[int] = []

    def work(jobs: Sequence[int]) -> list[int]:
        blocks.append(len(jobs))
        return [job * 2 for job in jobs]

    assert run(Batcher(work, most_waiting=100, most_together=16), [40]) == [2 * i for i in range(40)]
    assert sum(blocks) == 40 and max(blocks) == 16


def test_blocks_of_slow_jobs_are_no_longer_than_a_part_of_the_deadline(clock):
    blocks: list[int] = []

    def slow(jobs: Sequence[int]) -> list[int]:
        blocks.append(len(jobs))
        clock.passed += 0.05 * len(jobs)
        return list(jobs)

    batcher = Batcher(slow, most_waiting=100, most_together=64, seconds=2.0)
    run(batcher, [1] * 8 + [20])
    assert blocks[:8] == [1] * 8, "until then it has learned what a job takes"
    assert max(blocks[8:]) <= 15, "0.05 s a job, 0.5 s a block, and what is not yet learned"
    assert sum(blocks[8:]) == 20


def test_one_slow_job_is_still_worked_on(clock):
    def slow(jobs: Sequence[int]) -> list[int]:
        clock.passed += 0.2
        return list(jobs)

    assert run(Batcher(slow, most_waiting=10, seconds=0.4), [1, 1, 1]) == [0]


def test_a_full_queue_and_a_late_job_are_told_apart(clock):
    def slow(jobs: Sequence[int]) -> list[int]:
        clock.passed += 0.3
        return list(jobs)

    found = run(Batcher(slow, most_waiting=3, most_together=1, seconds=0.2), [6])
    busy = [one for one in found if isinstance(one, Busy)]
    assert found[0] == 0 and len(busy) == 5
    assert [one.late for one in busy] == [True, True, False, False, False]
    assert all(one.retry_after >= 1 for one in busy)


def test_a_patient_job_is_worked_on_after_its_deadline(clock):
    def slow(jobs: Sequence[int]) -> list[int]:
        clock.passed += 0.3
        return list(jobs)

    async def ask() -> list[int | BaseException]:
        batcher = Batcher(slow, most_waiting=10, most_together=1, seconds=0.1)
        jobs = [batcher.ask(i, patient=i == 2) for i in range(3)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    first, late, patient = asyncio.run(ask())
    assert (first, patient) == (0, 2)
    assert isinstance(late, Busy) and late.late


def test_a_patient_job_is_worked_on_though_the_queue_is_full():
    async def ask() -> list[int | BaseException]:
        batcher = Batcher(list, most_waiting=2, most_together=1)
        jobs = [batcher.ask(i, patient=i >= 3) for i in range(5)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    *plain, first, second = asyncio.run(ask())
    assert plain[:2] == [0, 1] and isinstance(plain[2], Busy)
    assert (first, second) == (3, 4)


def test_an_error_of_the_work_goes_to_every_job_of_the_block():
    def broken(jobs: Sequence[int]) -> list[int]:
        raise ValueError("no")

    found = run(Batcher(broken, most_waiting=10), [3])
    assert all(isinstance(one, ValueError) for one in found)
