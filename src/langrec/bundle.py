"""What is saved and served: a release folder, written whole or not at all, and opened."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from langrec import finding
from langrec.data.catalogue import Catalogue
from langrec.data.dataset import Dataset
from langrec.data.ids import Ids
from langrec.data.items import Items
from langrec.data.once import link_equal
from langrec.errors import UNREADABLE, BundleError, DataError, SettingsError
from langrec.lm.model import PACKAGED
from langrec.manifest import FORMAT, problem_of, read_json, read_manifest, versions, write_manifest
from langrec.model_card import model_card
from langrec.protocols import Encoder, Part, Progress, untold
from langrec.ranking.calibration import Calibration
from langrec.ranking.cross import Cross
from langrec.ranking.fusion import Fusion, Only, Signal
from langrec.ranking.mix import Mix
from langrec.ranking.rerank import Reranker
from langrec.recipe import from_dict, to_dict
from langrec.recommender import Recommender
from langrec.registry import find_saved
from langrec.releases import CURRENT, current, keep_back, point_to, sync
from langrec.settings import Settings
from langrec.types import AnyPath, IntVector

# A stamp begins with its second, so that the newest release is the last by name.
SECOND = "%Y%m%dT%H%M%S"


class Bundle:
    """A release folder that has been opened: its manifest was read and, unless told not to, its files were checked.

    Attributes:
        folder: of the release.
        manifest: the content of manifest.json (`manifest.read_manifest`).
        verified: True where every file was compared with its sha256.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], verified: bool = False) -> None:
        self.folder = folder
        self.manifest = manifest
        self.verified = verified

    def __repr__(self) -> str:
        return f"<Bundle {self.stamp} in {self.folder}>"

    @property
    def stamp(self) -> str:
        """The release's name: the second it was made in (UTC), and the start of its data's hash."""
        return str(self.manifest["stamp"])

    @cached_property
    def settings(self) -> Settings:
        """The settings of the training.

        Raises:
            BundleError: this version does not know them.
        """
        try:
            return from_dict(self.manifest["settings"], where=str(self.folder / "manifest.json"))
        except SettingsError as error:
            raise BundleError(f"{error.message}; train again or install the version that wrote it") from error

    @classmethod
    def open(cls, folder: AnyPath, verify: bool = True, checked: str | None = None) -> Bundle:
        """Opens a release folder, or the current release of a folder of releases.

        Args:
            verify: compare every file's sha256 with the manifest.
            checked: a state in which somebody did so (`manifest.problem_of`).

        Raises:
            BundleError: naming the file that is missing, damaged or of another format.
        """
        folder = Path(folder)
        if (folder / CURRENT).is_file():
            folder = current(folder)
        manifest = read_manifest(folder)
        problem = problem_of(folder, manifest, checked=checked) if verify else None
        if problem:
            raise BundleError(problem)
        return cls(folder, manifest, verify)

    def catalogue(self) -> Catalogue:
        """The items."""
        frame = _read_parquet(self.folder / "catalog" / "items.parquet")
        return Catalogue(frame, self.manifest["data"]["text_fields"])

    def users(self) -> Ids:
        """Users in the training data."""
        return Ids(_read_parquet(self.folder / "catalog" / "users.parquet")["user_id"].to_numpy())

    def events(self) -> pl.DataFrame:
        """What the users in the training data did, oldest first: user_id, item_id, type and at (epoch milliseconds)."""
        columns = ["user_id", "item_id", "type", "at"]
        return _read_parquet(self.folder / "catalog" / "events.parquet", columns)

    def recommend_users(
        self, users: Sequence[str] | None = None, k: int = 10, *, probability: bool = False, progress: Progress = untold
    ) -> pl.DataFrame:
        """The lists of users as `user_id, item_id, score, rank`, as `langrec recommend` writes them.

        Args:
            users: each once; one that the release does not know gets the list of a new visitor. None = all it knows.
            k: length of each list.
            probability: adds the chance of each item to be chosen next, null where it is not known.
            progress: is told how many users are done.

        Raises:
            BundleError: a part cannot be read.
            DataError: `users` is one text, or k is below 1.
        """
        from langrec.lists import list_frame

        if isinstance(users, str):
            raise DataError(f"users: is the text {users!r}; give a list of ids", field="users")
        if k < 1:
            raise DataError(f"k: is {k}; a list has at least one place", field="k")
        recommender = self.recommender()
        names = recommender.users.names.tolist() if users is None else list(dict.fromkeys(map(str, users)))
        return list_frame(recommender, names, self.events(), k, probability=probability, progress=progress)

    def recommender(self) -> Recommender:
        """The recommender that this release serves; needs no PyTorch.

        Raises:
            BundleError: a part cannot be read.
        """
        models = self.manifest["models"]
        scorers = {
            name: find_saved("scorers", model["kind"], self.folder / "manifest.json").load(
                self.folder / "retrieval" / name
            )
            for name, model in models.items()
        }
        signals, mix = _read_mix(self.folder / "ranking" / "mix.json")
        counts = _read_counts(self.folder / "ranking" / "counts.npy")
        second = self.folder / "ranking" / "second"
        depth = self.settings.ranking.depth
        reranker = Reranker.load(second, depth) if second.is_dir() else None
        reread = self.folder / "rerank"
        cross = Cross.load(reread, self._encoder("rerank/encoder")) if reread.is_dir() else None
        curve = self.folder / "ranking" / "calibration.json"
        items = Items(self.catalogue())
        encoders: dict[str, Encoder] = {space: self._encoder(f"encoder/{space}") for space in self.manifest["encoders"]}
        fusion = Fusion(scorers, signals, mix, len(items), self.settings.ranking.fallback, counts, reranker)
        if len(items) > self.settings.ranking.dense_below:
            fusion = finding.load(fusion, self.folder / "indexes")
        return Recommender(
            items=items,
            users=self.users(),
            fusion=fusion,
            encoders=encoders,
            ranking=self.settings.ranking,
            exploring=self.settings.explore,
            calibration=Calibration.load(curve) if curve.is_file() else None,
            cross=cross,
            text_fields=tuple(self.settings.encoder.fields),
            release=self.stamp,
            unsaying=frozenset(name for name, weight in self.settings.data.type_weights.items() if weight <= 0),
        )

    def _encoder(self, place: str) -> Encoder:
        """The encoder in a place; where its files were checked, the one that other releases with the same files use."""
        from langrec.encoders import load_saved
        from langrec.encoders.shared import load_shared

        folder = self.folder / place
        if not self.verified:
            return load_saved(folder)
        start = f"{place}/"
        files = self.manifest["files"]
        content = (
            (name.removeprefix(start), files[name]["sha256"]) for name in sorted(files) if name.startswith(start)
        )
        return load_shared(folder, tuple(content))


