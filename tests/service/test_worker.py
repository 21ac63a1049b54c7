"""Workers of a server: which of them waits for another."""

from __future__ import annotations

import os
import threading

import pytest
from uvicorn.config import Config

from langrec.service.worker import Worker, _wait


@pytest.fixture
def made():
    """Makes workers of a new server; none is started."""
    before, Worker.made = Worker.made, 0

    def make(n, workers):
        config = Config("langrec.service.http:app_from_environment", factory=True, workers=workers)
        return [Worker(config, []) for _ in range(n)]

    yield make
    Worker.made = before


def test_where_cores_are_few_the_others_wait_for_the_first_and_a_replacement_for_nobody(made):
    many = (os.cpu_count() or 1) + 1
    *first, replacement = made(many + 1, many)
    assert [one.waits for one in first] == [False] + [True] * (many - 1)
    assert all(one.is_first for one in first)
    assert not replacement.waits and not replacement.is_first


def test_where_each_has_a_core_none_waits(made, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert not any(one.waits for one in made(2, 2))


def test_waiting_ends_with_the_mark_or_with_the_time(tmp_path):
    mark = tmp_path / "serving"
    _wait(mark, 0.0)
    waiting = threading.Thread(target=_wait, args=(mark, 600.0))
    waiting.start()
    assert waiting.is_alive()
    mark.touch()
    waiting.join(60)
    assert not waiting.is_alive()
