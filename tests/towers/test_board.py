"""TensorBoard's scalars of a tower's training."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import replace

import numpy as np
import pytest

import worlds
from langrec.choosing import board_of
from langrec.data.fitting import FitData
from langrec.errors import MissingExtra, SettingsError
from langrec.settings import IdTowerSettings, Settings, TrainingSettings
from langrec.towers.board import Board
from langrec.towers.id_tower import IdTower

WORLD = worlds.cycle()
IDS = IdTowerSettings(dim=16, epochs=3, tokens=256, warmup=5, precision="fp32", length=10)


def scalars(folder):
    """Values by name and step of the only run below a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = folder.iterdir()
    read = EventAccumulator(str(run)).Reload()
    return run.name, {
        name: {event.step: event.value for event in read.Scalars(name)} for name in read.Tags()["scalars"]
    }


def data(**rest):
    return FitData(WORLD.dataset.events, WORLD.n_users, WORLD.n_items, WORLD.texts, {}, **rest)


def test_each_epoch_leaves_its_loss_its_quality_and_its_learning_rate(tmp_path):
    values = iter([0.1, 0.3, 0.2])
    wanted = data(board=Board(tmp_path / "runs"), judge=lambda *_: next(values), kept=tmp_path / "kept")
    IdTower.fit(wanted, IDS)
    run, found = scalars(tmp_path / "runs")
    assert run.startswith("id_tower-")
    assert set(found) == {"loss", "ndcg@10", "rate"}
    assert found["ndcg@10"] == pytest.approx({1: 0.1, 2: 0.3, 3: 0.2})
    losses, rates = ([found[name][step] for step in (1, 2, 3)] for name in ("loss", "rate"))
    assert losses[0] > losses[2] > 0
    assert rates == pytest.approx([IDS.rate, IDS.rate, IDS.rate / 2])  # one step an epoch, the first is the warmup


def test_an_epoch_that_nothing_judged_has_no_quality(tmp_path):
    IdTower.fit(data(board=Board(tmp_path)), dataclasses.replace(IDS, epochs=1))
    run, found = scalars(tmp_path)
    assert run == "id_tower"
    assert set(found) == {"loss", "rate"}


def test_a_resumed_training_goes_on_in_its_run(tmp_path):
    board = Board(tmp_path)
    for step, value in ((1, 0.5), (2, 0.25)):
        board("id_tower", {"loss": value, "ndcg@10": np.nan}, step)
        board = Board(tmp_path)
    _, found = scalars(tmp_path)
    assert found == {"loss": {1: 0.5, 2: 0.25}}


def test_a_checkpoint_keeps_the_learning_rate(tmp_path):
    seen = []
    for _ in range(2):
        wanted = data(board=lambda run, values, step: seen.append((step, values["rate"])), kept=tmp_path)
        IdTower.fit(wanted, IDS)
    assert [step for step, _ in seen] == [1, 2, 3]


def test_by_default_nothing_is_written_and_tensorboard_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert board_of(Settings()) is None


def test_without_tensorboard_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"training\.tensorboard = 'runs' \(or leave it empty\).*langrec\[lm\]"):
        board_of(replace(Settings(), training=TrainingSettings(tensorboard="runs")))


@pytest.mark.slow
def test_what_is_named_takes_the_scalars_too(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    board = board_of(replace(Settings(), training=TrainingSettings(tensorboard=str(tmp_path), track=("mlflow",))))
    board("id_tower", {"loss": 0.5, "ndcg@10": np.nan}, 1)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'id_tower' / 'mlflow' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("langrec").experiment_id])
    assert found.data.metrics == {"loss": 0.5}


def test_names_without_a_folder_are_refused():
    with pytest.raises(SettingsError, match=r"training\.track: needs training\.tensorboard"):
        board_of(replace(Settings(), training=TrainingSettings(track=("mlflow",))))
