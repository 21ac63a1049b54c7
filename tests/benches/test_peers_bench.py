"""The bench against peers, end to end with a toy set and a toy peer in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from langrec.errors import DataError

ROOT = Path(__file__).parents[2]
PEER = """
import sys
sys.path.insert(0, SCRIPTS)
import asked
import numpy as np

def popular(fit):
    counts = np.bincount(fit.rows.items, minlength=fit.rows.n_items) * float(fit.point["sign"])
    scores = lambda part: np.tile(counts, (len(part), 1))
    for epoch in range(1, 4):
        yield asked.Fitted(scores, epoch, lambda: scores)

asked.main({"popular": asked.Model(popular, [{"sign": -1}, {"sign": 1}], "none", ("numpy",))})
"""


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benches.peers import measure, prepare

    return prepare, measure


@pytest.fixture
def asked(bench, tmp_path):
    """Forty users with six events each; low item numbers are popular."""
    rng = np.random.default_rng(0)
    chance = 1.0 / np.arange(1, 41)
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{item}", "timestamp": 1_700_000_000 + 1000 * place + user}
        for user in range(40)
        for place, item in enumerate(rng.choice(40, 6, replace=False, p=chance / chance.sum()))
    ]
    (tmp_path / "toy").mkdir()
    pl.DataFrame(rows).write_csv(tmp_path / "toy" / "interactions.csv")
    return bench[0].ask("toy", "loo", tmp_path)


def answered(bench, asked, tmp_path) -> tuple[pl.DataFrame, dict]:
    bench[0].write(asked, tmp_path / "questions")
    script = tmp_path / "peer_toy.py"
    script.write_text(PEER.replace("SCRIPTS", repr(str(ROOT / "benches" / "peers" / "scripts"))))
    command = [sys.executable, str(script), "--model", "popular", "--threads", "1", "--seconds", "30"]
    subprocess.run([*command, "--work", str(tmp_path / "questions"), "--out", str(tmp_path / "out")], check=True)
    return pl.read_parquet(tmp_path / "out" / "lists.parquet"), json.loads(
        (tmp_path / "out" / "summary.json").read_text()
    )


def test_a_peer_is_tuned_on_validation_and_its_lists_are_measured(bench, asked, tmp_path):
    lists, summary = answered(bench, asked, tmp_path)
    assert summary["point"] == {"sign": 1}
    assert [row["point"]["sign"] for row in summary["grid"]] == [-1, 1]
    report = bench[1].measure(asked, {"toy/popular": lists})
    target = asked.dataset.catalogue.ids.names[asked.test.items]
    joined = lists.join(pl.DataFrame({"question": range(len(target)), "target": target.tolist()}), on="question")
    hit = joined.filter((pl.col("item_id") == pl.col("target")) & (pl.col("rank") <= 10))
    expected = float((1.0 / np.log2(hit["rank"].to_numpy() + 1.0)).sum() / len(target))
    assert expected > 0.1
    assert report.value("toy/popular", "ndcg@10") == pytest.approx(expected)


def test_the_peer_never_sees_the_targets_of_the_test(bench, asked, tmp_path):
    bench[0].write(asked, tmp_path / "questions")
    assert set(pl.read_parquet(tmp_path / "questions" / "test.parquet").columns) == {
        "question",
        "user_id",
        "at",
        "history",
    }
    fitted = pl.read_parquet(tmp_path / "questions" / "fit_test.parquet")
    names = asked.dataset.catalogue.ids.names[asked.test.items].tolist()
    users = [asked.dataset.users[num] for num in asked.test.block.users]
    hidden = pl.DataFrame({"user_id": users, "item_id": names})
    assert fitted.join(hidden, on=["user_id", "item_id"]).is_empty()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank": pl.col("rank") - 1}, "rank 0"),
        ({"rank": pl.lit(1, pl.Int64)}, "share a rank"),
        ({"item_id": pl.col("item_id").first().over("question")}, "twice"),
        ({"item_id": pl.lit("nobody's")}, "catalogue"),
    ],
)
def test_ranks_begin_at_one_and_hold_one_item_each(bench, asked, tmp_path, wrong, said):
    lists, _ = answered(bench, asked, tmp_path)
    with pytest.raises(DataError, match=said):
        bench[1].measure(asked, {"toy/popular": lists.with_columns(**wrong)})


def test_a_list_with_an_item_of_the_history_is_refused(bench, asked, tmp_path):
    lists, _ = answered(bench, asked, tmp_path)
    seen = asked.dataset.catalogue.ids[int(asked.test.block.history(0)[0])]
    first = (pl.col("question") == 0) & (pl.col("rank") == 1)
    wrong = lists.with_columns(pl.when(first).then(pl.lit(seen)).otherwise("item_id").alias("item_id"))
    with pytest.raises(DataError, match="history"):
        bench[1].measure(asked, {"toy/popular": wrong})
