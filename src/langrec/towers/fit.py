"""From a log and the settings to a fitted tower."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from langrec.data.fitting import FitData
from langrec.lm.device import chosen_device, device_of
from langrec.lm.precision import autocast, faster_precision
from langrec.lm.ring import Ring
from langrec.settings import TowerSettings
from langrec.towers.filling import FilledIdTower, Filling
from langrec.towers.id_tower import IdTower
from langrec.towers.kept import kept_tower
from langrec.towers.network import IdNetwork, Network, TextNetwork
from langrec.towers.sequences import Sequences
from langrec.towers.shaping import Shaping
from langrec.towers.text_tower import TextTower
from langrec.towers.tower import Tower
from langrec.towers.train import Epoch, batch_loss, negatives, places_of, train
from langrec.types import FloatMatrix, IntVector, Mask


def fit_tower(
    kind: type[Tower],
    data: FitData,
    settings: Any,
    folder: Path | None,
    epochs: int | None = None,
    precision: str | None = None,
    control: str | None = None,
    start: str | None = None,
) -> Any:
    """A tower of the given kind, trained on the data's events.

    Args:
        folder: keeps the checkpoints; None keeps none.
        epochs: stop there and hold nothing out; None stops by the data's judge.
        precision: of an earlier fit; None measures it where the settings say auto.
        control: permuted gives each item the vector of another, raw leaves the spectrum as it is.
        start: a kept tower to go on from, for `settings.refit` of its epochs at half the rate; one that is gone, or
            that knows other items, is passed over.
    """
    if control == "raw":
        settings = dataclasses.replace(settings, shape=False)
    if control == "permuted":
        data = dataclasses.replace(data, vectors={"vectors": _permuted(data.vectors["vectors"], settings.seed)})
    events = data.events
    counts = np.bincount(events.items[events.gains > 0], minlength=data.n_items).astype(np.int32)
    torch.manual_seed(settings.seed)
    trained = counts > 0
    before = _start(kind, data, settings, start)
    if before is not None and epochs is not None:
        epochs = max(1, math.ceil(settings.refit * epochs))
        settings = dataclasses.replace(settings, epochs=epochs, rate=settings.rate / 2, pretrain_epochs=0)
    network, finish = (_id if kind is IdTower else _text)(data, settings, trained, before)
    network.to(chosen_device())
    sequences = Sequences.of(events, data.n_users)
    nums = np.flatnonzero(trained).astype(np.int32)
    settings = _with_precision(network, sequences, nums, counts[nums], settings, precision)

    def judge() -> float:
        assert data.judge is not None
        return data.judge(finish(network, settings, 0), settings.judged)

    def told(epoch: Epoch) -> None:
        if data.board is not None:
            run = kind.name if folder is None else folder.name
            data.board(run, {"loss": epoch.loss, "ndcg@10": epoch.ndcg, "rate": epoch.rate}, epoch.epoch)
        if data.told is not None:
            # The last fit, on everything, keeps nothing back to be judged on.
            judged = "" if math.isnan(epoch.ndcg) else f", NDCG@10 {epoch.ndcg:.4f}"
            data.told(f"train {kind.name}: loss {epoch.loss:.3f}{judged}", epoch.epoch, settings.epochs)

    stopping = judge if data.judge is not None and epochs is None else None
    history = train(
        network,
        sequences,
        nums,
        counts[nums],
        settings,
        stop=settings.epochs if epochs is None else epochs,
        judge=stopping,
        folder=None if folder is None else folder / "training",
        told=told,
    )
    best = max(history, key=lambda row: row.ndcg).epoch if stopping else len(history)
    return finish(network, settings, best)


def _start(kind: type[Tower], data: FitData, settings: Any, start: str | None) -> Any:
    """The kept tower to go on from, None where there is none that fits."""
    if start is None or data.kept is None or settings.refit <= 0:
        return None
    before = kept_tower(kind, data.kept / start)
    return before if before is not None and before.n_items == data.n_items else None


def _continued(network: Network, before: Any) -> None:
    """Puts the network where a tower stands."""
    if before is not None:
        network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in before.arrays.items()})


def _id(data: FitData, settings: Any, trained: Mask, before: Any) -> tuple[Network, Any]:
    network = IdNetwork(settings, data.n_items)
    _continued(network, before)

    def finish(network: Network, settings: Any, epochs: int) -> IdTower:
        tower = IdTower.of(network.arrays(), trained, **_rest(settings, epochs))
        vectors = data.vectors.get("vectors") if settings.fill == "text" else None
        if vectors is None:
            return tower
        said = data.events.items[data.events.gains > 0]
        filling = Filling.fit(
            vectors, tower.arrays["table"], np.bincount(said, minlength=data.n_items).astype(np.int32)
        )
        return tower if filling is None else FilledIdTower.over(tower, filling, vectors)

    return network, finish


def _text(data: FitData, settings: Any, trained: Mask, before: Any) -> tuple[Network, Any]:
    vectors: FloatMatrix = data.vectors["vectors"]
    # The spectrum is that of the items that people met: texts of later items are not looked at before their time.
    shaping = Shaping.fit(vectors[trained], settings.shrink if settings.shape else None)
    if before is not None:  # the head knows the space that it was trained in
        shaping = before.shaping
    network = TextNetwork(settings, shaping.apply(vectors))
    _continued(network, before)

    def finish(network: Network, settings: TowerSettings, epochs: int) -> TextTower:
        return TextTower.of(network.arrays(), trained, shaping, vectors, **_rest(settings, epochs))

    return network, finish


def _permuted(vectors: FloatMatrix, seed: int) -> FloatMatrix:
    """The rows that hold a vector in another order: what is left of their worth is their number, not their sense."""
    written = np.flatnonzero(vectors.any(axis=1))
    out = vectors.copy()
    out[written] = vectors[np.random.default_rng(seed).permutation(written)]
    return out


def _rest(settings: TowerSettings, epochs: int) -> dict[str, Any]:
    return {
        "heads": settings.heads,
        "length": settings.length,
        "temperature": settings.temperature,
        "rotary": settings.positions == "rotary",
        "epochs": epochs,
        "precision": settings.precision,
    }


def _with_precision(
    network: Network, sequences: Sequences, nums: IntVector, counts: IntVector, settings: Any, precision: str | None
) -> Any:
    """The settings with a precision that is not auto: the given one, or what a few timed steps say."""
    if precision is None and settings.precision == "auto" and len(sequences.items):
        batches = sequences.batches(settings.length, settings.tokens, np.random.default_rng(settings.seed))
        batch = max(batches[:20], key=lambda part: part[0].size)
        device = device_of(network)
        candidate, place = places_of(nums, device)
        draw = negatives(counts, settings, device)

        def run(name: str) -> None:
            with autocast(name, device):
                loss, rows = batch_loss(network, batch, candidate, place, settings, draw)
            if rows:
                loss.backward()
            network.zero_grad(set_to_none=True)

        precision = Ring.here().first(lambda: faster_precision(run)[0])
    return dataclasses.replace(settings, precision=precision or settings.precision.replace("auto", "fp32"))
