"""A language model reads the best of a list again: from a named model to a served answer without torch."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

import small_release
from langrec import finding
from langrec.budget import Budget, Habits, within
from langrec.bundle import Bundle
from langrec.errors import SettingsError
from langrec.evaluation.protocol import next_item
from langrec.lists import Histories, Lists, lists_of
from langrec.lm.adapt.question import question
from langrec.ranking.cross import RERANK, Cross
from langrec.reranking import _judged, _Read, compare
from langrec.settings import BudgetSettings, RankingSettings, RerankSettings, ServeSettings, Settings
from langrec.training import train
from langrec.types import Filters, Item, Query
from torchless import printed_by

pytestmark = pytest.mark.slow

DATA = small_release.dataset()
TOP = 8


def settings(made, model, **rerank):
    own = RerankSettings(**{"model": str(model), "use": "always", "top": TOP, "questions": 60, **rerank})
    found = small_release.settings(made, ("popular_decayed", "itemknn", "bm25"), ranker="none", rerank=own)
    return replace(found, encoder=replace(found.encoder, runtime="onnx-fp32", threads=1))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("torch")
    from tiny_question import tiny_question

    return tiny_question(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A release whose rerank was insisted on."""
    made = tmp_path_factory.mktemp("rerank")
    return train(DATA, settings(made, model), made / "releases", steps=made / "steps")[0]


@pytest.fixture(scope="module")
def recommender(folder):
    return Bundle.open(folder).recommender()


def plain(recommender):
    return replace(recommender, cross=None)


ASKED = Query(user="u1", history=("i1", "i5", "i9"), k=20)


def test_the_best_are_ranked_again_and_stay_the_best(recommender):
    answer, before = recommender.recommend([ASKED])[0], plain(recommender).recommend([ASKED])[0]
    assert set(answer.ids[:TOP]) == set(before.ids[:TOP]) and answer.ids[:TOP] != before.ids[:TOP]
    assert answer.ids[TOP:] == before.ids[TOP:]
    assert np.all(np.diff(answer.items.scores) <= 0)
    added = answer.items.columns[RERANK]
    assert (added[:TOP] >= 0).all() and not added[TOP:].any() and "rerank" not in before.items.columns
    np.testing.assert_allclose(sum(answer.items.columns.values()), answer.items.scores, rtol=1e-4)
    (stage,) = (stage for stage in answer.trace.stages if stage.name == RERANK)
    assert stage.n_out == TOP and answer.trace.skipped == ()


def test_what_is_read_is_what_training_reads(recommender, monkeypatch):
    from langrec.lm.adapt.examples import Choices
    from langrec.lm.adapt.preference import rows_of
    from langrec.lm.adapt.recommend import asked

    read = []
    encode = type(recommender.cross.encoder).encode
    monkeypatch.setattr(
        type(recommender.cross.encoder), "encode", lambda self, texts: read.extend(texts) or encode(self, texts)
    )
    answer = recommender.recommend([ASKED])[0]
    texts = DATA.catalogue.texts(recommender.text_fields)
    liked = tuple(texts[int(name[1:])] for name in ASKED.history)
    titles = sorted(set(texts))
    place = {title: i for i, title in enumerate(titles)}
    for num in answer.items.nums[:TOP]:
        rows = Choices((liked,), ((),), (texts[num],), np.ones(1), None, np.zeros(1, dtype=np.int64))
        trained = asked(rows_of(rows, place, derive=False, with_floor=False), 0, titles)
        assert trained in read and trained == question(texts[num], liked)


def test_a_history_may_be_read_by_titles(recommender, monkeypatch):
    past = []
    logits = Cross.logits
    monkeypatch.setattr(Cross, "logits", lambda self, own, texts: past.append(own) or logits(self, own, texts))
    by_title = replace(recommender, cross=replace(recommender.cross, past="titles"))
    grown = by_title.with_changes([Item("i5", "a new name", categories=("bread",))])
    grown.recommend([ASKED])
    assert past == [[DATA.catalogue.titles[1], "a new name", DATA.catalogue.titles[9]]]


def test_a_batch_gives_what_single_queries_give_and_a_page_what_the_whole_list_holds(recommender):
    asked = [Query(history=(f"i{num}", f"i{num + 4}")) for num in range(8)]
    for query, answer in zip(asked, recommender.recommend(asked), strict=True):
        alone = recommender.recommend([query])[0]
        assert alone.ids == answer.ids
        np.testing.assert_allclose(alone.items.scores, answer.items.scores, rtol=1e-4)
    whole = recommender.recommend([ASKED])[0]
    page = recommender.recommend([replace(ASKED, k=5, offset=5)])[0]
    assert page.ids == whole.ids[5:10]


