"""Calls are made again where that is right, after the right pause, and what was done already counts once."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from flaky_proxy import FlakyProxy

from langrec.client import AsyncClient, Busy, Client, NotReached, Refused, Retries, ServerFailed
from langrec.client.errors import ServerError, error_of
from langrec.client.replies import Event
from langrec.types import Item

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
QUICK = Retries(most=4, first=0.01, longest=0.05, within=30)


@pytest.fixture
def proxy(live):
    found = FlakyProxy(live.port)
    yield found
    found.close()


@pytest.fixture
def client(proxy):
    with Client(proxy.url, retries=QUICK) as found:
        yield found


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "cut", 429, 503, 502, 504])
def test_a_question_is_asked_again_until_it_is_answered(proxy, client, fault):
    proxy.plan.extend([fault, fault, fault])
    assert client.recommend("sea-u0", k=3).ids[0].startswith("sea")
    assert len(proxy.seen) == 4
    assert len({headers["x-request-id"] for _, _, headers in proxy.seen}) == 1, "one call, one id in every log"


@pytest.mark.parametrize("fault", ["drop_after", "cut", 502])
def test_an_item_whose_answer_was_lost_is_written_once(proxy, client, fault):
    proxy.plan.append(fault)
    assert client.write_items([Item("kiln", "Kiln")]) == 1
    assert len(proxy.seen) == 2 and client.item("kiln").comment == "Kiln"


@pytest.mark.parametrize("overwrite", [False, True])
def test_events_of_every_repeat_carry_the_same_key_and_the_same_time(proxy, client, overwrite):
    proxy.plan.extend(["drop_after", 503])
    client.add_feedback([Event("ann", "sea00", "click"), Event("ann", "sea01", "click")], overwrite=overwrite)
    keys = [headers["idempotency-key"] for _, _, headers in proxy.seen]
    assert len(keys) == 3 and len(set(keys)) == 1
    assert len(client.user_feedback("ann")) == 2, "an event that happens now happened once"


@pytest.mark.parametrize("fault", ["drop_after", "cut", 502])
def test_events_whose_answer_was_lost_count_once(proxy, client, fault):
    proxy.plan.extend([fault, fault])
    events = [Event("ann", f"sea{i:02d}", "buy", AT, 1.5) for i in range(5)]
    assert client.add_feedback(events, block=2) == 5
    assert {one.item: one.value for one in client.user_feedback("ann")} == {one.item: 1.5 for one in events}
    client.add_feedback(events)
    assert {one.value for one in client.user_feedback("ann")} == {3.0}, "another call adds to the values"


def test_a_bulk_whose_answer_was_lost_counts_once_and_one_that_breaks_off_is_an_error(proxy, client):
    proxy.plan.append("drop_after")
    assert client.bulk_write([Event("ann", f"sea{i:02d}", "buy", AT, 1.0) for i in range(5)]).rows == 5
    keys = {headers["idempotency-key"] for _, _, headers in proxy.seen}
    assert len(proxy.seen) == 2 and len(keys) == 1 and len(client.user_feedback("ann")) == 5
    proxy.plan.append("cut")
    with pytest.raises(NotReached, match="begin again"):
        list(client.bulk_feedback())


def test_a_program_that_sends_everything_again_under_its_key_counts_once(client):
    events = [Event("ann", f"sea{i:02d}", "buy", AT, 1.0) for i in range(5)]
    for _ in range(2):
        assert client.add_feedback(events, key="shop-2024-05-01", block=3) == 5
    assert {one.value for one in client.user_feedback("ann")} == {1.0}
    with pytest.raises(Refused, match="another request"):
        client.add_feedback(events[1:], key="shop-2024-05-01", block=3)


def test_an_event_with_an_id_of_its_own_counts_once_in_any_call(client):
    event = Event("ann", "sea00", "buy", AT, 1.0, once="order-17")
    client.add_feedback([event])
    client.add_feedback([event, Event("ann", "sea01", "buy", AT, 1.0)])
    assert {one.item: one.value for one in client.user_feedback("ann")} == {"sea00": 1.0, "sea01": 1.0}


def test_blocks_have_keys_of_their_own_and_a_given_key_gives_the_same_again(proxy, client):
    def keys():
        found = [headers["idempotency-key"] for _, _, headers in proxy.seen]
        proxy.seen.clear()
        return found

    events = [Event("ann", f"i{i}", "click", AT) for i in range(5)]
    client.add_feedback(events, block=2)
    first = keys()
    client.add_feedback(events, block=2)
    assert len(set(first)) == 3 and not set(first) & set(keys())
    client.add_feedback(events, block=2, key="import-7")
    assert keys() == ["import-7-0", "import-7-1", "import-7-2"]


def test_a_rollback_whose_answer_was_lost_is_not_made_again(live, proxy, client):
    proxy.plan.append("drop_after")
    with pytest.raises(NotReached) as lost:
        client.roll_back()
    assert lost.value.code == "connection_lost" and len(proxy.seen) == 1
    assert client.release().stamp == live.old, "it was done"
    proxy.plan.append("drop_after")
    assert client.roll_back(live.new) == live.new, "to a named release it may be repeated"


def test_what_the_caller_did_wrong_is_not_tried_again(proxy, client):
    for call in (lambda: client.recommend(k=0), lambda: client.item("nothing")):
        proxy.seen.clear()
        with pytest.raises(ServerError):
            call()
        assert len(proxy.seen) == 1


def test_after_the_last_try_the_error_is_the_servers(proxy, client):
    proxy.plan.extend([503] * 9)
    with pytest.raises(Busy) as busy:
        client.popular()
    assert len(proxy.seen) == 5 and busy.value.status == 503 and busy.value.code == "http_503"
    proxy.plan.clear()
    proxy.plan.append(500)
    with pytest.raises(ServerFailed):
        client.popular()


def test_a_pause_that_the_server_asks_for_is_kept(proxy, client):
    proxy.plan.append((429, {"Retry-After": "1"}))
    started = time.monotonic()
    assert client.popular()
    assert time.monotonic() - started >= 1.0, "not a limit of speed: it must not come back before it was asked to"


def test_a_pause_longer_than_there_is_time_ends_the_call(proxy, client):
    proxy.plan.append((503, {"Retry-After": "3600"}))
    with pytest.raises(Busy) as busy:
        client.popular()
    assert busy.value.retry_after == 3600 and len(proxy.seen) == 1


def test_the_asynchronous_client_asks_again_too(proxy):
    async def ask():
        async with AsyncClient(proxy.url, retries=QUICK) as client:
            proxy.plan.extend(["drop_before", 503, "drop_after"])
            await client.add_feedback([Event("ann", "sea00", "click", AT)])
            return await client.user_feedback("ann")

    assert len(asyncio.run(ask())) == 1 and len(proxy.seen) == 5


def test_pauses_double_up_to_the_longest_and_half_of_each_is_drawn():
    retries = Retries(most=9, first=1.0, longest=8.0, within=1000)
    lost = NotReached("lost", code="connection_lost")

    def pause(tried, seed):
        return retries.pause(lost, tried=tried, passed=0, repeatable=True, rng=random.Random(seed))

    for tried, whole in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 8)):
        drawn = {pause(tried, seed) for seed in range(50)}
        assert whole / 2 <= min(drawn) < max(drawn) <= whole and len(drawn) == 50
    assert pause(10, 0) is None


def test_only_what_was_surely_not_done_is_repeated_where_twice_is_not_once():
    rng = random.Random(1)

    def again(error):
        return Retries().pause(error, tried=1, passed=0, repeatable=False, rng=rng) is not None

    assert again(NotReached("", code="not_connected")) and again(Busy("", status=429))
    assert not any(again(NotReached("", code=code)) for code in ("connection_lost", "timeout"))
    assert not any(again(ServerError("", status=status)) for status in (500, 502, 503, 504))


@pytest.mark.parametrize("text", ["soon", "", "-5"])
def test_a_pause_that_cannot_be_read_is_none_of_the_servers(text):
    assert error_of(503, {"retry-after": text}, b"", "r").retry_after in (None, 0.0)


def test_a_pause_may_be_a_date():
    at = datetime.now(UTC) + timedelta(seconds=100)
    found = error_of(503, {"retry-after": format_datetime(at, usegmt=True)}, b"", "r").retry_after
    assert 90 < found <= 100
