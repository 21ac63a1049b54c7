"""What a serving process keeps from the garbage collector."""

import gc

import pytest

from langrec.service.served.warming import settle, settle_again


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()


def test_what_is_alive_is_passed_over_by_later_collections():
    kept = [[i] for i in range(1000)]
    settle()
    assert gc.get_freeze_count() >= len(kept)
    held = {id(one) for one in gc.get_objects()}
    assert not held & {id(one) for one in kept}


def test_what_went_meanwhile_is_collected_when_a_release_took_over():
    class Node:
        gone = 0

        def __del__(self):
            Node.gone += 1

    node = Node()
    node.itself = node  # only the collector can free it
    settle()
    del node
    gc.collect()
    assert Node.gone == 0
    settle_again()
    assert Node.gone == 1


def test_a_process_that_does_not_only_serve_is_left_alone():
    settle_again()
    assert gc.get_freeze_count() == 0
