"""Retraining: on what the store holds, judged on what came later, promoted or kept, one at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import time

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

import small_release
from langrec import finding
from langrec.bundle import Bundle
from langrec.cli.bundle import app
from langrec.data.events import DAY_MS
from langrec.errors import BundleError, DataError, SettingsError
from langrec.evaluation.found import asked_about, found_lists
from langrec.evaluation.lists import top_lists
from langrec.evaluation.protocol import next_item
from langrec.releases import current, promote, prune, releases, rollback
from langrec.retraining import guard
from langrec.retraining.from_store import read, take
from langrec.retraining.lease import Held, lease
from langrec.retraining.run import LEASE, WORK, retrain
from langrec.service.served.snapshot import Releases
from langrec.service.store import audit, event_rows, item_rows, receipts
from langrec.service.store.event_rows import Event
from langrec.service.store.receipts import Outlook
from langrec.service.store.schema import leases, retrainings
from langrec.service.store.store import Store
from langrec.settings import RetrainSettings
from langrec.types import Item

SCORERS = ("popular", "popular_decayed", "itemknn", "ease", "bm25")
NOW = small_release.NOW


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A release of the shop's older events; its newer ones are yet to come."""
    folder = tmp_path_factory.mktemp("retrain")
    whole = small_release.dataset()
    events = whole.events
    cut = int(len(events) * 0.8)
    older = dataclasses.replace(whole, events=events.take(slice(0, cut)))
    settings = small_release.settings(folder, SCORERS)
    small_release.release(folder, older, retrieval=settings.retrieval)
    return folder


@pytest.fixture
def shop(made, tmp_path):
    """Releases, and a store that the release was imported into."""
    folder = tmp_path / "releases"
    shutil.copytree(made / "releases", folder)
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    Releases(folder, store)
    yield folder, store
    store.close()


def later_events():
    events = small_release.WORLD.dataset.events
    names = small_release.WORLD.dataset.users.names
    return [
        Event(str(names[events.users[row]]), f"i{events.items[row]}", "click", int(events.at[row]))
        for row in range(int(len(events) * 0.8), len(events))
    ]


def put(store, log):
    with store.write() as connection:
        event_rows.put_events(connection, log, overwrite=True)


def settings_of(folder, **retrain):
    values = {"min_questions": 10, "max_loss": 0.9, **retrain}
    return dataclasses.replace(Bundle.open(folder).settings, retrain=RetrainSettings(**values))


def test_new_events_are_learned_and_the_release_is_promoted(shop):
    folder, store = shop
    before = current(folder).name
    put(store, later_events())
    outcome = retrain(folder, store, settings_of(folder, min_events=5))
    assert outcome.state == "promoted", outcome
    assert current(folder).name == outcome.release != before
    assert outcome.figures["questions"] >= 10 and outcome.figures["low"] <= outcome.figures["high"]
    made = Bundle.open(folder)
    assert made.manifest["data"]["n_events"] == len(small_release.WORLD.dataset.events)
    assert not (folder / outcome.release / "candidate.json").exists()
    assert not (folder / WORK).exists()
    with store.read() as connection:
        row = connection.execute(sa.select(retrainings)).mappings().one()
        act = audit.page(connection, 1)[0]
        assert audit.verify(connection).problem is None
    assert (row["state"], row["release"]) == ("promoted", outcome.release) and row["finished_at"] >= row["started_at"]
    assert (act.actor, act.action, act.target) == (audit.cli_actor(), "promote release", outcome.release)
    assert act.detail == {"reason": outcome.reason, "in use before": before, "removed": []}
    assert rollback(folder) == before  # one command back
    assert Releases(folder, store).snapshot.stamp == before


@pytest.mark.parametrize("own", [{"metric": "ndcg@11"}, {"slice": "tial"}])
def test_what_no_candidate_could_be_judged_by_is_refused_before_a_training(shop, own):
    folder, store = shop
    put(store, later_events())
    (name,) = own
    with pytest.raises(SettingsError, match=rf"retrain\.{name}: .*did you mean"):
        retrain(folder, store, settings_of(folder, min_events=5, **own))
    assert len(releases(folder)) == 1 and not (folder / WORK).exists()


