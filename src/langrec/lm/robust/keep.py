"""Against forgetting: a pull toward the start, weights between base and tuned model, and earlier rows played again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from langrec.errors import BundleError, SettingsError

T = TypeVar("T")
# The first of two factors whose second starts at zero: a change is scaled by the second alone.
FIRST_FACTORS = ("lora_A.", "adapter.down.")


class Pull:
    """L2-SP (Li, Grandvalet & Davoine 2018): l2 / 2 times the squared distance from the start, instead of from zero.

    Only its gradient is computed: one addition per parameter and step, no graph.

    Args:
        groups: the encoder's parameters as the optimiser takes them; where l2 is above 0 their own decay is set to 0.
        l2: weight of the pull.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], l2: float) -> None:
        self._l2 = l2
        values = [value for group in groups for value in group["params"]] if l2 else []
        self._start = [(value, value.detach().clone()) for value in values]
        for group in groups if l2 else ():
            group["weight_decay"] = 0.0

    def add(self) -> None:
        """Adds its gradient to those of the loss."""
        for value, start in self._start:
            if value.grad is not None:
                value.grad.add_((value.detach() - start).to(value.grad.dtype), alpha=self._l2)

    def distance(self) -> float:
        """How far the parameters are from the start, as a Euclidean length."""
        return float(sum(float(((value.detach() - start) ** 2).sum()) for value, start in self._start) ** 0.5)


def between(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights that share of the way from the start to the tuned model (WiSE-FT, Wortsman et al. 2022).

    Low-rank kinds and adapters have their change scaled by that share, which for low-rank ones is the same in the
    merged weights; their factors are not averaged one by one.

    Args:
        share: 0 = the start, 1 = tuned.
    """
    if share == 1:
        return dict(tuned)
    found = {}
    for name, value in tuned.items():
        first = any(part in name for part in FIRST_FACTORS)
        # AdaLoRA has three factors, of which the middle one starts at zero.
        first |= "lora_B." in name and bool(start[name].any())
        found[name] = value if first else torch.lerp(start[name].to(value), value, share)
    return found


def blend(base: Path, tuned: Path, share: float, out: Path) -> None:
    """Writes a model folder whose weights lie between those of two others; all else is the tuned one's.

    A head beside the tuned model is copied as it is: fit it again on the blended vectors where that matters.

    Args:
        share: 0 = base, 1 = tuned.

    Raises:
        SettingsError: the tuned folder holds adapters or a side network, or `out` is one of the two.
        BundleError: the two do not hold the same weights.
    """
    import shutil

    from safetensors.torch import load_file, save_file

    from langrec.lm.adapt.folder import MODULES
    from langrec.lm.adapt.head import FILE

    beside = [name for name in MODULES if (tuned / name).is_file()]
    if beside:
        raise SettingsError(
            f"{tuned}: holds {beside[0]}, which has no counterpart to blend with; adapt with --set keep.interpolate="
            f"{share:g} instead",
            field="keep.interpolate",
        )
    if out.exists() and any(out.samefile(one) for one in (base, tuned)):
        raise SettingsError(f"{out}: is one of the models to blend; name another folder", field="out")
    shutil.copytree(tuned, out, dirs_exist_ok=True)
    for file in sorted(tuned.rglob("*.safetensors")):
        inside = file.relative_to(tuned)
        if inside.name == FILE:
            continue
        if not (base / inside).is_file():
            raise BundleError(f"{base}: has no {inside} to blend with that of {tuned}; name the model it came from")
        first, second = load_file(base / inside), load_file(file)
        # A pooler that the base lacks was added when the tuned one was loaded; nothing reads it.
        added = {name: value for name, value in second.items() if name.startswith("pooler.") and name not in first}
        first |= added
        wrong = [name for name, value in second.items() if name not in first or first[name].shape != value.shape]
        if wrong:
            raise BundleError(f"{base / inside}: has no weight {wrong[0]} like that of {tuned}; the models differ")
        mixed = {
            name: torch.lerp(first[name].float(), value.float(), share).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in second.items()
        }
        save_file(mixed, out / inside, metadata={"format": "pt"})


def joined(first: T, second: T) -> T:
    """The rows of two sets of one kind, one after the other (`Texts`, `Pairs`, `Choices`).

    A column that only one of them has, such as users, is left out.
    """
    parts: dict[str, Any] = {}
    for field in dataclasses.fields(first):  # type: ignore[arg-type]
        one, two = getattr(first, field.name), getattr(second, field.name)
        if one is None or two is None:
            parts[field.name] = None
        else:
            parts[field.name] = one + two if isinstance(one, tuple) else np.concatenate([one, two])
    return type(first)(**parts)


def with_replay(train: T, settings: Any, read: Callable[[Path], T], notes: list[str]) -> T:
    """The training rows, and beside them some of an earlier domain: `keep.replay` of their number, drawn by the seed.

    Args:
        settings: of the adaptation.
        read: reads a file of such rows.
        notes: is told how many.

    Raises:
        SettingsError: a share without a file, or a file without a share.
        DataError: the file cannot be read.
    """
    share, source = settings.keep_replay, settings.keep_from
    if not share and not source:
        return train
    if not share or not source:
        lacks = "keep.from=FILE, rows of before" if share else "keep.replay=0.05, how many of them"
        raise SettingsError(f"--set keep.replay: needs --set {lacks}", field="keep.replay")
    old: Any = read(Path(source).expanduser())
    n = min(len(old), max(1, round(share * len(train))))  # type: ignore[arg-type]
    picked = np.sort(np.random.default_rng((settings.seed, 2)).permutation(len(old))[:n])
    notes.append(f"{n} of {len(old)} rows of {Path(source).name} were played again beside {len(train)} rows.")  # type: ignore[arg-type]
    found: T = joined(train, old.take(picked))
    return found
