"""More is asked than can be answered: the queue, its deadline, the caches and the log stay within their bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from live_server import PATIENCE, Live, wait_until

from clocks import Clock
from langrec import finding
from langrec.errors import StoreError
from langrec.settings import Settings


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Callable[[Live], tuple[threading.Event, threading.Event]]:
    """Holds a server's recommender until the first event is set; the second says that somebody waits there."""

    def hold(live: Live) -> tuple[threading.Event, threading.Event]:
        event, entered = threading.Event(), threading.Event()
        kind = live.service.snapshot.recommender.__class__
        original = kind.recommend

        def slow(self: Any, *args: Any, **named: Any) -> Any:
            entered.set()
            event.wait(PATIENCE)
            return original(self, *args, **named)

        monkeypatch.setattr(kind, "recommend", slow)
        return event, entered

    return hold


def ask(live: Live, paths: list[str]) -> tuple[list[threading.Thread], list[httpx.Response]]:
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda path=path: answers.append(httpx.get(live.url + path, timeout=PATIENCE)))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    return threads, answers


def test_what_waited_past_its_deadline_is_given_up_and_not_computed(serve, gate, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("langrec.service.batching.time", clock)
    live = serve(deadline_ms=200_000)
    wait_until(lambda: live.service.is_warm)
    event, entered = gate(live)
    threads, answers = ask(live, ["/api/recommend/sea-u0"])
    assert entered.wait(PATIENCE)
    more, late = ask(live, [f"/api/recommend/sea-u{i}?n=3" for i in range(1, 6)])
    wait_until(lambda: live.service.batcher.queue == 5)
    clock.passed += 201
    event.set()
    for thread in threads + more:
        thread.join()
    assert [answer.status_code for answer in answers] == [200], "it was in work when its time was over"
    assert {answer.status_code for answer in late} == {429}
    body = late[0].json()
    assert body["code"] == "busy" and "too late" in body["message"]
    assert 1 <= int(late[0].headers["retry-after"]) <= 60
    stats = live.get("/api/health/stats")
    assert (stats["shed"], stats["late"], stats["queue"]) == (5, 5, 0)
    assert stats["caches"]["lists"]["misses"] == 1, "the late ones were not computed"
    assert len(live.recommended("sea-u1", 3)) == 3, "the server goes on"


def test_a_block_is_no_larger_than_the_settings_say(serve, gate, monkeypatch):
    live = serve(max_block=2)
    wait_until(lambda: live.service.is_warm)
    blocks: list[int] = []
    work = live.service._work

    def noted(jobs: Any) -> Any:
        blocks.append(len(jobs))
        return work(jobs)

    monkeypatch.setattr(live.service.batcher, "_work", noted)
    event, _ = gate(live)
    threads, answers = ask(live, [f"/api/recommend/sea-u{i}?n=4" for i in range(7)])
    wait_until(lambda: live.service.batcher.queue >= 5)
    event.set()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert sum(blocks) == 7 and max(blocks) == 2


def test_caches_stay_within_their_megabytes_and_say_so(serve):
    live = serve(lists_mb=0.02, texts_mb=0.01)
    for i in range(40):
        live.recommended("sea-u0", n=1 + i)
        live.get("/api/search", q=f"ship number {i}", k=2)
    caches = live.get("/api/health/stats")["caches"]
    assert caches["lists"]["bytes"] <= caches["lists"]["bound_bytes"] == 20_000
    assert caches["texts"]["bytes"] <= caches["texts"]["bound_bytes"] == 10_000
    assert caches["lists"]["evictions"] > 20 and caches["texts"]["evictions"] > 20
    live.recommended("sea-u0", n=40)
    assert live.get("/api/health/stats")["caches"]["lists"]["hits"] >= 1
    metrics = live.client.get("/metrics").text
    for name in ("hits_total", "misses_total", "evictions_total", "bytes", "entries", "bound_bytes"):
        assert f'langrec_cache_{name}{{cache="lists"}}' in metrics
        assert f'langrec_cache_{name}{{cache="texts"}}' in metrics


@pytest.mark.slow  # may be the first to compile the loops
def test_masks_of_filters_over_a_large_catalogue_are_bounded_and_counted(serve):
    live = serve(filters_mb=0.005, lists_mb=0)
    before = live.service.releases.snapshot
    fusion = before.recommender.fusion
    found = finding.near(fusion, finding.build(fusion, Settings())[0])  # as above ranking.dense_below items
    live.service.releases.snapshot = replace(before, recommender=replace(before.recommender, fusion=found))
    for names in [["sea"]] * 3 + [[f"kind {i}"] for i in range(40)]:
        asked = live.client.post("/api/recommend", json={"user": "sea-u0", "filters": {"categories": names}})
        assert asked.status_code == 200, asked.text
    masks = live.get("/api/health/stats")["caches"]["filters"]
    assert masks["hits"] >= 2 and masks["evictions"] > 5
    assert 0 < masks["bytes"] <= masks["bound_bytes"] == 5_000
    assert 'langrec_cache_evictions_total{cache="filters"}' in live.client.get("/metrics").text


def test_shown_lists_that_cannot_be_written_are_bounded_and_counted(serve, monkeypatch):
    live = serve(max_impressions=3)
    release = threading.Event()
    write = live.service.writer.write

    async def stuck(work: Any) -> Any:
        import asyncio

        await asyncio.to_thread(release.wait, PATIENCE)
        return await write(work)

    monkeypatch.setattr(live.service.writer, "write", stuck)
    live.recommended("sea-u0", 1)
    wait_until(lambda: len(live.service.shown) == 0)  # the first is on its way to the store
    for n in range(2, 9):
        assert len(live.recommended("sea-u0", n)) == n, "the page comes all the same"
    assert len(live.service.shown) == 3
    assert live.get("/api/health/stats")["impressions_lost"] == 4
    release.set()
    wait_until(lambda: live.service.stats.totals("langrec_impressions_total") == [4])


def test_a_store_that_refuses_shown_lists_costs_no_reply(serve, monkeypatch):
    live = serve()

    async def broken(work: Any) -> Any:
        raise StoreError("the disk is full")

    monkeypatch.setattr(live.service.writer, "write", broken)
    assert len(live.recommended("sea-u0", 2)) == 2
    wait_until(lambda: live.get("/api/health/stats")["impressions_lost"] == 1)


def test_ready_waits_for_a_query_through_every_stage(serve, monkeypatch):
    from langrec.service import service as module

    event = threading.Event()
    warmed: list[bool] = []

    def slow(recommender: Any) -> None:
        event.wait(PATIENCE)
        original(recommender)
        warmed.append(True)

    original = module.warm
    monkeypatch.setattr(module, "warm", slow)
    live = serve()
    answer = live.client.get("/api/health/ready")
    assert answer.status_code == 503 and answer.json()["Ready"] is False and answer.json()["Problem"]
    assert live.client.get("/api/health/live").status_code == 200
    event.set()
    wait_until(lambda: live.client.get("/api/health/ready").status_code == 200)
    assert warmed == [True]
    assert live.get("/api/health/stats")["series"][-1]["errors"] >= 1  # the probe's 503


def test_a_warm_up_that_fails_keeps_the_server_from_being_ready(serve, monkeypatch):
    from langrec.service import service as module

    def broken(recommender: Any) -> None:
        raise RuntimeError("no such model")

    monkeypatch.setattr(module, "warm", broken)
    live = serve()
    wait_until(lambda: live.service.cold)
    answer = live.client.get("/api/health/ready")
    assert answer.status_code == 503 and "warm-up" in answer.json()["Problem"]
    assert "no such model" not in answer.text


def test_the_warm_up_reads_words_and_histories(live):
    from langrec.service.served.warming import warm

    wait_until(lambda: live.service.is_warm)
    before = live.service.stats
    warm(live.service.snapshot.recommender)
    assert before.totals("langrec_impressions_total") == [0], "nobody was shown anything"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which stages are judged."""
    moved = Clock()
    for module in ("langrec.budget", "langrec.service.service", "langrec.service.routes.ask"):
        monkeypatch.setattr(f"{module}.time", moved)
    return moved


def slowed(monkeypatch: pytest.MonkeyPatch, clock: Clock, module: Any, name: str, seconds: float) -> None:
    """Makes a function take longer by the clock."""
    original = getattr(module, name)

    def slow(*args: Any, **named: Any) -> Any:
        clock.passed += seconds
        return original(*args, **named)

    monkeypatch.setattr(module, name, slow)


def skipped_stages(live: Live) -> dict[str, float]:
    lines = live.client.get("/metrics").text.splitlines()
    found = [line.split() for line in lines if line.startswith("langrec_stage_skipped_total{")]
    return {name.split('"')[1]: float(value) for name, value in found}


def test_a_slow_optional_stage_is_skipped_told_and_counted(serve, monkeypatch, clock):
    from langrec import selecting
    from langrec.settings import BudgetSettings

    live = serve(budget=BudgetSettings(diversity_ms=100_000))
    wait_until(lambda: live.service.is_warm)
    ask = {"user": "sea-u0", "k": 5, "diversity": 0.5, "explain": False}
    assert live.send("POST", "/api/recommend", ask)["trace"]["skipped"] == []
    slowed(monkeypatch, clock, selecting, "diverse_rows", 2_000)
    live.send("POST", "/api/recommend", {**ask, "k": 6})  # from this one the server learns
    plain = live.send("POST", "/api/recommend", {**ask, "k": 7})
    assert plain["trace"]["skipped"] == ["diversity"] and len(plain["items"]) == 7
    assert skipped_stages(live) == {"diversity": 1}
    without = live.send("POST", "/api/recommend", {**ask, "k": 7, "diversity": 0})
    assert [one["id"] for one in plain["items"]] == [one["id"] for one in without["items"]]
    live.send("POST", "/api/recommend", {**ask, "k": 7})
    assert skipped_stages(live) == {"diversity": 2}, "a list that lacks a stage is not kept"


def test_a_request_whose_time_is_spent_goes_without_reasons(serve, monkeypatch, clock):
    from langrec.settings import BudgetSettings

    live = serve(budget=BudgetSettings(total_ms=100_000))
    wait_until(lambda: live.service.is_warm)
    ask = {"user": "sea-u0", "k": 5}
    told = live.send("POST", "/api/recommend", ask)
    assert all(one["reason"] for one in told["items"]) and told["trace"]["skipped"] == []
    slowed(monkeypatch, clock, live.service.snapshot.recommender.__class__, "reasons", 2_000)
    live.send("POST", "/api/recommend", {**ask, "k": 6})
    plain = live.send("POST", "/api/recommend", {**ask, "k": 7})
    assert plain["trace"]["skipped"] == ["reasons"] and len(plain["items"]) == 7
    assert not any(one.get("reason") for one in plain["items"])
    assert skipped_stages(live) == {"reasons": 1}
