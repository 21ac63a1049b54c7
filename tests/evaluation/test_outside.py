"""Lists that were made elsewhere are measured as our own are, on the same questions."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from langrec.data.load import load_dataset
from langrec.errors import DataError
from langrec.evaluation.outside import OutsideLists, read_lists
from langrec.evaluation.protocol import next_item, per_user
from langrec.recipe import load_settings
from langrec.training import evaluate_models
from small_shop import write_shop

FEW = [
    *("encoder.name=hashing", "retrieval.scorers=popular,bm25", "evaluate.bootstrap=50"),
    *("evaluate.ranks=40", "ranking.ranker=none"),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder, its data, settings, and an evaluation under the split in time."""
    folder = tmp_path_factory.mktemp("outside")
    write_shop(folder)
    # A second click of some in the test, so that not every user asks one question.
    events = pl.read_csv(folder / "events.csv")
    late = events.tail(12).with_columns(pl.col("timestamp") + 1, pl.col("item_id").shuffle(seed=5))
    pl.concat([events, late]).write_csv(folder / "events.csv")
    settings = load_settings(overrides=FEW, environ={})
    dataset, _ = load_dataset(folder / "events.csv", folder / "items.csv", settings)
    return folder, dataset, settings, evaluate_models(dataset, settings)


def read(shop, frame):
    return read_lists(frame, shop[1].users, shop[1].catalogue.ids)


def test_our_own_lists_read_back_have_our_own_numbers(shop):
    _, dataset, settings, (first, second) = shop
    lists = {"ours": read(shop, first.list_frame("mix")), "each": read(shop, second.list_frame("mix"))}
    assert (lists["ours"].by, lists["each"].by) == ("event", "user")
    again, by_user = evaluate_models(dataset, settings, lists=lists)
    assert (again.models[-1], by_user.models[-1]) == ("ours", "each") and len(again.models) == len(first.models) + 1
    for report, name, before in ((again, "ours", first), (by_user, "each", second)):
        for part in before.slices:
            # Not auc: of what stands on no list the order is not known.
            for metric in ("ndcg@10", "recall@5", "mrr@20", "ndcg_debiased@10"):
                assert report.value(name, metric, part) == pytest.approx(before.value("mix", metric, part), nan_ok=True)
        assert report.protocol["lists"][name]["unanswered"] == 0
    assert "ours" not in again.seconds and again.protocol["models"] == list(again.models)
    assert again.reference in ("ours", "bm25") and again.difference("mix") is not None


def test_ranks_or_scores_order_a_list_and_the_better_place_of_an_item_counts(shop):
    rows = {"user_id": ["u1"] * 4, "item_id": ["i3", "i5", "i3", "i9"]}
    by_rank = read(shop, pl.DataFrame({**rows, "rank": [4, 1, 2, 3]}))
    by_score = read(shop, pl.DataFrame({**rows, "score": [0.1, 0.9, 0.5, 0.3]}))
    ids = shop[1].catalogue.ids
    assert [ids[num] for num in by_rank.nums] == [ids[num] for num in by_score.nums] == ["i5", "i3", "i9"]
    assert by_rank.scores.tolist() == pytest.approx([1, 1 / 2, 1 / 3]) and by_score.scores.tolist() == pytest.approx(
        [0.9, 0.5, 0.3]
    )


def test_history_and_places_behind_the_list_count_as_for_a_scorer(shop):
    _, dataset, _, _ = shop
    events, n = dataset.events, len(dataset.catalogue)
    cut = int(len(events) * 0.9)
    targets = next_item(events.take(slice(0, cut)), events.take(slice(cut, None)), len(dataset.users))
    seen, target = int(targets.block.history(0)[0]), int(targets.items[0])
    other = next(num for num in range(n) if num != target and num not in targets.block.history(0))
    listed = np.array([seen, other, target], dtype=np.int32)
    one = OutsideLists("event", np.full(3, targets.events[0]), listed, np.array([3, 2, 1], dtype=np.float32))
    found = one.lists(targets, 2, n)
    assert found.nums[0].tolist() == [other, target] and found.ranks[0] == found.places[0] == 2
    assert (found.nums[1:] == -1).all() and (found.ranks[1:] == found.candidates[1:]).all()
    assert found.places[1] == (1 + found.candidates[1]) / 2
    assert one.told(targets)["unanswered"] == len(targets) - 1


