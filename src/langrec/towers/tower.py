"""What both towers share as scorers: histories to vectors, vectors to scores, in NumPy."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from langrec.data.candidates import distinct, had, population_of, reduced, slots, within
from langrec.data.fitting import FitData
from langrec.data.mapped import array_at, put_array
from langrec.data.rows import Growing, laid, whole
from langrec.errors import UNREADABLE, BundleError
from langrec.loops import compiled
from langrec.settings import TowerSettings
from langrec.towers.forward import Arrays, Turns, query_vectors, ready, turns_of, unit
from langrec.towers.sequences import gap_buckets, rows_of
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Mask, Population, QueryBlock

# Places of histories that are read at once: the hidden states of more no longer fit the processor's cache.
PLACES = 4_000
# A later item's logit above the highest of the training's counts up to so much: exp of more leaves float32.
HIGHEST = 40.0
# Of the items that are no candidates so many stand for all in the sum below the softmax, which few of them dominate.
DRAWN = 2_048

# Of candidates and a sample, as `Tower._plainly` tells it.
_Parts: TypeAlias = tuple[FloatVector, Mask, FloatVector, FloatMatrix, npt.NDArray[Any], npt.NDArray[Any]]


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
    items: Growing
    scored: Growing
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
        silent = silent.copy()
        scores = np.asarray(queries @ whole(self.items).T, dtype=np.float32)
        inside = block.items < self.n_items
        had = (block.rows()[inside], block.items[inside])
        scores[had] = -np.inf
        known = scores[:, : len(self.trained)]
        highest = (known + self._floor).max(axis=1, keepdims=True, initial=-np.inf)
        silent |= np.isneginf(highest[:, 0])  # the history holds every item of the training
        highest[silent] = 0.0
        scores -= highest
        np.exp(np.minimum(scores, HIGHEST, out=scores), out=scores)
        sums = (known @ self.trained.astype(np.float32))[:, None]
        scores /= np.where(silent[:, None], np.float32(1.0), sums)
        scores[:, self._unscored] = np.nan
        scores[silent] = np.nan
        scores[had] = np.nan
        return scores

    # NumPy's reductions with `where` take several times as long as a sum and a product with these.
    @cached_property
    def _floor(self) -> FloatVector:
        """(t,) 0 for items of the training, else minus infinity."""
        return np.where(self.trained, np.float32(0.0), np.float32(-np.inf))

    @cached_property
    def _unscored(self) -> IntVector:
        """Numbers of the items that it cannot score."""
        return np.flatnonzero(~whole(self.scored)).astype(np.int32)

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        """(m,) the same of each query's candidates; the sum below is taken over them and a sample of the others.

        Of a softmax most lies with few items: the more of them are among the candidates, the nearer the sum is.
        """
        out = np.full(len(asked.nums), np.nan, dtype=np.float32)
        logits = self._logits(block, asked)
        if block.kept is not None:  # what the mean of other items is measured against
            block.kept["levels", self._state] = logits
        rows = asked.rows()
        told = ~np.isnan(logits.levels)[rows]
        levels = logits.levels.astype(np.float32)[rows]
        np.exp(np.minimum(logits.values - levels, HIGHEST), out=out, where=told)
        out /= logits.sums.astype(np.float32)[rows]
        out[~logits.scored] = np.nan
        return out

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        """(q,) of all: probabilities sum to 1 over the training's items, later ones count as much; else a sample."""
        if among.members is None and not among.whole:
            n_scored = self._n_scored
            share = n_scored / max(self._n_trained, 1) / max(among.n, 1)
            silent = self.queries(block)[1]
            return np.where(silent, 0.0, share).astype(np.float32)
        known = None if block.kept is None else block.kept.get(("levels", self._state))
        if known is not None and not among.whole:
            return among.mean(self._of_sample(block, among, known))
        sample = Candidates(
            np.arange(len(block) + 1, dtype=np.int64) * len(among.sample), np.tile(among.sample, len(block))
        )
        scores = self.score_items(block, sample).reshape(len(block), len(among.sample))
        return among.mean(scores)

    def _of_sample(self, block: QueryBlock, among: Population, known: Logits) -> FloatMatrix:
        """(q, c) probabilities of a population's sample, measured against what candidates were measured against."""
        key = id(among.sample)
        if key not in self._sampled:
            inside = among.sample < self.n_items
            nums = np.where(inside, among.sample, 0)
            # What the key names stays alive, so that no other object gets its name.
            self._sampled[key] = (among.sample, self.index_rows(nums), self.scored[nums] & inside)
        _, rows, scored = self._sampled[key]
        queries, _ = self.queries(block)
        logits = queries @ rows.T
        told = ~np.isnan(known.levels)
        levels = np.where(told, known.levels, 0.0).astype(np.float32)[:, None]
        scores: FloatMatrix = np.exp(np.minimum(logits - levels, HIGHEST)) / known.sums.astype(np.float32)[:, None]
        scores *= scored & told[:, None]
        for i in range(len(block)):
            scores[i, within(among.sample, block.history(i))] = 0.0
        return scores

    @cached_property
    def _sampled(self) -> dict[int, tuple[IntVector, FloatMatrix, Mask]]:
        """By the identity of a population's sample: the sample, its rows, and which of them can be scored."""
        return {}

    @cached_property
    def _n_scored(self) -> int:
        return int(whole(self.scored).sum())

    def _logits(self, block: QueryBlock, asked: Candidates) -> Logits:
        logits: Logits = block.keep(("logits", self._state, id(asked)), lambda: self._all_logits(block, asked))
        return logits

    def _all_logits(self, block: QueryBlock, asked: Candidates) -> Logits:
        queries, silent = self.queries(block)
        if silent.all():  # as where people search who have done nothing: there is nothing to compute
            nothing = np.zeros(len(asked.nums), dtype=np.float32)
            return Logits(nothing, nothing > 0, np.full(len(block), np.nan), np.ones(len(block)))
        # What stands for the other items: a sample without the candidates and the history.
        if compiled("rows") is not None:
            values, scored, mine, others, levels, (n_left, n_known, n_past) = self._looped(block, asked, queries)
        else:
            values, scored, mine, others, levels, (n_left, n_known, n_past) = self._plainly(block, asked, queries)
        if not len(self.trained):
            return Logits(values, scored, np.full(len(block), np.nan), np.ones(len(block)))
        told = ~silent & ~np.isneginf(levels)  # else the history holds every item of the training
        levels = np.where(told, levels, np.float32(0.0)).astype(np.float32)
        n_rest = self._n_trained - n_known - n_past
        others -= levels[:, None]
        rest = np.exp(others, out=others).sum(axis=1) * n_rest / np.maximum(n_left, 1)
        sums = reduced(np.add, np.exp(mine - levels[asked.rows()]), asked.offsets, 0.0) + rest
        return Logits(values, scored, np.where(told, levels, np.nan), np.where(told, sums, 1.0))

    def _looped(self, block: QueryBlock, asked: Candidates, queries: FloatMatrix) -> _Parts:
        drawn_rows, places = self._drawn
        others = queries @ drawn_rows.T
        room = slots(int(block.items.max(initial=-1)) + 1)
        values, scored, mine, levels, counts = compiled("rows").logits(
            *laid(self.items), *laid(self.scored), self.trained, had(block, asked), self.n_items,
            asked.nums, asked.offsets, queries, places, block.items, block.offsets, others, room,
        )  # fmt: skip
        return values, scored, mine, others, levels, counts

    def _plainly(self, block: QueryBlock, asked: Candidates, queries: FloatMatrix) -> _Parts:
        """(m,) logits, which can be scored, and the logits of those of the training; (q, c) of a sample; (q,) highest
        logits; (3, q) how many of the sample, of the candidates and of the history are of the training."""
        n, t = self.n_items, len(self.trained)
        inside, owner = asked.nums < n, asked.rows()
        nums = asked.nums if inside.all() else np.where(inside, asked.nums, 0)
        rows, scored = self.items[nums], self.scored[nums] & inside & ~had(block, asked)
        values = np.empty(len(nums), dtype=np.float32)
        for i, (lo, hi) in enumerate(pairwise(asked.offsets)):
            np.matmul(rows[lo:hi], queries[i], out=values[lo:hi])
        drawn_rows, places = self._drawn
        others = queries @ drawn_rows.T
        if not t:
            return values, scored, values, others, np.zeros(len(block)), np.zeros((3, len(block)), dtype=np.int64)
        known = scored & (asked.nums < t) & self.trained[np.minimum(nums, t - 1)]
        mine = np.where(known, values, np.float32(-np.inf))
        left = np.ones(others.shape, dtype=np.bool_)
        past, past_owner = block.items, block.rows()
        for some, of in ((asked.nums, owner), (past, past_owner)):
            place = np.where(some < t, places[np.minimum(some, t - 1)], -1)
            drawn = np.flatnonzero(place >= 0)
            left[of[drawn], place[drawn]] = False
        others[~left] = -np.inf
        levels = np.maximum(reduced(np.maximum, mine, asked.offsets, -np.inf), others.max(axis=1, initial=-np.inf))
        pasts = [distinct(block.history(i))[0] for i in range(len(block))]
        n_past = [int(self.trained[own[own < t]].sum()) for own in pasts]
        n_known = np.bincount(owner, known, minlength=len(block))
        return values, scored, mine, others, levels, np.stack([left.sum(axis=1), n_known, n_past])

    @cached_property
    def _n_trained(self) -> int:
        return int(self.trained.sum())

    @cached_property
    def _drawn(self) -> tuple[FloatMatrix, IntVector]:
        """The rows of a sample of the training's items, and (t,) the place of each item in the sample, or -1."""
        drawn = population_of(len(self.trained), self.trained, sampled=DRAWN).sample
        places = np.full(len(self.trained), -1, dtype=np.int32)
        places[drawn] = np.arange(len(drawn), dtype=np.int32)
        return self.items[drawn], places

    @property
    def _state(self) -> Any:
        """What two states of one tower that answer alike share: a tower in two scorers is asked once."""
        return id(self.arrays["norm.weight"]), self.n_items

    def index_rows(self, nums: IntVector) -> FloatMatrix:
        """(len(nums), d) the items as targets, zeros for those that it cannot score."""
        return np.asarray(self.items[nums] * self.scored[nums][:, None])

    def index_queries(self, block: QueryBlock) -> FloatMatrix:
        """(q, d) what the rows are multiplied by; NaN for unreadable histories."""
        queries, silent = self.queries(block)
        return np.where(silent[:, None], np.float32(np.nan), queries)

    def queries(self, block: QueryBlock) -> tuple[FloatMatrix, Mask]:
        """(q, d) vectors whose inner products with `items` are the logits, and (q,) True for unreadable histories."""
        found: tuple[FloatMatrix, Mask] = block.keep(("queries", self._state), lambda: self._queries(block))
        return found

    def _queries(self, block: QueryBlock) -> tuple[FloatMatrix, Mask]:
        starts, stops, nums, gaps = self._read(block)
        silent = np.asarray(stops == starts)
        out = np.zeros((len(block), self.items.shape[1]), dtype=np.float32)
        spoken = np.flatnonzero(~silent)
        read = self._inputs(nums)
        # Histories of similar length are read together: what is padded is computed for nothing.
        lengths = (stops - starts).astype(np.int32)
        spoken = spoken[np.argsort(-lengths[spoken], kind="stable")]
        while len(spoken):
            rows, spoken = np.split(spoken, [max(1, PLACES // int(lengths[spoken[0]]))])
            # What pads a history stands after its end, where no position looks.
            places, _ = rows_of(starts[rows], stops[rows])
            inputs = read[places]
            out[rows] = query_vectors(self._ready, inputs, gaps[places], lengths[rows], self.heads, self._turns)
        if self.temperature > 0:
            out = unit(out) / np.float32(self.temperature)
        return out, silent

    def _read(self, block: QueryBlock) -> tuple[Any, Any, IntVector, IntVector]:
        """First and last row of each query's newest `length` readable items, and those rows' items and gaps."""
        until = np.append(block.times[1:], 0)
        ends = block.offsets[1:][np.diff(block.offsets) > 0] - 1
        until[ends] = block.at[np.diff(block.offsets) > 0]
        known = block.items < self.n_items
        known[known] &= np.asarray(self.scored[block.items[known]])
        kept = np.concatenate([[0], np.cumsum(known)])[block.offsets]
        gaps = gap_buckets((until - block.times)[known])
        return np.maximum(kept[:-1], kept[1:] - self.length), kept[1:], block.items[known], gaps

    @abstractmethod
    def _inputs(self, nums: IntVector) -> FloatMatrix:
        """(len(nums), d) what the blocks read for items."""

    @cached_property
    def _ready(self) -> Arrays:
        return ready(self.arrays, self.heads, self.rotary)

    @cached_property
    def _turns(self) -> Turns | None:
        return turns_of(self.length, self.items.shape[1] // self.heads) if self.rotary else None

    def neighbours(self, num: int) -> FloatVector:
        """(n,) cosine of each item's vector to that of item `num`; NaN for items without one."""
        scores: FloatVector = unit(whole(self.items)) @ unit(self.items[num])
        scores[~whole(self.scored)] = np.nan
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
        from langrec.towers.kept import fitted

        tower: Self = fitted(cls, data, settings, params)
        return tower

    @classmethod
    def reads_texts(cls, settings: Any) -> bool:
        """Whether a training under these settings depends on vectors of texts."""
        return False

    def save(self, folder: Path) -> None:
        """Writes tower.safetensors, what has a row per item as .npy, and tower.json last: who has it is whole."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"arrays.{name}": np.ascontiguousarray(whole(value)) for name, value in self.arrays.items()}
        by_item = {"items": self.items, "scored": self.scored, "trained": self.trained}
        if "arrays.table" in arrays:
            by_item["table"] = arrays.pop("arrays.table")
        save_file({**arrays, **self._kept()}, folder / "tower.safetensors")
        for name, values in {**by_item, **self._also_by_item()}.items():
            put_array(folder / f"{name}.npy", whole(values))
        rest = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if isinstance(getattr(self, f.name), (int, float, str, bool)) and f.name not in ("seconds", "kept_as")
        }
        (folder / "tower.json").write_text(json.dumps(rest))

    def _kept(self) -> dict[str, npt.NDArray[Any]]:
        """Further small arrays of a kind."""
        return {}

    def _also_by_item(self) -> dict[str, Growing]:
        """Further arrays of a kind with a row per item."""
        return {}

    @classmethod
    def load(cls, folder: Path) -> Self:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            rest = json.loads((folder / "tower.json").read_text("utf-8"))
            tensors = load_file(folder / "tower.safetensors")
            arrays = {name.removeprefix("arrays."): v for name, v in tensors.items() if name.startswith("arrays.")}
            if (folder / "table.npy").is_file():
                arrays["table"] = array_at(folder / "table.npy")
            by_item: dict[str, Any] = {
                name: array_at(folder / f"{name}.npy") for name in ("items", "scored", "trained")
            }
            if len(by_item["items"]) != len(by_item["scored"]) or by_item["trained"].dtype != np.bool_:
                raise ValueError("its arrays do not belong together")
            tower: Self = cls(arrays=arrays, **by_item, **cls._loaded(tensors), **cls._beside(folder), **rest)
            tower._check()
            return tower
        except (*UNREADABLE, SafetensorError) as error:
            raise BundleError(f"{folder}: cannot be read as a tower ({error})") from error

    @classmethod
    def _beside(cls, folder: Path) -> dict[str, Any]:
        """What a kind keeps in files of its own."""
        return {}

    @classmethod
    def _loaded(cls, tensors: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """What a kind makes of its small arrays."""
        return {}

    @abstractmethod
    def _check(self) -> None:
        """Raises ValueError where the arrays of a folder do not belong together."""


@dataclass(frozen=True, slots=True, eq=False)
class Logits:
    """What a tower says of candidates before it is a probability.

    Attributes:
        values: (m,) logits.
        scored: (m,) True where it can score the candidate.
        levels: (q,) the highest logit of each query, NaN where nothing can be said.
        sums: (q,) of exp(logit - level) over the items of the training.
    """

    values: FloatVector
    scored: Mask
    levels: npt.NDArray[np.float64]
    sums: npt.NDArray[np.float64]
