"""Training against the worst small shift of what the network reads: FGM and FreeLB, as a hook on the loop's step.

FGM (Miyato, Dai & Goodfellow 2017) adds one step along the gradient and learns from both losses. FreeLB (Zhu et al.
2020) starts at random, climbs several times within a ball, and learns from the mean of all gradients on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from langrec.errors import SettingsError

# The loss of the batch at hand, computed and sent backward at that weight; given detached.
Once = Callable[[float], Tensor]
# How far FreeLB climbs in all, in radii of its ball.
CLIMB = 1.5


class Read(Protocol):
    """What is trained, as `langrec.lm.adapt.kinds.Adapted` has it."""

    settings: Any
    core: Any
    trained: Any
    pad_id: int

    @property
    def keeps(self) -> str: ...


def attack_of(adapted: Read) -> Callable[[Once], Tensor]:
    """How a step is made from a loss: plainly, or by the attack that the settings ask for."""
    settings = adapted.settings
    if settings.adversarial == "none":
        return _plainly
    return Attack(adapted, settings.adversarial, settings.adversarial_size, settings.adversarial_steps)


def _plainly(once: Once) -> Tensor:
    return once(1.0)


class Attack:
    """One step's gradients from several passes over the same batch, each under its own shift.

    Shifts are added to the token embeddings; where the lower part was computed beforehand, to the kept states. All
    passes draw the same dropout and the same altered texts.

    Args:
        way: fgm or freelb.
        size: longest shift of a text, as a share of the length of what is read of it (Frobenius norm).
        steps: passes of freelb.
    """

    def __init__(self, adapted: Read, way: str, size: float, steps: int) -> None:
        self._adapted, self._way, self._size = adapted, way, size
        self._passes = 2 if way == "fgm" else steps
        self._rate = size if way == "fgm" else CLIMB * size / steps
        self._shifts: list[Tensor] = []
        self._lengths: list[Tensor] = []
        self._call = 0
        self._rng = torch.Generator()

    def __call__(self, once: Once) -> Tensor:
        """Leaves the mean gradient of the passes, and gives the loss of the first."""
        # The start has numbers of its own, so that dropout is what it would be without it.
        self._rng.manual_seed(int(torch.randint(2**31 - 1, ())))
        self._shifts, self._lengths = [], []
        states = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        handle, losses = self._hook(), []
        try:
            for number in range(self._passes):
                if number:
                    torch.set_rng_state(states[0])
                    if states[1]:
                        torch.cuda.set_rng_state_all(states[1])
                    self._climb()
                self._call = 0
                losses.append(once(1 / self._passes))
        finally:
            handle.remove()
            self._shifts, self._lengths = [], []
        return losses[0]

    def _hook(self) -> Any:
        if self._adapted.keeps:
            return self._adapted.trained.register_forward_pre_hook(self._before)
        return self._adapted.core.get_input_embeddings().register_forward_hook(self._after)

    def _before(self, _: Any, read: tuple[Any, ...]) -> tuple[Any, ...]:
        # Kept states of padding are zeros: they add nothing to the length.
        real = read[1][..., None] if len(read) > 1 else None
        return self._shifted(read[0], real), *read[1:]

    def _after(self, _: Any, read: tuple[Any, ...], given: Tensor) -> Tensor:
        return self._shifted(given, (read[0] != self._adapted.pad_id)[..., None])

    def _shifted(self, x: Tensor, real: Tensor | None) -> Tensor:
        if self._call == len(self._shifts):
            seen = x.detach().float() if real is None else x.detach().float() * real
            length = _length(seen)
            start = torch.zeros_like(seen)
            if self._way == "freelb":
                start = torch.rand(seen.shape, generator=self._rng).to(seen.device) * 2 - 1
                start = start if real is None else start * real
                # As long as numbers drawn evenly up to the radius would make it.
                start = start * (self._size * length / (3**0.5 * _length(start)).clamp(min=1e-12))
            self._shifts.append(start.requires_grad_(True))
            self._lengths.append(length)
        shift = self._shifts[self._call]
        self._call += 1
        return x + shift.to(x.dtype)

    def _climb(self) -> None:
        """Moves each shift along its gradient, and back into its ball."""
        if not self._shifts or all(shift.grad is None for shift in self._shifts):
            raise SettingsError(
                f"adapt.adversarial {self._way}: the loss does not hang on what the model reads; set it to none",
                field="adapt.adversarial",
            )
        for i, (shift, length) in enumerate(zip(self._shifts, self._lengths, strict=True)):
            gradient = torch.zeros_like(shift) if shift.grad is None else shift.grad
            # A half-precision gradient may overflow: such a text is not moved.
            gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
            moved = shift.detach() + self._rate * length * gradient / _length(gradient).clamp(min=1e-30)
            over = _length(moved) / (self._size * length).clamp(min=1e-12)
            self._shifts[i] = (moved / over.clamp(min=1)).requires_grad_(True)


def _length(x: Tensor) -> Tensor:
    """(b, 1, …) the Frobenius norm of each text's part."""
    return x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
