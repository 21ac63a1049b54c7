"""A training run: nothing of the test is looked at, nothing done is done again, and every log gets a release."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import worlds
from langrec import Recommender, choosing, training
from langrec.bundle import Bundle
from langrec.choosing import choose, fit, ndcg_at_10
from langrec.data.dataset import Dataset
from langrec.data.ids import Ids
from langrec.data.splits import Split, split_events
from langrec.encoders.hashing import HashingEncoder
from langrec.errors import DataError, SettingsError
from langrec.evaluation.protocol import next_item
from langrec.ranking.fusion import Signal
from langrec.releases import releases
from langrec.settings import EncoderSettings, IdTowerSettings, SplitSettings, TextTowerSettings
from langrec.training import evaluate_models, read_texts, train
from langrec.types import Query
from small_release import NOW, WORLD, dataset, history, release, settings

FEW = ("popular", "popular_decayed", "itemknn", "ease")


def quiet(*_):
    """Progress that nobody watches."""


def chosen_of(data, chosen_by, steps, told=quiet):
    reading = read_texts(data, chosen_by, quiet)
    split = split_events(data.events, len(data.users), chosen_by.split)
    return choose(data, split, reading, chosen_by, told, steps), reading, split


def searched(folder, **more):
    """Settings with grids, so that validation has something to choose."""
    plain = settings(folder, **more)
    grids = replace(plain.retrieval, decay=(0.0, 0.3), ease_reg=(1.0, 100.0), itemknn_neighbours=(3, 50))
    return replace(plain, retrieval=grids)


def counted(monkeypatch, name):
    """How often a function of the training is called from now on."""
    calls = []
    where = training if name == "fit" else choosing
    real = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *args, **more: calls.append(args) or real(*args, **more))
    return calls


# ---- no leak ---------------------------------------------------------------------------------------------------------


def with_another_test(data, chosen_by):
    """The same data set, whose test-period events say something else: other items, other gains."""
    events = data.events
    split = split_events(events, len(data.users), chosen_by.split)
    test = np.isin(events.rows, split.test.rows)
    items, gains = events.items.copy(), events.gains.copy()
    items[test] = (items[test] * 7 + 3) % WORLD.n_items
    gains[test] = 5.0
    assert test.sum() > 20
    assert (items != events.items).sum() > 20
    return Dataset(data.users, data.catalogue, replace(events, items=items, gains=gains))


@pytest.mark.parametrize("kind", ["time", "loo", "user"])
def test_what_is_chosen_and_fitted_knows_nothing_of_the_test(kind, tmp_path):
    chosen_by = searched(tmp_path, split=SplitSettings(kind=kind))
    one = dataset()
    other = with_another_test(one, chosen_by)
    found = [chosen_of(data, chosen_by, tmp_path / name) for name, data in (("one", one), ("other", other))]
    (first, reading, split), (second, _, split_of_other) = found
    assert first.params == second.params
    assert first.scores == second.scores
    assert first.mix_scores == second.mix_scores
    np.testing.assert_array_equal(first.mix.weights, second.mix.weights)
    assert first.mix.kind == second.mix.kind
    block = worlds.queries(WORLD.histories()[:8], at=[NOW] * 8)
    scores = [
        fit(data, training._before_test(parts), reading, first, chosen_by).signal_scores(block)
        for data, parts in ((one, split), (other, split_of_other))
    ]
    np.testing.assert_array_equal(*scores)


def test_leave_one_out_keeps_the_validation_out_of_what_is_measured(tmp_path):
    chosen_by = settings(tmp_path, split=SplitSettings(kind="loo"))
    data = dataset()
    split = split_events(data.events, len(data.users), chosen_by.split)
    assert (
        len(training._before_test(split)) == len(split.train) == len(data.events) - len(split.valid) - len(split.test)
    )


# ---- quality ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mix_of_a_planted_world_is_near_the_best_possible(seed, tmp_path):
    world = worlds.planted_topics(users=240, items=48, noise=0.1, seed=seed)
    chosen_by = settings(tmp_path, split=SplitSettings(cut=(0.6, 0.8)))
    chosen, reading, _ = chosen_of(world.dataset, chosen_by, tmp_path / "steps")
    fusion = fit(world.dataset, world.dataset.events, reading, chosen, chosen_by)
    events = world.dataset.events
    rows = [(user, int(item), int(events.at[-1]) + 1 + user) for user, item in enumerate(world.held_out)]
    questions = next_item(events, worlds.events(rows), world.n_users)
    assert len(questions) == world.n_users
    assert ndcg_at_10(fusion.score_block, questions) >= 0.8 * world.ideal_ndcg(10)


def test_the_mix_is_not_worse_than_its_scorers_on_validation(tmp_path):
    chosen, _, _ = chosen_of(dataset(), searched(tmp_path), tmp_path / "steps")
    assert max(chosen.mix_scores.values()) >= 0.9 * max(chosen.scores.values())
    best = max(chosen.mix_scores, key=lambda kind: chosen.mix_scores[kind])
    assert chosen.mix.kind == best


@pytest.mark.parametrize("kind", ["linear", "rrf"])
def test_a_kind_of_mix_can_be_asked_for(kind, tmp_path):
    chosen, _, _ = chosen_of(dataset(), settings(tmp_path, scorers=FEW, mix=kind), tmp_path / "steps")
    assert chosen.mix.kind == kind


# ---- nothing twice ---------------------------------------------------------------------------------------------------


def test_a_second_run_reuses_every_choice(tmp_path, monkeypatch):
    chosen_by = searched(tmp_path, scorers=FEW)
    first, _, _ = chosen_of(dataset(), chosen_by, tmp_path / "steps")
    tuned, learned = counted(monkeypatch, "_tune"), counted(monkeypatch, "_learn")
    second, _, _ = chosen_of(dataset(), chosen_by, tmp_path / "steps")
    assert (len(tuned), len(learned)) == (0, 0)
    assert (second.params, second.scores, second.mix_scores) == (first.params, first.scores, first.mix_scores)
    np.testing.assert_array_equal(first.mix.weights, second.mix.weights)


def test_the_mix_learns_from_the_scorers_that_were_just_fitted(tmp_path, monkeypatch):
    chosen_by = settings(tmp_path, scorers=FEW)
    fits = counted(monkeypatch, "_fit_one")
    first, _, _ = chosen_of(dataset(), chosen_by, tmp_path / "steps")
    assert [args[0] for args in fits] == list(FEW)
    for path in (tmp_path / "steps").glob("mix-*"):
        path.unlink()
    again, _, _ = chosen_of(dataset(), chosen_by, tmp_path / "steps")  # from the kept settings, fitted anew
    assert len(fits) == 2 * len(FEW)
    np.testing.assert_array_equal(first.mix.weights, again.mix.weights)


@pytest.mark.parametrize("what", ["events", "texts", "grid", "split"])
def test_what_has_changed_is_chosen_again(what, tmp_path, monkeypatch):
    chosen_by = searched(tmp_path, scorers=FEW)
    data = dataset()
    chosen_of(data, chosen_by, tmp_path / "steps")
    if what == "events":
        data = with_another_test(data, chosen_by)
    elif what == "texts":  # the same catalogue, of which other fields are read
        chosen_by = replace(chosen_by, encoder=replace(chosen_by.encoder, fields=("title",)))
    elif what == "grid":
        chosen_by = replace(chosen_by, retrieval=replace(chosen_by.retrieval, ease_reg=(2.0,)))
    else:
        chosen_by = replace(chosen_by, split=SplitSettings(cut=(0.7, 0.9)))
    tuned, learned = counted(monkeypatch, "_tune"), counted(monkeypatch, "_learn")
    chosen_of(data, chosen_by, tmp_path / "steps")
    assert (len(tuned), len(learned)) == (len(FEW), 1)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, monkeypatch):
    chosen_by = searched(tmp_path, scorers=FEW)
    uninterrupted, _, _ = chosen_of(dataset(), chosen_by, tmp_path / "other")

    def interrupt(what, done, total):
        if what == "choose itemknn":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chosen_of(dataset(), chosen_by, tmp_path / "steps", interrupt)
    tuned = counted(monkeypatch, "_tune")
    resumed, _, _ = chosen_of(dataset(), chosen_by, tmp_path / "steps")
    assert [args[0] for args in tuned] == ["itemknn", "ease"]
    assert resumed.params == uninterrupted.params
    np.testing.assert_array_equal(resumed.mix.weights, uninterrupted.mix.weights)


def test_an_interrupted_training_leaves_no_release_and_nothing_half(tmp_path):
    def interrupt(what, done, total):
        if what == "write the release":
            raise KeyboardInterrupt

    out = tmp_path / "releases"
    with pytest.raises(KeyboardInterrupt):
        train(dataset(), settings(tmp_path, scorers=FEW), out, steps=tmp_path, progress=interrupt)
    assert releases(out) == []
    assert not out.exists() or not list(out.iterdir())


def test_two_runs_with_one_seed_are_alike_and_the_seed_draws_the_questions(tmp_path):
    def weights(seed, name):
        chosen_by = settings(tmp_path, scorers=FEW, seed=seed, questions=30, tune_questions=20)
        chosen, _, _ = chosen_of(dataset(), chosen_by, tmp_path / name)
        return chosen.scores, chosen.mix.weights.tolist()

    assert weights(1, "a") == weights(1, "b")
    assert weights(1, "a") != weights(2, "c")


# ---- what training writes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", ["all", "first", "last"])
def test_a_log_of_last_events_alone_is_said_to_leak(repeats, tmp_path):
    plain = settings(tmp_path, scorers=FEW)
    kept = replace(plain, data=replace(plain.data, repeats=repeats))
    report, per_user = training.evaluate_models(dataset(), kept, FEW, steps=tmp_path / "steps")
    for one in (report, per_user):
        assert ("data.repeats=last" in one.protocol["leaks"]) == ("This leaks" in one.markdown()) == (repeats == "last")


@pytest.mark.parametrize("kind", ["time", "loo", "user"])
def test_every_kind_of_split_gives_a_measured_release(kind, tmp_path):
    chosen_by = settings(tmp_path, scorers=FEW, split=SplitSettings(kind=kind))
    said = []
    folder, report = train(
        dataset(),
        chosen_by,
        tmp_path / "releases",
        steps=tmp_path / "steps",
        progress=lambda what, done, total: said.append(what),
    )
    assert report.models == (*FEW, "mix")
    assert report.protocol["split"] == kind
    assert bool(report.protocol["leaks"]) == (kind != "time")
    assert (report.protocol["cut"] is not None) == (kind == "time")
    assert (folder / "measure" / "report.html").is_file()
    manifest = Bundle.open(folder).manifest
    assert manifest["chosen"] == "mix"
    assert set(manifest["weights"]) >= set(FEW)
    assert set(manifest["validation"]["scorers"]) == set(FEW)
    assert said[-1] == "write the release"
    assert [one.stamp for one in releases(tmp_path / "releases")] == [folder.name]
    assert not list((tmp_path / "releases").glob(".*"))


def test_the_release_is_fitted_on_everything(tmp_path):
    """What the last event says is in the release, though it was in the test."""
    made = Recommender.load(release(tmp_path, retrieval=settings(tmp_path, scorers=("popular",)).retrieval))
    counts = np.bincount(WORLD.dataset.events.items, minlength=len(dataset().catalogue))
    np.testing.assert_array_equal(np.round(made.fusion.scorers["popular"].score_block(_nobody())[0]), counts)


@pytest.mark.parametrize(("fewest", "enters"), [(1, True), (1_000_000, False)])
def test_readers_of_text_enter_for_new_items_where_validation_chose_enough_of_them(
    tmp_path, monkeypatch, fewest, enters
):
    monkeypatch.setattr(choosing, "FEWEST_NEW", fewest)
    data, chosen_by = dataset(), settings(tmp_path, scorers=("popular", "popular_decayed", "itemknn", "tfidf"))
    cut = split_events(data.events, len(data.users))
    new = np.isin(cut.train.items, np.unique(cut.valid.items)[:5])
    split = Split(cut.train.take(~new), cut.valid, cut.test, "given")
    folder, _ = train(data, chosen_by, tmp_path / "releases", steps=tmp_path, split=split)
    signals = Recommender.load(folder).fusion.signals
    assert (Signal("tfidf", only="new") in signals) == enters
    assert Signal("tfidf", only="rare") in signals


def _nobody():
    from langrec.data.asked import nobody

    return nobody(NOW)


def test_without_readers_of_text_no_encoder_is_needed(tmp_path):
    nowhere = EncoderSettings(name="no-such-model-anywhere")
    folder, _ = train(
        dataset(),
        replace(settings(tmp_path, scorers=(*FEW, "bm25")), encoder=nowhere),
        tmp_path / "releases",
        steps=tmp_path,
    )
    opened = Recommender.load(folder)
    assert opened.encoder is None
    assert not (folder / "encoder").exists()
    assert opened.recommend([Query(history=history(0)[0], k=3)])[0].trace.reason == "history"
    assert opened.recommend([Query(text="anchor", k=3)])[0].ids
    with pytest.raises(SettingsError):
        train(dataset(), replace(settings(tmp_path, scorers=("vectors",)), encoder=nowhere), tmp_path / "releases")


@pytest.mark.parametrize(("share", "said"), [(0.52, True), (0.03, False)])
def test_an_encoder_of_another_language_is_said_to_hardly_read_the_texts(share, said, tmp_path, monkeypatch):
    monkeypatch.setattr(HashingEncoder, "unknown_share", lambda self, texts: share, raising=False)
    reading = read_texts(dataset(), settings(tmp_path), quiet)
    assert [note for note in reading.notes if "52% of the tokens" in note and "encoder.name" in note] == list(
        reading.notes
    )
    assert bool(reading.notes) == said


def test_a_popularity_that_is_fitted_stands_in_for_a_fallback_that_is_not(tmp_path):
    scorers = ("itemknn", "popular", "popular_7d")
    made, report = train(dataset(), settings(tmp_path, scorers=scorers), tmp_path / "releases", steps=tmp_path)
    bundle = Bundle.open(made)
    assert bundle.settings.ranking.fallback == report.protocol["empty_history"] == "popular"
    recommender = bundle.recommender()
    visitor, filled, starters = (
        recommender.recommend([Query(k=WORLD.n_items)])[0],
        recommender.recommend([Query(history=("i0",), k=1000)])[0],
        recommender.starters([Query(k=5)])[0],
    )
    assert {name for name, part in visitor.items.columns.items() if np.nan_to_num(part).any()} == {"popular"}
    assert list(filled.trace.filled) == ["popular"]
    assert (starters.items.scores > 0).all()
    alone = settings(tmp_path, scorers=("itemknn",))
    assert training.with_fallback(alone) == alone and training.with_fallback(settings(tmp_path)) == settings(tmp_path)


def test_a_scorer_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(SettingsError, match="itemnn"):
        train(dataset(), settings(tmp_path, scorers=("itemnn",)), tmp_path / "releases", steps=tmp_path)


@pytest.mark.parametrize("name", ["popular", "mix"])
def test_a_rival_with_the_name_of_an_own_model_is_refused(name, tmp_path):
    with pytest.raises(DataError, match=f"rivals: {name} is one of the release's own models"):
        train(dataset(), settings(tmp_path), tmp_path / "releases", steps=tmp_path, rivals={name: object()})


def test_a_file_in_the_place_of_the_releases_is_named_before_anything_is_fitted(tmp_path, monkeypatch):
    tuned = counted(monkeypatch, "_tune")
    (tmp_path / "releases").write_text("a file")
    with pytest.raises(DataError, match="releases: is a file; name a folder"):
        train(dataset(), settings(tmp_path), tmp_path / "releases", steps=tmp_path)
    assert not tuned


# ---- small logs ------------------------------------------------------------------------------------------------------


def small(rows):
    """The shop with these events alone: (user, item, day)."""
    full = dataset()
    log = worlds.events([(user, item, worlds.START + day * worlds.DAY_MS) for user, item, day in rows])
    return Dataset(Ids([f"u{user}" for user in range(4)]), full.catalogue, log)


REPEATED = [(0, 0, day) for day in range(20)]  # nothing is ever new
VALIDATED = [*((user, user, 0) for user in range(4)), *((0, day, day) for day in range(1, 10)), (0, 1, 11), (0, 2, 12)]


@pytest.mark.parametrize(
    ("rows", "chosen", "measured"),
    [
        ([], False, False),
        ([(0, 1, 0)], False, False),
        ([(user, user + day, day) for user in range(3) for day in range(3)], False, False),
        (REPEATED, False, False),
        ([*REPEATED[:18], (1, 3, 18), (1, 4, 19)], False, True),
        (VALIDATED, True, False),
    ],
    ids=["no event", "one event", "nine events", "only repeats", "new only in the test", "new only in validation"],
)
def test_a_small_log_gives_a_release_that_says_what_it_could_not_do(rows, chosen, measured, tmp_path):
    data = small(sorted(rows, key=lambda row: row[2]))
    chosen_by = searched(tmp_path)
    folder, report = train(data, chosen_by, tmp_path / "releases", steps=tmp_path / "steps")
    manifest = json.loads((folder / "manifest.json").read_text())
    said = " ".join(manifest["notes"])
    assert ("not chosen" in said) == (not chosen)
    assert ("not measured" in said) == (not measured)
    assert (report is not None) == measured == bool(manifest["metrics"]) == (folder / "measure").is_dir()
    assert all(note in (folder / "README.md").read_text() for note in manifest["notes"])
    if not chosen:
        assert set(manifest["validation"]["scorers"].values()) == {None}
        assert json.loads((folder / "ranking" / "mix.json").read_text())["kind"] == "rrf"
        assert manifest["models"]["ease"]["params"]["reg"] == 1.0
        assert manifest["models"]["itemknn"]["params"]["decay"] == 0.0
    opened = Recommender.load(folder)
    assert opened.popular(1000).ids
    assert opened.recommend([Query(text="anchor whale", k=2)])[0].trace.reason == "text"
    assert len(opened.recommend([Query(history=("i1",), k=1000)])[0]) == opened.n_items - 2
    assert not list((tmp_path / "releases").glob(".*"))


def test_without_validation_the_first_of_each_grid_and_rank_fusion_are_taken(tmp_path):
    chosen, _, _ = chosen_of(small([(0, 0, day) for day in range(20)]), searched(tmp_path), tmp_path / "steps")
    assert chosen.mix.kind == "rrf"
    assert np.isnan(list(chosen.scores.values())).all()
    assert np.isnan(list(chosen.mix_scores.values())).all()
    assert "validation" in chosen.notes[0]
    assert not (tmp_path / "steps").exists()


def test_measuring_alone_needs_a_question(tmp_path):
    with pytest.raises(DataError, match="nothing to measure"):
        evaluate_models(small(REPEATED), settings(tmp_path, scorers=FEW), steps=tmp_path)
    with pytest.raises(DataError, match="no events"):
        evaluate_models(small([]), settings(tmp_path, scorers=FEW), steps=tmp_path)


def test_a_log_that_cannot_be_cut_is_an_error_with_a_way_out(tmp_path):
    at_once = small([(user, item, 0) for user in range(4) for item in range(10)])
    with pytest.raises(DataError, match="loo"):
        train(at_once, settings(tmp_path, scorers=FEW), tmp_path / "releases", steps=tmp_path)


# ---- measuring -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Both reports of the shop with all its scorers."""
    folder = tmp_path_factory.mktemp("measured")
    return evaluate_models(dataset(), settings(folder), steps=folder)