def test_lists_of_many_users_are_those_of_requests(recommender):
    import polars as pl

    names = ("u1", "u2", "u3")
    rows = [(name, item, at) for name in names for item, at in zip(*small_release.history(int(name[1:])), strict=True)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "at"], orient="row").with_columns(type=pl.lit("click"))
    at = small_release.NOW
    lists = Lists.joined(list(lists_of(recommender, Histories.of(recommender, names, events), 10, at=at, rated=True)))
    for i, name in enumerate(names):
        items, times = small_release.history(int(name[1:]))
        from datetime import UTC, datetime

        query = Query(user=name, history=items, history_at=times, at=datetime.fromtimestamp(at / 1000, UTC))
        alone = recommender.recommend([query])[0]
        np.testing.assert_array_equal(lists.items[10 * i : 10 * i + 10], alone.items.nums)
        mine = lists.probabilities(recommender.calibration)[10 * i : 10 * i + 10]
        np.testing.assert_allclose(mine, recommender.probabilities(alone), rtol=1e-4)
        without = plain(recommender).recommend([query])[0]
        chance = dict(zip(without.ids, plain(recommender).probabilities(without), strict=True))
        assert all(
            chance[one] == pytest.approx(p, rel=1e-3) for one, p in zip(alone.ids, mine, strict=True) if one in chance
        )


def test_an_explanation_names_its_share(recommender):
    answer = recommender.recommend([ASKED])[0]
    for row in (0, TOP - 1, TOP):
        account = recommender.explain(ASKED, answer.ids[row])
        shares = {part.scorer: part.contribution for part in account.contributions}
        assert shares[RERANK] == pytest.approx(float(answer.items.columns[RERANK][row]), abs=1e-5)
        assert account.score == pytest.approx(float(answer.items.scores[row]), rel=1e-4)
        assert account.position == row + 1 and account.reason.scorer != RERANK


def test_filters_come_first_so_that_what_is_shown_is_what_is_read(recommender):
    query = replace(ASKED, filters=Filters(categories=("bread",)))
    answer = recommender.recommend([query])[0]
    assert (answer.items.columns[RERANK][: TOP - 1] > 0).any()
    assert all("bread" in DATA.catalogue.categories[num] for num in answer.items.nums)


def test_nobody_and_wishes_are_not_read_for(recommender, monkeypatch):
    def never(*_):
        raise AssertionError("there is nothing to read")

    monkeypatch.setattr(Cross, "logits", never)
    assert len(recommender.recommend([Query(k=5)])[0]) == 5
    assert recommender.search([Query(text="whale anchor", k=5)])[0].ids
    assert recommender.neighbours("i1", 5).ids


def test_an_item_of_the_history_that_may_come_again_keeps_its_place_among_the_others(recommender):
    query = replace(ASKED, filters=Filters(drop_seen=False))
    answer = recommender.recommend([query])[0]
    again = [row for row, name in enumerate(answer.ids) if name in ASKED.history]
    assert again
    lift = answer.items.columns[RERANK][again[0]]
    read = [c for name, c in zip(answer.ids, answer.items.columns[RERANK], strict=True) if name not in ASKED.history]
    assert 0 < lift == pytest.approx(float(np.mean(read[:TOP])), rel=0.2)


def test_a_new_item_is_read_by_its_text(recommender, monkeypatch):
    fresh = Item("brand-new", "whale anchor harbour captain sailor", categories=("sea",), at=small_release.NOW)
    grown = recommender.with_changes([fresh])
    read = []
    logits = Cross.logits
    monkeypatch.setattr(Cross, "logits", lambda self, past, texts: read.extend(texts) or logits(self, past, texts))
    grown = replace(grown, cross=replace(grown.cross, top=60))
    answer = grown.recommend([Query(history=("i0", "i4"), k=60)])[0]
    assert "whale anchor harbour captain sailor. sea" in read
    assert answer.items.columns[RERANK][answer.ids.index("brand-new")] >= 0
    changed = grown.with_changes([Item("i8", "flour oven", categories=("bread",))])
    changed.recommend([Query(history=("i0", "i4"), k=60)])
    assert "flour oven. bread" in read


def test_the_same_over_candidates_of_a_large_catalogue(folder, recommender):
    large = replace(recommender, fusion=finding.load(recommender.fusion, folder / "indexes"))
    answer, small = large.recommend([ASKED])[0], recommender.recommend([ASKED])[0]
    assert answer.ids[:TOP] == small.ids[:TOP]
    np.testing.assert_allclose(answer.items.columns[RERANK][:TOP], small.items.columns[RERANK][:TOP], rtol=1e-3)
    account = large.explain(ASKED, answer.ids[1])
    shares = {part.scorer: part.contribution for part in account.contributions}
    assert shares[RERANK] == pytest.approx(float(answer.items.columns[RERANK][1]), abs=1e-5)


