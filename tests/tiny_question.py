"""A tiny model that reads history and candidate as one text, with a head drawn by a seed, for tests of the rerank."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from langrec.lm.adapt.head import CONFIG, Head
from tiny_lm import tiny_lm


def tiny_question(folder: Path, *, seed: int = 0, reads: str = "question", dim: int = 32) -> Path:
    """Writes what `langrec adapt --task recommend` leaves in its folder `model`, untrained, and returns the folder."""
    tiny_lm(folder, dim=dim, seed=seed)
    weight = np.random.default_rng(seed).normal(size=(1, dim)).astype(np.float32)
    Head(4 * weight, np.zeros(1, dtype=np.float32), ("not_recommend", "recommend"), "sigmoid").save(folder)
    told = json.loads((folder / CONFIG).read_text("utf-8"))
    (folder / CONFIG).write_text(json.dumps({**told, "reads": reads, "max_tokens": 64}), "utf-8")
    return folder