def test_both_questions_are_asked_where_time_is_cut(measured):
    first, second = measured
    assert first.protocol["question"] == "next item"
    assert second.protocol["question"] == "per user"
    assert first.models == second.models
    assert first.chosen == second.chosen == "mix"


def test_one_question_is_asked_of_the_other_splits(tmp_path):
    for kind in ("loo", "user"):
        chosen_by = settings(tmp_path, scorers=("popular",), split=SplitSettings(kind=kind))
        first, second = evaluate_models(dataset(), chosen_by, steps=tmp_path)
        assert first.protocol["question"] == "next item"
        assert second is None


def test_parts_that_the_data_names_itself_are_measured_on(tmp_path):
    own, data = settings(tmp_path, scorers=("popular", "itemknn")), dataset()
    cut = split_events(data.events, len(data.users), own.split)
    by_time, _ = evaluate_models(data, own, steps=tmp_path)
    first, second = evaluate_models(data, own, split=Split(cut.train, cut.valid, cut.test, "given"), steps=tmp_path)
    assert second is None and (first.protocol["split"], first.protocol["valid_from"]) == ("given", None)
    for name in ("popular", "itemknn", "mix"):
        assert first.value(name, "ndcg@10") == pytest.approx(by_time.value(name, "ndcg@10"), abs=1e-9)
    # Other parts of the same log under the same settings: nothing that was chosen on the first ones is taken over.
    before = {path.name for path in tmp_path.glob("*.json")}
    other = Split(cut.train, cut.test, cut.valid, "given")
    evaluate_models(data, own, split=other, steps=tmp_path)
    made = {path.name.rpartition("-")[0] for path in tmp_path.glob("*.json") if path.name not in before}
    assert {"tune-popular", "tune-itemknn", "mix"} <= made


