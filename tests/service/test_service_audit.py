"""The audit: every admin act is in it, nothing leaves it, and a changed row is named."""

from __future__ import annotations

import hashlib
import json

import pytest
import sqlalchemy as sa
from test_service_migrations import old_store

from langrec.errors import StoreError
from langrec.service.store import audit, schema
from langrec.service.store.migrating import migrate
from langrec.service.store.store import Store

DETAIL = {"b": [1, 2.5, None], "a": '\u00e9\u4e2d\n"', "n": 10**12}


@pytest.fixture
def store(store_url):
    found = Store(store_url)
    yield found
    found.close()


def fill(store, n=6):
    for i in range(n):
        with store.write() as connection:
            audit.note(connection, f"key{i}", "delete item", f"i{i}", DETAIL if i % 2 else None, at=1000 + i)


def without_triggers(store):
    """A connection of somebody who owns the database and took the triggers away."""
    engine = sa.create_engine(store._writer.url)
    with engine.begin() as connection:
        if store.is_sqlite:
            for name in ("audit_no_update", "audit_no_delete", "audit_no_replace"):
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            connection.exec_driver_sql("DROP TRIGGER audit_no_change ON audit")
    return engine


def checked(store, head=None):
    with store.read() as connection:
        return audit.verify(connection, head)


def test_a_chain_that_nobody_touched_holds_to_its_head(store):
    assert checked(store) == audit.Checked(0, audit.FIRST)
    fill(store)
    with store.read() as connection:
        acts = audit.page(connection, 3)
        older = audit.page(connection, 10, before=acts[-1].seq)
    assert [act.seq for act in (*acts, *older)] == [6, 5, 4, 3, 2, 1]
    assert acts[0].detail == DETAIL and acts[1].detail is None
    assert acts[0].before == acts[1].hash and older[-1].before == audit.FIRST
    assert checked(store) == audit.Checked(6, acts[0].hash)
    assert checked(store, head=older[0].hash).broken is None, "a head that was noted earlier is in the chain"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT seq, at, 'nobody', action, target, detail, before, hash FROM audit",
        "TRUNCATE audit",
    ],
)
def test_the_database_refuses_to_change_or_delete_a_row(store, statement):
    if statement.startswith(("INSERT OR", "TRUNCATE")) and statement.startswith("INSERT") != store.is_sqlite:
        return  # words that this database does not know
    fill(store)
    with pytest.raises(StoreError, match="append-only"), store.write() as connection:
        connection.exec_driver_sql(statement)
    assert checked(store).rows == 6 and checked(store).broken is None


@pytest.mark.parametrize(
    ("statement", "row", "why"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 3", 3, "content"),
        ("UPDATE audit SET target = 'i9' WHERE seq = 1", 1, "content"),
        ("UPDATE audit SET at = at + 1 WHERE seq = 4", 4, "content"),
        ("UPDATE audit SET detail = '{}' WHERE seq = 2", 2, "content"),
        ("DELETE FROM audit WHERE seq = 3", 3, "missing"),
        ("DELETE FROM audit WHERE seq = 1", 1, "missing"),
        ("DELETE FROM audit WHERE seq > 4", 5, "missing at the end"),
        ("UPDATE audit SET hash = 'x' WHERE seq = 6", 6, "content"),
    ],
)
def test_verify_names_the_first_broken_row(store, statement, row, why):
    fill(store)
    engine = without_triggers(store)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    found = checked(store)
    assert found.broken == row and why in found.problem


def test_a_chain_that_was_written_anew_lacks_the_noted_head(store):
    fill(store)
    head = checked(store).head
    engine = without_triggers(store)
    with engine.begin() as connection:
        connection.execute(schema.audit.delete())
    engine.dispose()
    fill(store, 5)
    with store.write() as connection:
        audit.note(connection, "another", "delete item", "i9", None, at=1)
    assert checked(store).broken is None, "the chain alone cannot tell"
    assert "written anew" in checked(store, head).problem


def test_an_undone_act_leaves_no_gap(store):
    fill(store, 2)
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        audit.note(connection, "a", "delete item", "b")
        _ = 1 / 0
    fill(store, 2)
    assert checked(store).rows == 4 and checked(store).broken is None


