"""The precision of training, fp32 or half: which one is clearly faster on this machine is measured, not assumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch

# How many times faster a half precision must be to be taken.
CLEARLY = 1.4
# Short steps are timed until so many seconds have gone by, or so many steps: one alone is mostly chance.
ENOUGH, MOST = 0.2, 20
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Products in bf16 or fp16 where `precision` says so; sums, norms and the loss stay in fp32."""
    return torch.autocast(device.type, dtype=HALVES.get(precision, torch.bfloat16), enabled=precision in HALVES)


def faster_precision(
    run: Callable[[str], None], steps: int = 2, among: Sequence[str] = ("fp32", "bf16")
) -> tuple[str, dict[str, float]]:
    """fp32, or a half precision where it is clearly quicker here (bf16: from 9x slower to 3x faster, by processor).

    Args:
        run: one step in the named precision.
        steps: at least so many of each are timed, in turn.
        among: fp32 first, then the halves to try.

    Returns:
        The one to take, and the seconds of a step of each: the shortest, because other work only makes steps longer.
    """
    for precision in among:
        run(precision)
    _finish()
    seconds, spent, done = dict.fromkeys(among, math.inf), 0.0, 0
    while done < steps or (spent < ENOUGH and done < MOST):
        for precision in among:
            start = time.perf_counter()
            run(precision)
            _finish()
            took = time.perf_counter() - start
            seconds[precision], spent = min(seconds[precision], took), spent + took
        done += 1
    best = min(seconds, key=lambda name: seconds[name])
    # bf16 keeps a prepared kernel for each shape of batch, which fills memory: a small gain is not worth it.
    return (best if CLEARLY * seconds[best] < seconds["fp32"] else "fp32"), seconds


def _finish() -> None:
    """Waits for what a graphics card was told to do: its calls return before they are done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
