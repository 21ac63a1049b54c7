"""`langrec store` as a command: what it prints, and how it refuses."""

from __future__ import annotations

import json

from langrec.service.store import schema
from langrec.service.store.store import Store


def test_migrate_says_what_it_did_and_refuses_what_is_no_store(langrec_, tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    code, _, error = langrec_("store", "migrate", url)
    assert code == 2 and "there is no such file" in error and len(error.splitlines()) == 1
    Store(url).close()
    code, out, error = langrec_("store", "migrate", url, "--json")
    assert (code, error) == (0, "")
    assert json.loads(out) == {"before": schema.REVISION, "after": schema.REVISION}
    assert "nothing to do" in langrec_("store", "migrate", url)[1]


def test_import_and_export_say_how_many_rows(langrec_, tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    path = tmp_path / "events.jsonl"
    path.write_text('{"user_id": "a", "item_id": "b", "type": "c", "at": 1714564800000}\n{"user_id": "a"}\n', "utf-8")
    refused = tmp_path / "refused.jsonl"
    code, out, error = langrec_("store", "import", path, "--store", url, "--rejected", refused, "--json")
    assert (code, error) == (0, "")
    assert json.loads(out) == [{"file": str(path), "rows": 2, "refused": 1, "new": True}]
    assert json.loads(refused.read_text("utf-8"))["row"] == 2
    assert "imported before" in langrec_("store", "import", path, "--store", url)[1]
    code, out, _ = langrec_("store", "export", tmp_path / "out.parquet", "--store", url, "--json")
    assert (code, json.loads(out)["rows"]) == (0, 1)
    assert langrec_("store", "import", tmp_path / "out.parquet", "--store", url)[0] == 0
    code, _, error = langrec_("store", "export", tmp_path / "out.csv", "--store", url)
    assert code == 2 and ".parquet" in error


def test_dump_restore_and_copy_say_what_they_hold(langrec_, tmp_path):
    url, back = (f"sqlite:///{tmp_path / name}" for name in ("store.db", "back.db"))
    path = tmp_path / "events.jsonl"
    path.write_text('{"user_id": "a", "item_id": "b", "type": "c", "at": 1714564800000}\n', "utf-8")
    assert langrec_("store", "import", path, "--store", url)[0] == 0
    code, out, error = langrec_("store", "dump", tmp_path / "dump", "--store", url)
    assert (code, error) == (0, "") and "1 events" in out
    code, out, _ = langrec_("store", "restore", tmp_path / "dump", "--store", back, "--json")
    assert (code, json.loads(out)["events"]) == (0, 1)
    code, _, error = langrec_("store", "copy", url, back)
    assert code == 2 and "holds a store already" in error
    code, out, _ = langrec_("store", "copy", url, f"sqlite:///{tmp_path / 'third.db'}")
    assert code == 0 and "1 users" in out
    code, _, error = langrec_("store", "restore", tmp_path / "nowhere", "--store", back)
    assert code == 2 and "manifest.json" in error