@pytest.mark.parametrize("names", [("ease",), ("vectors", "popular_decayed"), ("bm25", "mix")])
def test_a_models_numbers_do_not_depend_on_what_else_is_named(measured, names, tmp_path):
    alone, _ = evaluate_models(dataset(), settings(tmp_path), names, steps=tmp_path)
    assert alone.models == names
    for name in names:
        assert alone.value(name, "ndcg@10") == pytest.approx(measured[0].value(name, "ndcg@10"), abs=1e-9)
        assert alone.value(name, "auc") == pytest.approx(measured[0].value(name, "auc"), abs=1e-9)
    assert ("mix" in alone.protocol["chosen"]) == ("mix" in names)


def test_a_scorer_outside_the_settings_can_be_named(tmp_path):
    first, _ = evaluate_models(dataset(), settings(tmp_path, scorers=FEW), ("popular_3d", "ease"), steps=tmp_path)
    assert first.models == ("popular_3d", "ease")


@pytest.mark.slow
def test_both_towers_bring_their_headroom_and_the_text_tower_its_controls(tmp_path):
    small = {"dim": 8, "heads": 2, "epochs": 2, "tokens": 512, "precision": "fp32"}
    towers = {"id_tower": IdTowerSettings(**small), "text_tower": TextTowerSettings(**small, head=(8,))}
    plain = replace(settings(tmp_path, scorers=("popular_decayed", "ease", "id_tower", "text_tower")), **towers)
    spared = replace(plain, evaluate=replace(plain.evaluate, controls=False))
    first, second = evaluate_models(dataset(), spared, steps=tmp_path)
    assert list(first.beside.what) == list(second.beside.what) == ["oracle_union"]
    with_controls, _ = evaluate_models(dataset(), plain, steps=tmp_path)
    assert list(with_controls.beside.what) == ["text_tower_permuted", "text_tower_raw", "oracle_union"]
    assert with_controls.models == first.models == ("popular_decayed", "ease", "id_tower", "text_tower", "mix")
    assert [str(row) for row in with_controls.rows] == [str(row) for row in first.rows]
    assert with_controls.difference("text_tower_raw").reference == "text_tower"
    assert not any("text_tower_" in name for name in with_controls.protocol["mix"]["names"])
    assert set(with_controls.fit_seconds) == {*with_controls.models, *with_controls.protocol["controls"]} - {"mix"}
    # A kept tower says how long its training took, not how long it took to read it.
    assert with_controls.fit_seconds["id_tower"] == first.fit_seconds["id_tower"]
    assert len(list(tmp_path.glob("mix-*.json"))) == 1, "controls are no reason to learn the mix again"


def test_without_the_mix_none_is_learned_and_only_what_is_asked_for_is_fitted(tmp_path, monkeypatch):
    tuned, learned = counted(monkeypatch, "_tune"), counted(monkeypatch, "_learn")
    evaluate_models(dataset(), settings(tmp_path), ("ease",), steps=tmp_path)
    assert sorted(args[0] for args in tuned) == ["ease", "popular_decayed"]
    assert not learned


def test_both_questions_are_asked_of_one_fit(tmp_path, monkeypatch):
    fits = counted(monkeypatch, "fit")
    evaluate_models(dataset(), settings(tmp_path, scorers=FEW), steps=tmp_path)
    assert len(fits) == 1


def test_an_unknown_model_is_refused_before_anything_is_fitted(tmp_path, monkeypatch):
    tuned = counted(monkeypatch, "_tune")
    with pytest.raises(SettingsError, match="eas"):
        evaluate_models(dataset(), settings(tmp_path), ("eas",), steps=tmp_path)
    assert not tuned