def test_without_time_it_is_skipped_told_and_counted(recommender):
    skipped: list[str] = []
    with within(Budget(Habits({}, skipped.append), until=0.0)):
        late = recommender.recommend([ASKED])[0]
    assert late.trace.skipped == (RERANK,) and skipped == [RERANK]
    assert late.ids == plain(recommender).recommend([ASKED])[0].ids
    assert not late.items.columns[RERANK].any()


def test_of_a_block_those_are_read_for_whom_there_is_time(recommender, monkeypatch):
    """Each list asks anew: when the time ends within a block, the first lists are whole and the others plainer."""
    import time

    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    logits = Cross.logits

    def slow(self, past, texts):
        clock[0] += 1.0
        return logits(self, past, texts)

    monkeypatch.setattr(Cross, "logits", slow)
    with within(Budget(Habits({}), until=2.5)):
        answers = recommender.recommend([replace(ASKED, history=(f"i{num}",)) for num in range(4)])
    assert [one.trace.skipped for one in answers] == [(), (), (RERANK,), (RERANK,)]


def test_a_server_says_and_counts_what_it_skips(folder, tmp_path):
    from fastapi.testclient import TestClient

    from langrec.service.http import create_app

    store = f"sqlite:///{tmp_path / 'store.db'}"
    for total_ms, skipped, counted in ((0.0, [], 0.0), (1e-6, [RERANK], 1.0)):
        app = create_app(folder.parent, ServeSettings(store=store, budget=BudgetSettings(total_ms=total_ms)))
        with TestClient(app, base_url="http://127.0.0.1:8087") as client:
            reply = client.post("/api/recommend", json={"user": "u1", "k": 5, "explain": False})
            assert reply.status_code == 200, reply.text
            told = reply.json()
            assert told["trace"]["skipped"] == skipped
            line = f'langrec_stage_skipped_total{{stage="{RERANK}"}} {counted}'
            assert (line in client.get("/metrics").text) == bool(skipped)


def test_a_saved_release_answers_alike_where_torch_cannot_be_imported(folder, recommender):
    code = f"""
from pathlib import Path
from langrec.bundle import Bundle
from langrec.types import Query
served = Bundle.open(Path({str(folder)!r})).recommender()
answer = served.recommend([Query(user="u1", history=("i1", "i5", "i9"), k=20)])[0]
print(*answer.ids, *(f"{{one:.3f}}" for one in answer.items.columns["rerank"]))
"""
    out = printed_by(code)
    mine = recommender.recommend([ASKED])[0]
    assert tuple(out[:20]) == mine.ids
    np.testing.assert_allclose([float(one) for one in out[20:]], mine.items.columns[RERANK], atol=2e-3)
    assert not (folder / "rerank" / "encoder" / "tokens.safetensors").exists()


def test_the_release_says_what_it_was_worth(folder):
    bundle = Bundle.open(folder)
    told = bundle.manifest["rerank"]
    assert told["on"] and told["top"] == TOP and told["validation"]["questions"] == 42
    assert told["validation"]["low"] <= told["validation"]["with"] - told["validation"]["without"]
    assert "with it" in told["test"]["why"]
    assert "rerank on, weight" in (folder / "README.md").read_text("utf-8")


def test_what_does_not_help_stays_off_and_says_so(folder, model, tmp_path):
    steps = folder.parents[1] / "steps"
    made, _ = train(DATA, settings(tmp_path, model, use="auto"), tmp_path / "releases", steps=steps)
    bundle = Bundle.open(made)
    assert not bundle.manifest["rerank"]["on"] and not (made / "rerank").exists()
    assert any(note.startswith("rerank off") for note in bundle.manifest["notes"])
    assert bundle.recommender().cross is None


def test_a_release_gives_its_reader_to_the_next_training(folder, tmp_path):
    """Where the tuned model is gone, and torch with it, the release's own folder stands for it."""
    own = settings(tmp_path, folder / "rerank")
    made, _ = train(DATA, own, tmp_path / "releases", steps=tmp_path / "steps")
    again, before = Bundle.open(made).manifest["rerank"], Bundle.open(folder).manifest["rerank"]
    assert again["reader"] == before["reader"]
    assert again["validation"]["with"] == pytest.approx(before["validation"]["with"], abs=1e-6)


