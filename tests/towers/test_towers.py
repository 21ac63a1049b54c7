"""Towers: what they train on, that NumPy answers as PyTorch trained, and that a training can be interrupted."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from clocks import Clock
from langrec.data.events import DAY_MS
from langrec.data.fitting import FitData
from langrec.errors import MissingExtra
from langrec.lm.precision import faster_precision
from langrec.settings import IdTowerSettings, TextTowerSettings
from langrec.towers.fit import fit_tower
from langrec.towers.id_tower import IdTower
from langrec.towers.network import IdNetwork, TextNetwork
from langrec.towers.sequences import Sequences, gap_buckets
from langrec.towers.shaping import Shaping
from langrec.towers.text_tower import TextTower

SMALL = {"dim": 32, "epochs": 12, "tokens": 256, "warmup": 5, "precision": "fp32", "dropout": 0.1, "length": 10}
IDS = IdTowerSettings(**SMALL, rate=1e-2)
TEXTS = TextTowerSettings(**SMALL, rate=5e-3, head=(24,), layers=1)
CYCLE = worlds.cycle()


def next_day(histories):
    """Queries that come a day after the newest event, as the next event of the world does."""
    return worlds.queries(histories, at=[worlds.START + len(row) * DAY_MS for row in histories])


def best_new(tower, block):
    """The best item of each query that is not in its history."""
    scores = tower.score_block(block)
    scores[block.rows(), block.items] = -1
    return scores.argmax(axis=1)


def data_of(world, **rest):
    vectors = np.random.default_rng(0).normal(size=(world.n_items, 16)).astype(np.float32)
    return FitData(world.dataset.events, world.n_users, world.n_items, world.texts, {"vectors": vectors}, **rest)


@given(st.lists(st.integers(0, 23), min_size=1, max_size=9), st.integers(1, 7), st.booleans(), st.integers(0, 5))
@settings(deadline=None)
def test_every_event_but_the_first_of_a_user_is_asked_once(lengths, length, moved, seed):
    offsets = np.concatenate([[0], np.cumsum([n + 2 for n in lengths])]).astype(np.int64)
    m = int(offsets[-1])
    sequences = Sequences(np.arange(m, dtype=np.int32), np.zeros(m, np.int32), np.ones(m, np.bool_), offsets)
    windows = sequences.windows(length, np.random.default_rng(seed) if moved else None)
    asked = np.sort(np.concatenate([np.arange(start + 1, stop + 1) for start, stop in windows]))
    assert np.array_equal(asked, np.setdiff1d(np.arange(m), offsets[:-1]))
    assert (windows[:, 1] - windows[:, 0]).max() <= length
    owner = np.searchsorted(offsets, windows, side="right")
    assert np.array_equal(owner[:, 0], owner[:, 1])


def test_an_item_that_the_user_knows_is_never_asked_for():
    world = worlds.planted_topics()
    sequences = Sequences.of(world.dataset.events, world.n_users)
    rng = np.random.default_rng(0)
    for inputs, _, targets in sequences.batches(5, 64, rng):
        assert inputs.size <= 64
        for row, wanted in zip(inputs, targets, strict=True):
            for step, target in enumerate(wanted):
                assert target < 0 or target not in row[: step + 1]


def test_gaps_of_time_fall_into_doubling_buckets():
    buckets = gap_buckets(np.array([0, 999, 1_000, 1_999, 2_000, 86_400_000, 10**15]))
    assert buckets.tolist() == [0, 0, 1, 1, 2, 17, 27]


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("temperature", [0.0, 0.1])
@pytest.mark.parametrize("layers", [1, 2])
def test_numpy_answers_as_pytorch_trained(positions, temperature, layers):
    options = {"positions": positions, "temperature": temperature, "layers": layers, "gaps": True}
    torch.manual_seed(0)
    wanted = dataclasses.replace(TEXTS, **options)
    data = data_of(CYCLE)
    shaping = Shaping.fit(data.vectors["vectors"], 0.1)
    network = TextNetwork(wanted, shaping.apply(data.vectors["vectors"])).eval()
    rest = {"heads": 2, "length": 10, "temperature": temperature, "rotary": positions == "rotary"}
    tower = TextTower.of(
        network.arrays(), np.ones(12, np.bool_), shaping, data.vectors["vectors"], **rest, epochs=1, precision="fp32"
    )
    histories = [[1, 2, 3], [5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [4, 4, 4, 4, 4, 4, 4]]
    times = [[1_000 * 3**j for j in range(len(history))] for history in histories]
    block = worlds.queries(histories, times=times, at=[10**9] * 4)
    queries, silent = tower.queries(block)
    assert not silent.any()
    for i, history in enumerate(histories):
        read, at = torch.tensor([history[-10:]]), np.array(times[i][-10:])
        gaps = torch.from_numpy(gap_buckets(np.diff(at, append=10**9)).astype(np.int64))[None]
        with torch.no_grad():
            vectors = network.item_vectors()
            state, items = network.scaled(network(vectors, read, gaps)[0, -1:], vectors)
            logits = (state @ items.T).numpy()[0]
        assert np.allclose(queries[i] @ tower.items.T, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [IdTower, TextTower])
def test_a_tower_learns_what_follows_what(kind):
    tower = kind.fit(data_of(CYCLE), dataclasses.replace(IDS if kind is IdTower else TEXTS, epochs=60))
    block = next_day([[start, (start + 1) % 12] for start in range(12)])
    assert np.array_equal(best_new(tower, block), (np.arange(12) + 2) % 12)


def test_a_tower_learns_from_sampled_negatives_too():
    tower = IdTower.fit(
        data_of(CYCLE), dataclasses.replace(IDS, epochs=60, full_below=5, negatives=6, precision="auto")
    )
    block = next_day([[start, (start + 1) % 12] for start in range(12)])
    assert np.array_equal(best_new(tower, block), (np.arange(12) + 2) % 12)


def test_a_step_over_sampled_negatives_makes_vectors_of_the_items_it_meets_alone(monkeypatch):
    """Sixty more items that nobody chose, and that no batch meets."""
    real, made = TextNetwork.item_vectors, []

    def counted(self, nums=None):
        vectors = real(self, nums)
        made.append((len(vectors), len(self.texts)))
        return vectors

    monkeypatch.setattr(TextNetwork, "item_vectors", counted)
    data = data_of(CYCLE)
    more = dataclasses.replace(
        data, n_items=data.n_items + 60, vectors={"vectors": np.concatenate([data.vectors["vectors"]] * 6)}
    )
    TextTower.fit(more, dataclasses.replace(TEXTS, epochs=1, full_below=5, negatives=6))
    assert made
    assert all(some <= 12 < every for some, every in made)


def test_the_same_seed_gives_the_same_tower():
    towers = [IdTower.fit(data_of(CYCLE), dataclasses.replace(IDS, epochs=2)) for _ in range(2)]
    assert np.array_equal(towers[0].items, towers[1].items)


@pytest.mark.parametrize("full_below", [50_000, 5])
@pytest.mark.parametrize("kind", [IdTower, TextTower])
def test_an_interrupted_training_goes_on_to_the_same_tower(tmp_path, kind, full_below):
    wanted = dataclasses.replace(IDS if kind is IdTower else TEXTS, epochs=4, full_below=full_below, negatives=6)
    judged = iter([0.1, 0.3, 0.2, 0.25, 0.2, 0.25])
    through = fit_tower(kind, data_of(CYCLE, judge=lambda *_: next(judged)), wanted, None)
    judged = iter([0.1, 0.3, 0.2, 0.25])

    def stop(what, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_tower(kind, data_of(CYCLE, judge=lambda *_: next(judged), told=stop), wanted, tmp_path)
    judged = iter([0.3, 0.2, 0.25])
    resumed = fit_tower(kind, data_of(CYCLE, judge=lambda *_: next(judged)), wanted, tmp_path)
    assert resumed.epochs == through.epochs == 2
    assert np.array_equal(resumed.items, through.items)


@pytest.mark.parametrize("damage", [b"", b"\x10" + b"\0" * 7 + b'{"a": broken', "cut", "zeros"])
def test_a_training_whose_checkpoint_is_damaged_begins_anew(tmp_path, damage):
    wanted = dataclasses.replace(IDS, epochs=3)
    through = fit_tower(IdTower, data_of(CYCLE), wanted, None, epochs=3)

    def stop(what, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_tower(IdTower, data_of(CYCLE, told=stop), wanted, tmp_path, epochs=3)
    checkpoint = tmp_path / "training" / "checkpoint.safetensors"
    data = checkpoint.read_bytes()
    checkpoint.write_bytes({"cut": data[:500], "zeros": data[:-400] + bytes(400)}.get(damage, damage))
    told = []
    again = fit_tower(IdTower, data_of(CYCLE, told=lambda what, done, total: told.append(done)), wanted, tmp_path, 3)
    assert told == [1, 2, 3]
    assert np.array_equal(again.items, through.items)


def test_a_fit_of_the_settled_epochs_is_taken_over_from_the_one_that_was_judged(tmp_path):
    seen = []
    data = data_of(CYCLE, judge=lambda *_: 0.5 - 0.1 * len(seen), kept=tmp_path, told=lambda *a: seen.append(a))
    judged = IdTower.fit(data, dataclasses.replace(IDS, epochs=6, patience=2))
    assert judged.epochs < 6
    trained = len(seen)
    again = IdTower.fit(data, dataclasses.replace(IDS, epochs=6, patience=2), **judged.settled)
    assert len(seen) == trained
    assert np.array_equal(again.items, judged.items)


@pytest.mark.parametrize("name", ["tower.json", "tower.safetensors", "items.npy", "sealed.json"])
@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: data[:-9] + bytes(9)])
def test_a_kept_tower_that_a_crash_damaged_is_trained_again(tmp_path, name, damage):
    right, seen = IdTower.fit(data_of(CYCLE, kept=tmp_path), IDS, epochs=3), []
    for file in tmp_path.glob(f"*/{name}"):
        file.write_bytes(damage(file.read_bytes()))
    data = data_of(CYCLE, kept=tmp_path, told=lambda *a: seen.append(a))
    again = IdTower.fit(data, IDS, epochs=3)
    assert len(seen) == 3
    assert np.array_equal(again.items, right.items)
    IdTower.fit(data, IDS, epochs=3)
    assert len(seen) == 3


def test_of_two_fits_at_once_the_second_waits_and_takes_over(tmp_path):
    second, told, others = [], [], []

    def begin_another(what, done, total):
        told.append(what)
        if len(told) == 1:
            data = data_of(CYCLE, kept=tmp_path, told=lambda *said: others.append(said[0]))
            second.append(threading.Thread(target=lambda: second.append(IdTower.fit(data, IDS, epochs=3))))
            second[0].start()
            while not others:
                time.sleep(0.01)

    first = IdTower.fit(data_of(CYCLE, kept=tmp_path, told=begin_another), IDS, epochs=3)
    second[0].join()
    assert np.array_equal(second[1].items, first.items)
    assert others == ["wait for another run that does the same"]


def test_a_fit_on_more_events_goes_on_from_the_kept_tower(tmp_path):
    wanted = dataclasses.replace(IDS, epochs=8, refit=0.25)
    seen = []
    first = IdTower.fit(data_of(CYCLE, judge=lambda *_: 0.1 * len(seen), kept=tmp_path), wanted)
    more = dataclasses.replace(CYCLE.dataset.events, gains=CYCLE.dataset.events.gains * 2)
    data = dataclasses.replace(data_of(CYCLE, kept=tmp_path, told=lambda *a: seen.append(a)), events=more)
    again = IdTower.fit(data, wanted, **first.settled)
    assert len(seen) == max(1, first.epochs // 4)
    near = np.sum(again.items * first.items, axis=1)
    assert 0.9 < near.min() < 1.0
    assert again.settled["start"] == first.settled["start"]
    anew = IdTower.fit(data, dataclasses.replace(wanted, refit=0.0), **first.settled)
    assert np.abs(anew.items - again.items).max() > 0.1


def test_without_pytorch_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"training id_tower \(or leave it out.*pip install 'langrec\[lm\]'"):
        IdTower.fit(data_of(CYCLE), IDS)


def test_an_item_without_a_training_event_is_scored_by_its_text():
    world = worlds.planted_topics()
    vectors = world.topic_vectors(16, 0)
    wide = np.concatenate([vectors, vectors[:1]])
    data = FitData(
        world.dataset.events, world.n_users, world.n_items + 1, (*world.texts, world.texts[0]), {"vectors": wide}
    )
    tower = TextTower.fit(data, dataclasses.replace(TEXTS, epochs=6))
    scores = tower.score_block(worlds.queries([[3, 5]]))
    assert scores[0, world.n_items] == pytest.approx(scores[0, 0], rel=1e-3)
    ids = IdTower.fit(data, dataclasses.replace(IDS, epochs=1))
    assert np.isnan(ids.score_block(worlds.queries([[3, 5]]))[0, world.n_items])


def test_probabilities_add_up_to_one_and_a_history_of_nothing_known_says_nothing():
    tower = IdTower.fit(data_of(CYCLE), dataclasses.replace(IDS, epochs=1))
    scores = tower.score_block(worlds.queries([[1, 2], [], [99]]))
    assert np.nansum(scores[0]) == pytest.approx(1.0, abs=1e-5)
    assert np.isnan(scores[1:]).all()


@pytest.mark.parametrize("kind", [IdTower, TextTower])
def test_a_tower_says_nothing_of_what_the_history_holds(kind):
    tower = kind.fit(data_of(CYCLE), dataclasses.replace(IDS if kind is IdTower else TEXTS, epochs=1))
    everything = list(range(CYCLE.n_items))
    scores = tower.score_block(worlds.queries([[1, 2, 1], everything, [4]]))
    assert np.flatnonzero(np.isnan(scores[0])).tolist() == [1, 2]
    assert np.isnan(scores[1]).all()
    assert np.flatnonzero(np.isnan(scores[2])).tolist() == [4]


def test_whitened_vectors_have_unit_variance_in_every_direction():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 8)) * [9, 5, 3, 2, 1, 1, 0.5, 0.2] + 4).astype(np.float32)
    vectors[7] = 0
    white = Shaping.fit(vectors, 0.0).apply(vectors)
    assert not white[7].any()
    assert np.allclose(np.cov(np.delete(white, 7, 0).T), np.eye(8), atol=0.02)
    milder = np.linalg.svd(np.delete(Shaping.fit(vectors, 0.1).apply(vectors), 7, 0), compute_uv=False)
    raw = np.linalg.svd(np.delete(Shaping.fit(vectors, None).apply(vectors), 7, 0), compute_uv=False)
    assert 1.1 < milder[0] / milder[-1] < raw[0] / raw[-1]


def test_the_faster_precision_is_measured(monkeypatch):
    clock = Clock(stands=True)
    monkeypatch.setattr("langrec.lm.precision.time", clock)

    def run(slow, name):
        clock.passed += 0.02 if name == slow else 0.001

    assert faster_precision(partial(run, "fp32"))[0] == "bf16"
    assert faster_precision(partial(run, "bf16"))[0] == "fp32"


def test_a_card_has_finished_before_its_step_is_timed(monkeypatch):
    clock, begun = Clock(stands=True), []
    monkeypatch.setattr("langrec.lm.precision.time", clock)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)

    def finish():
        clock.passed += sum(begun)
        begun.clear()

    monkeypatch.setattr("torch.cuda.synchronize", finish)
    name, seconds = faster_precision(lambda name: begun.append(0.02 if name == "fp32" else 0.001))
    assert name == "bf16" and seconds == pytest.approx({"fp32": 0.02, "bf16": 0.001})


def test_padding_never_changes_an_answer():
    tower = IdTower.fit(data_of(CYCLE), dataclasses.replace(IDS, epochs=1, layers=2))
    histories = [[1], [1, 2, 3, 4, 5, 6, 7, 8, 9], [4, 5]]
    together = tower.score_block(worlds.queries(histories))
    alone = np.concatenate([tower.score_block(worlds.queries([history])) for history in histories])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_the_network_of_ids_ties_its_input_and_its_output():
    network = IdNetwork(IDS, 5)
    assert network.item_vectors() is network.table
