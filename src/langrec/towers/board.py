"""TensorBoard's scalars of tower trainings: loss, NDCG@10 and learning rate after each epoch, a run per training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langrec.errors import MissingExtra


class Board:
    """Writes scalars below a folder; each run has a folder of its own, to which a resumed training adds.

    Args:
        folder: where `tensorboard --logdir` is pointed to.

    Raises:
        MissingExtra: TensorBoard or PyTorch is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("lm", f"training.tensorboard = {str(folder)!r} (or leave it empty)") from error
        self._open: type[Any] = SummaryWriter
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def __call__(self, run: str, scalars: Mapping[str, float], step: int) -> None:
        """Adds the scalars of a step to a run; NaN is passed over. What was added is on the disk afterwards."""
        if run not in self._writers:
            self._writers[run] = self._open(str(self._folder / run))
        for name, value in scalars.items():
            if not math.isnan(value):
                self._writers[run].add_scalar(name, value, step)
        self._writers[run].flush()
