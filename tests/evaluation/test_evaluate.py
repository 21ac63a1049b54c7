"""The whole run: rows, slices, differences, lists and files, on small worlds with known answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import slow_oracle as oracle
from evaluation_worlds import questions

from langrec.data.ids import Ids
from langrec.errors import DataError, SettingsError
from langrec.evaluation import evaluate
from langrec.evaluation.compare import compare, verdict
from langrec.evaluation.suite import metric_names
from langrec.settings import EvaluateSettings

N_ITEMS, N_USERS = 60, 25
SETTINGS = EvaluateSettings(k=(5, 10), bootstrap=200, block=16)


class Fixed:
    """Knows the scores of every question, which it finds by the question's time."""

    def __init__(self, scores):
        self.scores = scores

    def score_block(self, block):
        return self.scores[block.at // 1000]


def world(single=True, q=80, seed=0):
    rng = np.random.default_rng(seed)
    goals, histories = [], []
    for _ in range(q):
        order = rng.permutation(N_ITEMS).tolist()
        goals.append(order[: 1 if single else rng.integers(1, 5)])
        histories.append(order[10 : 10 + rng.integers(0, 20)])
    return questions(goals, histories, rng.integers(0, N_USERS, q), single=single)


def noisy(targets, strength, seed):
    """Scores that put the targets higher the greater the strength."""
    scores = np.random.default_rng(seed).random((len(targets), N_ITEMS)).astype(np.float32)
    scores[np.repeat(np.arange(len(targets)), np.diff(targets.offsets)), targets.items] += strength
    return Fixed(scores)


def run(targets, models=None, **given):
    models = models or {
        "weak": noisy(targets, 0.1, 1),
        "strong": noisy(targets, 0.6, 2),
        "mix": noisy(targets, 3.0, 3),
    }
    rng = np.random.default_rng(9)
    facts = {
        "users": Ids([f"u{i}" for i in range(N_USERS)]),
        "items": Ids([f"i{i}" for i in range(N_ITEMS)]),
        "counts": rng.integers(0, 30, N_ITEMS) * (rng.random(N_ITEMS) < 0.8),
        "has_text": rng.random(N_ITEMS) < 0.7,
        "vectors": rng.normal(size=(N_ITEMS, 6)).astype(np.float32),
        "settings": SETTINGS,
    }
    return evaluate(models, targets, **(facts | given))


@pytest.mark.parametrize("single", [True, False])
def test_values_of_the_whole_test_and_of_slices_equal_the_slow_oracle(single):
    targets = world(single)
    counts = np.where(np.arange(N_ITEMS) % 3 == 0, 0, 20)
    model = noisy(targets, 0.4, 2)
    report = run(targets, {"one": model}, counts=counts, has_text=None)
    metrics = {"ndcg": oracle.ndcg, "recall": oracle.recall, "map": oracle.average_precision, "mrr": oracle.mrr}
    for part, keep in {"all": None, "hot": True, "warm": False}.items():
        expected = {name: [] for name in [*metrics, "auc"]}
        for i in range(len(targets)):
            history = set(targets.block.history(i).tolist())
            goal = targets.items[targets.offsets[i] : targets.offsets[i + 1]].tolist()
            gains = {item: 1 for item in goal if keep is None or (counts[item] > 0) == keep}
            if not gains:
                continue
            ranked = oracle.ranking(model.scores[i].tolist(), history)
            for name, metric in metrics.items():
                expected[name].append(metric(ranked, gains, 10))
            # Targets outside the slice are not right answers there, but neither are they wrong ones.
            others = history | (set(goal) - set(gains))
            expected["auc"].append(oracle.auc(model.scores[i].tolist(), others, gains))
        for name in metrics:
            row = report.row("one", f"{name}@10", part)
            assert row.value == pytest.approx(np.mean(expected[name])), (part, name)
            assert row.n == len(expected[name])
            assert row.low <= row.value <= row.high
        assert report.value("one", "auc", part) == pytest.approx(np.nanmean(expected["auc"])), part


def test_every_metric_has_its_name_before_it_is_measured():
    assert set(run(world()).measured["mix"].columns) == set(metric_names(SETTINGS.k))


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_the_block_size_changes_no_number(block):
    targets = world(single=False)
    settings = EvaluateSettings(k=(5, 10), bootstrap=50, block=block)
    usual = EvaluateSettings(k=(5, 10), bootstrap=50, block=16)
    for row, same in zip(run(targets, settings=settings).rows, run(targets, settings=usual).rows, strict=True):
        assert (row.model, row.slice, row.metric, row.n) == (same.model, same.slice, same.metric, same.n)
        assert [row.value, row.low, row.high] == pytest.approx([same.value, same.low, same.high], nan_ok=True)


def test_the_best_single_scorer_is_the_reference_and_the_mix_is_in_use():
    report = run(world())
    assert report.reference == "strong" and report.chosen == "mix" and report.primary == "ndcg@10"
    gap = report.difference("mix")
    assert gap.difference == pytest.approx(report.value("mix", "ndcg@10") - report.value("strong", "ndcg@10"))
    assert gap.verdict == "gain" and 0 < gap.low < gap.difference < gap.high
    assert report.difference("weak").verdict == "loss"
    assert report.difference("strong") is None


def test_a_twin_of_the_reference_shows_no_gain():
    targets = world()
    report = run(targets, {"one": noisy(targets, 0.4, 2), "mix": noisy(targets, 0.4, 2)})
    gap = report.difference("mix")
    assert (gap.difference, gap.low, gap.high, gap.verdict) == (0, 0, 0, "no gain shown")


def test_a_gain_is_named_only_where_the_interval_leaves_out_zero():
    assert verdict(0.01, 0.02) == "gain"
    assert verdict(-0.02, -0.01) == "loss"
    assert verdict(0.0, 0.02) == verdict(-0.01, 0.01) == verdict(float("nan"), float("nan")) == "no gain shown"


def test_of_a_handful_of_users_no_gain_is_named(tmp_path):
    targets = world()
    few = replace(targets, block=replace(targets.block, users=targets.block.users % 5))
    report = run(few)
    gap = report.difference("mix")
    assert gap.difference > 0.1 and np.isnan([gap.low, gap.high]).all() and gap.verdict == "no gain shown"
    report.write(tmp_path)
    rows = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert {row["low"] for row in rows} == {row["high"] for row in rows} == {None}
    html = (tmp_path / "report.html").read_text("utf-8").partition("<script")[0]
    for told in ((tmp_path / "report.md").read_text("utf-8"), html):
        assert "no gain" in told.lower() and "nan" not in told


def test_a_report_is_a_frame_of_what_its_file_holds(tmp_path):
    report = run(world())
    report.write(tmp_path)
    rows = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    frame = report.frame()
    assert frame.columns == ["model", "slice", "metric", "value", "low", "high", "n"]
    assert frame["value"].to_list() == [row["value"] for row in rows]
    assert frame["model"].to_list() == [row["model"] for row in rows]


def test_compare_agrees_with_the_report():
    report = run(world())
    (gap,) = compare(report.measured["mix"], report.measured["strong"], settings=SETTINGS)
    same = report.difference("mix")
    assert (gap.n, gap.verdict) == (same.n, same.verdict)
    assert [gap.difference, gap.low, gap.high] == pytest.approx([same.difference, same.low, same.high], abs=1e-6)


def test_compare_takes_the_chosen_scorers_of_two_reports():
    targets = world()
    old = run(targets, {"one": noisy(targets, 0.1, 1)})
    new = run(targets, {"two": noisy(targets, 2.0, 4)})
    gaps = compare(new, old, ("ndcg@10", "auc"))
    assert [(gap.model, gap.reference, gap.metric, gap.verdict) for gap in gaps] == [
        ("two", "one", "ndcg@10", "gain"),
        ("two", "one", "auc", "gain"),
    ]


def test_scorers_of_other_questions_are_not_compared():
    first, second = run(world()), run(world(q=79))
    with pytest.raises(DataError, match="not asked the same questions"):
        compare(first, second)
    targets = world(single=False)
    others = replace(targets, items=(targets.items + 1) % N_ITEMS)  # the same users at the same times, other answers
    with pytest.raises(DataError, match="not asked the same questions"):
        compare(run(targets), run(others))
    with pytest.raises(DataError, match="ndcg@99 was not measured"):
        compare(first, first, ("ndcg@99",))


def test_a_scorer_that_says_nothing_gets_zero_and_half_an_auc():
    targets = world()
    report = run(targets, {"mute": Fixed(np.full((len(targets), N_ITEMS), np.nan, np.float32))})
    assert report.value("mute", "ndcg@10") == 0
    assert report.value("mute", "auc") == pytest.approx(0.5)
    assert report.value("mute", "coverage@10") == 0
    assert np.isnan(report.value("mute", "novelty@10"))
    assert len(report.list_frame("mute")) == 0


def test_a_scorer_of_fewer_items_is_measured_over_the_full_catalogue():
    targets = world()
    short = noisy(targets, 0.5, 2)
    report = run(targets, {"short": Fixed(short.scores[:, :40])})
    lists = report.lists["short"]
    assert lists.nums.max() < 40
    assert (lists.candidates == N_ITEMS - np.diff(targets.block.offsets)).all()


def test_lists_of_an_earlier_run_in_the_folder_are_taken_away(tmp_path):
    targets = world()
    run(targets, {"old": noisy(targets, 0.1, 1), "both": noisy(targets, 0.2, 2)}).write(tmp_path)
    (tmp_path / "lists" / "peer.parquet").write_text("of somebody else")
    run(targets, {"both": noisy(targets, 0.3, 3), "new": noisy(targets, 0.4, 4)}).write(tmp_path)
    assert sorted(file.stem for file in (tmp_path / "lists").iterdir()) == ["both", "new", "peer"]


class Answers:
    """A scorer of somebody's own, which gives what it was made with."""

    def __init__(self, make):
        self.score_block = make


def test_scores_may_be_lists_and_what_is_no_matrix_of_numbers_is_named():
    targets = world()
    rows = {"lists": Answers(lambda block: [list(range(N_ITEMS))] * len(block))}
    rows["array"] = Answers(lambda block: np.tile(np.arange(N_ITEMS, dtype=np.float32), (len(block), 1)))
    report = run(targets, rows)
    assert report.value("lists", "ndcg@10") == report.value("array", "ndcg@10")
    for made in (lambda block: None, lambda block: np.full((len(block), N_ITEMS), None)):
        with pytest.raises(DataError, match=r"own: scores of shape .* and type object; give a matrix"):
            run(targets, {"own": Answers(made)})


def test_seconds_of_fitting_are_kept_of_the_models_that_are_measured():
    targets = world()
    report = run(targets, {"one": noisy(targets, 0.5, 1)}, fit_seconds={"one": 1.25, "other": 2.0})
    assert report.fit_seconds == report.protocol["fit_seconds"] == {"one": 1.25}


def test_progress_is_told_after_each_block():
    seen = []
    run(world(q=20), {"one": noisy(world(q=20), 1, 1)}, progress=lambda *told: seen.append(told))
    assert seen == [("one", 16, 20), ("one", 20, 20)]


def test_wrong_input_is_named():
    targets = world()
    with pytest.raises(DataError, match="at least one scorer"):
        evaluate({}, targets, users=Ids([]), items=Ids([]), counts=np.zeros(0, int))
    with pytest.raises(DataError, match="no question"):
        run(questions([]), {"one": Fixed(np.zeros((0, N_ITEMS), np.float32))})
    with pytest.raises(SettingsError, match="chosen model best is not among weak"):
        run(targets, chosen="best")
    with pytest.raises(DataError, match="counts: 3 rows for 60 items"):
        run(targets, counts=np.zeros(3, int))
    with pytest.raises(DataError, match="wide: scores of shape"):
        run(targets, {"wide": Fixed(np.zeros((80, 70), np.float32))})


def test_the_files_are_written_as_promised(tmp_path):
    targets = world()
    report = run(targets, protocol={"split": "time", "cut": (0.8, 0.9), "data_hash": "a" * 64})
    report.write(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "differences.json",
        "lists/mix.parquet",
        "lists/strong.parquet",
        "lists/weak.parquet",
        "metrics.json",
        "protocol.json",
        "questions.parquet",
        "report.html",
        "report.md",
    ]
    rows = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert all(list(row) == ["model", "slice", "metric", "value", "low", "high", "n"] for row in rows)
    mix = [row for row in rows if (row["model"], row["slice"], row["metric"]) == ("mix", "all", "ndcg@10")]
    assert len(mix) == 1 and mix[0]["n"] == 80
    assert mix[0]["value"] == report.value("mix", "ndcg@10")
    coverage = next(row for row in rows if row["metric"] == "coverage@5")
    assert coverage["low"] is None and coverage["high"] is None
    protocol = json.loads((tmp_path / "protocol.json").read_text("utf-8"))
    wanted = {"split", "cut", "candidates", "k", "ties", "seed", "data_hash", "versions", "seconds", "peak_memory_mb"}
    assert wanted <= set(protocol)
    assert protocol["split"] == "time" and protocol["k"] == [5, 10] and protocol["questions"] == 80
    differences = json.loads((tmp_path / "differences.json").read_text("utf-8"))
    assert {row["model"] for row in differences} == {"weak", "mix"}


def test_lists_can_be_scored_again_by_other_code(tmp_path):
    targets = world()
    report = run(targets)
    report.write(tmp_path)
    lists = pl.read_parquet(tmp_path / "lists" / "mix.parquet")
    assert dict(lists.schema) == {
        "user_id": pl.String,
        "at": pl.Int64,
        "event": pl.Int64,
        "item_id": pl.String,
        "rank": pl.Int32,
        "score": pl.Float32,
    }
    assert lists["rank"].max() == 20 and lists["rank"].min() == 1
    goals = {int(event): f"i{item}" for event, item in zip(targets.events, targets.items, strict=True)}
    hits = lists.filter(pl.col("rank") <= 10).filter(
        pl.col("item_id") == pl.col("event").replace_strict(goals, return_dtype=pl.String)
    )
    again = (1 / np.log2(hits["rank"].to_numpy() + 1)).sum() / len(targets)
    assert again == pytest.approx(report.value("mix", "ndcg@10"))
    first = lists.filter(pl.col("event") == 100)
    assert first["user_id"].unique().to_list() == [f"u{targets.block.users[0]}"]
    assert first["at"].unique().to_list() == [int(targets.block.at[0])]
    assert first["score"].is_sorted(descending=True)


def test_one_list_per_user_has_no_event(tmp_path):
    report = run(world(single=False))
    assert report.list_frame("mix")["event"].null_count() == len(report.list_frame("mix"))


def test_the_tables_name_every_scorer_and_the_verdict():
    report = run(world())
    text = report.markdown()
    assert "| **mix** |" in text and "gain |" in text and "## ndcg@10 by slice" in text
    assert report.stamp() in text
    table = report.table()
    assert table.row_count == 3
    assert [column.header for column in table.columns][:2] == ["model", "ndcg@10"]


def test_the_stamp_names_data_split_and_cut_times_and_what_leaks():
    cut = {"split": "time", "cut": (0.8, 0.9), "test_from": 0, "valid_from": None}
    report = run(world(), protocol={"data": "a1" * 32, "leaks": "tomorrow", **cut})
    stamp = report.stamp()
    assert "data a1a1a1a1a1a1 · split time · cut 0.8,0.9 · test_from 1970-01-01T00:00:00Z" in stamp
    assert "next item: 80 questions of" in stamp and "valid_from" not in stamp
    assert "This leaks: tomorrow." in report.markdown()
    assert "leaks" not in run(world()).markdown()


def test_a_report_measures_each_length_of_history_on_its_own_questions():
    targets = questions([[9]] * 4, [[], [1], [2], [1, 2, 3, 4, 5, 6]])
    scores = np.zeros((4, 10), dtype=np.float32)
    scores[:2, 9] = 1.0  # found for the new user and the first of the two hardly known ones
    report = evaluate(
        {"one": Fixed(scores)},
        targets,
        users=Ids([f"u{user}" for user in range(4)]),
        items=Ids([f"i{num}" for num in range(10)]),
        counts=np.ones(10, int),
        settings=EvaluateSettings(k=(1,), bootstrap=10),
    )
    found = {part: (report.value("one", "ndcg@1", part), report.row("one", "ndcg@1", part).n) for part in report.slices}
    assert found["empty"] == (1.0, 1)
    assert found["few"] == (0.5, 2)
    assert found["more"] == (0.0, 1)
