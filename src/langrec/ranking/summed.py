"""The mixed scores alone, signal by signal: what many lists are made from, where nobody asks what each signal added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from langrec.ranking.mix import log_features
from langrec.types import FloatMatrix, FloatVector, Mask, QueryBlock

if TYPE_CHECKING:
    from langrec.ranking.fusion import Fusion, Only


def summed(fusion: Fusion, block: QueryBlock) -> tuple[FloatMatrix, Mask]:
    """(q, n_items) mixed scores, never NaN, and (q,) True for queries about which only popularity speaks.

    Equal to the sum of `Fusion.parts` within rounding. One signal is scored, scaled and added before the next is looked
    at, so that it never leaves the processor's cache: writing all of them out costs more than most of them take. Two
    more things are done once that `parts` does again: a signal that stands in the mix again for rare or new items is
    scaled on their columns alone, and one that only reads the clock is asked once for each time there is.

    Args:
        fusion: of a linear mix, without a second look.
        block: q queries.
    """
    q, n = len(block), fusion.n_items
    block = replace(block, kept={})
    weights = fusion.mix.weights_in(fusion.situations.of(block))
    mixed, work = np.zeros((q, n), dtype=np.float32), np.empty((q, n), dtype=np.float32)
    # Rare items and new ones: their columns, and what signals for them alone add.
    some = {only: np.flatnonzero(fusion.has_only(only)) for only in _onlys(fusion)}
    added = {only: np.zeros((q, len(columns)), dtype=np.float32) for only, columns in some.items()}
    silent = np.ones(q, dtype=np.bool_)
    for places in _alike(fusion):
        signal, scorer = fusion.signals[places[0]], fusion.at(fusion.signals[places[0]])
        plain = weights[[s for s in places if not fusion.signals[s].only]].sum(axis=0)
        asked, which = _asked(scorer, block)
        positive = work[: len(asked)]
        scores = scorer.score_block(asked)
        width = scores.shape[1]
        np.fmax(scores, np.float32(0.0), out=positive[:, :width])
        positive[:, width:] = 0.0
        sums = positive.sum(axis=1)
        if not signal.name.startswith("popular"):
            silent &= ~(sums if which is None else sums[which]).astype(np.bool_)
        for only, columns in some.items():
            extra = weights[[s for s in places if fusion.signals[s].only == only]].sum(axis=0)
            if extra.any() and len(columns):
                own = positive[:, columns]
                _scaled(own, own.sum(axis=1), n)
                own = own if which is None else own[which]
                own *= extra[:, None]
                added[only] += own
        if plain.any():
            _scaled(positive, sums, n)
            if which is None:
                positive *= plain[:, None]
                mixed += positive
            elif len(asked) == 1:
                mixed += np.multiply(positive, plain[:, None], out=work)
            else:
                mixed += positive[which] * plain[:, None]
    for only, columns in some.items():
        mixed[:, columns] += added[only]
    names = fusion.names
    if fusion.fallback in names and not all(name.startswith("popular") for name in names) and silent.any():
        known = fusion.at(fusion.signals[names.index(fusion.fallback)]).score_block(block)
        work[:, : known.shape[1]], work[:, known.shape[1] :] = known, np.nan
        mixed[silent] = log_features(work[None, silent])[0]
    return mixed, silent


def _onlys(fusion: Fusion) -> Iterable[Only]:
    """In the order of the signals: sums are rounded alike in every process."""
    return dict.fromkeys(signal.only for signal in fusion.signals if signal.only)


def _alike(fusion: Fusion) -> Iterable[list[int]]:
    """Places of the signals, those of the same scores together."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for s, signal in enumerate(fusion.signals):
        found.setdefault((signal.scorer, signal.params), []).append(s)
    return found.values()


def _asked(scorer: Any, block: QueryBlock) -> tuple[QueryBlock, npt.NDArray[np.intp] | None]:
    """What a scorer is asked, and the answer's row for each query; None = a row each."""
    if not getattr(scorer, "of_time_alone", False):
        return block, None
    times, which = np.unique(block.at, return_inverse=True)
    if len(times) == len(block):
        return block, None
    nobody, nothing = np.full(len(times), -1, dtype=np.int32), np.zeros(0, dtype=np.int32)
    offsets = np.zeros(len(times) + 1, dtype=np.int64)
    return QueryBlock(nobody, offsets, nothing, nothing.astype(np.int64), times, (None,) * len(times)), which.ravel()


def _scaled(positive: FloatMatrix, sums: FloatVector, n: int) -> None:
    """log(1 + x / mean over n items) in place, as `mix.log_features`; rows of zeros stay so."""
    positive /= np.maximum(sums / np.float32(n), np.float32(1e-12))[:, None]
    np.log1p(positive, out=positive)
