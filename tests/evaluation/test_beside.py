"""Controls and bounds: measured on the same questions, shown apart, never the best and never chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation_worlds import questions
from test_evaluate import noisy, run, world

from langrec.errors import DataError, SettingsError
from langrec.evaluation.beside import Bound, Control, better_lists
from langrec.evaluation.lists import top_lists

UNION = Bound(("id", "text"))
SPOILT = Control("text", "each item reads the text of another")


def measured(targets, **more):
    models = {
        "id": noisy(targets, 0.4, 1),
        "text": noisy(targets, 0.3, 2),
        "text_permuted": noisy(targets, 0.9, 3),  # above all models: it must not be taken for one
    }
    return run(targets, models, beside={"text_permuted": SPOILT, "oracle_union": UNION}, **more)


@pytest.mark.parametrize("single", [True, False])
def test_the_union_is_at_each_question_as_good_as_the_better_list(single):
    report = measured(world(single))
    ndcg = {name: one.columns["ndcg@10"].values for name, one in report.measured.items()}
    assert np.array_equal(ndcg["oracle_union"], np.maximum(ndcg["id"], ndcg["text"]))
    assert report.value("oracle_union", "ndcg@10") > max(report.value(name, "ndcg@10") for name in ("id", "text"))


def test_of_two_lists_without_a_hit_the_union_takes_the_one_that_ranks_the_target_better():
    targets = questions([[9], [9]])
    far, near = np.tile(-np.arange(10.0, dtype=np.float32), (2, 1)), np.zeros((2, 10), np.float32)
    near[:, 9], near[:, :5] = 0.5, 1.0
    first, second = (top_lists(scores, targets, 3) for scores in (far, near))
    picked = better_lists([first, second], targets, 3)
    assert picked.ranks.tolist() == [6, 6]
    assert np.array_equal(picked.nums, second.nums)


def test_of_equal_lists_the_union_takes_the_first():
    targets = questions([[1], [2]])
    scores = np.random.default_rng(0).random((2, 10)).astype(np.float32)
    first = top_lists(scores, targets, 5)
    second = top_lists(scores * 2, targets, 5)
    assert np.array_equal(better_lists([first, second], targets, 5).scores, first.scores)


def test_neither_a_control_nor_a_bound_is_the_best_or_chosen_or_among_the_models():
    report = measured(world())
    assert report.models == ("id", "text")
    assert report.reference in report.models and report.chosen in report.models
    assert {row.model for row in report.rows} == {gap.model for gap in report.differences} | {report.reference}
    assert {row.model for row in report.ordered()} == {"id", "text"}
    assert report.protocol["models"] == ["id", "text"]
    assert report.protocol["controls"] == {"text_permuted": "text"}
    assert report.protocol["bounds"] == {"oracle_union": ["id", "text"]}


def test_a_control_is_compared_with_its_model_and_a_bound_with_the_one_in_use():
    targets = world()
    report = measured(targets)
    assert report.difference("text_permuted").reference == "text"
    assert report.difference("text_permuted").verdict == "gain"
    assert report.difference("oracle_union").reference == report.chosen
    assert report.difference("oracle_union").low >= 0


def test_a_control_changes_no_number_of_the_models():
    targets = world()
    plain = run(targets, {"id": noisy(targets, 0.4, 1), "text": noisy(targets, 0.3, 2)})
    assert [str(row) for row in plain.rows] == [str(row) for row in measured(targets).rows]


def test_a_bound_without_both_models_is_left_out():
    targets = world()
    report = run(targets, {"id": noisy(targets, 0.4, 1)}, beside={"oracle_union": UNION})
    assert not report.beside.what and not report.protocol["bounds"]


def test_a_control_alone_cannot_be_measured_and_not_be_chosen():
    targets = world()
    with pytest.raises(DataError, match="at least one scorer"):
        run(targets, {"text_permuted": noisy(targets, 0.1, 1)}, beside={"text_permuted": SPOILT})
    with pytest.raises(SettingsError, match="chosen model text_permuted"):
        measured(targets, chosen="text_permuted")
    with pytest.raises(DataError, match="titles: 1 rows"):
        measured(targets, titles=["one"])


def test_files_keep_controls_and_bounds_apart(tmp_path):
    report = measured(world())
    report.write(tmp_path)
    for name in ("metrics.json", "differences.json"):
        assert {row["model"] for row in json.loads((tmp_path / name).read_text("utf-8"))} <= {"id", "text"}
    kept = json.loads((tmp_path / "controls.json").read_text("utf-8"))
    assert kept["what"]["text_permuted"] == {"kind": "control", "of": "text", "says": SPOILT.says}
    assert kept["what"]["oracle_union"]["kind"] == "bound"
    assert {row["model"] for row in kept["metrics"]} == {"text_permuted", "oracle_union"}
    assert sorted(path.stem for path in (tmp_path / "lists").iterdir()) == ["id", "text"]
    models, _, apart = (tmp_path / "report.md").read_text("utf-8").partition("## Controls and bounds")
    assert "oracle_union" not in models and "| oracle_union |" in apart and "| text_permuted |" in apart
    targets = world()
    run(targets, {"id": noisy(targets, 0.4, 1)}).write(tmp_path, page=False)
    assert not (tmp_path / "controls.json").exists() and not (tmp_path / "report.html").exists()


def test_the_table_shows_controls_and_bounds_below_the_models():
    table = measured(world()).table()
    names = list(table.columns[0].cells)
    assert [str(name) for name in names[2:]] == ["text_permuted", "oracle_union"]
    assert [str(cell) for cell in table.columns[-2].cells][2:] == ["control", "bound"]
