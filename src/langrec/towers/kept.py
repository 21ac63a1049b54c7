"""Trainings of towers that are kept under a hash of all they depend on, so that none is run twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from langrec import __version__
from langrec.alone import in_turn
from langrec.data.fitting import FitData
from langrec.errors import BundleError, MissingExtra
from langrec.sealed import SEAL, seal, sealed
from langrec.settings import TowerSettings
from langrec.towers.tower import Tower

# Of the folder that `Tower.save` writes; kept towers of another are trained again.
FORMAT = 3
# Of the files that `Tower.save` writes.
SUFFIXES = (".json", ".npy", ".safetensors")
# What fits a tower in place of this process while a run lasts, such as several workers; called as `fit_tower`.
FITTED_BY: ContextVar[Callable[..., Any] | None] = ContextVar("FITTED_BY", default=None)


def fitted(kind: type[Tower], data: FitData, settings: Any, params: dict[str, Any]) -> Any:
    """A tower of the given kind as `Tower.fit` describes it: trained, or taken over from a folder of `data.kept`."""
    if data.kept is None:
        return _trained(kind, data, settings, params, None)
    folder = _folder(kind, data, settings, params)
    # Two runs on the same data would take each other's checkpoint away.
    with in_turn(folder, data.told):
        kept = kept_tower(kind, folder)
        if kept is not None:
            return replace(kept, kept_as=params.get("start", folder.name))
        return _trained(kind, data, settings, params, folder)


def _trained(kind: type[Tower], data: FitData, settings: Any, params: dict[str, Any], folder: Path | None) -> Any:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("lm", f"training {kind.name} (or leave it out of retrieval.scorers)") from error
    from langrec.towers.fit import fit_tower

    start = time.perf_counter()
    tower: Tower = (FITTED_BY.get() or fit_tower)(kind, data, settings, folder, **params)
    tower = replace(tower, seconds=time.perf_counter() - start)
    if folder is not None:
        tower = replace(tower, kept_as=params.get("start", folder.name))
        _keep(tower, folder)
        shutil.rmtree(folder / "training", ignore_errors=True)
        # Stopped at epoch e, the training is what one of e epochs would have been: it need not run again.
        same = _folder(kind, data, settings, {**params, **tower.settled})
        if same != folder and sealed(same) is None:  # another process may have mapped it
            _keep(tower, same)
    return tower


def _folder(kind: type[Tower], data: FitData, settings: TowerSettings, params: dict[str, Any]) -> Path:
    """Where the training is kept, by a hash of all that it depends on."""
    assert data.kept is not None
    digest = hashlib.sha256(json.dumps([__version__, FORMAT, dataclasses.asdict(settings), params]).encode())
    for column in (data.events.users, data.events.items, data.events.at, data.events.gains):
        digest.update(np.ascontiguousarray(column).tobytes())
    if kind.reads_texts(settings):
        digest.update(np.ascontiguousarray(data.vectors["vectors"]).tobytes())
    digest.update(f"{data.n_items} {data.judge is not None and 'epochs' not in params}".encode())
    return data.kept / f"{kind.name}-{digest.hexdigest()[:20]}"


def _keep(tower: Tower, folder: Path) -> None:
    (folder / SEAL).unlink(missing_ok=True)
    tower.save(folder)
    seal(folder, _files(folder), seconds=tower.seconds)


def kept_files(folder: Path) -> list[str]:
    """The names of all files that a kept tower is made of; none where it is not there as it was written."""
    return [] if sealed(folder) is None else [*_files(folder), SEAL]


def _files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.suffix in SUFFIXES and file.name != SEAL)


def kept_tower(kind: type[Tower], folder: Path) -> Tower | None:
    """The tower of a folder and how long its training took; None where it is not there as it was written."""
    told = sealed(folder)
    try:
        return None if told is None else replace(kind.load(folder), seconds=float(told["seconds"]))
    except BundleError:
        return None
