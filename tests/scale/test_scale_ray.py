"""Two Ray workers come to what one process comes to: vectors, towers, adaptations, trials."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import worlds
from langrec.encoders.hashing import HashingEncoder
from langrec.errors import DataError, SettingsError
from langrec.scale.blocks import read_blocks, read_by
from langrec.scale.encode import Encoded, encode_catalogue

pytestmark = pytest.mark.slow


def test_workers_read_a_catalogue_as_one_process_does(ray_cluster, tmp_path):
    ids = [f"i{n}" for n in range(300)]
    texts = [f"a story about number {n % 200}" for n in range(299)] + [""]
    found = encode_catalogue(HashingEncoder(16), ids, texts, tmp_path, ray_cluster, block=40)
    np.testing.assert_allclose(Encoded.open(tmp_path).vectors(), HashingEncoder(16).encode(texts), atol=1e-6)
    again = encode_catalogue(HashingEncoder(16), ids, texts, tmp_path, ray_cluster, block=40)
    # Of eight blocks the sixth and the seventh hold the texts of the first and the second.
    assert (found.read, again.read) == (6, 0)


def test_workers_read_with_the_transformer_that_they_were_handed(ray_cluster, tiny, tmp_path):
    from langrec.encoders import load_encoder
    from langrec.encoders.cache import encode_cached
    from langrec.settings import EncoderSettings

    settings = EncoderSettings(name=str(tiny), runtime="onnx-fp32", max_tokens=16, threads=1, cache=str(tmp_path))
    encoder = load_encoder(settings)
    texts = [f"the {a} and the {b} of winter" for a in ("cat", "dog", "bird") for b in range(60)]
    alone = encoder.encode(texts)
    blocks = [("first", texts[:100]), ("rest", texts[100:])]
    found = dict(read_blocks(encoder, ray_cluster, blocks, "item"))
    np.testing.assert_allclose(np.concatenate([found["first"], found["rest"]]), alone, atol=1e-5)
    with read_by(ray_cluster):
        np.testing.assert_allclose(encode_cached(encoder, texts, tmp_path / "kept"), alone, atol=1e-5)


def test_a_worker_that_is_killed_while_it_reads_is_made_anew_and_nothing_is_lost(ray_cluster):
    psutil = pytest.importorskip("psutil")
    killed, over = [], threading.Event()

    def kill_one():
        """The first worker of Ray Data that comes up."""
        while not killed and not over.wait(0.01):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if any("_Reader" in word for word in child.cmdline()):
                        child.kill()
                        killed.append(child.pid)
                        break

    encoder, texts = HashingEncoder(16), [f"a story about number {n}" for n in range(2000)]
    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        found = dict(read_blocks(encoder, ray_cluster, [("one", texts)], "item"))
    finally:
        over.set()
        killer.join()
    assert killed
    np.testing.assert_allclose(found["one"], encoder.encode(texts), atol=1e-6)


def test_a_text_may_hold_what_is_no_unicode(ray_cluster):
    texts = ["a story \udc9f of halves", "", "another"]
    found = dict(read_blocks(HashingEncoder(16), ray_cluster, [("one", texts)], "item"))
    np.testing.assert_allclose(found["one"], HashingEncoder(16).encode(texts), atol=1e-6)


def test_what_a_worker_refuses_is_raised_here(ray_cluster, monkeypatch):
    class Other(HashingEncoder):
        """Saves files that are not its own."""

        def save(self, folder):
            HashingEncoder(8).save(folder)

    with pytest.raises(SettingsError, match="a worker reads hashing/1/8, not hashing/1/16"):
        list(read_blocks(Other(16), ray_cluster, [("one", ["a text"])], "item"))
    # As where every worker dies of a text: none may begin once more.
    monkeypatch.setattr("langrec.scale.blocks.RESTARTS", -1)
    with pytest.raises(SettingsError, match="lost again and again"):
        list(read_blocks(HashingEncoder(16), ray_cluster, [("one", ["a text"])], "item"))


def test_workers_train_the_tower_that_one_process_trains(ray_cluster, tmp_path):
    pytest.importorskip("torch")
    from test_ring import SMALL

    from langrec.data.fitting import FitData
    from langrec.scale.train import towers_by
    from langrec.settings import IdTowerSettings
    from langrec.towers.id_tower import IdTower

    world, told = worlds.planted_topics(users=40, items=30, noise=0.2), []
    judged = []

    def judge(tower, at_most):
        judged.append(os.getpid())
        return float(np.abs(tower.items).mean())

    data = FitData(world.dataset.events, 40, 30, judge=judge, told=lambda *said: told.append(said))
    alone = IdTower.fit(data, IdTowerSettings(**SMALL))
    assert set(judged) == {os.getpid()}
    lines = list(told)
    told.clear()
    with towers_by(ray_cluster, tmp_path):
        shared = IdTower.fit(data, IdTowerSettings(**SMALL))
    # The words hold numbers that may differ in their last digit.
    assert [line[1:] for line in told] == [line[1:] for line in lines] and told[0][0].startswith("train id_tower")
    assert shared.epochs == alone.epochs
    for name, value in alone.arrays.items():
        np.testing.assert_allclose(shared.arrays[name], value, atol=2e-4, err_msg=name)


def test_a_worker_that_is_killed_is_replaced_and_the_training_goes_on_after_its_last_epoch(ray_cluster, tmp_path):
    pytest.importorskip("torch")
    from test_ring import SMALL

    from langrec.data.fitting import FitData
    from langrec.scale.together import together
    from langrec.scale.train import fit_share
    from langrec.settings import IdTowerSettings
    from langrec.towers.id_tower import IdTower

    world, kept, told = worlds.planted_topics(users=40, items=30, noise=0.2), tmp_path / "kept", []
    data, settings = FitData(world.dataset.events, 40, 30), IdTowerSettings(**SMALL)

    def share(rank, say, *args):
        from langrec.lm.ring import Ring

        once, summed, plain = tmp_path / "killed", [], Ring.sum

        def dying(ring, *numbers):
            """Called once an epoch by each: the second worker dies at the end of its second, once."""
            summed.append(numbers)
            if rank == 1 and len(summed) == 2 and not once.exists():
                once.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(ring, *numbers)

        Ring.sum = dying
        try:
            return fit_share(rank, say, *args)
        finally:
            Ring.sum = plain

    alone = IdTower.fit(data, settings)
    given = (IdTower, data, settings, kept, {"epochs": SMALL["epochs"]})
    shared = together(ray_cluster, share, *given, name="lost", storage=tmp_path, heard=lambda *said: told.append(said))
    assert int((tmp_path / "killed").read_text()) != os.getpid()
    assert [values[1] for name, values in told if name == "told"] == [1, 2, 3]
    for name, value in alone.arrays.items():
        np.testing.assert_allclose(shared.arrays[name], value, atol=2e-4, err_msg=name)


def test_workers_adapt_as_one_process_does_and_go_on_where_it_stopped(ray_cluster, tiny, tmp_path):
    from plain_topics import sentences, write_rows
    from test_ring import ADAPT

    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt as alone
    from langrec.lm.adapt.settings import AdaptSettings
    from langrec.scale.adapt import adapt

    for name, seed in (("train.csv", 0), ("valid.jsonl", 1)):
        write_rows(tmp_path / name, sentences(21, seed))
    files, settings = Files(tmp_path / "train.csv", tmp_path / "valid.jsonl"), AdaptSettings(task="classify", **ADAPT)
    right = alone(str(tiny), settings, files, tmp_path / "alone")
    found = adapt(str(tiny), settings, files, tmp_path / "shared", ray_cluster)
    scores = [[row["score"] for row in summary["epochs"]] for summary in (found, right)]
    np.testing.assert_allclose(*scores, rtol=2e-3)
    assert json.loads((tmp_path / "shared" / "metrics.json").read_text())["task"] == "classify"
    assert (tmp_path / "shared" / "model").is_dir()
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        adapt(str(tiny), settings, Files(tmp_path / "nowhere.csv"), tmp_path / "none", ray_cluster)


def bowl():
    """A subject whose class is sent along: workers cannot import a test."""

    class Bowl:
        """Best at n = 3 and kind = b; cut short where an epoch is behind."""

        name, metric, note, pruned = "a bowl", "height", "No data.", True
        identity = {"data": "one"}  # noqa: RUF012

        def check(self, name, value): ...

        def whole(self, name):
            return name == "n"

        def run(self, values, report, folder):
            if values.get("kind") == "c":
                raise SettingsError("c does not go with anything")
            height = float(values.get("n", 1)) - 0.5 * (values.get("kind", "a") != "b")
            for epoch in (1, 2, 3, 4):
                report(epoch, height * epoch / 4)
            return height

        def recipe(self, values):
            return ""

        def command(self, out: Path, values):
            return f"langrec train --recipe {out / 'best.toml'}"

    return Bowl()


def test_workers_go_through_a_space_as_one_process_does(ray_cluster, tmp_path):
    pytest.importorskip("optuna")
    from langrec.scale.tune import at_once
    from langrec.tuning import parse_space, tune

    space = parse_space(["kind=a,b,c", "n=1,2,3"])
    alone = tune(bowl(), space, tmp_path / "alone", 9)
    shared = tune(bowl(), space, tmp_path / "shared", 9, course=at_once(ray_cluster))
    assert (shared.value, shared.values) == (alone.value, alone.values) == (3.0, {"kind": "b", "n": "3"})
    assert sum(row["state"] == "failed" for row in shared.summary["trials"]) == 3
    assert {tuple(row["values"].values()) for row in shared.summary["trials"]} == {
        tuple(row["values"].values()) for row in alone.summary["trials"]
    }
