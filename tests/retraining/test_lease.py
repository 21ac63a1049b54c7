"""One at a time, also where the holder dies."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa
from live_server import wait_until

from langrec.retraining.lease import Held, lease
from langrec.service.store.schema import leases
from langrec.service.store.store import Store


@pytest.fixture
def store(tmp_path):
    opened = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def rows(store):
    with store.read() as connection:
        return connection.execute(sa.select(leases)).all()


def test_a_second_holder_is_refused_and_told_who_holds_it(store):
    with lease(store, "retrain"):
        with pytest.raises(Held, match=r"retrain: .* is at it"), lease(store, "retrain"):
            pass
        with lease(store, "other"):
            pass
    assert rows(store) == []
    with lease(store, "retrain"):
        pass


def test_a_holder_that_fails_gives_it_back(store):
    with pytest.raises(RuntimeError), lease(store, "retrain"):
        raise RuntimeError
    assert rows(store) == []


def test_a_holder_that_died_is_replaced_when_its_time_is_over(store):
    with store.write() as connection:
        connection.execute(leases.insert().values(name="retrain", holder="dead:1", until=int(time.time() * 1000) - 1))
    with lease(store, "retrain"):
        assert rows(store)[0].holder != "dead:1"


def test_a_lease_is_renewed_while_it_is_held_and_loss_is_told(store):
    with lease(store, "retrain", seconds=0.3) as lost:
        first = rows(store)[0].until
        wait_until(lambda: rows(store)[0].until > first)
        assert not lost.is_set()
        with store.write() as connection:
            connection.execute(leases.update().values(holder="thief"))
        assert lost.wait(60)
    assert rows(store)[0].holder == "thief"  # what is not one's own is left alone
