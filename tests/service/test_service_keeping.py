"""Retention: what is old goes, what histories and popularity read stays, and counts follow."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from langrec.errors import SettingsError
from langrec.service.keeping import Keeper, check, compact
from langrec.service.store import event_rows, schema
from langrec.service.store.event_rows import Event
from langrec.service.store.store import Store, get_meta, set_meta
from langrec.settings import StoreSettings

DAY = 86_400_000
NOW = 1000 * DAY


@pytest.fixture
def store(store_url):
    opened = Store(store_url)
    with opened.write() as connection:
        log = [Event("ann", f"i{day % 3}", "click", NOW - day * DAY) for day in range(0, 100, 10)]
        log += [Event("bob", "i0", "click", NOW - 400 * DAY), Event("bob", "i1", "click", NOW, once="x")]
        event_rows.put_events(connection, log, overwrite=False)
        event_rows.delete_events(connection, "bob", "i0")
        event_rows.put_events(connection, [Event("bob", "i0", "click", NOW - 401 * DAY)], overwrite=False)
        for day in (0, 5, 50):
            shown = {
                "request_id": "r",
                "kind": "k",
                "user_id": None,
                "at": NOW - day * DAY,
                "release": "x",
                "offset": 0,
            }
            connection.execute(schema.impressions.insert().values(**shown, items=[], scores=[], propensities=[]))
    yield opened
    opened.close()


def rows(store: Store, table: sa.Table) -> int:
    with store.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def counts(store: Store) -> dict[str, int]:
    with store.read() as connection:
        return {one: event_rows.get_user(connection, one).n_events for one in ("ann", "bob")}


def test_by_default_only_old_ids_go(store):
    assert compact(store, StoreSettings(), now=NOW) == {"done_once": 0}
    # The id was remembered at the time of the clock, long after this world's.
    far = NOW + 100_000 * DAY
    assert compact(store, StoreSettings(), now=far) == {"done_once": 1}
    assert (rows(store, schema.events), rows(store, schema.impressions)) == (12, 3)


def test_old_rows_go_and_counts_follow(store):
    settings = StoreSettings(events_days=45, impressions_days=30, ids_days=0, removed_days=100)
    assert compact(store, settings, now=NOW, vacuum=True) == {"events": 6, "impressions": 1, "removed_events": 1}
    assert counts(store) == {"ann": 5, "bob": 1}
    with store.read() as connection:
        totals = dict(connection.execute(sa.select(schema.items.c.item_id, schema.items.c.n_events)).all())
        of = sa.select(schema.events.c.item_id, sa.func.count()).group_by(schema.events.c.item_id)
        assert {name: n for name, n in totals.items() if n} == dict(connection.execute(of).all())
    assert compact(store, settings, now=NOW)["events"] == 0


def test_the_newest_of_each_user_stay(store):
    assert compact(store, StoreSettings(events_per_user=3), now=NOW)["events"] == 7
    with store.read() as connection:
        kept = [at for _, _, at, _ in event_rows.history(connection, "ann", 10, NOW)]
    assert kept == [NOW, NOW - 10 * DAY, NOW - 20 * DAY]
    assert counts(store) == {"ann": 3, "bob": 2}


def test_what_requests_read_may_not_be_deleted():
    check(StoreSettings(events_days=30, events_per_user=200), 200)
    with pytest.raises(SettingsError, match=r"serve\.history = 200"):
        check(StoreSettings(events_per_user=199), 200)
    with pytest.raises(SettingsError, match="30 days"):
        check(StoreSettings(events_days=7), 200)


def test_of_several_workers_one_compacts(live):
    keeper = Keeper(live.service, StoreSettings(compact_minutes=10, impressions_days=1))
    now = 2_000_000_000_000

    async def twice():
        return [await keeper.once(now), await keeper.once(now + 1000), await keeper.once(now + 600_000)]

    first, second, third = asyncio.run(twice())
    assert set(first) == {"impressions", "done_once"} and second == {} and set(third) == set(first)
    with live.service.store.write() as connection:
        assert get_meta(connection, "compacted") == now + 600_000
        set_meta(connection, "compacted", now + 10**12)
    assert asyncio.run(keeper.once(now)) != {}, "a clock that was set back does not stop it"
