"""The two towers as scorers: histories to vectors, vectors to scores, in NumPy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from langrec import __version__
from langrec.data.fitting import FitData
from langrec.errors import UNREADABLE, BundleError, MissingExtra
from langrec.settings import TowerSettings
from langrec.towers.forward import Arrays, Turns, head_vectors, layer_norm, query_vectors, turns_of, unit
from langrec.towers.sequences import gap_buckets, rows_of
from langrec.towers.shaping import Shaping
from langrec.types import FloatMatrix, FloatVector, IntVector, Mask, QueryBlock

# Places of histories that are read at once: the hidden states of more no longer fit the processor's cache.
PLACES = 4_000
# A later item's logit above the highest of the training's counts up to so much: exp of more leaves float32.
HIGHEST = 40.0
# What fits a tower in place of this process while a run lasts, such as several workers; called as `fit_tower`.
FITTED_BY: ContextVar[Callable[..., Any] | None] = ContextVar("FITTED_BY", default=None)
# Beside a kept tower: how long its training took.
SECONDS = "seconds.json"


@dataclass(frozen=True, eq=False)
class Tower(ABC):
    """Base of both towers: scores are a softmax whose sum runs over the items of the training.

    A probability tells the mix more than a logit: it says how sure the tower is, whatever the temperature. Items that
    come later are measured against the same sum, so they change no other item's score.

    A tower is trained on what comes new to a user, with the history's own items out of the softmax: of these it says
    nothing, in training and in answering alike.

    Attributes:
        arrays: float32 parameters by name.
        items: (n, d) float32 items as targets; unit rows where scores are cosines.
        scored: (n,) True for items that it can score.
        trained: (t,) True for items of the training; later ones have a higher number.
        heads: attention heads.
        length: newest history items that are read.
        temperature: of the cosine; 0 = inner product.
        rotary: True where positions are rotary.
        epochs: epochs of the training that this is the best of.
        precision: of the training.
        seconds: of the training; 0 = unknown. It is no part of what `save` writes: equal trainings save equal files.
        kept_as: the folder among the kept towers that a fit on more events begins from; empty = none. Not saved either.
    """

    section: ClassVar[str]
    name: ClassVar[str]
    only_new: ClassVar[bool] = True

    arrays: Arrays
    items: FloatMatrix
    scored: Mask
    trained: Mask
    heads: int
    length: int
    temperature: float
    rotary: bool
    epochs: int
    precision: str
    seconds: float = field(default=0.0, kw_only=True)
    kept_as: str = field(default="", kw_only=True)

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def settled(self) -> dict[str, Any]:
        """What a fit on more events takes over from the one that validation stopped."""
        return {"epochs": self.epochs, "precision": self.precision, **({"start": self.kept_as} if self.kept_as else {})}

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) probabilities; NaN for the history's own items, and for what it cannot score or read."""
        if not self.trained.any():
            return np.full((len(block), self.n_items), np.nan, dtype=np.float32)
        queries, silent = self.queries(block)
        scores = np.asarray(queries @ self.items.T, dtype=np.float32)
        inside = block.items < self.n_items
        had = (block.rows()[inside], block.items[inside])
        scores[had] = -np.inf
        known = scores[:, : len(self.trained)]
        highest = known.max(axis=1, keepdims=True, initial=-np.inf, where=self.trained)
        silent |= np.isneginf(highest[:, 0])  # the history holds every item of the training
        highest[silent] = 0.0
        scores -= highest
        np.exp(np.minimum(scores, HIGHEST, out=scores), out=scores)
        sums = known.sum(axis=1, keepdims=True, where=self.trained)
        scores /= np.where(silent[:, None], np.float32(1.0), sums)
        scores[:, ~self.scored] = np.nan
        scores[silent] = np.nan
        scores[had] = np.nan
        return scores

    def queries(self, block: QueryBlock) -> tuple[FloatMatrix, Mask]:
        """(q, d) vectors whose inner products with `items` are the logits, and (q,) True for unreadable histories."""
        starts, stops, nums, gaps = self._read(block)
        silent = np.asarray(stops == starts)
        out = np.zeros((len(block), self.items.shape[1]), dtype=np.float32)
        spoken = np.flatnonzero(~silent)
        # Histories of similar length are read together: what is padded is computed for nothing.
        lengths = (stops - starts).astype(np.int32)
        spoken = spoken[np.argsort(-lengths[spoken], kind="stable")]
        while len(spoken):
            rows, spoken = np.split(spoken, [max(1, PLACES // int(lengths[spoken[0]]))])
            # What pads a history stands after its end, where no position looks.
            places, _ = rows_of(starts[rows], stops[rows])
            inputs = self._inputs[nums[places]]
            out[rows] = query_vectors(self.arrays, inputs, gaps[places], lengths[rows], self.heads, self._turns)
        if self.temperature > 0:
            out = unit(out) / np.float32(self.temperature)
        return out, silent

    def _read(self, block: QueryBlock) -> tuple[Any, Any, IntVector, IntVector]:
        """First and last row of each query's newest `length` readable items, and those rows' items and gaps."""
        until = np.append(block.times[1:], 0)
        ends = block.offsets[1:][np.diff(block.offsets) > 0] - 1
        until[ends] = block.at[np.diff(block.offsets) > 0]
        known = block.items < self.n_items
        known[known] &= self.scored[block.items[known]]
        kept = np.concatenate([[0], np.cumsum(known)])[block.offsets]
        gaps = gap_buckets((until - block.times)[known])
        return np.maximum(kept[:-1], kept[1:] - self.length), kept[1:], block.items[known], gaps

    @property
    @abstractmethod
    def _inputs(self) -> FloatMatrix:
        """(n, d) what the blocks read for each item."""

    @cached_property
    def _turns(self) -> Turns | None:
        return turns_of(self.length, self.items.shape[1] // self.heads) if self.rotary else None

    def neighbours(self, num: int) -> FloatVector:
        """(n,) cosine of each item's vector to that of item `num`; NaN for items without one."""
        scores: FloatVector = unit(self.items) @ unit(self.items[num])
        scores[~self.scored] = np.nan
        return scores

    def with_params(self, **params: Any) -> Self:
        return replace(self, **params)

    @classmethod
    def fit_grid(cls, settings: TowerSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def run_grid(cls, settings: TowerSettings) -> list[dict[str, Any]]:
        return [{}]

    @classmethod
    def fit(cls, data: FitData, settings: Any, **params: Any) -> Self:
        """Trains on the data's events, or takes over what was trained on just these before.

        Args:
            params: `epochs`, `precision` and `start` of an earlier fit (`settled`): then nothing is held out to stop
                by, and where that fit is still kept, the training goes on from it; `control`, see `registry.kind_of`.

        Raises:
            MissingExtra: PyTorch is not installed.
        """
        folder = None
        if data.kept is not None:
            folder = data.kept / f"{cls.name}-{cls._key(data, settings, params)}"
            if (folder / "tower.json").is_file():
                kept_as = params.get("start", folder.name)
                return replace(cls.load(folder), seconds=_seconds(folder), kept_as=kept_as)
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise MissingExtra("lm", f"training {cls.name} (or leave it out of retrieval.scorers)") from error
        from langrec.towers.fit import fit_tower

        start = time.perf_counter()
        fitted: Self = (FITTED_BY.get() or fit_tower)(cls, data, settings, folder, **params)
        fitted = replace(fitted, seconds=time.perf_counter() - start)
        if folder is not None and data.kept is not None:
            fitted = replace(fitted, kept_as=params.get("start", folder.name))
            fitted.save(folder)
            (folder / SECONDS).write_text(json.dumps(fitted.seconds))
            shutil.rmtree(folder / "training", ignore_errors=True)
            # Stopped at epoch e, the training is what one of e epochs would have been: it need not run again.
            same = data.kept / f"{cls.name}-{cls._key(data, settings, {**params, **fitted.settled})}"
            if same != folder:
                fitted.save(same)
                (same / SECONDS).write_text(json.dumps(fitted.seconds))
        return fitted

    @classmethod
    def _key(cls, data: FitData, settings: TowerSettings, params: dict[str, Any]) -> str:
        """Hash of all that a training depends on."""
        digest = hashlib.sha256(json.dumps([__version__, dataclasses.asdict(settings), params]).encode())
        for column in (data.events.users, data.events.items, data.events.at, data.events.gains):
            digest.update(np.ascontiguousarray(column).tobytes())
        if cls is TextTower or getattr(settings, "fill", "off") == "text":
            digest.update(np.ascontiguousarray(data.vectors["vectors"]).tobytes())
        digest.update(f"{data.n_items} {data.judge is not None and 'epochs' not in params}".encode())
        return digest.hexdigest()[:20]

    def save(self, folder: Path) -> None:
        """Writes tower.safetensors and tower.json, the JSON last: a folder that has it is whole."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"arrays.{name}": np.ascontiguousarray(value) for name, value in self.arrays.items()}
        save_file({**arrays, **self._kept()}, folder / "tower.safetensors")
        rest = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if isinstance(getattr(self, f.name), (int, float, str, bool)) and f.name not in ("seconds", "kept_as")
        }
        (folder / "tower.json").write_text(json.dumps(rest))

    def _kept(self) -> dict[str, npt.NDArray[Any]]:
        return {"items": np.ascontiguousarray(self.items), **self._masks()}

    def _masks(self) -> dict[str, npt.NDArray[Any]]:
        return {"scored": self.scored.astype(np.uint8), "trained": self.trained.astype(np.uint8)}

    @classmethod
    def load(cls, folder: Path) -> Self:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            rest = json.loads((folder / "tower.json").read_text("utf-8"))
            tensors = load_file(folder / "tower.safetensors")
            arrays = {name.removeprefix("arrays."): v for name, v in tensors.items() if name.startswith("arrays.")}
            tower: Self = cls(arrays=arrays, **cls._loaded(tensors), **cls._beside(folder), **rest)
            return tower
        except (*UNREADABLE, SafetensorError) as error:
            raise BundleError(f"{folder}: cannot be read as a tower ({error})") from error

    @classmethod
    def _beside(cls, folder: Path) -> dict[str, Any]:
        """What a kind keeps in files of its own."""
        return {}

    @classmethod
    def _loaded(cls, tensors: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        return {"items": tensors["items"], **{name: tensors[name].astype(np.bool_) for name in ("scored", "trained")}}


@dataclass(frozen=True, eq=False)
class IdTower(Tower):
    """Reads which items a history holds. An item without training is passed over, and cannot be scored."""

    section: ClassVar[str] = "id_tower"
    name: ClassVar[str] = "id_tower"

    @cached_property
    def _inputs(self) -> FloatMatrix:
        return np.asarray(self.arrays["table"] * np.float32(np.sqrt(self.items.shape[1])))

    @classmethod
    def of(cls, arrays: Arrays, trained: Mask, **rest: Any) -> IdTower:
        items = arrays["table"]
        return cls(arrays, unit(items) if rest["temperature"] > 0 else items, trained, trained, **rest)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The tower of a folder; one that fills ids from texts where it was saved as such."""
        from langrec.towers.filling import FILE, FilledIdTower

        kind: Any = FilledIdTower if cls is IdTower and (folder / FILE).is_file() else super()
        tower: Self = kind.load(folder)
        return tower


@dataclass(frozen=True, eq=False)
class TextTower(Tower):
    """Reads what the items of a history are about; an item with a text is scored and read from its first second.

    Attributes:
        shaping: of the encoder's vectors.
        raw: (n, d) what the head makes of the shaped vectors, before it is scaled.
    """

    section: ClassVar[str] = "text_tower"
    name: ClassVar[str] = "text_tower"
    space: ClassVar[str] = "vectors"

    shaping: Shaping
    raw: FloatMatrix

    @cached_property
    def _inputs(self) -> FloatMatrix:
        return layer_norm(self.raw, self.arrays["input_norm.weight"], self.arrays["input_norm.bias"])

    @classmethod
    def of(cls, arrays: Arrays, trained: Mask, shaping: Shaping, vectors: FloatMatrix, **rest: Any) -> TextTower:
        """The tower of these parameters over (n, e) vectors of the encoder."""
        raw = head_vectors(arrays, shaping.apply(vectors))
        items = unit(raw) if rest["temperature"] > 0 else raw
        written = np.asarray(vectors.any(axis=1))
        return cls(arrays, items, written, trained & written, **rest, shaping=shaping, raw=raw)

    def with_items(self, nums: IntVector, texts: Sequence[str], vectors: FloatMatrix | None = None) -> Self:
        """The same tower with these items' texts added or replaced; None leaves them without a vector."""
        n = max(self.n_items, int(nums.max(initial=-1)) + 1)
        read = np.zeros((len(nums), len(self.shaping.mean)), dtype=np.float32) if vectors is None else vectors
        raw, items, scored = (
            np.concatenate([part, np.zeros((n - self.n_items, *part.shape[1:]), dtype=part.dtype)])
            for part in (self.raw, self.items, self.scored)
        )
        raw[nums] = head_vectors(self.arrays, self.shaping.apply(read))
        items[nums] = unit(raw[nums]) if self.temperature > 0 else raw[nums]
        scored[nums] = read.any(axis=1)
        return replace(self, raw=raw, items=items, scored=scored)

    def _kept(self) -> dict[str, npt.NDArray[Any]]:
        shaping = {"shaping.mean": self.shaping.mean, "shaping.turn": self.shaping.turn}
        raw = np.ascontiguousarray(self.raw)
        return {"raw": raw, **self._masks(), **shaping}

    @classmethod
    def load(cls, folder: Path) -> Self:
        tower = super().load(folder)
        return replace(tower, items=unit(tower.raw)) if tower.temperature > 0 else tower

    @classmethod
    def _loaded(cls, tensors: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        return {
            **super()._loaded({**tensors, "items": tensors["raw"]}),
            "raw": tensors["raw"],
            "shaping": Shaping(tensors["shaping.mean"], tensors["shaping.turn"]),
        }


def _seconds(folder: Path) -> float:
    """How long a kept tower's training took; 0 where that is not known."""
    try:
        return float(json.loads((folder / SECONDS).read_text("utf-8")))
    except UNREADABLE:
        return 0.0
