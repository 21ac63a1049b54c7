"""Which index a catalogue gets, what is measured of it, and what each kind does beyond the contract."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from langrec.errors import BundleError, LangrecWarning, MissingExtra, SettingsError, StoreError
from langrec.retrieval.indexes import lists
from langrec.retrieval.indexes.build import build_index, load_index
from langrec.retrieval.indexes.exact import ExactIndex
from langrec.retrieval.indexes.mixture import Mixture, projected, unit
from langrec.settings import IndexSettings

N, DIM = 4000, 16
SMALL = IndexSettings(exact_below=N, threads=1)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    around = rng.normal(size=(80, DIM))[rng.integers(80, size=N)]
    return unit(around + 0.5 * rng.normal(size=(N, DIM)))


def needs(module, extra):
    return pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason=f"{module} is not installed: pip install 'langrec[{extra}]'"
    )


@needs("faiss", "index")
def test_auto_looks_at_every_item_of_a_small_catalogue_and_into_lists_above(rows):
    assert type(build_index(rows[: N - 1], SMALL)).__name__ == "ExactIndex"
    assert type(build_index(rows, SMALL)).__name__ == "IVFIndex"


def test_auto_without_faiss_warns_with_the_way_out_and_answers_exactly(rows, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "faiss" else find(name, *more))
    with pytest.warns(LangrecWarning, match=r"4,000 items .* pip install 'langrec\[index\]'"):
        index = build_index(rows, SMALL)
    assert isinstance(index, ExactIndex)


@pytest.mark.parametrize(("kind", "module", "extra"), [("ivf", "faiss", "index"), ("milvus", "pymilvus", "milvus")])
def test_a_kind_that_is_asked_for_by_name_says_what_it_lacks(rows, monkeypatch, kind, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'langrec\[{extra}\]'"):
        build_index(rows, IndexSettings(kind=kind, url="vectors.db"))


@needs("faiss", "index")
def test_as_few_lists_are_looked_into_as_the_wanted_recall_takes(rows, tmp_path):
    less, more = (build_index(rows, IndexSettings(kind="ivf", recall=wanted, threads=1)) for wanted in (0.8, 0.99))
    assert less.probes[1] < more.probes[1]
    for index, wanted in ((less, 0.8), (more, 0.99)):
        assert all(found >= wanted for k, found in index.measured.items() if k != "glance")
        assert index.measured["glance"] >= min(wanted, 0.9) and 0 < index.glanced <= index.probes[1][1]
        index.save(tmp_path)
        said = json.loads((tmp_path / "index.json").read_text())
        assert said["recall"] == index.measured
        assert [tuple(pair) for pair in said["probes"]] == list(index.probes) == list(load_index(tmp_path).probes)
        assert load_index(tmp_path).glanced == index.glanced
    assert build_index(rows, IndexSettings(kind="ivf", nprobe=3, threads=1)).probes == ((10, 3), (100, 3), (1000, 3))


@needs("faiss", "index")
def test_a_glance_finds_what_it_is_to_find_in_fewer_lists_and_knows_what_came_and_went(rows):
    index = build_index(rows, IndexSettings(kind="ivf", recall=0.97, threads=1))
    oracle, _ = ExactIndex.build(rows).search(rows[:200], 100)
    found, scores = index.glance(rows[:200], 100)
    assert found.shape == (200, 100) and index.glanced < index.probes[1][1]
    assert (np.diff(np.nan_to_num(scores, nan=-9.0), axis=1) <= 0).all()
    assert np.mean([np.isin(own, got).mean() for own, got in zip(oracle, found, strict=True)]) >= 0.9
    changed = index.without(np.array([0], np.int32)).with_items(np.array([N], np.int32), rows[:1])
    assert changed.glance(rows[:1], 5)[0][0, 0] == N
    assert 0 not in changed.glance(rows[:1], 90)[0]
    allowed = np.arange(N) % 2 == 0
    assert set(index.glance(rows[:1], 90, allowed)[0][0] % 2) == {0}


@needs("faiss", "index")
def test_where_the_lists_nearby_hold_too_few_further_ones_fill_up(rows):
    index = build_index(rows, IndexSettings(kind="ivf", nprobe=1, threads=1))
    oracle, _ = ExactIndex.build(rows).search(rows[:20], 400)
    for found, scores in (index.search(rows[:20], 400), index.glance(rows[:20], 400)):
        assert (found >= 0).all() and all(len(set(own)) == 400 for own in found.tolist())
        assert (np.diff(scores, axis=1) <= 0).all()
        assert np.mean([np.isin(own, got).mean() for own, got in zip(oracle, found, strict=True)]) > 0.5
    every, _ = index.search(rows[:20], N)
    np.testing.assert_array_equal(np.sort(every, axis=1), np.tile(np.arange(N), (20, 1)))


@needs("faiss", "index")
def test_one_query_keeps_to_one_thread(tmp_path, rows):
    """Also where every core is on offer, and with items that came since."""
    build_index(rows, IndexSettings(kind="ivf", threads=1)).save(tmp_path)
    code = f"""
import os, time
import numpy as np
from pathlib import Path
from langrec.retrieval.indexes import lists
from langrec.retrieval.indexes.build import load_index
rows = np.load({str(tmp_path / "vectors.npy")!r})
index = load_index(Path({str(tmp_path)!r})).with_items(np.arange(4000, 7000, dtype=np.int32), rows[:3000])
index.search(rows[:1], 100)
every, own = time.process_time(), time.thread_time()
for row in rows[:300]:
    index.search(row[None], 100)
