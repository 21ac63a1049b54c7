"""A study looks at validation alone, goes on where it stopped, and gives a recipe that training takes."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from langrec.errors import DataError, SettingsError
from langrec.recipe import load_settings
from langrec.tuning import Range, parse_space, tune
from langrec.tuning.recommender import RecommenderSubject, toml, watched_tower
from langrec.tuning.space import combinations

optuna = pytest.importorskip("optuna")
sys.path.insert(0, str(Path(__file__).parent / "lm" / "adapt"))


class Bowl:
    """Best at x = 0.3 and kind = b; reports three epochs on the way. Knows how often it was asked."""

    name, metric, note, pruned = "a bowl", "height", "No data.", True

    def __init__(self, stop_at=None, data="one"):
        self.identity = {"data": data}
        self.asked, self.stop_at = [], stop_at

    def check(self, name, value):
        if name not in ("x", "kind", "n"):
            raise SettingsError(f"--space {name}: unknown key", field=name)
        if name != "kind":
            float(value)

    def whole(self, name):
        return name == "n"

    def run(self, values, report, folder):
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(dict(values))
        x, kind = float(values.get("x", 1)), values.get("kind", "a")
        if kind == "c":
            raise ValueError("a and c do not go together\nmore of it")
        height = 1 - (x - 0.3) ** 2 - 0.5 * (kind != "b")
        for epoch in (1, 2, 3, 4):
            report(epoch, height * epoch / 4)
        return height

    def recipe(self, values):
        return toml({"bowl": dict(values)})

    def command(self, out, values):
        return f"langrec train --recipe {out / 'best.toml'}"


SPACE = parse_space(["x=0..1", "kind=a,b"])


def told_of(folder):
    return json.loads((folder / "trials.json").read_text("utf-8"))


# ---- the space -------------------------------------------------------------------------------------------------------


def test_a_space_is_choices_and_ranges():
    space = parse_space(["a.x=1e-4..1e-2:log", "b=1,2,4", "head=512;512,256", "n=1..3"])
    assert space["a.x"] == Range(1e-4, 1e-2, False, True)
    assert space["b"] == ("1", "2", "4") and space["head"] == ("512", "512,256")
    assert space["n"] == Range(1, 3, True)


@pytest.mark.parametrize(
    "text", ["x", "x=", "x=2..1", "x=0..1:log", "x=1..2:steps", "x=a..b", "x=,", "x=1..inf", "=1,2"]
)
def test_what_is_no_space_is_refused_with_its_text(text):
    with pytest.raises(SettingsError, match="--space"):
        parse_space([text])


def test_a_setting_is_named_once():
    with pytest.raises(SettingsError, match="named twice"):
        parse_space(["x=1,2", "x=3,4"])


def test_a_small_space_has_combinations_and_a_range_of_numbers_has_none():
    assert combinations(parse_space(["a=1,2", "n=1..3"]), 6)[-1] == {"a": "2", "n": 3}
    assert combinations(parse_space(["a=1,2", "n=1..3"]), 5) is None
    assert combinations({"x": Range(0, 1, False)}, 100) is None


# ---- the study -------------------------------------------------------------------------------------------------------


def test_the_study_finds_the_bottom_of_a_bowl_and_says_what_it_was_before(tmp_path):
    found = tune(Bowl(), SPACE, tmp_path, 25)
    assert found.values["kind"] == "b" and abs(float(found.values["x"]) - 0.3) < 0.2
    assert found.before == pytest.approx(1 - 0.49 - 0.5) and found.value > 0.95
    told = told_of(tmp_path)
    assert told["best"] == {"trial": found.number, "value": found.value, "values": found.values}
    assert len(told["trials"]) == 25 and set(told["importances"]) == {"x", "kind"}


def test_the_progress_counts_trials_that_are_done(tmp_path):
    said = []
    tune(Bowl(), SPACE, tmp_path, 3, told=lambda what, *_: said.append(what))
    assert [what.partition(":")[0] for what in said if "trials done" in what] == [
        f"{n} of 3 trials done" for n in range(3)
    ]


def test_a_study_that_found_nothing_says_so(tmp_path):
    found = tune(Bowl(), parse_space(["kind=a"]), tmp_path, 1)
    assert found.value == found.before
    for name in ("best.toml", "report.html"):
        assert "No trial was better" in (tmp_path / name).read_text("utf-8")


def test_trials_that_fall_behind_are_cut_short(tmp_path):
    tune(Bowl(), SPACE, tmp_path, 25)
    states = [row["state"] for row in told_of(tmp_path)["trials"]]
    assert "cut short" in states and "cut short" not in states[:4]
    assert all(row["value"] is None for row in told_of(tmp_path)["trials"] if row["state"] != "done")


def test_a_second_call_goes_on_and_an_interrupted_study_comes_to_the_same(tmp_path):
    whole, parted = Bowl(), Bowl(stop_at=6)
    tune(whole, SPACE, tmp_path / "whole", 12)
    with pytest.raises(KeyboardInterrupt):
        tune(parted, SPACE, tmp_path / "parted", 9)
    later = Bowl()
    tune(later, SPACE, tmp_path / "parted", 9)
    assert later.asked[0] == whole.asked[6]
    last = Bowl()
    tune(last, SPACE, tmp_path / "parted", 12)
    assert len(last.asked) == 3
    assert parted.asked + later.asked + last.asked == whole.asked
    ours, theirs = (told_of(tmp_path / name)["trials"] for name in ("parted", "whole"))
    assert [row["values"] for row in ours] == [row["values"] for row in theirs]


def test_a_study_that_has_its_trials_runs_none(tmp_path):
    tune(Bowl(), SPACE, tmp_path, 3)
    again = Bowl()
    tune(again, SPACE, tmp_path, 3)
    assert again.asked == []


def test_another_seed_draws_other_trials(tmp_path):
    first, second = Bowl(), Bowl()
    tune(first, SPACE, tmp_path / "a", 3, seed=1)
    tune(second, SPACE, tmp_path / "b", 3, seed=2)
    assert first.asked[1:] != second.asked[1:]


def test_a_folder_with_a_study_of_something_else_is_refused(tmp_path):
    tune(Bowl(), SPACE, tmp_path, 1)
    for other, space, what in ((Bowl(data="two"), SPACE, "data"), (Bowl(), parse_space(["x=0..2"]), "space")):
        with pytest.raises(SettingsError, match=f"other {what}; choose another folder"):
            tune(other, space, tmp_path, 2)


def test_a_space_no_larger_than_the_trials_is_gone_through_whole_and_once(tmp_path):
    bowl = Bowl()
    tune(bowl, parse_space(["kind=a,b", "n=1..2"]), tmp_path, 10)
    assert bowl.asked[1:] == [{"kind": kind, "n": n} for kind in "ab" for n in "12"]


def test_a_combination_that_fails_is_named_and_the_study_goes_on(tmp_path):
    found = tune(Bowl(), parse_space(["kind=a,b,c"]), tmp_path, 3)
    rows = told_of(tmp_path)["trials"]
    assert [row["state"] for row in rows] == ["done", "done", "failed"] and found.values == {"kind": "b"}
    assert rows[2]["why"] == "ValueError: a and c do not go together"


def test_a_study_without_any_success_says_why(tmp_path):
    with pytest.raises(SettingsError, match=r"no trial succeeded .*do not go together"):
        tune(Bowl(), parse_space(["kind=c"]), tmp_path, 1)


def test_a_wrong_setting_is_refused_before_any_trial(tmp_path):
    bowl = Bowl()
    with pytest.raises(SettingsError, match="unknown key"):
        tune(bowl, parse_space(["y=1,2"]), tmp_path, 1)
    assert bowl.asked == []


def test_two_runs_do_not_share_a_folder(tmp_path):
    class Nested(Bowl):
        def run(self, values, report, folder):
            with pytest.raises(SettingsError, match="another run is at work"):
                tune(Bowl(), SPACE, tmp_path, 1)
            return super().run(values, report, folder)

    tune(Nested(), SPACE, tmp_path, 1)


def test_a_range_of_a_number_that_is_not_whole_is_not_gone_through_in_whole_steps(tmp_path):
    bowl = Bowl()
    tune(bowl, parse_space(["x=0..1"]), tmp_path, 4)
    assert any(not float(values["x"]).is_integer() for values in bowl.asked[1:])


def test_the_page_holds_everything_and_escapes_names(tmp_path):
    class Marked(Bowl):
        name = "<script>alert(1)</script>"

    tune(Marked(), SPACE, tmp_path, 12)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<script>alert" not in page and "Plotly.newPlot" in page
    assert 'id="history"' in page and 'id="importances"' in page and 'id="slice1"' in page


# ---- the recommender -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    import small_release

    folder = tmp_path_factory.mktemp("shop")
    return small_release.dataset(), small_release.settings(folder, ("popular", "itemknn", "ease")), folder / "steps"


def test_the_recipe_of_the_best_is_one_that_training_takes(shop, tmp_path):
    data, settings, steps = shop
    subject = RecommenderSubject(data, settings, "ease", steps=steps)
    found = tune(subject, parse_space(["retrieval.ease_reg=1,1e4", "retrieval.decay=0,1"]), tmp_path, 4)
    again = load_settings(tmp_path / "best.toml", environ={})
    assert again.retrieval.ease_reg == (float(found.values["retrieval.ease_reg"]),)
    # What else was set stays set, and what the judging alone had switched off does not.
    assert again.retrieval.scorers == settings.retrieval.scorers and again.ranking == settings.ranking
    assert again.encoder.name == "hashing" and again.calibration == settings.calibration


def test_the_mix_is_judged_by_what_validation_says_of_it(shop, tmp_path):
    data, settings, steps = shop
    subject = RecommenderSubject(data, settings, steps=steps)
    value = subject.run({}, lambda *_: None, tmp_path)
    assert 0 < value <= 1
    assert subject.run({"retrieval.ease_reg": "1"}, lambda *_: None, tmp_path) != value


def test_a_study_is_the_same_where_what_changed_cannot_change_its_values(shop):
    data, settings, _ = shop

    def identity(**sections):
        changed = {name: dataclasses.replace(getattr(settings, name), **to) for name, to in sections.items()}
        return RecommenderSubject(data, dataclasses.replace(settings, **changed)).identity

    assert identity(store={"events_days": 90.0}, retrain={"keep": 9}) == identity()
    assert identity(ranking={"extra_decays": (0.5,)}) != identity()


def test_nothing_of_the_test_is_read(shop, tmp_path, monkeypatch):
    data, settings, _ = shop
    from langrec.tuning import recommender

    split = recommender.split_events(data.events, len(data.users), settings.split)
    values = []
    for items in (split.test.items, np.zeros_like(split.test.items)):
        other = data.events.items.copy()
        other[-len(items) :] = items
        changed = dataclasses.replace(data, events=dataclasses.replace(data.events, items=other))
        subject = RecommenderSubject(changed, settings, steps=tmp_path / str(len(values)))
        values.append(subject.run({}, lambda *_: None, tmp_path))
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("split.kind", "loo", "cannot be tuned"),
        ("evaluate.seed", "1", "cannot be tuned"),
        ("ranking.trees", "10", "cannot be tuned"),
        ("id_tower.seed", "1", "cannot be tuned"),
        ("ease_reg", "1", "cannot be tuned"),
        ("retrieval.ease_rec", "1", "did you mean ease_reg"),
        ("towers.dim", "1", "unknown section"),
        ("id_tower.dim", "0.5", "must be a whole number"),
    ],
)
def test_what_cannot_be_tuned_is_refused(shop, name, value, said):
    with pytest.raises(SettingsError, match=said):
        RecommenderSubject(shop[0], shop[1]).check(name, value)


def test_a_log_without_validation_cannot_be_tuned(shop):
    data, settings, _ = shop
    few = dataclasses.replace(data, events=data.events.take(slice(0, 1)))
    with pytest.raises(DataError):
        RecommenderSubject(few, settings)


def test_the_first_tower_that_the_space_changes_is_watched(shop):
    settings = dataclasses.replace(
        shop[1], retrieval=dataclasses.replace(shop[1].retrieval, scorers=("ease", "id_tower", "text_tower"))
    )
    assert watched_tower({"text_tower.dim": ()}, settings) == "text_tower"
    assert watched_tower({"retrieval.decay": ()}, settings) is None
    assert watched_tower({"id_tower.dim": ()}, settings, "ease") is None


@pytest.mark.slow
def test_epochs_of_a_tower_are_reported(shop, tmp_path):
    pytest.importorskip("torch")
    data, settings, _ = shop
    subject = RecommenderSubject(data, settings, "id_tower", watched="id_tower", steps=tmp_path)
    epochs = []
    values = {"id_tower.dim": "8", "id_tower.epochs": "2", "id_tower.precision": "fp32"}
    value = subject.run(values, lambda epoch, ndcg: epochs.append((epoch, ndcg)), tmp_path)
    assert [epoch for epoch, _ in epochs] == [1, 2] and value > 0


# ---- an adaptation ---------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from plain_topics import sentences, write_rows

    from langrec.lm.adapt.job import Files
    from tiny_lm import tiny_lm

    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "cache"))
    train, valid = (write_rows(tmp_path / f"{name}.csv", sentences(n, i)) for i, (name, n) in enumerate(PARTS.items()))
    # A test file that cannot be read: it is never opened.
    return tiny_lm(tmp_path / "tiny"), Files(train, valid, tmp_path / "absent.csv")


PARTS = {"train": 30, "valid": 15}


def test_an_adaptation_is_judged_on_validation_epoch_by_epoch(labelled, tmp_path):
    from langrec.lm.adapt.settings import AdaptSettings
    from langrec.tuning.adaptation import AdaptationSubject

    model, files = labelled
    base = AdaptSettings(kind="last", layers=1, epochs=2, batch=16, precision="fp32", patience=5)
    subject = AdaptationSubject(str(model), base, files)
    epochs = []
    value = subject.run({"rate": "0.01"}, lambda epoch, score: epochs.append((epoch, score)), tmp_path / "trial")
    assert [epoch for epoch, _ in epochs] == [1, 2] and value >= max(score for _, score in epochs) - 1e-5
    assert not (tmp_path / "trial").exists()
    found = tune(subject, parse_space(["rate=1e-3,1e-2"]), tmp_path / "study", 2)
    assert f"--set rate={float(found.values['rate'])}" in told_of(tmp_path / "study")["use"]
    assert "[adapt]" in (tmp_path / "study" / "best.toml").read_text("utf-8")


def test_what_is_judged_of_an_adaptation_cannot_be_tuned_and_metrics_are_named(labelled, tmp_path):
    from langrec.lm.adapt.settings import AdaptSettings
    from langrec.tuning.adaptation import AdaptationSubject

    model, files = labelled
    base = AdaptSettings(kind="head", epochs=1, precision="fp32")
    with pytest.raises(SettingsError, match="cannot be tuned"):
        AdaptationSubject(str(model), base, files).check("seed", "3")
    with pytest.raises(SettingsError, match="validation has accuracy"):
        AdaptationSubject(str(model), base, files, "acuracy").run({}, lambda *_: None, tmp_path / "trial")
    assert 0 <= AdaptationSubject(str(model), base, files, "macro.f1").run({}, lambda *_: None, tmp_path / "t") <= 1


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def langrec_(langrec_, monkeypatch, tmp_path):
    """A command line with a cache of its own."""
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "cache"))
    return langrec_


def test_the_verb_tunes_a_scorer_and_names_the_recipe(langrec_, tmp_path):
    from small_shop import write_shop

    events, items = write_shop(tmp_path / "shop")
    words = ["tune", "--trials", 2, "--events", events, "--items", items, "--of", "ease", "--out", tmp_path / "tuned"]
    words += ["--set", "encoder.name=hashing", "--space", "retrieval.ease_reg=1..1000:log"]
    status, out, _ = langrec_(*words, "--json")
    told = json.loads(out)
    assert status == 0 and len(told["trials"]) == 2 and told["metric"] == "ndcg@10"
    recipe = tmp_path / "tuned" / "best.toml"
    assert told["use"] == f"langrec train --recipe {recipe} --events {events} --items {items}", "it runs as it stands"
    status, out, _ = langrec_(*words)
    better = told["best"]["value"] > told["before"]
    assert status == 0 and ("langrec train --recipe" in out, "no trial was better" in out) == (better, not better)
    assert {path.name for path in (tmp_path / "tuned").iterdir()} == {
        "best.toml",
        "lock",
        "report.html",
        "study.db",
        "trials.json",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--events: is needed"),
        (["--events", "absent", "--metric", "recall@10"], "validation chooses by ndcg@10"),
        (["--train", "x.csv"], "has no meaning without --task"),
        (["--task", "classify", "--of", "ease"], "has no meaning with --task"),
        (["--task", "joint"], "cannot be tuned"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(langrec_, tmp_path, words, said):
    status, _, error = langrec_("tune", "--out", tmp_path / "out", "--space", "retrieval.decay=0,1", *words)
    assert status == 2 and said in error and len(error.splitlines()) == 1
