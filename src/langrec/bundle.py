"""What is saved and served: a release folder with a manifest, and the folder of releases around it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from langrec import finding
from langrec.data.catalogue import Catalogue
from langrec.data.dataset import Dataset
from langrec.data.ids import Ids
from langrec.data.items import Items
from langrec.errors import BundleError, SettingsError
from langrec.protocols import Encoder, Part
from langrec.ranking.calibration import Calibration
from langrec.ranking.fusion import Fusion, Signal
from langrec.ranking.mix import Mix
from langrec.ranking.rerank import Reranker
from langrec.recipe import from_dict, to_dict
from langrec.recommender import Recommender
from langrec.registry import find
from langrec.settings import Settings
from langrec.types import IntVector

# 2: large releases hold indexes; 3: arrays with a row per item or event are files of their own, which are mapped.
FORMAT = 3
CURRENT = "CURRENT"
# In the folder of a release that was made to be judged first: why it is not in use. It is no part of the release.
CANDIDATE = "candidate.json"
# A stamp begins with its second, so that the newest release is the last by name.
SECOND = "%Y%m%dT%H%M%S"
MANIFEST = ("stamp", "made_at", "settings", "versions", "models", "encoders", "metrics", "data", "files")
VERSIONED = ("langrec", "numpy", "scipy", "polars", "onnxruntime", "tokenizers")


@dataclass(frozen=True, slots=True)
class ReleaseInfo:
    """One line of `langrec bundle list`: `problem` is why it cannot be served, `kept` why it was not promoted."""

    stamp: str
    folder: Path
    current: bool
    manifest: Mapping[str, Any] | None
    size_bytes: int
    problem: str | None = None
    kept: str | None = None


class Bundle:
    """A release folder that has been opened: its manifest was read and, unless told not to, its files were checked."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], verified: bool = False) -> None:
        self.folder = folder
        self.manifest = manifest
        self.verified = verified

    @property
    def stamp(self) -> str:
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
    def open(cls, folder: Path, verify: bool = True) -> Bundle:
        """Opens a release folder, or the current release of a folder of releases.

        Args:
            verify: compare every file's sha256 with the manifest.

        Raises:
            BundleError: naming the file that is missing, damaged or of another format.
        """
        if (folder / CURRENT).is_file():
            folder = current(folder)
        manifest = _read_manifest(folder)
        problem = _problem(folder, manifest) if verify else None
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

    def recommender(self) -> Recommender:
        """The recommender that this release serves; needs no PyTorch.

        Raises:
            BundleError: a part cannot be read.
        """
        models = self.manifest["models"]
        scorers = {
            name: find("scorers", model["kind"]).load(self.folder / "retrieval" / name)
            for name, model in models.items()
        }
        signals, mix = _read_mix(self.folder / "ranking" / "mix.json")
        counts = _read_counts(self.folder / "ranking" / "counts.npy")
        second = self.folder / "ranking" / "second"
        depth = self.settings.ranking.depth
        reranker = Reranker.load(second, depth) if second.is_dir() else None
        curve = self.folder / "ranking" / "calibration.json"
        items = Items(self.catalogue())
        encoders: dict[str, Encoder] = {space: self._encoder(space) for space in self.manifest["encoders"]}
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
            text_fields=tuple(self.settings.encoder.fields),
            release=self.stamp,
            unsaying=frozenset(name for name, weight in self.settings.data.type_weights.items() if weight <= 0),
        )

    def _encoder(self, space: str) -> Encoder:
        """The encoder of a space; where its files were checked, the one that other releases with the same files use."""
        from langrec.encoders import load_saved
        from langrec.encoders.shared import load_shared

        folder = self.folder / "encoder" / space
        if not self.verified:
            return load_saved(folder)
        start = f"encoder/{space}/"
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

    Returns:
        The release's folder.
    """
    releases.mkdir(parents=True, exist_ok=True)
    made_at, data_hash = _free_second(releases), dataset.hash()
    stamp = made_at.strftime(SECOND) + "-" + data_hash[:8]
    half = releases / f".{stamp}.half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    try:
        _write_catalog(half / "catalog", dataset)
        for space, encoder in encoders.items():
            encoder.save(half / "encoder" / space)
        for name, scorer in fusion.scorers.items():
            _save(scorer, half / "retrieval" / name)
        (half / "ranking").mkdir()
        signals = [
            {"scorer": signal.scorer, "params": dict(signal.params), "rare": signal.rare} for signal in fusion.signals
        ]
        np.save(half / "ranking" / "counts.npy", fusion.counts.astype(np.int32), allow_pickle=False)
        (half / "ranking" / "mix.json").write_text(json.dumps({**fusion.mix.to_dict(), "signals": signals}, indent=1))
        if fusion.reranker is not None:
            fusion.reranker.save(half / "ranking" / "second")
        measured_indexes = _write_indexes(half / "indexes", fusion, settings)
        if calibration is not None:
            calibration.save(half / "ranking" / "calibration.json")
        if measured is not None:
            shutil.copytree(measured, half / "measure")
        manifest = {
            "format": FORMAT,
            "stamp": stamp,
            "made_at": made_at.isoformat(timespec="seconds"),
            "settings": _without_secrets(to_dict(settings)),
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
        (half / "README.md").write_text(_card(manifest), "utf-8")
        manifest["files"] = {
            path.relative_to(half).as_posix(): {"sha256": _sha256(path), "bytes": path.stat().st_size}
            for path in sorted(half.rglob("*"))
            if path.is_file()
        }
        text = json.dumps(_without_nan(manifest), indent=1, default=str, allow_nan=False)
        (half / "manifest.json").write_text(text, "utf-8")
        for path in (half, *half.rglob("*")):
            _sync(path)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    folder = releases / stamp
    if not use:
        # Before it has its name: a candidate must never be taken for a release that may be served.
        (half / CANDIDATE).write_text(json.dumps({"reason": "not judged yet"}), "utf-8")
        _sync(half / CANDIDATE)
    half.rename(folder)
    _sync(releases)
    if use:
        point_to(releases, stamp)
    return folder


def current(folder: Path) -> Path:
    """The folder of the release in use.

    Raises:
        BundleError: no release was made here, or CURRENT names one that is gone.
    """
    try:
        stamp = (folder / CURRENT).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder}: holds no release (langrec train --out {folder} makes one)") from error
    if not stamp or Path(stamp).name != stamp or not (folder / stamp).is_dir():
        raise BundleError(f"{folder / CURRENT}: names {stamp!r}, which is not there (langrec bundle rollback)")
    return folder / stamp


def releases(folder: Path, verify: bool = False) -> list[ReleaseInfo]:
    """All releases, newest first, damaged ones with their problem."""
    try:
        using = (folder / CURRENT).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        using = ""
    found = []
    for release in sorted((path for path in folder.glob("[!.]*") if path.is_dir()), reverse=True):
        size = sum(path.stat().st_size for path in release.rglob("*") if path.is_file())
        manifest, problem = None, None
        try:
            manifest = _read_manifest(release)
            problem = _problem(release, manifest, hashes=verify)
        except BundleError as error:
            problem = error.message
        found.append(
            ReleaseInfo(release.name, release, release.name == using, manifest, size, problem, kept_back(release))
        )
    return found


def kept_back(release: Path) -> str | None:
    """Why a release is a candidate and was not promoted; None for others."""
    try:
        found = json.loads((release / CANDIDATE).read_text("utf-8"))
        return str(found["reason"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return f"{release / CANDIDATE} cannot be read"


def keep_back(release: Path, reason: str) -> None:
    """Says why a candidate is not promoted."""
    half = release / f".{CANDIDATE}.half"
    half.write_text(json.dumps({"reason": reason}, ensure_ascii=False), "utf-8")
    _sync(half)
    half.replace(release / CANDIDATE)


def promote(folder: Path, stamp: str) -> None:
    """Makes a release that was a candidate the one in use."""
    point_to(folder, stamp)
    (folder / stamp / CANDIDATE).unlink(missing_ok=True)


def prune(folder: Path, keep: int) -> list[str]:
    """Removes all but the newest releases, and never the one in use nor the one before it; the stamps of those gone.

    Args:
        keep: releases that stay, those two included; at least 2.
    """
    known = releases(folder)
    using = next((i for i, info in enumerate(known) if info.current), None)
    if using is None:
        return []
    before = next((info.stamp for info in known[using + 1 :] if info.problem is None and info.kept is None), None)
    safe = {known[using].stamp, before}
    others = [info for info in known if info.stamp not in safe]
    gone = others[max(keep - len(safe - {None}), 0) :]
    for info in gone:
        # Renamed first: whoever opens a release finds it whole or not at all.
        doomed = folder / f".{info.stamp}.gone"
        info.folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return [info.stamp for info in gone]


def rollback(folder: Path, stamp: str | None = None) -> str:
    """Points CURRENT to the named release, or to the newest sound one before the current.

    Raises:
        BundleError: there is no such release, or it is damaged.
    """
    known = releases(folder)
    if stamp is None:
        using = next((i for i, info in enumerate(known) if info.current), -1)
        earlier = (info for info in known[using + 1 :] if info.problem is None and info.kept is None)
        sound = (info.stamp for info in earlier if _is_sound(info.folder))
        stamp = next(sound, None)
        if stamp is None:
            raise BundleError(f"{folder}: there is no earlier sound release to go back to")
    elif stamp not in {info.stamp for info in known}:
        raise BundleError(f"{folder}: no release {stamp} (langrec bundle list {folder} shows them)")
    else:
        Bundle.open(folder / stamp)
    promote(folder, stamp)
    return stamp


def _is_sound(folder: Path) -> bool:
    try:
        Bundle.open(folder)
    except BundleError:
        return False
    return True


def point_to(folder: Path, stamp: str) -> None:
    """Replaces CURRENT in one step."""
    half = folder / f".{CURRENT}.half"
    half.write_text(stamp + "\n", "utf-8")
    _sync(half)
    half.replace(folder / CURRENT)
    _sync(folder)


def versions() -> dict[str, str]:
    """Versions of what made a release, for its manifest and for protocol stamps."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _free_second(releases: Path) -> datetime:
    """Now, or the next second that no release is named after: two of one second would have no order."""
    made_at = datetime.now(UTC)
    while any(releases.glob(made_at.strftime(SECOND) + "-*")):
        time.sleep(0.05)
        made_at = datetime.now(UTC)
    return made_at


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


