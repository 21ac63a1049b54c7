"""Deletion with a receipt: nothing of the user is left, the models are as fitted without them, and it is proved."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from live_server import PATIENCE, wait_until
from scipy import sparse

from langrec import Client
from langrec.service.bulk import import_file
from langrec.service.served.growing import Growth
from langrec.service.served.snapshot import Releases
from langrec.service.store import audit, event_rows, receipts
from langrec.service.store.event_rows import Event
from langrec.service.store.receipts import Outlook
from langrec.service.store.schema import receipts as receipt_rows
from langrec.service.store.schema import refused_rows
from langrec.service.store.store import Store
from langrec.settings import ServeSettings

USER = "sea-u0"


def dense(scorer):
    return scorer.weights.toarray() if sparse.issparse(scorer.weights) else scorer.weights


@pytest.fixture
def live(serve):
    live = serve(update_seconds=0.2, popular_seconds=0.0)
    live.send("POST", "/api/user", {"UserId": USER, "Labels": {"age": 30, "town": "Ely"}, "Comment": "regular"})
    live.send("POST", "/api/feedback", [{"FeedbackType": "purchase", "UserId": USER, "ItemId": "moon03"}])
    live.recommended(USER)
    wait_until(lambda: live.get(f"/api/user/{USER}/export")["impressions"])
    return live


def test_an_export_holds_all_that_is_known(live):
    found = live.get(f"/api/user/{USER}/export")
    assert found["profile"] == {"labels": {"age": 30, "town": "Ely"}, "comment": "regular", "n_events": 7}
    assert len(found["events"]) == 7 and {"item", "type", "at", "value", "comment"} == set(found["events"][0])
    assert [row["kind"] for row in found["impressions"]] == ["recommend"] and len(
        found["impressions"][0]["items"]
    ) == 10
    assert live.client.get("/api/user/nobody-at-all/export").status_code == 404


def test_an_export_holds_what_a_deletion_would_remove_beside_and_nothing_of_others(live, tmp_path):
    live.send("DELETE", f"/api/feedback/{USER}/moon03")
    rows = [{"UserId": USER, "FeedbackType": "click"}, {"UserId": "bob", "FeedbackType": USER}, {"user_id": USER}]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    assert import_file(live.service.store, path, "events").refused == 3
    found = live.get(f"/api/user/{USER}/export")
    assert [(one["item"], one["type"]) for one in found["deleted_events"]] == [("moon03", "purchase")]
    assert [json.loads(one["data"]) for one in found["refused_rows"]] == [rows[0], rows[2]]
    assert str(tmp_path) not in json.dumps(found)
    with Client(live.url) as client:
        export = client.export_user(USER)
    assert export.deleted_events[0].item == "moon03" and len(export.refused_rows) == 2


def test_a_deletion_removes_every_row_and_its_receipt_is_proved(live):
    answer = live.send("DELETE", f"/api/user/{USER}")
    assert answer["RowAffected"] == 1
    receipt = answer["Receipt"]
    assert receipt["removed"] == {
        "events": 7,
        "impressions": 1,
        "removed_keys": 0,
        "refused_rows": 0,
        "profile_fields": 3,
    }
    assert set(receipt["exact"]) == {"popular", "popular_decayed", "itemknn", "ease"}
    assert receipt["scheduled"] == []  # words and vectors hold no user
    proof = live.get(f"/api/receipts/{receipt['receipt']}")
    assert proof["nothing_left"] and proof["out_of_models"] and proof["audit"]["holds"]
    assert not any(proof["left"].values()) and proof["retrained"] is None and not proof["came_back"]
    assert set(proof["in_releases"]) == {live.old, live.new}  # said, until retention removes them
    assert live.client.get(f"/api/user/{USER}").status_code == 404
    left = live.get(f"/api/user/{USER}/export")
    assert left["profile"] is None and left["events"] == [] and left["receipts"] == [receipt["receipt"]]


def test_when_the_deletion_is_answered_the_models_are_as_fitted_without_the_user(live, store_of):
    live.send("DELETE", f"/api/user/{USER}")
    served = live.service.snapshot.recommender.fusion.scorers
    fresh = Releases(live.releases, store_of(live))
    growth = Growth(fresh, store_of(live), ServeSettings())
    growth.catch_up()
    wanted = fresh.fresh().recommender.fusion.scorers
    for name in ("itemknn", "ease"):
        np.testing.assert_allclose(dense(served[name]), dense(wanted[name]), rtol=1e-6, atol=1e-6)
    assert sum(len(log) for log in served["popular"].logs) == 240 - 6


@pytest.fixture
def store_of():
    opened = []

    def get(live):
        opened.append(Store(live.settings.store))
        return opened[-1]

    yield get
    for store in opened:
        store.close()


def test_a_worker_that_sends_ready_lists_alone_forgets_them_too(live, store_of):
    def ready():
        return live.recommended(USER, **{"max-age": 3600})

    personal = ready()
    assert ready() == personal
    other = store_of(live)  # as another worker does
    with other.write() as connection:
        event_rows.delete_user(connection, USER)
    wait_until(lambda: ready() != personal)
    assert ready() == live.recommended("nobody-at-all")


def test_a_list_that_was_on_its_way_while_its_user_was_deleted_is_not_kept(live, monkeypatch):
    recommend = live.service.recommend

    async def overtaken(query):
        answer = await recommend(query)
        monkeypatch.undo()
        await asyncio.to_thread(httpx.delete, f"{live.url}/api/user/{USER}", timeout=PATIENCE)
        return answer

    monkeypatch.setattr(live.service, "recommend", overtaken)
    personal = live.recommended(USER, **{"max-age": 3600})
    assert live.recommended(USER, **{"max-age": 3600}) == live.recommended("nobody-at-all") != personal


def test_somebody_who_comes_back_is_new_and_the_proof_says_so(live):
    receipt = live.send("DELETE", f"/api/user/{USER}")["Receipt"]["receipt"]
    live.send("POST", "/api/feedback", [{"FeedbackType": "click", "UserId": USER, "ItemId": "bread01"}])
    proof = live.get(f"/api/receipts/{receipt}")
    assert proof["came_back"] and proof["nothing_left"]
    assert len(live.get(f"/api/user/{USER}/export")["events"]) == 1


def test_deleting_somebody_unknown_is_no_error_and_says_that_nothing_was_there(live):
    answer = live.send("DELETE", "/api/user/never-seen")
    assert answer["RowAffected"] == 0 and not any(answer["Receipt"]["removed"].values())
    assert live.client.get("/api/receipts/unknown").status_code == 404


@pytest.fixture
def store(tmp_path):
    opened = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def deleted(store, user="ann"):
    outlook = Outlook("r1", ("ease",), ("id_tower",))
    with store.write() as connection:
        return receipts.delete_user(connection, user, "cli:me", outlook, 1000)[1]


def test_a_row_that_is_left_is_found(store):
    with store.write() as connection:
        event_rows.put_events(connection, [Event("ann", "m1", "click", 5)], overwrite=True)
    said = deleted(store)
    with store.write() as connection:
        assert receipts.prove(connection, said["receipt"])["nothing_left"]
        # As if it had never been deleted: an older place in the log than the deletion.
        row = {"seq": 1, "user_id": "ann", "item_id": "m1", "type": "click", "at": 5, "comment": "", "revision": 1}
        connection.exec_driver_sql("DELETE FROM events")
        from langrec.service.store.schema import events

        connection.execute(events.insert().values(**row))
        proof = receipts.prove(connection, said["receipt"])
    assert not proof["nothing_left"] and proof["left"]["events"] == 1


def test_a_receipt_that_was_changed_no_longer_fits_the_audit(store):
    said = deleted(store)
    with store.write() as connection:
        assert receipts.prove(connection, said["receipt"])["audit"]["holds"]
        connection.execute(receipt_rows.update().values(said={**said, "removed": {**said["removed"], "events": 99}}))
        assert not receipts.prove(connection, said["receipt"])["audit"]["holds"]
        assert audit.verify(connection).problem is None  # the audit itself is whole


def test_rows_of_the_user_that_an_import_refused_go_too(store):
    rows = [
        {"source": "a.jsonl", "row": n, "reason": "no item", "data": json.dumps({"UserId": user}, ensure_ascii=False)}
        for n, user in enumerate(["ann", "anna", "ann%", "ann"])
    ]
    with store.write() as connection:
        connection.execute(refused_rows.insert(), rows)
    assert deleted(store)["removed"]["refused_rows"] == 2
    assert deleted(store, "ann%")["removed"]["refused_rows"] == 1


def test_rows_that_name_a_user_by_a_number_go_too(store, tmp_path):
    log = tmp_path / "events.jsonl"
    log.write_text(
        '{"UserId": 123, "ItemId": ""}\n{"ItemId":"","UserId":123}\n{"UserId": 1234, "ItemId": ""}\n', "utf-8"
    )
    assert import_file(store, log, "events").refused == 3
    assert deleted(store, "123")["removed"]["refused_rows"] == 2
    with store.read() as connection:
        assert [row.row for row in connection.execute(sa.select(refused_rows))] == [3]


def test_a_retraining_is_noted_on_the_deletions_before_it_alone(store):
    first = deleted(store, "ann")
    second = deleted(store, "ben")
    with store.write() as connection:
        assert receipts.scheduled(connection) == 2
        assert receipts.note_retrained(connection, "r2", first["revision"], int(time.time())) == 1
        assert receipts.prove(connection, first["receipt"])["retrained"]["release"] == "r2"
        assert receipts.prove(connection, second["receipt"])["retrained"] is None
        assert receipts.scheduled(connection) == 1
