"""History and candidate to the chance of a like: the floor where there are few rows, more where there are many."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from langrec.cli.adapt import classes, table
from langrec.errors import DataError
from langrec.lm.adapt.examples import read_choices
from langrec.lm.adapt.head import CONFIG, FILE, Head
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.preference import Belief, features, fit, rows_of, titles_of
from langrec.lm.adapt.question import question
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.model import find_model

GOOD, BAD = ["cat", "dog", "bird", "fish", "kitten"], ["war", "drama", "space", "robot", "train"]


def prompt(liked, disliked, asked):
    """A prompt in the layout of TALLRec."""
    first, second = (", ".join(f'"{title}"' for title in titles) for titles in (liked, disliked))
    return f'User Preference: {first}\nUser Unpreference: {second}\nWhether the user will like the target "{asked}"?'


def write_choices(path, n, seed):
    """Everyone likes animals more than machines; users differ in how much they like at all."""
    rng, lines = np.random.default_rng(seed), []
    for i in range(n):
        generous = rng.uniform(0.2, 0.8)
        titles = [str(rng.choice(GOOD if rng.random() < 0.5 else BAD)) + f" {rng.integers(4)}" for _ in range(9)]
        liked = [rng.random() < np.clip(generous + (0.3 if t.split()[0] in GOOD else -0.3), 0, 1) for t in titles]
        split = [
            [t for t, ok in zip(titles[:8], liked[:8], strict=True) if ok is kept or ok == kept]
            for kept in (True, False)
        ]
        row = {
            "user_id": i // 4,
            "input": prompt(split[0], split[1], titles[8]),
            "output": "Yes." if liked[8] else "No.",
        }
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def likes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("likes")
    for seed, (name, n) in enumerate({"train": 120, "valid": 80, "test": 200}.items()):
        write_choices(folder / f"{name}.jsonl", n, seed)
    return folder


def run(tiny, likes, out, **changes):
    settings = AdaptSettings(task="recommend", **{"epochs": 1, "precision": "fp32", **changes})
    return adapt(str(tiny), settings, Files(likes / "train.jsonl", likes / "valid.jsonl", likes / "test.jsonl"), out)


def test_the_layout_of_tallrec_is_read(likes):
    found = read_choices(likes / "train.jsonl")
    assert len(found) == 120
    assert all(len(a) + len(b) == 8 for a, b in zip(found.liked, found.disliked, strict=True))
    assert set(found.labels) == {0.0, 1.0}
    assert found.users is not None


def test_authors_and_inner_quotes_stay_with_their_title(tmp_path):
    text = (
        'User Preference: "Emma" written by Jane Austen, "The "Great" Man" written by A. B.\nUser Unpreference: \n'
        'Whether the user will like the target book "Persuasion" written by Jane Austen?'
    )
    (tmp_path / "book.json").write_text(json.dumps([{"instruction": "x", "input": text, "output": "Yes."}]), "utf-8")
    found = read_choices(tmp_path / "book.json")
    assert found.liked == (("Emma written by Jane Austen", 'The "Great" Man written by A. B.'),)
    assert found.disliked == ((),)
    assert found.candidates == ("Persuasion written by Jane Austen",)


def test_columns_of_history_candidate_and_label_are_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("history,disliked,candidate,label,user\na|b,c,d,0.7,u1\n,,d,recommend,u2\n", "utf-8")
    found = read_choices(path)
    assert found.liked == (("a", "b"), ())
    assert found.disliked == (("c",), ())
    assert found.labels.tolist() == [0.7, 1.0]
    frame = pl.DataFrame({"history": [["a", "b"], []], "candidate": ["c", "d"], "label": [1, 0]})
    frame.write_parquet(tmp_path / "rows.parquet")
    assert read_choices(tmp_path / "rows.parquet").liked == (("a", "b"), ())


@pytest.mark.parametrize(
    ("written", "titles"),
    [
        ('["a, b", "c"]', ("a, b", "c")),
        ("['a', \"c's\"]", ("a", "c's")),
        ("[]", ()),
        ("[REC]", ("[REC]",)),
        ("[2012]|[REC]", ("[2012]", "[REC]")),
        ("[2012]", ("[2012]",)),
    ],
)
def test_a_list_that_stands_in_a_delimited_file_is_its_titles(tmp_path, written, titles):
    path = tmp_path / "rows.csv"
    quoted = written.replace('"', '""')
    path.write_text(f'history,disliked,candidate,label\n"{quoted}","{quoted}",d,1\n', "utf-8")
    found = read_choices(path)
    assert found.liked == found.disliked == (titles,)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"history": "a", "candidate": "b", "label": 3}', "row 1: column label is 3"),
        ('{"history": "a", "candidate": " ", "label": 1}', "row 1: column candidate is blank"),
        ('{"input": "nothing", "output": "Yes."}', "row 1: column input is not a prompt"),
        ('{"input": "x", "label": 1}', "has no column history"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, line, said):
    (tmp_path / "rows.jsonl").write_text(line + "\n", "utf-8")
    with pytest.raises(DataError, match=said):
        read_choices(tmp_path / "rows.jsonl")


def test_without_rows_to_learn_from_the_sum_is_the_floor(likes):
    choices = read_choices(likes / "train.jsonl")
    place = {title: i for i, title in enumerate(titles_of([choices]))}
    rows = rows_of(choices, place, derive=False, with_floor=True)
    vectors = np.eye(len(place), dtype=np.float32)
    found = features(rows, vectors, np.zeros(len(place)))
    held = fit(rows, found, rows.candidate, vectors, len(place), Belief(1e9))
    moved = held.logits(rows, found, rows.candidate, vectors) - held.bias - rows.floor
    assert np.abs(moved).max() < 0.6  # only the share's own ridge is not scaled
    assert np.abs(held.titles).max() < 1e-3


@pytest.mark.parametrize("weight", [0.5, 0.0])
def test_a_floor_that_is_believed_less_is_told_as_a_weight_of_the_share(likes, weight):
    choices = read_choices(likes / "train.jsonl").take(np.arange(1))
    place = {title: i for i, title in enumerate(titles_of([choices]))}
    rows = rows_of(choices, place, derive=True, with_floor=True)
    found = features(rows, np.eye(len(place), dtype=np.float32), np.zeros(len(place)))
    held = fit(rows, found, rows.candidate, np.eye(len(place)), len(place), Belief(1e9, floor=weight))
    asked = rows.asked == 1
    moved = held.beside(rows, found) - weight * rows.floor
    assert np.abs(moved[asked]).max() < 0.1 and rows.floor[asked][0] != 0
    assert held.beside(rows, found)[~asked] == pytest.approx(rows.floor[~asked], abs=1e-3)


def write_contrary(path, n, seed):
    """Who liked much so far likes the next the less."""
    rng, lines = np.random.default_rng(seed), []
    for i in range(n):
        titles = [f"{word} {rng.integers(4)}" for word in rng.permutation([*GOOD, *BAD])[:9]]
        share = int(rng.integers(1, 8))
        says = "Yes." if rng.random() < 1 / (1 + np.exp(share - 4)) else "No."
        row = {"user_id": i, "input": prompt(titles[:share], titles[share:8], titles[8]), "output": says}
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.mark.parametrize(("valid", "departs"), [(80, True), (20, False)])
def test_the_floor_weighs_less_where_enough_validation_says_so(tiny, tmp_path, valid, departs):
    for seed, (name, n) in enumerate({"train": 16, "valid": valid, "test": 100}.items()):
        write_contrary(tmp_path / f"{name}.jsonl", n, seed)
    result = run(tiny, tmp_path, tmp_path / "out", kind="head")
    told = [note for note in result["notes"] if "Validation says that it weighs 0" in note]
    assert bool(told) == departs
    floor = result["test"]["floor_auc"]
    assert floor < 0.4 and (result["test"]["auc"] > floor + 0.1) == departs


def test_each_title_of_a_training_history_is_a_row_whose_history_lacks_it(likes):
    choices = read_choices(likes / "train.jsonl").take(np.arange(2))
    place = {title: i for i, title in enumerate(titles_of([choices]))}
    rows = rows_of(choices, place, derive=True, with_floor=True)
    assert len(rows) == 2 * 9
    derived = np.flatnonzero(rows.asked == 0)
    assert all(len(rows.liked[i]) + len(rows.disliked[i]) == 7 for i in derived)
    # Within a history the log-odds are alike: such rows only tell titles apart.
    assert len({rows.floor[i] for i in derived if rows.source[i] == 0}) == 1


@pytest.mark.parametrize(
    ("kind", "reads"), [("head", "title"), ("side", "title"), ("lora", "question"), ("full", "title")]
)
def test_it_learns_what_is_liked_above_the_floor(tiny, likes, tmp_path, kind, reads):
    told = run(tiny, likes, tmp_path, kind=kind, reads=reads)
    assert told["test"]["auc"] > told["test"]["floor_auc"] + 0.02
    low, high = told["test"]["auc_interval"]
    assert low < told["test"]["auc"] < high
    low, high = told["test"]["user_auc_interval"]
    assert low < told["test"]["user_auc"] < high
    assert set(told["test"]["classes"]) == {"not_recommend", "recommend"}
    frame = pl.read_parquet(tmp_path / "predictions.parquet")
    assert frame.columns == ["row", "label", "predicted", "probability"]
    assert frame.height == 200
    # Written as labels are, so that both can be compared.
    assert ((frame["probability"] >= 0.5).cast(int) == frame["predicted"]).all()
    assert (frame["label"] == frame["predicted"]).mean() == pytest.approx(told["test"]["accuracy"])
    find_model(str(tmp_path / "model"), 64)
    assert json.loads((tmp_path / "model" / CONFIG).read_text("utf-8"))["labels"] == ["not_recommend", "recommend"]
    assert (tmp_path / "report.html").exists()


def test_the_terminal_shows_intervals_and_the_report_by_class(langrec_, tiny, likes, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    words = ["adapt", "--task", "recommend", "--kind", "head", "--model", tiny, "--out", tmp_path / "out"]
    files = [word for part in ("train", "valid", "test") for word in (f"--{part}", likes / f"{part}.jsonl")]
    status, out, error = langrec_(*words, *files, "--set", "precision=fp32", "--set", "epochs=2")
    assert status == 0, error
    test = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))["test"]
    lines = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    for name in ("auc", "user_auc"):
        low, high = test[f"{name}_interval"]
        assert f"{test[name]:.4g} [{low:.4g}, {high:.4g}]" in lines[name]
    assert "intervals: 95 % by user" in out
    for name, one in test["classes"].items():
        shown = [f"{one[key]:.4g}" for key in ("precision", "recall", "f1")]
        assert [cell.strip() for cell in lines[name].split("│")[2:-1]] == [*shown, str(one["support"])]


@pytest.mark.parametrize(
    ("task", "words", "said"),
    [
        ("classify", ("--hard-negatives", "bm25"), "--hard-negatives bm25: is of --task pairs and recommend"),
        ("recommend", ("--pairs", "items"), "--pairs items: is of --task pairs"),
        ("pairs", ("--meta", "reptile"), "--meta reptile: is of --task recommend"),
        ("classify", ("--objective", "gpl"), "--objective gpl: is of --task pretrain"),
        ("classify", ("--events", "rows.csv"), "--events: is of --task recommend and pairs"),
    ],
)
def test_an_option_that_the_task_does_not_know_is_refused(langrec_, tmp_path, task, words, said):
    status, _, error = langrec_("adapt", "--task", task, "--train", "rows.csv", "--out", tmp_path / "out", *words)
    assert status == 2 and said in error


def test_booleans_of_a_text_file_are_labels(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("history,candidate,label\na cat,a dog,True\na cat,a film,False\na cat,a war,0.5\n", "utf-8")
    assert read_choices(path).labels.tolist() == [1, 0, 0.5]


def test_rows_of_one_label_alone_teach_nothing_and_are_refused(tiny, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("history,candidate,label\n" + "a cat,a dog,1\n" * 20, "utf-8")
    with pytest.raises(DataError, match="every row has the label 1, and no history says what was disliked"):
        adapt(str(tiny), AdaptSettings(task="recommend", kind="head"), Files(path), tmp_path / "out")


def test_intervals_that_were_drawn_by_two_units_are_said_apart():
    rows, users = ({"auc": 0.7, "auc_interval": [0.6, 0.8], "intervals_by": unit} for unit in ("row", "user"))
    told = {"task": "recommend", "kind": "head", "trainable_share": 0.01}
    assert table({**told, "valid": rows, "test": users}).caption == "intervals: 95 % by row (valid), user (test)"
    assert table({**told, "valid": users, "test": users}).caption == "intervals: 95 % by user"
    assert table({**told, "valid": {"mrr": 0.5, "mrr_interval": [0.4, 0.6]}, "test": {}}).caption == "intervals: 95 %"


def test_many_classes_are_left_to_the_report():
    one = {"precision": 0.5, "recall": 1.0, "f1": 0.6667, "support": 3}
    many = {"predictions_of": "test", "test": {"classes": {f"label {i}": one for i in range(77)}}}
    assert table({"valid": {}, "test": {}}) is None, "nothing was measured"
    assert classes(many) is None and classes({"predictions_of": "valid", "valid": {"loss": 1.0}}) is None
    few = {"predictions_of": "test", "test": {"classes": {"yes": one, "no": {**one, "f1": None}}}}
    assert classes(few).row_count == 2


def test_brackets_of_a_label_are_shown_and_are_no_marks_of_style(capsys):
    one = {"precision": 0.5, "recall": 1.0, "f1": 0.6667, "support": 3}
    Console().print(classes({"predictions_of": "test", "test": {"classes": {"[/i]": one, "[b]no": one}}}))
    shown = capsys.readouterr().out
    assert "[/i]" in shown and "[b]no" in shown


def test_the_floor_can_be_left_out(tiny, likes, tmp_path):
    told = run(tiny, likes, tmp_path, kind="head", floor=False)
    assert not any("share of liked" in note for note in told["notes"])


def test_shots_are_rows_in_all_drawn_by_the_seed(tiny, likes, tmp_path):
    first = run(tiny, likes, tmp_path / "a", kind="head", shots=16, seed=3)
    again = run(tiny, likes, tmp_path / "b", kind="head", shots=16, seed=3)
    other = run(tiny, likes, tmp_path / "c", kind="head", shots=16, seed=4)
    assert first["rows"]["train"] == 16
    assert first["test"] == again["test"]
    assert first["test"]["auc"] != other["test"]["auc"]


def test_histories_without_dislikes_give_no_floor(tiny, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"history": [str(rng.choice(GOOD))], "candidate": str(rng.choice(GOOD + BAD)), "label": 0.0} for _ in range(40)
    ]
    rows = [{**row, "label": float(row["candidate"] in GOOD)} for row in rows]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    told = adapt(str(tiny), AdaptSettings(task="recommend", kind="head"), Files(path), tmp_path / "out")
    assert "floor_auc" not in told["valid"]
    assert told["valid"]["auc"] == 1.0


def test_the_reading_alone_is_all_that_says_something(tiny, likes, tmp_path):
    run(tiny, likes, tmp_path, kind="head", reads="question", beside=False, floor=False)
    told = json.loads((tmp_path / "model" / CONFIG).read_text("utf-8"))
    assert told["beside"] is False and told["reads"] == "question" and told["max_tokens"] == 64
    from safetensors.numpy import load_file

    tensors = load_file(tmp_path / "model" / FILE)
    assert not tensors["features"].any() and not tensors["titles"].any() and tensors["weight"].any()
    head, found = Head.load(tmp_path / "model"), pl.read_parquet(tmp_path / "predictions.parquet")
    choices = read_choices(likes / "test.jsonl")
    adapted = Adapted(
        find_model(str(tmp_path / "model"), 64), AdaptSettings(task="recommend", kind="head", cached=False)
    )
    texts = [question(*row) for row in zip(choices.candidates, choices.liked, choices.disliked, strict=True)]
    vectors = adapted.vectors(adapted.feed(texts)).cpu().numpy()
    np.testing.assert_allclose(head.probabilities(vectors)[:, 1], found["probability"], atol=1e-4)


def test_a_long_candidate_leaves_room_for_the_history():
    long = "word " * 200
    asked = question(long, ["first", long])
    assert len(asked) < 600 and asked.endswith("; first. Disliked: nothing.") and "wor?" not in asked
    assert question("a", ()) == "a? Liked: nothing. Disliked: nothing."
    assert question(long, ["first"], longest=None).startswith(long)
