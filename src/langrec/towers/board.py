"""The scalars of tower trainings: loss, NDCG@10 and learning rate after each epoch, a run per training."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from langrec.errors import MissingExtra
from langrec.lm.tracking import Tracker, check


class Board:
    """Writes scalars below a folder; each run has a folder of its own, to which a resumed training adds.

    Args:
        folder: where `tensorboard --logdir` is pointed to.
        track: what takes the scalars beside TensorBoard: wandb, mlflow.

    Raises:
        MissingExtra: TensorBoard, PyTorch or what is named is not installed.
        SettingsError: nothing has such a name.
    """

    def __init__(self, folder: Path, track: Sequence[str] = ()) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: F401 - the first thing that a run opens
        except ImportError as error:
            raise MissingExtra("lm", f"training.tensorboard = {str(folder)!r} (or leave it empty)") from error
        self._folder, self._track = folder, check(track, "training.track")
        self._runs: dict[str, Tracker] = {}
        # A run ends with the board: the trainings of one tower may come in turns.
        weakref.finalize(self, _close, self._runs)

    def __call__(self, run: str, scalars: Mapping[str, float], step: int) -> None:
        """Adds the scalars of a step to a run; NaN is passed over. What was added is on the disk afterwards."""
        if run not in self._runs:
            self._runs[run] = Tracker(self._folder / run, run, self._track)
        with self._runs[run] as write:
            for name, value in scalars.items():
                write(name, value, step)


def _close(runs: dict[str, Tracker]) -> None:
    for tracker in runs.values():
        tracker.close()
