"""What every registered scorer keeps, whatever its kind."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from langrec import registry
from langrec.data.candidates import population_of
from langrec.data.events import DAY_MS
from langrec.data.fitting import FitData, FittableScorer
from langrec.errors import BundleError
from langrec.protocols import Additive, ItemReader, ItemScorer, Part, Retriever, Searched
from langrec.ranking.select import top_k
from langrec.settings import IdTowerSettings, RetrievalSettings, Settings, TextTowerSettings
from langrec.types import Candidates

CASES = {**{kind: (kind, {}) for kind in registry.SCORERS}, "popular_7d": ("popular", {"days": 7.0})}
POPULAR = {"popular", "popular_7d", "popular_decayed"}
TEXT_READERS = {"bm25", "tfidf", "vectors", "tokens", "text_tower"}
# Reads texts and ids: of an item without training it knows half.
HALF_READERS = {"two_towers"}
TOWER = {"dim": 8, "epochs": 2, "tokens": 256, "precision": "fp32"}
SECTIONS = Settings(
    retrieval=RetrievalSettings(als_dim=8, userknn_neighbours=10),
    id_tower=IdTowerSettings(**TOWER),
    text_tower=TextTowerSettings(**TOWER, head=(8,)),
)
DIM = 12
WORLD = worlds.planted_topics()
HOT = 5
WARM = WORLD.n_items  # has a text, was never chosen
COLD = WORLD.n_items + 1  # has nothing
N = WORLD.n_items + 2

every_scorer = pytest.mark.parametrize("case", CASES)
ADDITIVE = ("itemknn", "ease", "transitions", "bm25", "tfidf", "vectors", "tokens")

every_additive = pytest.mark.parametrize("case", ADDITIVE)
every_reader = pytest.mark.parametrize("case", sorted(TEXT_READERS))


def text_vectors(seed):
    rows = WORLD.topic_vectors(DIM, seed)
    return np.concatenate([rows, rows[:1], np.zeros((1, DIM), np.float32)]).astype(np.float32)


SPACES = {"vectors": text_vectors(1), "tokens": text_vectors(2)}


def section(kind, sections=SECTIONS):
    """The settings that scorers of this kind read."""
    name = getattr(registry.find("scorers", kind), "section", "retrieval")
    return sections if name == "all" else getattr(sections, name)


def fit(case):
    kind, params = CASES[case]
    data = FitData(WORLD.dataset.events, WORLD.n_users, N, (*WORLD.texts, WORLD.texts[0], ""), SPACES)
    return registry.find("scorers", kind).fit(data, section(kind), **params)


scorer_of = cache(fit)


def mixed_block():
    """Known and unknown users, long, short, repeated and empty histories, items from after the training, one text."""
    histories = [*WORLD.histories()[:4], [], [HOT], [HOT, HOT, 7, HOT], [N, N + 3], [N + 1, HOT, N], [WARM], [COLD], []]
    q = len(histories)
    texts = [None] * (q - 1) + ["whale and tide"]
    vectors = {space: np.full((q, DIM), np.nan, np.float32) for space in SPACES}
    for space, rows in SPACES.items():
        vectors[space][-1] = rows[HOT]
    at = [worlds.START + (3 + 0.5 * i) * DAY_MS for i in range(q)]
    return worlds.queries(histories, users=[0, 1, 2, 3, *[-1] * (q - 4)], at=at, texts=texts, vectors=vectors)


def arrays(block):
    return [block.users, block.offsets, block.items, block.times, block.at, *block.vectors.values()]


def test_the_table_of_kinds_is_covered():
    assert {kind for kind, _ in CASES.values()} == set(registry.SCORERS)


@every_scorer
def test_a_scorer_is_a_part_that_scores(case):
    assert isinstance(scorer_of(case), FittableScorer)
    assert isinstance(scorer_of(case), Part)


@every_scorer
def test_scores_are_float32_with_a_row_per_query_and_a_column_per_item(case):
    scores = scorer_of(case).score_block(mixed_block())
    assert scores.shape == (len(mixed_block()), N) == (len(mixed_block()), scorer_of(case).n_items)
    assert scores.dtype == np.float32
    assert not np.isinf(scores).any()


@every_scorer
def test_the_same_answers_after_save_and_load(case, tmp_path):
    scorer_of(case).save(tmp_path / "part")
    loaded = type(scorer_of(case)).load(tmp_path / "part")
    np.testing.assert_array_equal(loaded.score_block(mixed_block()), scorer_of(case).score_block(mixed_block()))
    assert loaded.n_items == N


@every_scorer
def test_a_saved_scorer_holds_no_pickle(case, tmp_path):
    scorer_of(case).save(tmp_path)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path.suffix for path in files} <= {".npz", ".npy", ".json", ".safetensors", ".parquet"}
    for path in files:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as held:
                assert all(held[name].dtype != object for name in held.files)
        elif path.suffix == ".npy":
            assert np.load(path, allow_pickle=False).dtype != object
        elif path.suffix == ".json":
            json.loads(path.read_text("utf-8"))


@every_scorer
@pytest.mark.parametrize("damage", ["cut short", "emptied", "removed", "other text"])
def test_a_damaged_folder_is_refused_with_its_name(case, damage, tmp_path):
    folder = tmp_path / "part"
    scorer_of(case).save(folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        if damage == "removed":
            path.unlink()
        else:
            path.write_bytes({"cut short": whole[: len(whole) // 2], "emptied": b"", "other text": b"[]"}[damage])
        if not (damage == "other text" and path.name == "words.json"):
            with pytest.raises(BundleError, match="part"):
                type(scorer_of(case)).load(folder)
        path.write_bytes(whole)
    type(scorer_of(case)).load(folder)


@every_scorer
def test_a_batch_gives_what_single_queries_give(case):
    block = mixed_block()
    together = scorer_of(case).score_block(block)
    for i in range(len(block)):
        alone = scorer_of(case).score_block(block.slice(i, i + 1))
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-4, atol=1e-5)


@every_scorer
def test_scoring_changes_neither_the_block_nor_the_scorer(case):
    block = mixed_block()
    before = [column.copy() for column in arrays(block)]
    for column in arrays(block):
        column.flags.writeable = False
    first = scorer_of(case).score_block(block)
    kept = first.copy()
    first[:] = -1.0  # the answer is the caller's own
    np.testing.assert_array_equal(scorer_of(case).score_block(block), kept)
    for column, old in zip(arrays(block), before, strict=True):
        np.testing.assert_array_equal(column, old)


@every_scorer
def test_an_empty_block_gives_no_rows(case):
    for block in (worlds.queries([]), mixed_block().slice(0, 0)):
        scores = scorer_of(case).score_block(block)
        assert scores.shape == (0, N)
        assert scores.dtype == np.float32


@every_scorer
def test_an_unknown_user_is_answered_by_the_history(case):
    histories = WORLD.histories()[:3]
    known = scorer_of(case).score_block(worlds.queries(histories, users=[0, 1, 2]))
    unknown = scorer_of(case).score_block(worlds.queries(histories, users=[-1, -1, -1]))
    np.testing.assert_array_equal(known, unknown)


@every_scorer
def test_items_from_after_the_training_only_take_a_step_of_the_history(case):
    scorer = scorer_of(case)
    mixed = scorer.score_block(worlds.queries([[N + 5, HOT, 9, N]]))
    assert mixed.shape == (1, N)
    np.testing.assert_array_equal(np.isnan(mixed), np.isnan(scorer.score_block(worlds.queries([[HOT, 9]]))))


@every_scorer
@pytest.mark.parametrize("history", [[], [N], [N + 1000, N]], ids=["empty", "one new item", "new items"])
def test_nothing_to_go_by_scores_nan_everywhere_except_popularity(case, history):
    scores = scorer_of(case).score_block(worlds.queries([history]))
    if case in POPULAR:
        assert np.isfinite(scores).all()
    else:
        assert np.isnan(scores).all()


@every_scorer
def test_an_item_without_events_is_scored_by_its_text_or_not_at_all(case):
    scores = scorer_of(case).score_block(worlds.queries([[HOT, 9]]))[0]
    unscored = np.flatnonzero(~np.isfinite(scores[: WORLD.n_items]))
    assert unscored.tolist() == ([HOT, 9] if getattr(scorer_of(case), "only_new", False) else [])
    if case in POPULAR:
        assert scores[WARM] == scores[COLD] == 0
    elif case in HALF_READERS:
        assert np.isfinite(scores[WARM])
        assert np.isnan(scores[COLD])
    elif case in TEXT_READERS:
        assert scores[WARM] == pytest.approx(scores[0], rel=1e-5)  # it has the text of item 0
        assert np.isnan(scores[COLD])
    else:
        assert np.isnan(scores[[WARM, COLD]]).all()


@every_scorer
def test_two_fits_of_the_same_data_give_the_same_scores(case):
    np.testing.assert_array_equal(fit(case).score_block(mixed_block()), scorer_of(case).score_block(mixed_block()))


@every_scorer
def test_fitting_leaves_the_events_alone(case):
    events = WORLD.dataset.events
    columns = [events.users, events.items, events.at, events.gains, *SPACES.values()]
    before = [column.copy() for column in columns]
    fit(case)
    for column, old in zip(columns, before, strict=True):
        np.testing.assert_array_equal(column, old)


@every_scorer
def test_a_list_longer_than_the_catalogue_holds_every_scored_item_once(case):
    scores = scorer_of(case).score_block(worlds.queries([[HOT, 9]]))[0]
    best = top_k(scores, 10 * N)
    assert sorted(best) == np.flatnonzero(~np.isnan(scores)).tolist()
    assert (np.diff(scores[best]) <= 0).all()


@every_scorer
def test_every_setting_of_the_grids_can_be_fitted_and_run(case):
    kind, params = CASES[case]
    cls = registry.find("scorers", kind)
    few = RetrievalSettings(als_dim=4, decay=(0.0, 1.0), itemknn_neighbours=(3,), ease_reg=(1.0,))
    grid = section(kind, replace(SECTIONS, retrieval=few))
    data = FitData(WORLD.dataset.events, WORLD.n_users, N, (*WORLD.texts, "", ""), SPACES)
    for fitted in cls.fit_grid(grid):
        scorer = cls.fit(data, grid, **{**params, **fitted})
        for run in cls.run_grid(grid):
            assert scorer.with_params(**run).score_block(mixed_block()).shape == (len(mixed_block()), N)


@every_scorer
def test_a_log_without_events_fits_and_scores_nothing_above_nothing(case):
    kind, params = CASES[case]
    data = FitData(worlds.events([]), 0, 3, ("ship", "oven", ""), {space: np.eye(3, DIM) for space in SPACES})
    scores = registry.find("scorers", kind).fit(data, section(kind), **params).score_block(worlds.queries([[0], []]))
    assert scores.shape == (2, 3)
    if case not in TEXT_READERS:
        assert not np.nan_to_num(scores).any()


def test_the_additive_scorers_are_known():
    assert [case for case in CASES if isinstance(scorer_of(case), Additive)] == list(ADDITIVE)


@every_additive
def test_contributions_of_the_history_sum_to_the_score(case):
    scorer = scorer_of(case)
    block = mixed_block()
    scores = scorer.score_block(block)
    for i in range(len(block) - 1):  # the last query has a text: its history has no part in the score
        one = block.slice(i, i + 1)
        shares = scorer.contributions(one, np.arange(N))
        assert shares.shape == (len(one.items), N)
        assert shares.dtype == np.float32
        said = np.isfinite(scores[i])
        np.testing.assert_allclose(shares.sum(axis=0)[said], scores[i][said], rtol=1e-4, atol=1e-5)


@every_additive
def test_an_item_that_the_scorer_does_not_know_gets_no_contribution(case):
    assert not scorer_of(case).contributions(worlds.queries([[HOT, 9]]), np.array([N + 4])).any()


def test_readers_of_texts_take_in_new_items():
    assert {case for case in CASES if isinstance(scorer_of(case), ItemReader)} == TEXT_READERS | HALF_READERS


def new_items(case, nums, texts, like):
    """The scorer with items of these texts, whose vectors are those of the items in `like`."""
    space = getattr(scorer_of(case), "space", None)
    rows = SPACES[space][like] if space else None
    return scorer_of(case).with_items(np.array(nums, dtype=np.int32), texts, rows)


@every_reader
def test_a_new_item_is_scored_at_once(case):
    grown = new_items(case, [N, N + 1], [WORLD.texts[HOT], WORLD.texts[6]], [HOT, 6])
    block = worlds.queries([[9]])
    scores = grown.score_block(block)[0]
    assert grown.n_items == len(scores) == N + 2
    assert scores[N] == pytest.approx(scores[HOT], rel=1e-5)
    if case != "text_tower":  # two epochs teach it little
        assert scores[N] > scores[N + 1]
    np.testing.assert_allclose(scores[:N], scorer_of(case).score_block(block)[0], rtol=1e-5, atol=1e-6)


@every_reader
def test_a_new_item_counts_in_histories_at_once(case):
    assert np.isnan(scorer_of(case).score_block(worlds.queries([[N]]))).all()
    grown = new_items(case, [N], [WORLD.texts[HOT]], [HOT])
    # A scorer that is silent on the history's own items is asked about the others.
    scores = np.delete(grown.score_block(worlds.queries([[N], [HOT]])), [N, HOT], axis=1)
    shares = scores / np.nansum(scores, axis=1, keepdims=True)
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-5, atol=1e-6)


@every_reader
def test_taking_in_items_leaves_the_scorer_as_it_was(case):
    block = mixed_block()
    before = scorer_of(case).score_block(block).copy()
    new_items(case, [N, HOT], ["entirely new words", "others too"], [3, 4])
    assert scorer_of(case).n_items == N
    np.testing.assert_array_equal(scorer_of(case).score_block(block), before)


@every_reader
def test_a_replaced_text_replaces_the_score(case):
    block = worlds.queries([[13]])
    changed = new_items(case, [COLD, HOT], [WORLD.texts[9], WORLD.texts[9]], [9, 9])
    old, new = scorer_of(case).score_block(block)[0], changed.score_block(block)[0]
    assert changed.n_items == N
    assert np.isnan(old[COLD])
    assert new[COLD] == pytest.approx(new[9], rel=1e-5)
    assert new[HOT] == pytest.approx(new[9], rel=1e-5)
    assert old[HOT] != pytest.approx(new[HOT], rel=1e-3)


@every_reader
def test_a_text_taken_away_leaves_an_item_that_cannot_be_scored(case):
    emptied = scorer_of(case).with_items(np.array([HOT], dtype=np.int32), [""], None)
    scores = emptied.score_block(worlds.queries([[9], [HOT]]))
    assert np.isnan(scores[0, HOT])
    assert np.isnan(scores[1]).all()


@every_reader
def test_a_grown_scorer_is_saved_and_loaded_whole(case, tmp_path):
    grown = new_items(case, [N], ["unheard words about a whale"], [HOT])
    grown.save(tmp_path)
    block = worlds.queries([[N, 3]])
    np.testing.assert_array_equal(type(grown).load(tmp_path).score_block(block), grown.score_block(block))


@every_reader
def test_no_new_items_change_nothing(case):
    same = scorer_of(case).with_items(np.zeros(0, np.int32), [], np.zeros((0, DIM), np.float32))
    np.testing.assert_array_equal(same.score_block(mixed_block()), scorer_of(case).score_block(mixed_block()))


@settings(max_examples=30)
@given(
    case=st.sampled_from(list(CASES)),
    histories=st.lists(st.lists(st.integers(0, N + 5), max_size=8), max_size=5),
)
def test_any_history_gets_an_answer(case, histories):
    scores = scorer_of(case).score_block(worlds.queries(histories))
    assert scores.shape == (len(histories), N)
    for row, history in zip(scores, histories, strict=True):
        if case not in POPULAR and not any(item < N for item in history):
            assert np.isnan(row).all()


# ---- candidates ------------------------------------------------------------------------------------------------------

ALL = np.arange(N + 2, dtype=np.int32)


def candidates(block, seed=0):
    """For each query half of the catalogue, the item that only its text tells, one with nothing, one beyond the end."""
    rng = np.random.default_rng(seed)
    some = [np.sort(rng.choice(WORLD.n_items, WORLD.n_items // 2, replace=False)) for _ in range(len(block))]
    return Candidates.of([np.concatenate([row, [WARM, COLD, N + 1]]).astype(np.int32) for row in some])


def picked(scores, asked):
    """The candidates' scores out of (q, n) scores; NaN beyond their end."""
    wide = np.concatenate([scores, np.full((len(scores), 2), np.nan, np.float32)], axis=1)
    return wide[asked.rows(), asked.nums]


