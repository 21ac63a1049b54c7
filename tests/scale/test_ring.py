"""Two processes that share a training come to what one comes to."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
import torch
from torch import nn
from two_processes import in_two

import worlds
from langrec.data.fitting import FitData
from langrec.lm.ring import PeerError, Ring
from langrec.settings import IdTowerSettings, TextTowerSettings
from langrec.towers.fit import fit_tower
from langrec.towers.id_tower import IdTower
from langrec.towers.text_tower import TextTower

# Without dropout: each process draws its own masks, so that with it two processes are another sample of the same.
SMALL = {"dim": 16, "epochs": 3, "dropout": 0.0, "precision": "fp32", "tokens": 160, "length": 8}
ADAPT = {"epochs": 2, "dropout": 0.0, "precision": "fp32", "batch": 16, "max_tokens": 16}
TOWERS = {
    "ids": (IdTower, {}),
    "texts": (TextTower, {}),
    "sampled negatives": (IdTower, {"full_below": 5, "negatives": 20}),
}
TASKS = {
    "classify": ("classify", {"kind": "full"}),
    "pairs": ("pairs", {"kind": "lora"}),
    "few shots, accumulated": ("classify", {"kind": "full", "shots": 6, "accumulate": 2}),
    "attacked": ("classify", {"kind": "last", "adversarial": "fgm"}),
    "dealt-out ranks": ("classify", {"kind": "adalora", "accumulate": 2}),
}


def test_alone_there_is_nothing_to_agree_on():
    ring, model = Ring.here(), nn.Linear(2, 1, bias=False)
    assert (ring.leads, ring.part(5), ring.own, ring.first(lambda: (1, 2))) == (True, slice(0, 5), (), (1, 2))
    ring.backward(ring.averaged(lambda x: model(x).sum(), model)(torch.tensor([[1.0, 2.0]])))
    assert model.weight.grad.tolist() == [[1.0, 2.0]]


def tower_of(name):
    kind, changed = TOWERS[name]
    world = worlds.planted_topics(users=40, items=30, noise=0.2)
    vectors = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    data = FitData(world.dataset.events, 40, 30, vectors={"vectors": vectors})
    settings = (IdTowerSettings if kind is IdTower else TextTowerSettings)(**{**SMALL, **changed})
    if kind is TextTower:
        settings = dataclasses.replace(settings, head=(16,), head_dropout=0.0)
    return fit_tower(kind, data, settings, None, epochs=3)


def likeness(module, texts):
    """A loss that compares every row with every other, and a head that comes after."""
    vectors = module["encoder"](texts)
    return torch.logsumexp(vectors @ vectors.T, 1).mean() + module["head"](vectors).square().mean()


def gradients(n, ring=None):
    torch.manual_seed(0)
    module, texts = nn.ModuleDict({"encoder": nn.Linear(4, 3), "head": nn.Linear(3, 1)}), torch.randn(n, 4)
    ring = ring or Ring()
    with ring.shared(module["encoder"]):
        averaged = ring.averaged(lambda read: likeness(module, read), module)
        ring.backward(averaged(texts))
    return [value.grad.tolist() for value in module.parameters()]


def talk(ring, folder):
    """Everything that two processes say to each other, as JSON."""
    torch.manual_seed(ring.rank)
    heads = nn.ModuleDict({name: nn.Linear(2, 1, bias=False) for name in ("first", "second", "third")})
    # The second head is trained in the second process alone, the third nowhere.
    averaged = ring.averaged(lambda x, names: sum(heads[name](x).sum() for name in names), heads)
    found = {"agreed": heads["first"].weight.tolist()}
    for x, weight, names in (([1.0, 2.0], 1, ["first"]), ([3.0, 4.0], 3, ["first", "second"])):
        if weight == 1 + 2 * ring.rank:
            # (1 * x_0 + 3 * x_1) / 4, as the mean over two processes; twice, as where steps are accumulated.
            for _ in range(2):
                ring.backward(averaged(torch.tensor([x]), names) * (weight * ring.world / 4))
    found["gradients"] = [None if head.weight.grad is None else head.weight.grad.tolist() for head in heads.values()]
    found["first"] = ring.first(lambda: ["judged", 0.5, ring.rank])
    found["sum"] = ring.sum(1.0, ring.rank)
    own, other = folder / f"kept-{ring.rank}", folder / f"absent-{ring.rank}"
    own.write_text(f"of {ring.rank}")
    if not ring.leads:
        other.write_text("left over")
    ring.copy(own)
    ring.copy(other)
    found["copied"], found["gone"] = own.read_text(), not other.exists()
    found["compared"] = {n: gradients(n, ring) for n in (5, 1)}
    return found


def _both(rank, folder):
    ring = Ring.here()
    (folder / f"talk-{rank}.json").write_text(json.dumps(talk(ring, folder)))
    for name in TOWERS:
        np.savez(folder / f"{name}-{rank}.npz", **tower_of(name).arrays)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Folder with what each of two processes came to."""
    folder = tmp_path_factory.mktemp("both")
    in_two(_both, folder, folder)
    return folder


