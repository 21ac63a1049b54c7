"""The world of a bench is made once, and again where its making was cut."""

from __future__ import annotations

import pytest

from langrec.benching.serving import world as module


def test_a_world_is_found_again_and_made_again_where_it_is_not_whole(tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "_make", lambda folder, *_: made.append(folder))
    monkeypatch.setattr("langrec.service.store.migrating.migrate", lambda _: None)
    first = module.world(10, 5, 20)
    assert module.world(10, 5, 20).fill_s == first.fill_s and len(made) == 1
    for left in (b"", b'{"fill_', b"{}", bytes(20)):
        (first.folder / "done.json").write_bytes(left)
        assert module.world(10, 5, 20).fill_s == pytest.approx(0, abs=60)
    assert len(made) == 5
