"""`langrec store` as a command: what it prints, and how it refuses."""

from __future__ import annotations

import json

from langrec.service import schema
from langrec.service.store import Store


def test_migrate_says_what_it_did_and_refuses_what_is_no_store(langrec_, tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    code, _, error = langrec_("store", "migrate", url)
    assert code == 2 and "there is no such file" in error and len(error.splitlines()) == 1
    Store(url).close()
    code, out, error = langrec_("store", "migrate", url, "--json")
    assert (code, error) == (0, "")
    assert json.loads(out) == {"before": schema.REVISION, "after": schema.REVISION}
    assert "nothing to do" in langrec_("store", "migrate", url)[1]