def test_a_candidate_that_might_be_worse_is_kept_with_the_reason(shop):
    folder, store = shop
    before = current(folder).name
    put(store, later_events())
    # It must be better by half: an interval of equals does not leave that out.
    outcome = retrain(folder, store, settings_of(folder, min_events=5, max_loss=-0.5))
    assert outcome.state == "kept" and "cannot be ruled out" in outcome.reason
    assert current(folder).name == before
    with store.read() as connection:
        act = audit.page(connection, 1)[0]
    assert (act.action, act.target, act.detail["reason"]) == ("keep release back", outcome.release, outcome.reason)
    kept = {one.stamp: one.kept for one in releases(folder)}
    assert kept == {outcome.release: outcome.reason, before: None}
    shown = CliRunner().invoke(app, ["list", str(folder), "--json"])
    assert [row["kept"] for row in json.loads(shown.stdout)] == [outcome.reason, None]
    # Neither a rollback nor a server that looks for a sound release takes it of itself.
    with pytest.raises(BundleError, match="no earlier sound release"):
        rollback(folder)
    (folder / before / "manifest.json").write_text("{}")
    with pytest.raises(BundleError):
        Releases(folder, store)
    # By name it is taken, and is no candidate any more.
    assert rollback(folder, outcome.release) == outcome.release
    assert releases(folder)[0].kept is None


def test_too_few_new_events_train_nothing(shop):
    folder, store = shop
    put(store, later_events()[:3])
    outcome = retrain(folder, store, settings_of(folder, min_events=100))
    assert (outcome.state, outcome.release) == ("nothing to do", None) and "3 events beyond" in outcome.reason
    with store.read() as connection:
        assert audit.page(connection, 1) == [], "nothing was done to a release"
    assert len(releases(folder)) == 1


def test_a_handful_of_later_events_is_no_test_to_be_judged_by(shop):
    folder, store = shop
    last = int(small_release.WORLD.dataset.events.at[-1])
    # Nobody can foresee these: judged by them alone, every candidate would be kept back.
    put(store, [Event(f"odd{i}", f"never seen {i}", "click", last + 86_400_000 + i) for i in range(5)])
    outcome = retrain(folder, store, settings_of(folder, min_events=5))
    assert outcome.state == "promoted" and "too few later events" in outcome.reason, outcome
    assert outcome.figures["candidate"] > 0


def test_a_deletion_is_worked_in_though_there_are_no_new_events(shop):
    folder, store = shop
    user = str(small_release.WORLD.dataset.users.names[0])
    with store.write() as connection:
        said = receipts.delete_user(connection, user, "me", Outlook("r", (), ("als",)), 1)[1]
    outcome = retrain(folder, store, settings_of(folder))
    assert outcome.state == "promoted" and outcome.receipts == 1 and "too few later events" in outcome.reason
    with store.read() as connection:
        proof = receipts.prove(connection, said["receipt"], folder)
    assert proof["retrained"]["release"] == outcome.release
    assert outcome.release not in proof["in_releases"] and len(proof["in_releases"]) == 1
    assert user not in set(Bundle.open(folder).users().names)


def test_only_one_at_a_time(shop):
    folder, store = shop
    with lease(store, LEASE), pytest.raises(Held):
        retrain(folder, store, settings_of(folder), force=True)


def test_a_run_that_died_is_noted_and_its_events_are_taken_again(shop):
    folder, store = shop
    put(store, later_events())
    with store.write() as connection:
        connection.execute(retrainings.insert().values(started_at=1, state="running", detail={}))
    fields = tuple(Bundle.open(folder).manifest["data"]["text_fields"])
    first = take(store, folder / WORK, fields)  # where it died
    put(store, [Event("late", "i1", "click", NOW + DAY_MS)])
    assert take(store, folder / WORK, fields) == first  # goes on from the same events, so that finished steps fit
    outcome = retrain(folder, store, settings_of(folder, min_events=5))
    assert Bundle.open(folder).manifest["data"]["n_events"] == first.n_events
    with store.read() as connection:
        states = connection.execute(sa.select(retrainings.c.state).order_by(retrainings.c.seq)).scalars().all()
    assert states == ["stopped", outcome.state]


def test_what_was_deleted_since_is_never_taken_from_an_interrupted_run(shop):
    folder, store = shop
    first = take(store, folder / WORK, ())
    with store.write() as connection:
        event_rows.delete_user(connection, str(small_release.WORLD.dataset.users.names[0]))
    again = take(store, folder / WORK, ())
    assert again.n_events < first.n_events and again.removals > first.removals


