"""Quality and drift of a running server: a scripted log whose figures are known, kept once, shown everywhere."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time

import pytest
from typer.testing import CliRunner

from langrec.cli.feedback import app
from langrec.errors import LangrecError
from langrec.service import quality
from langrec.service.quality import Quality
from langrec.service.store import event_rows
from langrec.service.store.event_rows import Event
from langrec.service.store.schema import impressions
from langrec.settings import FeedbackSettings

SETTINGS = FeedbackSettings(seconds=600, least=10)


@pytest.fixture
def live(serve):
    """Forty lists of three places an hour ago, half of them for people of whom nothing was known, ten acted on."""
    live = serve()
    now = int(time.time() * 1000)
    at = now - 3_600_000
    live.send("POST", "/api/item", {"ItemId": "kiln", "Comment": "porcelain glaze kiln"})
    live.send("DELETE", "/api/user/nobody")  # waits for the scorer, which takes the new item in
    rows = [
        {
            "request_id": f"r{n}",
            "kind": "recommend",
            "user_id": f"sea-u{n % 10}" if n < 20 else f"new{n}",
            "at": at + n,
            "release": live.new,
            "offset": 0,
            "items": ["moon00", "moon01", "bread00"],
            "scores": [3.0, 2.0, 1.0],
            "propensities": [1.0, 1.0, 1.0],
        }
        for n in range(40)
    ]
    acted = [Event(f"new{n}", "moon01", "click", at + 60_000 + n) for n in range(20, 30)]
    hidden = [Event(f"new{n}", "moon00", "hide", at + 60_000 + n) for n in range(20, 30)]
    with live.service.store.write() as connection:
        connection.execute(impressions.insert(), rows)
        event_rows.put_events(connection, [*acted, *hidden], overwrite=True)
    return live


def test_the_figures_of_a_scripted_log(live):
    found = Quality(live.service, SETTINGS).look()
    assert (found["lists"], found["click_through"]["n"], found["click_through"]["hits"]) == (40, 120, 10)
    assert [(one["place"], one["hits"]) for one in found["click_through_by_place"]] == [(1, 0), (2, 10), (3, 0)]
    assert (found["fallback"]["hits"], found["fallback"]["n"]) == (20, 40)
    assert found["coverage"]["10"] == pytest.approx(3 / 49, abs=1e-6)
    assert found["new_items"] == 1 and found["unknown_words"] == 1.0 and found["text_distance"] > 0
    assert found["age_days"]["event"] == pytest.approx(1 / 24, abs=0.01) and found["age_days"]["release"] < 1


def test_a_process_of_its_own_finds_the_same(live, monkeypatch):
    now = time.time()
    monkeypatch.setattr(quality.time, "time", lambda: now)
    here = Quality(live.service, SETTINGS).look()
    with live.service.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM quality")
        connection.exec_driver_sql("DELETE FROM leases")
    monkeypatch.setattr(quality, "work_out", None)  # nothing is worked out here
    assert Quality(live.service, SETTINGS, apart=1).look() == here
    assert live.get("/api/quality")["report"] == here


def test_a_process_that_fails_says_why_and_the_next_turn_comes(live, monkeypatch):
    monkeypatch.setattr(live.service.store, "url", f"sqlite:///{live.releases}/gone.db")
    with pytest.raises(LangrecError, match="there is no such file"):
        Quality(live.service, SETTINGS, apart=1).look()
    monkeypatch.undo()
    assert Quality(live.service, SETTINGS).look() is None  # its turn ends by itself


def test_the_end_of_a_server_does_not_wait_for_the_figures(live, monkeypatch):
    monkeypatch.setattr(quality, "_work_apart", _sleep)
    monkeypatch.setattr(quality.asyncio, "sleep", _at_once(quality.asyncio.sleep))

    async def ended():
        own = Quality(live.service, SETTINGS, apart=1)
        task = asyncio.create_task(own.run())
        while own._process is None or not own._process.is_alive():
            await asyncio.to_thread(time.sleep, 0.05)
        process = own._process
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        end = time.monotonic() + 30
        # Not by `join`: the server's own thread waits for it, and of two that wait one learns nothing.
        while process.exitcode is None and time.monotonic() < end:
            await asyncio.to_thread(time.sleep, 0.05)
        return process.exitcode

    assert asyncio.run(ended()) == -signal.SIGTERM


def test_no_process_is_started_once_the_server_ends(live, monkeypatch):
    monkeypatch.setattr(quality, "_work_apart", _sleep)
    looking, ends = threading.Event(), threading.Event()
    of = quality.Live.of

    def slowly(*arguments):
        looking.set()
        assert ends.wait(30)
        return of(*arguments)

    monkeypatch.setattr(quality.Live, "of", slowly)
    monkeypatch.setattr(quality.asyncio, "sleep", _at_once(quality.asyncio.sleep))
    started = []
    monkeypatch.setattr(quality.multiprocessing.context.SpawnProcess, "start", lambda process: started.append(process))

    async def ended():
        task = asyncio.create_task(Quality(live.service, SETTINGS, apart=1).run())
        assert await asyncio.to_thread(looking.wait, 30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ends.set()

    asyncio.run(ended())  # with its threads
    assert started == []


def _sleep(*_):
    time.sleep(60)


def _at_once(sleep):
    return lambda _: sleep(0)


def test_they_are_worked_out_once_and_shown_by_the_route_and_the_metrics(live):
    first = Quality(live.service, SETTINGS)
    found = first.look()
    assert Quality(live.service, SETTINGS).look() == found  # another worker takes them over
    told = live.get("/api/quality")
    assert told["report"] == found and [one["at"] for one in told["history"]] == [found["at"]]
    text = live.client.get("/metrics").text
    assert 'langrec_quality{figure="fallback_share"} 0.5' in text
    assert 'langrec_click_through_by_place{place="2"} 0.25' in text


def test_a_warning_is_named_in_the_metrics_and_goes_again(live):
    strict = FeedbackSettings(seconds=0.01, least=10, most_fallback=0.2)
    Quality(live.service, strict).look()
    assert 'langrec_warning{name="many_fallback_lists"} 1.0' in live.client.get("/metrics").text
    time.sleep(0.05)
    mild = FeedbackSettings(seconds=0.01, least=10, most_fallback=0.9)
    Quality(live.service, mild).look()
    assert 'langrec_warning{name="many_fallback_lists"} 0.0' in live.client.get("/metrics").text


def test_old_reports_are_forgotten_and_the_history_is_in_order(live):
    day = 86_400_000
    found = Quality(live.service, SETTINGS).look()
    with live.service.store.write() as connection:
        for days in (120, 91, 30, 1):
            quality.keep(connection, {**found, "at": found["at"] - days * day})
        quality.keep(connection, found)
        kept = [one["at"] for one in quality.history(connection)]
    assert kept == [found["at"] - 30 * day, found["at"] - day, found["at"]]


def test_of_many_reports_only_those_that_are_shown_are_read(live, monkeypatch):
    found = Quality(live.service, SETTINGS).look()
    with live.service.store.write() as connection:
        for minutes in range(40):
            quality.keep(connection, {**found, "at": found["at"] - minutes * 60_000})
        parsed = []
        monkeypatch.setattr(connection.dialect, "_json_deserializer", lambda text: parsed.append(1) or json.loads(text))
        kept = [one["at"] for one in quality.history(connection, most=10)]
    assert kept == [found["at"] - minutes * 60_000 for minutes in range(36, -1, -4)]
    assert len(parsed) == 10


def test_the_command_says_the_same(live):
    worked_out = Quality(live.service, SETTINGS).look()
    arguments = ["report", "--releases", str(live.releases), "--store", live.settings.store]
    told = CliRunner().invoke(app, [*arguments, "--set", "feedback.least=10", "--json"])
    found = json.loads(told.stdout)
    for name in ("lists", "click_through", "fallback", "coverage", "unknown_words", "new_items"):
        assert found[name] == worked_out[name]
    shown = CliRunner().invoke(app, arguments)
    assert "fallback lists" in shown.stdout and shown.exit_code == 0, shown.output