def test_a_weight_is_judged_on_users_that_it_was_not_chosen_on():
    rng = np.random.default_rng(0)
    users, n = np.repeat(np.arange(200), 2), 400
    mixed = [np.sort(rng.normal(size=10))[::-1].astype(np.float32) for _ in range(n)]
    right = [int(place) for place in rng.integers(0, 10, n)]
    base = np.array([1 / np.log2(2 + place) for place in right])
    knowing = [
        (np.arange(10) == place).astype(np.float32) + rng.normal(0, 0.3, 10).astype(np.float32) for place in right
    ]
    helped = _judged(_Read(users, base, list(range(n)), mixed, knowing, right), 0.0, 0)
    assert helped["low"] > 0.2 and helped["weight"] >= 1
    noise = [rng.normal(size=10).astype(np.float32) for _ in right]
    useless = _judged(_Read(users, base, list(range(n)), mixed, noise, right), 0.0, 0)
    assert useless["low"] < 0
    assert _judged(_Read(users, base, list(range(n)), mixed, noise, right), 0.5, 0)["weight"] == 0.5


def test_what_is_measured_is_what_is_served(recommender):
    """NDCG@10 by judging questions equals that of the served lists, but for hidden items, which are ranked too."""
    split_at = DATA.events.at[int(0.9 * len(DATA.events))]
    before, after = DATA.events.take(DATA.events.at < split_at), DATA.events.take(DATA.events.at >= split_at)
    asked = next_item(before, after, len(DATA.users), 40)
    texts = DATA.catalogue.texts(recommender.text_fields)
    own = Settings(ranking=RankingSettings(retrieved=60))
    told = compare(recommender.fusion, asked, recommender.cross, DATA, texts, own, lambda *_: None)
    large = finding.near(recommender.fusion, {})
    found = compare(large, asked, recommender.cross, DATA, texts, own, lambda *_: None)
    assert found["with"] == pytest.approx(told["with"], abs=1e-4) and found["read"] == told["read"]
    gains = []
    from datetime import UTC, datetime

    for i in range(len(asked)):
        lo, hi = asked.block.offsets[i], asked.block.offsets[i + 1]
        ids = recommender.items.ids.take(asked.block.items[lo:hi])
        at = datetime.fromtimestamp(asked.block.at[i] / 1000, UTC)
        times = tuple(asked.block.times[lo:hi].tolist())
        name = DATA.users.names[asked.block.users[i]]
        answer = recommender.recommend([Query(user=name, history=ids, history_at=times, at=at)])[0]
        place = np.flatnonzero(answer.items.nums == asked.items[i])
        gains.append(1 / np.log2(2 + place[0]) if len(place) else 0.0)
    assert told["with"] == pytest.approx(np.mean(gains), abs=1e-3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder, _: folder / "nowhere", "no such folder"),
        (lambda folder, _: folder, "holds no tuned model"),
        (lambda folder, tiny: tiny(folder / "t", reads="title"), "does not read history and candidate together"),
    ],
)
def test_a_model_that_cannot_rerank_is_refused_before_any_work(tmp_path, make, said):
    pytest.importorskip("torch")
    from tiny_question import tiny_question

    named = make(tmp_path, tiny_question)
    with pytest.raises(SettingsError, match=said):
        train(DATA, settings(tmp_path, named), tmp_path / "releases", steps=tmp_path / "steps")
    assert not (tmp_path / "releases").exists()


def test_a_narrowed_model_is_refused(model, tmp_path):
    from langrec.lm.adapt.head import Head
    from langrec.reranking import open_model
    from tiny_question import tiny_question

    folder = tiny_question(tmp_path / "t")
    head = Head.load(folder)
    told = (folder / "head.json").read_text("utf-8")
    dataclasses.replace(head, weight=head.weight[:, :16]).save(folder)
    (folder / "head.json").write_text(told, "utf-8")
    with pytest.raises(SettingsError, match="do not narrow"):
        open_model(settings(tmp_path, folder), lambda *_: None)


def test_what_compress_made_of_a_model_reranks_as_long_as_its_head_fits(model, tmp_path):
    from langrec.encoders import load_saved
    from langrec.lm.compress.chain import compress
    from langrec.lm.compress.steps import parse_steps
    from langrec.reranking import open_model

    for steps in ("quantise:dynamic", "project:16"):
        compress(str(model), parse_steps(steps), tmp_path / steps, open_encoder=load_saved, threads=1)
    whole = open_model(settings(tmp_path, model), lambda *_: None)
    small = open_model(settings(tmp_path, tmp_path / "quantise:dynamic"), lambda *_: None)
    past, asked = ["cat sits", "dog runs"], ["a cat eats", "war in space", "robot music", "the red fish"]
    assert small.encoder.identity != whole.encoder.identity
    assert np.corrcoef(small.logits(past, asked), whole.logits(past, asked))[0, 1] > 0.95
    with pytest.raises(SettingsError, match="holds no tuned model"):
        open_model(settings(tmp_path, tmp_path / "project:16"), lambda *_: None)
