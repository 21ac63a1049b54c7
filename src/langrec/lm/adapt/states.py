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

from langrec.lm.batches import batches, pad
from langrec.types import IntVector

Rows = npt.NDArray[np.int64]
Halves = npt.NDArray[np.float16]
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
        kept: (u, ...) states of the distinct texts.
        place: (n,) row in `kept` of each text.
    """

    def __init__(self, kept: Halves, place: Rows, device: Any = "cpu") -> None:
        self.kept, self.place, self.device = kept, place, device
        self.lengths = np.ones(len(place), dtype=np.int64)

    def __call__(self, rows: Rows) -> tuple[Tensor, ...]:
        picked = np.asarray(self.kept[self.place[rows]], dtype=np.float32)
        return (torch.from_numpy(picked).to(self.device),)


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
    what: str,
    numbers: Sequence[IntVector],
    run: Run,
    shape: tuple[int, ...],
    pad_id: int,
    folder: Path,
    *,
    by_token: bool = False,
    device: Any = "cpu",
) -> Halves:
    """The states of distinct token rows, computed where no file holds them yet.

    Args:
        what: names the model and the layer; with the rows it makes the file's name.
        run: (b, t) ids and mask -> (b, *shape), or (b, t, *shape) where `by_token`.
        folder: where the file is kept.

    Returns:
        A memory-mapped array (u, *shape), or (all tokens, *shape) where `by_token`.
    """
    digest = hashlib.sha256(what.encode())
    for one in numbers:
        digest.update(len(one).to_bytes(4, "little") + one.astype(np.int32).tobytes())
    file = folder / f"{digest.hexdigest()[:32]}.npy"
    if not file.is_file():
        _compute(file, numbers, run, shape, pad_id, by_token, device)
    kept: Halves = np.load(file, mmap_mode="r", allow_pickle=False)
    return kept


def _compute(
    file: Path, numbers: Sequence[IntVector], run: Run, shape: tuple[int, ...], pad_id: int, by_token: bool, device: Any
) -> None:
    lengths = np.array([len(one) for one in numbers], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(f".{os.getpid()}.half")  # two runs may compute the same states
    size = int(starts[-1]) if by_token else len(numbers)
    out = np.lib.format.open_memmap(half, mode="w+", dtype=np.float16, shape=(size, *shape))
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
    half.replace(file)
