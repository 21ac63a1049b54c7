"""The linear models while serving: they become what a fit on the store's events is, and forget who is deleted."""

from __future__ import annotations

import time

import numpy as np
import pytest
from live_server import wait_until
from scipy import sparse

from langrec.bundle import Bundle
from langrec.data.fitting import FitData
from langrec.service.served.growing import Growth, _read_all
from langrec.service.served.snapshot import Releases
from langrec.service.store import event_rows
from langrec.service.store.event_rows import Event
from langrec.service.store.store import Store
from langrec.settings import ServeSettings

LINEAR = ("itemknn", "ease")


@pytest.fixture
def store(tmp_path):
    opened = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def watched(releases, store):
    return Releases(releases, store, popular_pause=0.0)


def write(store, work):
    with store.write() as connection:
        return work(connection)


def put(store, *log):
    write(store, lambda connection: event_rows.put_events(connection, log, overwrite=True))


def scorers(watched):
    return watched.fresh().recommender.fusion.scorers


def refit(watched, store):
    """The linear scorers as training would fit them on the store's events."""
    snapshot = watched.snapshot
    bundle = Bundle.open(snapshot.folder)
    with store.read() as connection:
        log, names, _, _ = _read_all(connection, snapshot)
    data = FitData(log, len(names), snapshot.recommender.n_items)
    served = snapshot.recommender.fusion.scorers
    return {
        name: type(served[name]).fit(data, bundle.settings.retrieval, **bundle.manifest["models"][name]["params"])
        for name in LINEAR
    }


def dense(scorer):
    return scorer.weights.toarray() if sparse.issparse(scorer.weights) else scorer.weights


def assert_as_refit(watched, store):
    got, wanted = scorers(watched), refit(watched, store)
    for name in LINEAR:
        np.testing.assert_array_equal(got[name].trained, wanted[name].trained)
        np.testing.assert_allclose(dense(got[name]), dense(wanted[name]), rtol=1e-6, atol=1e-6)


def test_a_release_whose_events_are_the_stores_is_as_it_was_trained(watched, store):
    before = {name: dense(scorers(watched)[name]) for name in LINEAR}
    growth = Growth(watched, store, ServeSettings())
    assert growth.catch_up() and set(growth.names) == set(LINEAR)
    for name in LINEAR:
        assert scorers(watched)[name].sums is not None
    assert_as_refit(watched, store)
    # Training weighed every event of this world alike; the settings that it is served by do not.
    assert dense(scorers(watched)["itemknn"]).shape == before["itemknn"].shape


def test_new_events_of_old_and_new_users_are_worked_in_as_a_fit_would(watched, store):
    growth = Growth(watched, store, ServeSettings(update_users=2))
    growth.catch_up()
    now = int(time.time() * 1000)
    put(store, *(Event("sea-u0", f"bread{i:02d}", "purchase", now + i) for i in range(4)))
    put(store, *(Event(f"new{u}", f"moon{u:02d}", "click", now + u) for u in range(5)))
    old = dense(scorers(watched)["ease"]).copy()
    growth.catch_up()
    assert np.abs(dense(scorers(watched)["ease"]) - old).max() > 1e-3
    assert_as_refit(watched, store)


def test_a_value_written_over_another_is_worked_in(watched, store):
    growth = Growth(watched, store, ServeSettings())
    growth.catch_up()
    with store.read() as connection:
        one = event_rows.find_events(connection, user="sea-u0")[0]
    put(store, Event(one.user, one.item, one.type, one.at, 5.0))
    growth.catch_up()
    assert_as_refit(watched, store)


def test_deleted_events_are_worked_out_again(watched, store):
    growth = Growth(watched, store, ServeSettings())
    growth.catch_up()
    with store.read() as connection:
        one = event_rows.find_events(connection, user="chess-u3")[0]
    write(store, lambda connection: event_rows.delete_events(connection, one.user, one.item))
    growth.catch_up()
    assert_as_refit(watched, store)


def popular_rows(watched):
    return sum(len(log) for log in scorers(watched)["popular"].logs)


def test_a_deleted_user_leaves_the_linear_models_and_the_popularity(watched, store):
    growth = Growth(watched, store, ServeSettings())
    growth.catch_up()
    whole = popular_rows(watched)
    put(store, Event("sea-u0", "moon03", "purchase", int(time.time() * 1000)))
    assert popular_rows(watched) == whole + 1
    write(store, lambda connection: event_rows.delete_user(connection, "sea-u0"))
    growth.catch_up()
    assert_as_refit(watched, store)
    assert popular_rows(watched) == whole - 6  # the release's six of this user, and the one that came after it
    # Loaded anew, the release still holds the user's events, and the popularity does not.
    assert popular_rows(Releases(watched.folder, store)) == whole - 6


def test_scorers_of_another_loading_are_not_taken_in(watched, store):
    growth = Growth(watched, store, ServeSettings())
    growth.step()
    old = sorted(path.name for path in watched.folder.iterdir() if path.is_dir())[0]
    (watched.folder / "CURRENT").write_text(old)
    watched.switch()
    assert watched.fresh().stamp == old
    assert watched.snapshot.grown == 0
    growth.catch_up()
    assert watched.fresh().grown > 0
    assert_as_refit(watched, store)


def test_above_the_limit_the_models_stay_as_they_were_trained_and_say_why(watched, store):
    growth = Growth(watched, store, ServeSettings(update_pairs=100))
    growth.catch_up()
    assert growth.names == () and "serve.update_pairs is 100" in growth.why_not
    assert scorers(watched)["ease"].sums is None
    write(store, lambda connection: event_rows.delete_user(connection, "sea-u0"))
    whole = popular_rows(watched)
    growth.catch_up()
    assert popular_rows(watched) == whole - 6  # popularity needs no sums


def test_a_running_server_works_events_in_by_itself(serve):
    live = serve(update_seconds=0.05, popular_seconds=0.0)
    wait_until(lambda: live.service.growth.names)  # what comes sooner counts as known from the start
    # Who likes the sea now buys one loaf: it comes to stand beside the sea for everybody.
    body = [
        {"FeedbackType": "purchase", "UserId": f"sea-u{u}", "ItemId": item}
        for u in range(10)
        for item in ("bread00", "sea11")
    ]
    live.send("POST", "/api/feedback", body)

    def beside():
        live.recommended("nobody", n=1)
        ease = live.service.snapshot.recommender.fusion.scorers["ease"]
        ids = live.service.snapshot.recommender.items.ids
        return dense(ease)[ids.number("bread00"), ids.number("sea11")] > 0.01

    assert wait_until(beside)
    assert wait_until(lambda: "langrec_update_events 20.0" in live.client.get("/metrics").text)
