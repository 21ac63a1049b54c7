"""`langrec bench`: small runs say what large ones would."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import typer

import langrec.cli

pytest.importorskip("faiss", reason="faiss is not installed: pip install 'langrec[index]'")


@pytest.fixture
def real(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 24))[rng.integers(40, size=1500)] + 0.4 * rng.normal(size=(1500, 24))
    np.save(tmp_path / "real.npy", rows.astype(np.float32))
    return tmp_path / "real.npy"


@pytest.mark.slow
def test_bench_index_writes_what_an_index_finds_and_costs(real, tmp_path, monkeypatch, capsys):
    out = tmp_path / "index.json"
    words = f"bench index --items 3000 --dim 16 --from {real} --json {out} --peer none --set index.kind=ivf"
    monkeypatch.setattr(langrec.cli, "app", typer.Typer(name="langrec", pretty_exceptions_enable=False))
    monkeypatch.setattr(sys, "argv", ["langrec", *words.split(), "--set", "index.threads=1"])
    with pytest.raises(SystemExit) as ended:
        langrec.cli.main()
    assert ended.value.code == 0
    said = json.loads(out.read_text())
    assert (said["items"], said["dim"], said["kind"]) == (3000, 16, "IVFIndex")
    assert said["like"] == "real.npy (1,500)"
    assert said["real"]["items"] == 1500
    assert min(said["recall@100"], said["recall@10"], said["real"]["recall@100"]) > 0.9
    for share in ("0.1%", "1.0%"):
        assert said["filters"][share]["recall@100"] == said["filters"][share]["filled"] == 1.0
    assert said["filters"]["10.0%"]["filled"] == 1.0
    assert said["p99_ms"] >= said["p50_ms"] > 0 and said["brute_force"]["p50_ms"] > 0
    assert {"add_1_ms", "remove_1_ms", "search_after_p50_ms"} <= set(said["changes"])
    assert "3,000 vectors of 16 numbers" in capsys.readouterr().out