def write_release(
    releases: Path,
    dataset: Dataset,
    settings: Settings,
    fusion: Fusion,
    models: Mapping[str, Mapping[str, Any]],
    encoders: Mapping[str, Any],
    metrics: list[dict[str, Any]],
    measured: Path | None,
    extra: Mapping[str, Any],
    calibration: Calibration | None = None,
    use: bool = True,
    cross: Cross | None = None,
) -> Path:
    """Writes a release beside the others and makes it the current one; a crash leaves the others as they were.

    Args:
        models: by scorer name its `kind` and chosen `params`.
        encoders: by space, anything with `save(folder)` and `identity`.
        metrics: the rows that the manifest and the model card show.
        measured: folder of an evaluation to keep with the release.
        extra: more of the manifest, such as `chosen`.
        calibration: from scores of the mix to probabilities.
        use: False leaves CURRENT as it is: the release is a candidate.
        cross: the language model that reads the best of a list again.

    Returns:
        The release's folder.
    """
    releases.mkdir(parents=True, exist_ok=True)
    data_hash = dataset.hash()
    made_at, half = _own_second(releases)
    stamp = made_at.strftime(SECOND) + "-" + data_hash[:8]
    try:
        _write_catalog(half / "catalog", dataset)
        for space, encoder in encoders.items():
            encoder.save(half / "encoder" / space)
        for name, scorer in fusion.scorers.items():
            _save(scorer, half / "retrieval" / name)
        (half / "ranking").mkdir()
        signals = [
            {"scorer": signal.scorer, "params": dict(signal.params), "only": signal.only} for signal in fusion.signals
        ]
        np.save(half / "ranking" / "counts.npy", fusion.counts.astype(np.int32), allow_pickle=False)
        (half / "ranking" / "mix.json").write_text(json.dumps({**fusion.mix.to_dict(), "signals": signals}, indent=1))
        if fusion.reranker is not None:
            fusion.reranker.save(half / "ranking" / "second")
        measured_indexes = _write_indexes(half / "indexes", fusion, settings, dataset)
        if cross is not None:
            cross.save(half / "rerank")
        if calibration is not None:
            calibration.save(half / "ranking" / "calibration.json")
        if measured is not None:
            shutil.copytree(measured, half / "measure")
        manifest = {
            "format": FORMAT,
            "stamp": stamp,
            "made_at": made_at.isoformat(timespec="seconds"),
            "settings": _with_whole_paths(_without_secrets(to_dict(settings))),
            "versions": versions(),
            "models": {name: dict(model) for name, model in models.items()},
            "encoders": {space: encoder.identity for space, encoder in encoders.items()},
            "metrics": metrics,
            "data": {
                "n_users": len(dataset.users),
                "n_items": len(dataset.catalogue),
                "n_events": len(dataset.events),
                "hash": data_hash,
                "text_fields": list(dataset.catalogue.text_fields),
            },
            **({"indexes": measured_indexes} if measured_indexes else {}),
            **extra,
        }
        (half / "README.md").write_text(model_card(manifest), "utf-8")
        link_equal(half)  # an index looks at its best again with the vectors that the scorer holds too
        write_manifest(half, manifest)
        for path in (half, *half.rglob("*")):
            sync(path)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    folder = releases / stamp
    if not use:
        # Before it has its name: a candidate must never be taken for a release that may be served.
        keep_back(half, "not judged yet")
    half.rename(folder)
    sync(releases)
    if use:
        point_to(releases, stamp)
    return folder