def with_kept(block):
    return replace(block, kept={})


@every_scorer
@pytest.mark.parametrize("kept", [False, True])
def test_candidates_score_what_they_score_among_all(case, kept):
    block = with_kept(mixed_block()) if kept else mixed_block()
    scorer, asked = scorer_of(case), candidates(block)
    assert isinstance(scorer, ItemScorer)
    scores = scorer.score_items(block, asked)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, picked(scorer.score_block(mixed_block()), asked), rtol=1e-3, atol=1e-5)


@every_scorer
def test_the_mean_of_what_is_above_zero_is_that_of_the_whole_catalogue(case):
    block, scorer = mixed_block(), scorer_of(case)
    rare = np.arange(N) % 3 == 0
    for members in (None, rare):
        among = population_of(N, members)
        positive = np.nan_to_num(np.maximum(scorer.score_block(block), 0.0))
        wanted = (positive if members is None else positive[:, members]).sum(axis=1) / N
        np.testing.assert_allclose(scorer.mean_positive(block, among), wanted, rtol=1e-3, atol=1e-6)


@every_scorer
@pytest.mark.parametrize("few", [False, True])
def test_a_retriever_finds_its_best_among_the_allowed(case, few):
    scorer, block, k = scorer_of(case), mixed_block(), 5
    allowed = np.zeros(N, dtype=np.bool_)
    allowed[:: 4 if few else 1] = True
    scores = scorer.score_block(block)
    if isinstance(scorer, Retriever):
        found = scorer.retrieve(block, k, allowed)
    else:
        assert isinstance(scorer, Searched)
        rows, queries = scorer.index_rows(ALL[:N]), scorer.index_queries(block)
        products = np.where(allowed & (scores > 0), np.nan_to_num(queries) @ rows.T, np.nan)
        found = Candidates.of([np.sort(top_k(row, k)) for row in products])
    assert len(found) == len(block)
    for i in range(len(block)):
        assert allowed[found[i]].all()
        best = top_k(np.where(allowed & (scores[i] > 0), scores[i], np.nan), k)
        np.testing.assert_allclose(
            np.sort(scores[i, found[i]])[::-1][: len(best)], scores[i, best], rtol=1e-3, atol=1e-5
        )


@every_reader
def test_new_and_changed_items_score_as_candidates_what_they_score_among_all(case):
    scorer = scorer_of(case)
    vectors = SPACES[getattr(scorer, "space", "vectors")]
    grown = scorer.with_items(np.array([N, HOT]), (WORLD.texts[3], WORLD.texts[4]), vectors[[3, 4]])
    grown = grown.with_items(np.array([N + 1, N]), (WORLD.texts[6], WORLD.texts[8]), vectors[[6, 8]])
    block = worlds.queries([[1, 2, N], [HOT, N + 1], [4]])
    asked = Candidates.of([np.array([HOT, 9, N, N + 1], dtype=np.int32)] * 3)
    wanted = grown.score_block(block)
    np.testing.assert_allclose(grown.score_items(block, asked), wanted[asked.rows(), asked.nums], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        grown.mean_positive(block, population_of(N + 2)),
        np.nan_to_num(np.maximum(wanted, 0.0)).mean(axis=1),
        rtol=1e-3,
        atol=1e-6,
    )
    # The state before knows nothing of it.
    np.testing.assert_array_equal(scorer.score_block(mixed_block()), fit(case).score_block(mixed_block()))