def test_lists_by_user_answer_where_each_user_asks_once(shop):
    _, dataset, settings, _ = shop
    events, users = dataset.events, len(dataset.users)
    lists = read(shop, pl.DataFrame({"user_id": ["u1", "u2"], "item_id": ["i1", "i2"], "rank": [1, 1]}))
    cut = int(len(events) * 0.9)
    before, test = events.take(slice(0, cut)), events.take(slice(cut, None))
    assert lists.answers(per_user(before, test, users)) and not lists.answers(next_item(before, test, users))
    first, second = evaluate_models(dataset, settings, ["bm25"], lists={"today": lists})
    assert first.models == ("bm25",) and second.models == ("bm25", "today")
    assert second.protocol["lists"]["today"]["unanswered"] == second.protocol["questions"] - 2


def test_lists_that_answer_nothing_are_refused_before_anything_is_fitted(shop, monkeypatch):
    _, dataset, settings, _ = shop
    monkeypatch.setattr("langrec.training.read_texts", lambda *_: pytest.fail("began"))
    frame = pl.DataFrame({"user_id": ["u1"], "item_id": ["i1"], "rank": [1], "event": [0]})
    with pytest.raises(DataError, match="lists old: answer no question of this test: they have none of these rows"):
        evaluate_models(dataset, settings, ["bm25"], lists={"old": read(shop, frame)})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"item_id": ["i1"], "rank": [1]}, "lists: no user column; call it user_id"),
        ({"user_id": ["u1"], "rank": [1]}, "lists: no item column; call it item_id"),
        ({"user_id": ["u1"], "item_id": ["i1"]}, "lists: neither a column rank nor score"),
        ({"user_id": ["u1", "u1"], "item_id": ["i1", "i2"], "rank": ["1", "two"]}, "lists row 1: rank is 'two'"),
        ({"user_id": ["u1"], "item_id": ["i1"], "score": [float("nan")]}, "lists row 0: score is nan"),
        ({"user_id": ["x"], "item_id": ["y"], "rank": [1]}, "none of its 1 rows is of a user and an item"),
    ],
)
def test_what_is_no_list_is_refused_with_the_way_out(shop, columns, said):
    with pytest.raises(DataError, match=said):
        read(shop, pl.DataFrame(columns))


def test_the_command_measures_lists_of_a_file(shop, langrec_, tmp_path):
    folder, _, _, (first, second) = shop
    first.list_frame("bm25").drop("score").write_csv(tmp_path / "one.csv")
    strangers = {"user_id": ["nobody"], "item_id": ["i1"], "rank": [1]}
    own = second.list_frame("popular").select("user_id", "item_id", pl.col("rank").cast(pl.Int64))
    pl.concat([own, pl.DataFrame(strangers)]).write_parquet(tmp_path / "two.parquet")
    words = ["evaluate", "--events", folder, "--out", tmp_path / "out", "--models", "bm25", "--no-html"]
    words += [part for one in FEW for part in ("--set", one)]
    words += ["--lists", f"one={tmp_path / 'one.csv'}", "--lists", f"two={tmp_path / 'two.parquet'}"]
    code, out, _ = langrec_(*words)
    assert code == 0 and "two (per user): 1 rows of users or items that the data does not hold" in out
    rows = json.loads((tmp_path / "out" / "metrics.json").read_text())
    values = {row["model"]: row["value"] for row in rows if (row["slice"], row["metric"]) == ("all", "ndcg@10")}
    assert values["one"] == pytest.approx(values["bm25"])
    asked = pl.read_parquet(tmp_path / "out" / "questions.parquet")
    assert asked.columns == ["user_id", "at", "event"] and asked.height == first.protocol["questions"]
    by_user = json.loads((tmp_path / "out" / "per_user" / "protocol.json").read_text())
    assert by_user["lists"]["two"]["unknown"] == 1 and by_user["models"] == ["bm25", "two"]


@pytest.mark.parametrize("given", ["today", "=x.csv", "today=", "mix=x.csv", "bm25=x.csv", "popular_7d=x.csv"])
def test_a_name_that_cannot_be_taken_is_refused(shop, langrec_, given):
    code, _, error = langrec_("evaluate", "--events", shop[0], "--lists", given)
    assert code == 2 and f"--lists {given}: " in error