def test_rows_of_the_time_before_the_chain_become_its_beginning(store_url):
    old_store(store_url)
    engine = sa.create_engine(store_url)
    with engine.begin() as connection:
        for seq in (2, 5):
            connection.execute(
                sa.text("INSERT INTO audit (seq, at, actor, action, target, detail) VALUES (:s, 1, 'a', 'b', 'c', :d)"),
                {"s": seq, "d": '{"n": 1.5}'},
            )
        digest = "ab" * 32
        connection.execute(sa.text(f"INSERT INTO keys (digest, role, made_at) VALUES ('{digest}', 'read', 7)"))
    engine.dispose()
    migrate(store_url)
    store = Store(store_url)
    with store.write() as connection:
        audit.note(connection, "x", "y", "z")
    assert checked(store).rows == 3 and checked(store).broken is None
    with store.read() as connection:
        key = connection.execute(sa.select(schema.keys)).mappings().one()
    assert (key["key_id"], key["role"], key["made_at"]) == (digest[:12], "read", 7)
    with pytest.raises(StoreError, match="append-only"), store.write() as connection:
        connection.exec_driver_sql("DELETE FROM audit")
    store.close()


def test_admin_acts_over_http_are_in_the_audit_and_admins_page_through_it(live):
    live.send("POST", "/api/feedback", [{"FeedbackType": "click", "UserId": "ann", "ItemId": "sea00"}])
    live.send("DELETE", "/api/feedback/ann/sea00")
    live.send("DELETE", "/api/user/ann")
    live.send("DELETE", "/api/item/sea01")
    live.send("POST", "/api/releases/rollback", {"stamp": live.old})
    first = live.get("/api/audit", n=3)
    rest = live.get("/api/audit", n=3, cursor=first["cursor"])
    acts = [(row["action"], row["target"]) for row in (*first["rows"], *rest["rows"])]
    assert acts == [("rollback", live.old), ("delete item", "sea01"), ("delete user", "ann"), ("delete events", "ann")]
    assert rest["cursor"] == "" and {row["actor"] for row in first["rows"]} == {"local"}
    for cursor in ("x", "-1", "1" * 30, "\u0661"):
        answer = live.client.get("/api/audit", params={"cursor": cursor})
        assert answer.status_code == 400 and answer.json()["field"] == "cursor", cursor
    assert checked(live.service.store).rows == 4


def test_a_roll_back_that_the_audit_cannot_hold_is_not_done(live):
    with live.service.store.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no_room BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    assert live.client.post("/api/releases/rollback", json={"stamp": live.old}).status_code == 503
    assert (live.releases / "CURRENT").read_text("utf-8").strip() == live.new == live.get("/api/release")["stamp"]


def test_a_roll_back_to_what_cannot_be_loaded_is_noted_too(live):
    manifest, part = live.releases / live.old / "manifest.json", "retrieval/ease/scorer.json"
    (live.releases / live.old / part).write_text("[]", "utf-8")
    said = json.loads(manifest.read_text("utf-8"))
    said["files"][part] = {"sha256": hashlib.sha256(b"[]").hexdigest(), "bytes": 2}
    manifest.write_text(json.dumps(said), "utf-8")
    answer = live.client.post("/api/releases/rollback", json={"stamp": live.old})
    assert answer.status_code == 409 and live.get("/api/release")["stamp"] == live.new
    (row,) = live.get("/api/audit")["rows"]
    assert (row["action"], row["target"], row["detail"]) == ("rollback", live.old, {"from": live.new})


def test_commands_that_change_what_is_served_or_stored_are_in_the_audit(releases, tmp_path, capsys):
    from langrec.cli import bundle
    from langrec.cli import store as verbs

    url = f"sqlite:///{tmp_path / 'shop.db'}"
    Store(url).close()
    bundle.rollback(releases, None, url, True)
    events = tmp_path / "events.jsonl"
    events.write_text('{"UserId": "ann", "ItemId": "sea00", "FeedbackType": "click"}\n', "utf-8")
    verbs.import_([events], url, "events", False, None, True)
    verbs.dump(str(tmp_path / "dump"), url, True)
    verbs.restore(str(tmp_path / "dump"), f"sqlite:///{tmp_path / 'other.db'}", True)
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    with other.read() as connection:
        acts = [act.action for act in audit.page(connection, 10)]
    assert acts == ["restore store", "import events", "rollback"], "the dump carries the chain, which goes on"
    assert checked(other).broken is None
    other.close()