@pytest.mark.slow
def test_two_processes_average_by_weight_and_agree(both):
    first, second = (json.loads((both / f"talk-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    # Twice (1 * [1, 2] + 3 * [3, 4]) / 4, then twice (0 + 3 * [3, 4]) / 4; what has a gradient nowhere keeps none.
    assert first["gradients"] == [[[5.0, 7.0]], [[4.5, 6.0]], None]
    assert (first["first"], first["sum"], first["copied"], first["gone"]) == (
        ["judged", 0.5, 0],
        [2.0, 1.0],
        "of 0",
        True,
    )
    assert [Ring(rank, 2).part(5) for rank in (0, 1)] == [slice(0, 2), slice(2, 5)]


@pytest.mark.slow
def test_a_loss_that_compares_the_texts_of_a_batch_sees_those_of_both_processes(both):
    found = json.loads((both / "talk-0.json").read_text())["compared"]
    for n in (5, 1):
        for value, right in zip(found[str(n)], gradients(n), strict=True):
            np.testing.assert_allclose(value, right, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOWERS)
def test_two_processes_train_the_tower_that_one_trains(both, name):
    alone = tower_of(name).arrays
    for rank in (0, 1):
        found = np.load(both / f"{name}-{rank}.npz")
        for part, value in alone.items():
            np.testing.assert_allclose(found[part], value, atol=2e-4, err_msg=part)


def _left_alone(rank, folder):
    ring, model = Ring.here(), nn.Linear(2, 1)
    averaged = ring.averaged(lambda x: model(x).sum(), model)
    loss = averaged(torch.ones(1, 2))
    if not ring.leads:
        os._exit(0)
    try:
        ring.backward(loss)
    except PeerError as error:
        (folder / "said").write_text(str(error))
    os._exit(0)


@pytest.mark.slow
def test_a_process_that_is_gone_is_told_from_a_fault_of_this_one(tmp_path):
    in_two(_left_alone, tmp_path, tmp_path)
    assert "another worker no longer answers" in (tmp_path / "said").read_text()
    model = nn.Linear(2, 1)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        Ring().backward(model(torch.ones(2, 2)))


def losses_of(tiny, topics, out, name):
    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt
    from langrec.lm.adapt.settings import AdaptSettings

    task, changed = TASKS[name]
    settings = AdaptSettings(task=task, **ADAPT, **changed)
    files = Files(topics / "pairs.csv") if task == "pairs" else Files(topics / "train.csv", topics / "valid.jsonl")
    rows = adapt(str(tiny), settings, files, out)["epochs"]
    return [row["loss"] for row in rows[1:]] + [row["score"] for row in rows]


def _adapt(rank, folder, tiny):
    found = {name: losses_of(tiny, folder, folder / f"{name}-{rank}", name) for name in TASKS}
    (folder / f"losses-{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, tiny):
    """Folder with the rows, and the losses and scores of each task in each of two processes."""
    from plain_topics import sentences, write_rows

    folder = tmp_path_factory.mktemp("adapted")
    for name, seed in (("train.csv", 0), ("valid.jsonl", 1)):
        write_rows(folder / name, sentences(21, seed))
    texts = [text for text, _ in sentences(42, 2)]
    lines = [f"{first},{second}" for first, second in zip(texts[::2], texts[1::2], strict=True)]
    (folder / "pairs.csv").write_text("\n".join(["anchor,positive", *lines]) + "\n", "utf-8")
    in_two(_adapt, folder, folder, tiny)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_two_processes_adapt_as_one_does(adapted, tiny, tmp_path, name):
    alone = losses_of(tiny, adapted, tmp_path / "alone", name)
    for rank in (0, 1):
        found = json.loads((adapted / f"losses-{rank}.json").read_text())[name]
        np.testing.assert_allclose(found, alone, rtol=2e-3)