def _write_indexes(folder: Path, fusion: Fusion, settings: Settings) -> dict[str, Any]:
    """The indexes of a catalogue that is too large to score whole, and what they were found to find."""
    if fusion.n_items <= settings.ranking.dense_below:
        return {}
    indexes, measured = finding.build(fusion, settings)
    for name, index in indexes.items():
        index.save(folder / name)
    return measured


def _save(part: Part, folder: Path) -> None:
    part.save(folder)


def _without_secrets(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "serve": {**settings["serve"], "keys": "", "store": ""}}


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: null stands for what has no value."""
    if isinstance(value, Mapping):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = _read_json(folder / "manifest.json")
    if manifest.get("format") != FORMAT:
        found = manifest.get("format")
        newer = isinstance(found, int) and found > FORMAT
        raise BundleError(
            f"{folder / 'manifest.json'}: format {found!r}, this version reads {FORMAT}; "
            + ("install a newer langrec" if newer else "train again or install the version that wrote it")
        )
    missing = [name for name in MANIFEST if name not in manifest]
    if missing or not all(
        isinstance(entry, Mapping) and {"bytes", "sha256"} <= set(entry) for entry in _files(manifest)
    ):
        raise BundleError(f"{folder / 'manifest.json'}: is damaged (no {missing[0] if missing else 'sound files'})")
    return manifest


def _files(manifest: Mapping[str, Any]) -> list[Any]:
    files = manifest["files"]
    return list(files.values()) if isinstance(files, Mapping) else [None]


def _problem(folder: Path, manifest: Mapping[str, Any], hashes: bool = True) -> str | None:
    """What is wrong with the first unsound file; None where all are as they were written."""
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{path}: is missing; roll back or train again"
        if path.stat().st_size != entry["bytes"]:
            return f"{path}: has {path.stat().st_size} bytes instead of {entry['bytes']}; roll back or train again"
        if hashes and _sha256(path) != entry["sha256"]:
            return f"{path}: its content has changed since it was written; roll back or train again"
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); is this a release folder?") from error
    except ValueError as error:
        raise BundleError(f"{path}: is damaged ({error})") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path}: is damaged (no JSON object)")
    return value


def _read_mix(path: Path) -> tuple[tuple[Signal, ...], Mix]:
    ranking = _read_json(path)
    try:
        signals = tuple(
            Signal(
                signal["scorer"],
                tuple((key, float(value)) for key, value in signal["params"].items()),
                bool(signal["rare"]),
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
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
    return counts


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with _opened(path) as number:
        os.fsync(number)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    number = os.open(path, os.O_RDONLY)
    try:
        yield number
    finally:
        os.close(number)


def _card(manifest: Mapping[str, Any]) -> str:
    """The model card."""
    data = manifest["data"]
    notes = manifest.get("notes", ())
    lines = [
        f"# Release {manifest['stamp']}",
        "",
        f"Made {manifest['made_at']} from {data['n_events']:,} events of {data['n_users']:,} users and "
        f"{data['n_items']:,} items (data {data['hash'][:12]}).",
        "",
        f"Scorers: {', '.join(manifest['models'])}; answered by: {manifest.get('chosen', 'mix')}.",
        f"Encoders: {', '.join(f'{space}: {identity}' for space, identity in manifest['encoders'].items()) or 'none'}.",
        *_made(manifest),
        *(["", *(f"Note: {note}." for note in notes)] if notes else []),
        "",
    ]
    rows = [row for row in manifest["metrics"] if row["slice"] == "all" and row["metric"] == "ndcg@10"]
    if rows:
        lines += ["| model | NDCG@10 | interval |", "| --- | --- | --- |"]
        lines += [f"| {row['model']} | {row['value']:.4f} | {row['low']:.4f} to {row['high']:.4f} |" for row in rows]
        lines += ["", "Measured on held-out events, full catalogue; the protocol stands in measure/protocol.json.", ""]
    return "\n".join(lines)


def _made(manifest: Mapping[str, Any]) -> list[str]:
    """How the encoder was adapted and made cheaper, as sentences of the model card."""
    lines = []
    adapted, compressed = manifest.get("adapted"), manifest.get("compressed")
    if adapted and adapted["rows"]:
        lines.append(
            f"Adapted from {adapted['model']} on the training part: {adapted['task']}, {adapted['kind']}, "
            f"{adapted['trainable_share']:.2%} of the parameters trained on {adapted['rows']['train']:,} rows in "
            f"{adapted['seconds']:,.0f} s; {adapted['judged']} on rows held out of it {adapted['before']:.4f} before, "
            f"{adapted['after']:.4f} after."
        )
    if compressed:
        first, last = compressed["rows"][0], compressed["rows"][-1]
        lines.append(
            f"Made cheaper by {', '.join(compressed['steps'])} in {compressed['seconds']:,.0f} s: "
            f"{first['megabytes']:.1f} to {last['megabytes']:.1f} MB, {first['texts_per_second']:,.0f} to "
            f"{last['texts_per_second']:,.0f} texts a second; kept {last['kept']:.1%} of NDCG@10 where "
            f"{compressed['question']}."
        )
    return lines