print((time.process_time() - every) / (time.thread_time() - own))
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert float(out.stdout) < 1.2


@needs("faiss", "index")
def test_compacting_lists_gives_the_answers_of_the_changed_index(rows):
    rng = np.random.default_rng(1)
    index = build_index(rows, IndexSettings(kind="ivf", recall=0.99, threads=1))
    nums = np.concatenate([np.arange(30), np.arange(N, N + 70)]).astype(np.int32)
    index = index.with_items(nums, unit(rng.normal(size=(100, DIM)))).without(np.arange(40, 60, dtype=np.int32))
    compact = index.compacted()
    assert (len(compact), compact.changes.n_live, compact.changes.n_gone) == (N + 50, 0, 0)
    asked = rows[rng.integers(N, size=50)]
    before, after = index.search(asked, 10), compact.search(asked, 10)
    same = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(before[0], after[0], strict=True)])
    assert same >= 0.95
    assert not np.isin(after[0], np.arange(40, 60)).any()
    own = compact.search(index.changes.items[1][:20], 1)[0].ravel()
    assert np.mean(own == index.changes.items[0][:20]) >= 0.9


@needs("faiss", "index")
def test_the_middles_of_very_many_lists_take_half_the_bytes_and_find_as_much(rows, tmp_path, monkeypatch):
    few = build_index(rows, IndexSettings(kind="ivf", recall=0.97, threads=1))
    monkeypatch.setattr(lists, "NEAR_BYTES", few.lists.count * DIM * 4 - 1)
    many = build_index(rows, IndexSettings(kind="ivf", recall=0.97, threads=1))
    for index in (few, many):
        index.save(tmp_path / str(index is many))
    sizes = [(tmp_path / str(which) / "lists.faiss").stat().st_size for which in (False, True)]
    assert sizes[0] - sizes[1] >= few.lists.count * DIM * 2 - 200
    oracle = ExactIndex.build(rows).search(rows[:100], 100)[0]
    for index in (many, load_index(tmp_path / "True"), many.without(np.arange(200, 210, dtype=np.int32)).compacted()):
        found = index.search(rows[:100], 100)[0]
        assert np.mean([len(np.intersect1d(a, b)) / 100 for a, b in zip(found, oracle, strict=True)]) >= 0.96


@needs("faiss", "index")
def test_lists_that_more_came_to_than_there_were_are_made_anew(rows):
    index = build_index(rows[:200], IndexSettings(kind="ivf", threads=1))
    nums = np.arange(200, N, dtype=np.int32)
    assert index.with_items(nums, rows[200:]).compacted().lists.count > index.lists.count


def test_milvus_needs_a_place(rows):
    pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'langrec[milvus]'")
    with pytest.raises(SettingsError, match=r"index\.url: name a Milvus server"):
        build_index(rows, IndexSettings(kind="milvus"))


@pytest.mark.slow
@needs("milvus_lite", "milvus")
def test_an_index_whose_collection_is_gone_is_refused(rows, tmp_path):
    index = build_index(rows[:50], IndexSettings(kind="milvus", url=str(tmp_path / "vectors.db")))
    index.save(tmp_path / "index")
    assert len(load_index(tmp_path / "index")) == 50
    index.drop()
    with pytest.raises(BundleError, match="does not hold; train anew"):
        load_index(tmp_path / "index")
    with pytest.raises(StoreError, match="index: Milvus at"):
        index.search(rows[:1], 3)


def test_a_mixture_draws_unit_vectors_with_neighbours_as_near_as_the_real_ones(rows):
    rng = np.random.default_rng(2)
    drawn = Mixture.fit(rows, 8, rng).items(N, rng)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0, atol=1e-5)
    real, made = (nearest(some) for some in (projected(rows, 8), drawn))
    assert abs(real - made) < 0.05
    alike = rng.normal(size=(N, 8)).astype(np.float32)
    assert nearest(projected(alike, 8)) < real - 0.02  # vectors without a structure are further apart


def nearest(rows):
    scores = rows[:500] @ rows.T
    scores[np.arange(500), np.arange(500)] = -1
    return float(scores.max(axis=1).mean())


def test_vectors_of_an_index_are_the_bytes_that_a_scorer_writes(rows, tmp_path):
    from langrec.data.mapped import put_array
    from langrec.retrieval.indexes.files import put_vectors

    put_array(tmp_path / "scorer.npy", rows)
    put_vectors(tmp_path / "index.npy", rows)
    assert (tmp_path / "scorer.npy").read_bytes() == (tmp_path / "index.npy").read_bytes()


@needs("faiss", "index")
def test_the_rows_of_remembered_filters_keep_to_their_bytes(rows, monkeypatch):
    monkeypatch.setattr("langrec.retrieval.indexes.kept.MOST_BYTES", 10_000)
    index, masks = build_index(rows, SMALL), []
    for i in range(30):
        mask = np.zeros(N, np.bool_)
        mask[i : i + 40] = True
        mask.flags.writeable = False
        masks.append(mask)
        assert index.search(rows[:1], 40, mask)[0].min() == i
    held = index.kept.counts()
    assert 0 < held.entries < 40 and held.bytes <= 10_000
    assert index.search(rows[:1], 40, masks[-1])[0].min() == 29 and index.kept.counts().hits == 2
