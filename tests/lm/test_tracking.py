"""Numbers of a training by name: TensorBoard, Weights & Biases without network, MLflow in a file beside the run."""

from __future__ import annotations

import json
import math
import socket
import sys
import time

import pytest

from langrec.errors import MissingExtra, SettingsError
from langrec.lm.tracking import IDS, Tracker, check


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No environment of the user, and no way to the network from this process."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    connect = socket.socket.connect

    def local(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), f"reaches {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


def run(folder, names, steps=range(3)):
    tracker = Tracker(folder, "mine", names, {"kind": "lora", "rate": 0.1})
    with tracker as write:
        for step in steps:
            write("train/loss", 1 / (1 + step), step)
        write("epoch/loss", 0.5, 1)
        write("valid/accuracy", math.nan, 1)
    tracker.end({"final/test.accuracy": 0.75})
    tracker.close()
    return tracker


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder)).Reload()
    return {name: {event.step: event.value for event in read.Scalars(name)} for name in read.Tags()["scalars"]}


def test_tensorboard_is_there_without_being_named(tmp_path):
    run(tmp_path, ())
    found = scalars(tmp_path)
    assert found["train/loss"] == pytest.approx({0: 1, 1: 0.5, 2: 1 / 3})
    assert found["final/test.accuracy"] == {0: 0.75}
    assert "valid/accuracy" not in found
    assert not (tmp_path / IDS).exists()


@pytest.mark.slow
def test_mlflow_keeps_a_run_in_a_file_and_a_resumed_training_goes_on_in_it(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    run(tmp_path, ("mlflow",))
    run(tmp_path, ("mlflow",), [3])
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("langrec").experiment_id])
    assert found.info.run_name == "mine"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"kind": "lora", "rate": "0.1"}
    assert found.data.metrics["final/test.accuracy"] == 0.75
    history = {one.step: one.value for one in client.get_metric_history(found.info.run_id, "train/loss")}
    assert history == pytest.approx({0: 1, 1: 0.5, 2: 1 / 3, 3: 0.25})
    assert scalars(tmp_path)["train/loss"].keys() == {0, 1, 2, 3}


@pytest.mark.slow
def test_mlflow_writes_where_its_own_variable_points(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'theirs.db'}")
    run(tmp_path / "run", ("mlflow",))
    assert (tmp_path / "theirs.db").exists()
    assert not (tmp_path / "run" / "mlflow").exists()


@pytest.mark.slow
def test_weights_and_biases_keeps_a_run_offline(tmp_path):
    pytest.importorskip("wandb")
    run(tmp_path, ("wandb",))
    (kept,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    known = json.loads((tmp_path / IDS).read_text("utf-8"))["wandb"]
    assert known in kept.name
    wanted = (b"train/loss", b"train_step", b"final/test.accuracy", b"lora")
    # Its own process writes the last of it a moment after the run has ended.
    until = time.monotonic() + 60
    while not all(said in kept.read_bytes() for said in wanted) and time.monotonic() < until:
        time.sleep(0.2)
    content = kept.read_bytes()
    assert [said for said in wanted if said not in content] == []


def test_a_name_that_is_not_known_is_said_with_the_nearest():
    with pytest.raises(SettingsError, match=r"--track mlfow: unknown \(did you mean mlflow\?\)"):
        check(["mlfow"], "--track")


def test_a_library_that_is_not_there_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtra, match=r"--track wandb needs the extra 'wandb': pip install 'langrec\[wandb\]'"):
        check(["wandb"], "--track")


def test_each_name_counts_once_and_tensorboard_is_no_further_one():
    pytest.importorskip("tensorboard")
    assert check(["tensorboard", "tensorboard"], "--track") == ()