def test_what_an_interrupted_run_took_is_taken_anew_for_other_texts_and_after_a_day(shop, monkeypatch):
    folder, store = shop
    first = take(store, folder / WORK, ("plot",))
    put(store, [Event("late", "i1", "click", NOW + DAY_MS)])
    assert take(store, folder / WORK, ("plot",)) == first
    assert take(store, folder / WORK, ()).n_events == first.n_events + 1
    put(store, [Event("later", "i1", "click", NOW + DAY_MS)])
    day = time.time() + 86_400
    monkeypatch.setattr("langrec.retraining.from_store.time.time", lambda: day)
    assert take(store, folder / WORK, ()).n_events == first.n_events + 2


def test_events_that_came_after_a_refused_run_are_seen_by_the_next(shop):
    folder, store = shop
    put(store, later_events())
    settings = settings_of(folder, min_events=5, fresh_days=1.0)
    with pytest.raises(DataError, match="do events still arrive"):
        retrain(folder, store, settings)
    put(store, [Event("late", "i1", "click", int(time.time() * 1000))])
    assert retrain(folder, store, settings).release in {one.stamp for one in releases(folder)}


def test_a_retraining_that_lost_its_lease_promotes_nothing(shop):
    folder, store = shop
    before = current(folder).name
    put(store, later_events())

    def stolen(*_):
        with store.write() as connection:
            connection.execute(leases.update().where(leases.c.name == LEASE).values(holder="thief"))

    with pytest.raises(Held, match="lost its lease"):
        retrain(folder, store, settings_of(folder, min_events=5), progress=stolen, lease_seconds=0.3)
    assert current(folder).name == before


def test_the_store_as_a_data_set_is_without_what_is_deleted(shop, tmp_path):
    folder, store = shop
    with store.write() as connection:
        event_rows.delete_user(connection, str(small_release.WORLD.dataset.users.names[1]))
        item_rows.delete_item(connection, "i3")
        event_rows.delete_events(connection, str(small_release.WORLD.dataset.users.names[2]), "i2")
        new = Item(id="kiln", title="Kiln", categories=("clay",), fields={"price": 3.5, "odd": [1]}, at=5)
        item_rows.put_items(connection, [item_rows.StoredItem(new)], source="api")
        event_rows.put_events(connection, [Event("ann", "kiln", "hide", NOW)], overwrite=True)
    take(store, tmp_path / "work", ())
    dataset, _ = read(tmp_path / "work", (), Bundle.open(folder).settings.data)
    users = small_release.WORLD.dataset.users.names
    assert "i3" not in dataset.catalogue.ids and str(users[1]) not in dataset.users
    row = dataset.catalogue.frame.filter(pl.col("item_id") == "kiln").to_dicts()[0]
    assert (row["title"], row["categories"], row["price"], row["at"]) == ("Kiln", ["clay"], 3.5, 5)
    num, user = dataset.catalogue.ids.number("kiln"), dataset.users.number("ann")
    assert dataset.events.gains[(dataset.events.users == user) & (dataset.events.items == num)].tolist() == [0.0]
    taken = dataset.catalogue.ids.number("i2")
    assert not ((dataset.events.users == dataset.users.number(str(users[2]))) & (dataset.events.items == taken)).any()
    assert (np.diff(dataset.events.at) >= 0).all()


def test_the_release_in_use_is_asked_in_the_new_numbers(shop, tmp_path):
    folder, store = shop
    with store.write() as connection:
        item_rows.delete_item(connection, "i0")
    take(store, tmp_path / "work", ())
    dataset, _ = read(tmp_path / "work", (), Bundle.open(folder).settings.data)
    recommender = Bundle.open(folder).recommender()
    serving = guard.Serving(recommender, dataset)
    split = guard.fresh_split(dataset, int(dataset.events.at[int(len(dataset.events) * 0.7)]))
    block = next_item(split.train, split.valid, len(dataset.users)).block.slice(0, 5)
    scores = serving.score_block(block)
    assert scores.shape == (5, len(dataset.catalogue))
    ids = dataset.catalogue.ids
    own = dataclasses.replace(
        block,
        items=recommender.items.ids.numbers([ids[int(num)] for num in block.items]),
        users=np.full(5, -1, np.int32),
        kept=None,
    )
    wanted = recommender.fusion.score_block(own)
    for name in ("i7", "i20", "warm"):
        np.testing.assert_allclose(
            scores[:, ids.number(name)], wanted[:, recommender.items.ids.number(name)], rtol=1e-5
        )


