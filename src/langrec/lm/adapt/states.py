"""States of a frozen model, computed once per text and kept on disk as memory-mapped float16."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from langrec.data.cache import remove_left
from langrec.data.mapped import new_memmap
from langrec.lm.batches import batches, pad
from langrec.sealed import file_is_sealed, seal_file
from langrec.types import IntVector

Rows = npt.NDArray[np.int64]
Halves = npt.NDArray[np.float16]
Singles = npt.NDArray[np.float32]
Run = Callable[[Tensor, Tensor], Tensor]
# Padded tokens in one batch of the frozen part.
BUDGET = 2048


class TokenFeed:
    """Token numbers of texts, a batch at a time: (b, t) ids and mask.

    Attributes:
        lengths: (n,) tokens of each text, for batches of similar length.
    """

    def __init__(self, numbers: Sequence[IntVector], pad_id: int, device: Any = "cpu") -> None:
        self.numbers, self.pad_id, self.device = numbers, pad_id, device
        self.lengths = np.array([len(one) for one in numbers], dtype=np.int64)

    def __call__(self, rows: Rows) -> tuple[Tensor, ...]:
        ids, mask = pad([self.numbers[i] for i in rows], self.pad_id)
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)


class StateFeed:
    """Kept states of texts, a batch at a time: (b, ...) float32.

    Args:
        kept: states of the distinct texts.
        place: (n,) row in `kept` of each text.
    """

    def __init__(self, kept: Kept, place: Rows, device: Any = "cpu") -> None:
        self.kept, self.place, self.device = kept, place, device
        self.lengths = np.ones(len(place), dtype=np.int64)

    def __call__(self, rows: Rows) -> tuple[Tensor, ...]:
        return (torch.from_numpy(self.kept(self.place[rows])).to(self.device),)


class Kept:
    """States of texts, spread over memory-mapped files: (u, ...).

    Args:
        shards: arrays (k, ...), one a file.
        shard: (u,) file of each text.
        row: (u,) row in that file.
    """

    def __init__(self, shards: Sequence[Halves], shard: Rows, row: Rows) -> None:
        self.shards, self.shard, self.row = shards, shard, row

    def __call__(self, rows: Rows) -> Singles:
        """(b, ...) float32 states of some texts."""
        shard, row = self.shard[rows], self.row[rows]
        out = np.empty((len(rows), *self.shards[0].shape[1:]), dtype=np.float32)
        for one in np.unique(shard).tolist():
            here = shard == one
            out[here] = self.shards[one][row[here]]
        return out


class TokenStateFeed:
    """Kept token states, a batch at a time: (b, t, d) float32 states and (b, t) mask.

    Args:
        kept: (all tokens, d) states, one text after the other.
        starts: (u + 1,) where each distinct text begins in `kept`.
        place: (n,) distinct text of each text.
    """

    def __init__(self, kept: Halves, starts: Rows, place: Rows, device: Any = "cpu") -> None:
        self.kept, self.starts, self.place, self.device = kept, starts, place, device
        self.lengths = np.diff(starts)[place]

    def __call__(self, rows: Rows) -> tuple[Tensor, ...]:
        at, length = self.place[rows], self.lengths[rows]
        states = np.zeros((len(rows), int(length.max(initial=1)), self.kept.shape[1]), dtype=np.float32)
        for i, (text, size) in enumerate(zip(at, length, strict=True)):
            states[i, :size] = self.kept[self.starts[text] : self.starts[text] + size]
        mask = (np.arange(states.shape[1]) < length[:, None]).astype(np.int64)
        return torch.from_numpy(states).to(self.device), torch.from_numpy(mask).to(self.device)


def distinct(numbers: Sequence[IntVector]) -> tuple[list[IntVector], Rows]:
    """The distinct rows in the order of their first coming, and the place of each row among them."""
    first: dict[bytes, int] = {}
    place = np.array([first.setdefault(one.tobytes(), len(first)) for one in numbers], dtype=np.int64)
    return [np.frombuffer(key, dtype=np.int32) for key in first], place


def keep(
    what: str, numbers: Sequence[IntVector], run: Run, shape: tuple[int, ...], pad_id: int, folder: Path, device: Any
) -> Kept:
    """One state per distinct token row; computed for those that no earlier call has kept.

    Args:
        what: names the model and the layer: states under one name are alike.
        run: (b, t) ids and mask -> (b, *shape).
        folder: where the files are kept: states and, beside them, the hashes of their token rows.
    """
    place = folder / hashlib.sha256(what.encode()).hexdigest()[:32]
    hashes = np.array([hashlib.sha256(one.astype(np.int32).tobytes()).digest()[:16] for one in numbers], dtype="S16")
    found = _find(place, hashes)
    new = np.flatnonzero(found[1] < 0)
    if len(new):
        digest = hashlib.sha256(b"".join(hashes[new].tolist())).hexdigest()[:32]
        _compute(place / f"{digest}.npy", [numbers[i] for i in new.tolist()], run, shape, pad_id, False, device)
        half = place / f"{digest}.{os.getpid()}.half"
        with half.open("wb") as file:
            np.save(file, np.frombuffer(b"".join(one.ljust(16, b"\0") for one in hashes[new].tolist()), np.uint8))
        half.replace(place / f"{digest}.hashes.npy")  # last: a file of states without hashes is not looked at
        found = _find(place, hashes)
    shards, row, shard = found
    return Kept(shards, shard, row)


def _find(place: Path, hashes: Any) -> tuple[list[Halves], Rows, Rows]:
    """The files of states, and for each hash its row and its file; -1 where none holds it."""
    shards: list[Halves] = []
    row, shard = np.full(len(hashes), -1, dtype=np.int64), np.zeros(len(hashes), dtype=np.int64)
    for file in sorted(place.glob("*.hashes.npy")):
        try:
            known = np.load(file, allow_pickle=False).view("S16")
        except (OSError, ValueError, EOFError):  # cut short: its states are computed again
            continue
        order = np.argsort(known, kind="stable")
        at = np.minimum(np.searchsorted(known[order], hashes), max(len(known) - 1, 0))
        hit = (known[order][at] == hashes) & (row < 0) if len(known) else np.zeros(len(hashes), dtype=np.bool_)
        states = _whole(file.with_name(file.name.replace(".hashes", ""))) if hit.any() else None
        if states is not None and len(states) == len(known):
            row[hit], shard[hit] = order[at[hit]], len(shards)
            shards.append(states)
    return shards, row, shard


def keep_tokens(
    what: str, numbers: Sequence[IntVector], run: Run, shape: tuple[int, ...], pad_id: int, folder: Path, device: Any
) -> Halves:
    """The states of every token of distinct token rows, one row after the other; one file for these rows.

    Args:
        what: names the model and the layer.
        run: (b, t) ids and mask -> (b, t, *shape).

    Returns:
        A memory-mapped array (all tokens, *shape).
    """
    digest = hashlib.sha256(what.encode())
    for one in numbers:
        digest.update(len(one).to_bytes(4, "little") + one.astype(np.int32).tobytes())
    file = folder / f"{digest.hexdigest()[:32]}.npy"
    kept = _whole(file)
    if kept is None:
        _compute(file, numbers, run, shape, pad_id, True, device)
        kept = np.load(file, mmap_mode="r", allow_pickle=False)
    return kept


def _whole(file: Path) -> Halves | None:
    """The states of a file, memory-mapped; None where they are not what was written, as after a crash."""
    try:
        states: Halves | None = np.load(file, mmap_mode="r", allow_pickle=False) if file_is_sealed(file) else None
        return states
    except (OSError, ValueError, EOFError):
        return None


def _compute(
    file: Path, numbers: Sequence[IntVector], run: Run, shape: tuple[int, ...], pad_id: int, by_token: bool, device: Any
) -> None:
    lengths = np.array([len(one) for one in numbers], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    file.parent.mkdir(parents=True, exist_ok=True)
    remove_left(file.parent, "*.half")
    half = file.with_suffix(f".{os.getpid()}.half")  # two runs may compute the same states
    size = int(starts[-1]) if by_token else len(numbers)
    try:
        out = new_memmap(half, np.float16, (size, *shape))
        with torch.no_grad():
            for batch in batches(lengths, BUDGET):
                ids, mask = pad([numbers[i] for i in batch], pad_id)
                found = run(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
                found = found.float().clamp(-65504, 65504).cpu().numpy()
                if by_token:
                    for i, row in zip(batch, found, strict=True):
                        out[starts[i] : starts[i + 1]] = row[: lengths[i]]
                else:
                    out[batch] = found
        out.flush()
        del out
        seal_file(file, half)
        half.replace(file)
    finally:
        half.unlink(missing_ok=True)
