"""Fewer layers: every second one, the first few, or those that are missed least.

Sanh et al. 2019 (DistilBERT) start a student from every second layer; Sajjad et al. 2020 compare what to leave out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from langrec.lm.compress import layers
from langrec.lm.compress.folder import write_model
from langrec.lm.compress.read import load_here, read_torch
from langrec.lm.compress.steps import Step, whole
from langrec.lm.compress.work import Work
from langrec.lm.model import TextModel

# Texts that say which layers are missed least.
PROBE = 96


def run(model: TextModel, step: Step, folder: Path, work: Work) -> tuple[TextModel, str]:
    """Writes the model with fewer layers; returns it and what was kept, in words."""
    module = load_here(model)
    n = layers.count(module.core)
    value = step.value or "2"
    if value.startswith("best"):
        # Without a number, half of them, whatever their number is.
        kept = _missed_least(module, model, n, whole(step, value.removeprefix("best") or str((n + 1) // 2), 1, n), work)
    elif value.startswith("first"):
        kept = list(range(whole(step, value.removeprefix("first"), 1, n)))
    else:
        every = whole(step, value, 2, n)
        # From the last one back: what makes the vector is the last layer, so it stays.
        kept = sorted(range(n - 1, -1, -every))
    layers.keep(module.core, kept)
    written = write_model(module.core, model, folder)
    return written, f"kept layers {', '.join(str(i + 1) for i in kept)} of {n}"


def _missed_least(module: Any, model: TextModel, n: int, wanted: int, work: Work) -> list[int]:
    """Leaves out, one after the other, the layer without which the vectors stay nearest to the whole model's."""
    texts = work.corpus.training()[: 4 * PROBE : 4] or list(work.corpus.asked)
    whole = read_torch(module, model, texts)
    every = list(layers.stack(module.core))
    kept, steps = list(range(n)), sum(range(wanted + 1, n + 1))
    done = 0
    while len(kept) > wanted:
        found = []
        for one in kept:
            rest = [i for i in kept if i != one]
            _set(module.core, [every[i] for i in rest])
            found.append(float((read_torch(module, model, texts) * whole).sum(1).mean()))
            done += 1
            work.told("look which layers are missed least", done, steps)
        kept.pop(int(np.argmax(found)))
    _set(module.core, every)
    return kept


def _set(core: Any, some: list[Any]) -> None:
    found = layers.stack(core)
    del found[:]
    found.extend(some)
    for name in layers.COUNTS:
        if isinstance(getattr(core.config, name, None), int):
            setattr(core.config, name, len(some))