def _own_second(releases: Path) -> tuple[datetime, Path]:
    """Now, or the next second that is no other release's, and the new folder that it is written in.

    Two of one second would have no order, and processes that train at once would write in one folder.
    """
    while True:
        made_at = datetime.now(UTC)
        second = made_at.strftime(SECOND)
        half = releases / f".{second}.half"
        with contextlib.suppress(FileExistsError):
            half.mkdir()
            if not any(releases.glob(f"{second}-*")):
                return made_at, half
            half.rmdir()
        time.sleep(0.05)


def _write_catalog(folder: Path, dataset: Dataset) -> None:
    folder.mkdir(parents=True)
    events, ids = dataset.events, dataset.catalogue.ids.names
    dataset.catalogue.frame.write_parquet(folder / "items.parquet")
    bare = pl.DataFrame({"user_id": pl.Series(dataset.users.names, dtype=pl.String)})
    (bare if dataset.profiles is None else dataset.profiles).write_parquet(folder / "users.parquet")
    pl.DataFrame(
        {
            "user_id": pl.Series(dataset.users.names[events.users], dtype=pl.String),
            "item_id": pl.Series(ids[events.items], dtype=pl.String),
            "type": pl.Series(np.array(events.type_names, dtype=object)[events.types], dtype=pl.String),
            "value": events.values,
            "at": events.at,
        }
    ).write_parquet(folder / "events.parquet")


def _write_indexes(folder: Path, fusion: Fusion, settings: Settings, dataset: Dataset) -> dict[str, Any]:
    """The indexes of a catalogue that is too large to score whole, and what they were found to find."""
    if fusion.n_items <= settings.ranking.dense_below:
        return {}
    indexes, measured = finding.build(fusion, settings, dataset.events, len(dataset.users))
    for name, index in indexes.items():
        index.save(folder / name)
    return measured


def _save(part: Part, folder: Path) -> None:
    part.save(folder)


def _without_secrets(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "serve": {**settings["serve"], "keys": "", "store": ""}}


def _with_whole_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Models' folders by their whole path: a retraining may be started in another working folder."""

    def whole(name: str) -> str:
        path = Path(name).expanduser()
        return str(path.absolute()) if name and name not in ("hashing", *PACKAGED) and path.is_dir() else name

    encoder, ranking = settings["encoder"], settings["ranking"]
    rerank = {**ranking["rerank"], "model": whole(ranking["rerank"]["model"])}
    encoder = {**encoder, "name": whole(encoder["name"])}
    return {**settings, "encoder": encoder, "ranking": {**ranking, "rerank": rerank}}


def _only(signal: dict[str, Any]) -> Only:
    found: Only = signal.get("only", "rare" if signal.get("rare") else "")  # releases made earlier say `rare`
    if found not in get_args(Only):
        raise ValueError(f"a signal for {found!r} alone")
    return found


def _read_mix(path: Path) -> tuple[tuple[Signal, ...], Mix]:
    ranking = read_json(path)
    try:
        signals = tuple(
            Signal(
                signal["scorer"],
                tuple((key, float(value)) for key, value in signal["params"].items()),
                _only(signal),
            )
            for signal in ranking["signals"]
        )
        weights = np.array(ranking["weights"], dtype=np.float32)
        slopes = np.array(ranking.get("slopes", []), dtype=np.float32).reshape(-1, len(weights))
        return signals, Mix(tuple(ranking["names"]), ranking["kind"], weights, float(ranking["rrf_k"]), slopes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path}: is damaged, or of another version ({error!r})") from error


def _read_counts(path: Path) -> IntVector:
    try:
        counts: IntVector = np.load(path, allow_pickle=False)
    except UNREADABLE as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
    return counts


def _read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=columns)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