def test_a_release_of_a_large_catalogue_is_asked_for_candidates_in_the_new_numbers(shop, tmp_path):
    folder, store = shop
    with store.write() as connection:
        item_rows.delete_item(connection, "i0")
    take(store, tmp_path / "work", ())
    bundle = Bundle.open(folder)
    dataset, _ = read(tmp_path / "work", (), bundle.settings.data)
    recommender = bundle.recommender()
    indexes, _ = finding.build(recommender.fusion, bundle.settings)
    large = dataclasses.replace(recommender, fusion=finding.near(recommender.fusion, indexes))
    assert type(guard.serving(recommender, dataset)) is guard.Serving
    split = guard.fresh_split(dataset, int(dataset.events.at[int(len(dataset.events) * 0.7)]))
    asked = next_item(split.train, split.valid, len(dataset.users)).slice(0, 8)
    n = len(dataset.catalogue)
    whole = top_lists(guard.serving(recommender, dataset).score_block(asked.block), asked, 5, n)
    answered = guard.serving(large, dataset).answer(asked.block, 5, asked_about(asked, n))
    found = found_lists(answered, asked, 5, n)
    assert (found.nums == whole.nums).mean() > 0.9
    assert found.found.any()


def test_old_releases_go_and_the_one_in_use_and_the_one_before_stay(made, tmp_path):
    folder = tmp_path / "releases"
    shutil.copytree(made / "releases", folder)
    first = current(folder).name
    names = [first]
    for n in range(1, 6):
        name = f"20990101T00000{n}-aaaaaaaa"
        shutil.copytree(folder / first, folder / name)
        names.append(name)
    (folder / names[4] / "candidate.json").write_text('{"reason": "worse"}')
    promote(folder, names[2])
    assert sorted(prune(folder, 2)) == [names[0], names[3], names[4], names[5]]
    assert sorted(one.stamp for one in releases(folder)) == [names[1], names[2]]
    assert prune(folder, 2) == []


def test_what_a_sudden_death_left_half_made_goes_when_it_is_old(tmp_path):
    left = [".20200101T000000-aaaaaaaa.half", ".20200102T000000-bbbbbbbb.gone", ".pull-x1", ".measured-x2"]
    for name in (*left, ".20200103T000000-cccccccc.half", ".retrain"):
        (tmp_path / name / "catalog").mkdir(parents=True)
    for name in (*left, ".retrain"):
        os.utime(tmp_path / name, (1e9, 1e9))
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".20200103T000000-cccccccc.half", ".retrain"]


def test_requests_are_answered_while_a_retraining_swaps_the_release(shop, tmp_path):
    """A server in this process, asked without a pause by two threads, while another release takes its place."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "service"))
    from live_server import Live, wait_until

    from langrec.settings import ServeSettings

    folder, store = shop
    (folder / "x").mkdir()  # the helper looks for two
    live = Live(folder, ServeSettings(store=store.url))
    (folder / "x").rmdir()
    put(store, later_events())
    stop, statuses = threading.Event(), []

    def ask(n):
        import httpx

        with httpx.Client(base_url=live.url, timeout=120) as client:
            while not stop.is_set():
                statuses.append(client.get(f"/api/recommend/u{n}").status_code)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        outcome = retrain(folder, store, settings_of(folder, min_events=5))
        assert wait_until(lambda: live.get("/api/release")["stamp"] == outcome.release)
        time.sleep(0.2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        live.close()
    assert len(statuses) > 20 and set(statuses) == {200}


@pytest.mark.slow
def test_a_scheduled_run_is_a_process_of_its_own_with_a_log(shop):
    from langrec.retraining.schedule import LOG, start

    folder, store = shop
    put(store, later_events())
    arguments = ["--set", "retrain.min_events=5", "--set", "retrain.min_questions=10", "--set", "retrain.max_loss=0.9"]
    process = start(folder, store.url, arguments)
    assert process.wait(120) == 0, (folder / LOG).read_text()
    assert "promoted: ndcg@10" in (folder / LOG).read_text()
    assert len(releases(folder)) == 2


def test_a_run_that_cannot_be_started_does_not_end_the_schedule(shop, monkeypatch, caplog):
    from datetime import timedelta

    from langrec.retraining import schedule

    folder, store = shop
    monkeypatch.setattr(schedule.Cron, "next", lambda self, after: after + timedelta(seconds=0.05))
    (folder / schedule.LOG).mkdir()  # a file of this name cannot be written
    with caplog.at_level("ERROR"), schedule.retraining("0 3 * * *", lambda: [schedule.Place(folder, store.url)], []):
        end = time.monotonic() + 60
        while caplog.text.count("could not be started") < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
