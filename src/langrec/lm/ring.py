"""A training that several processes share: which of them this one is, and what they must agree on.

Every process holds the whole model and takes the same steps. Of each batch it reads its own part; before a step the
gradients are averaged by how much each part counted, so that the step is the one that a single process would have made
(Goyal et al. 2017, synchronous data-parallel SGD). Losses that compare the texts of a batch with one another see the
whole batch: `shared` reads a part of the texts and gathers the vectors of all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")
# Numbers of gradients that are sent at once: few enough that the copy beside them is small.
BUCKET = 8_000_000
# Far apart, so that no epoch of one process has the seed of another's.
APART = 1_000_000_007


class PeerError(Exception):
    """Another process of the training no longer answers; the fault is not in what this one was doing."""


@dataclass(frozen=True, slots=True)
class Ring:
    """This process among those that train together; alone, everything here is nothing to do.

    Attributes:
        rank: number of this process, from 0; the first judges, writes and tells.
        world: processes in all.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def here(cls) -> Ring:
        """The processes that torch.distributed has brought together; this one alone where it was not started."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    @property
    def leads(self) -> bool:
        """True in the first process, and where there is only one."""
        return self.rank == 0

    @property
    def own(self) -> tuple[int, ...]:
        """What tells this process's draws from those of the others; empty where there is only one."""
        return (self.rank,) if self.world > 1 else ()

    def seed(self, seed: int) -> int:
        """A seed for what each process draws for its own part, such as dropout."""
        return seed + APART * self.rank

    def part(self, n: int) -> slice:
        """Which of n rows this process reads; parts differ by one row at most, and may be empty."""
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)

    def first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, in all of them: JSON values, so that a tuple may come back as a list."""
        if self.world == 1:
            return compute()
        text = json.dumps(compute()).encode() if self.leads else b""
        found: T = json.loads(self._bytes(text))
        return found

    def copy(self, file: Path | None) -> None:
        """Puts the first process's file where every other has its own; where the first has none, none has."""
        if self.world == 1 or file is None:
            return
        there = self.leads and file.is_file()
        if not self.first(lambda: there):
            if not self.leads:
                file.unlink(missing_ok=True)
            return
        data = self._bytes(file.read_bytes() if self.leads else b"")
        if not self.leads:
            file.parent.mkdir(parents=True, exist_ok=True)
            half = file.with_name(f"{file.name}.{os.getpid()}.half")
            half.write_bytes(data)
            half.replace(file)

    def agree(self, *modules: nn.Module) -> None:
        """Gives every process the parameters and buffers of the first."""
        if self.world > 1:
            for module in modules:
                for value in (*module.parameters(), *module.buffers()):
                    there = value.detach().to(self._device).contiguous()
                    _sent(distributed.broadcast, there, 0)
                    value.detach().copy_(there)

    def sum(self, *numbers: float) -> tuple[float, ...]:
        """Each number added up over the processes."""
        if self.world == 1:
            return numbers
        found = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        _sent(distributed.all_reduce, found)
        return tuple(found.tolist())

    def mean_gradients(self, parameters: Iterable[nn.Parameter], weight: float = 1.0) -> bool:
        """Replaces each gradient by the mean over the processes, weighed; False where all weights are 0.

        A parameter that has a gradient nowhere keeps none, as it would in one process.

        Args:
            parameters: the same in every process, in the same order.
            weight: how much this process's part counts, such as its rows. Of weight 0 the gradients are not looked at.
        """
        if self.world == 1:
            return weight > 0
        values = list(parameters)
        has = [float(weight > 0 and value.grad is not None) for value in values]
        told = torch.tensor([float(weight), *has], dtype=torch.float64, device=self._device)
        _sent(distributed.all_reduce, told)
        whole, *anywhere = told.tolist()
        bucket: list[nn.Parameter] = []
        for value, somewhere in zip(values, anywhere, strict=True):
            if not somewhere:
                value.grad = None
                continue
            if value.grad is None or not weight:
                value.grad = torch.zeros_like(value)
            elif value.grad.is_sparse:
                value.grad = value.grad.to_dense()
            bucket.append(value)
            if sum(one.numel() for one in bucket) >= BUCKET:
                self._mean(bucket, weight / whole)
                bucket = []
        if bucket:
            self._mean(bucket, weight / whole)
        return bool(whole > 0)

    @contextmanager
    def shared(self, module: nn.Module) -> Iterator[None]:
        """While the block runs, training through the module computes only this process's rows and gathers the rest.

        Every process gets the output of the whole batch; the gradient of the other processes' rows is left to them. It
        is scaled so that the mean over the processes is the gradient of the whole: both for what the module holds and
        for what comes after it, which every process computes in full.
        """
        if self.world == 1 or not any(value.requires_grad for value in module.parameters()):
            yield
            return
        sizes: list[int] = []

        def before(module: nn.Module, read: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if not (module.training and torch.is_grad_enabled()):
                return None
            n = len(read[0])
            sizes.append(n)
            part = self.part(n)
            # A part without rows reads one all the same, which nobody gets to see: no layer must cope with none.
            return tuple(one[part] if part.start < part.stop else one[:1] for one in read)

        def after(module: nn.Module, _: Any, given: Tensor) -> Tensor | None:
            if not (module.training and torch.is_grad_enabled()):
                return None
            gathered: Tensor = _Gather.apply(given, sizes.pop(), self)
            return gathered

        hooks = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def _device(self) -> torch.device:
        """Where the processes' messages must lie."""
        return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")

    def _bytes(self, data: bytes) -> bytes:
        size = torch.tensor([len(data)], dtype=torch.int64, device=self._device)
        _sent(distributed.broadcast, size, 0)
        sent = torch.empty(int(size), dtype=torch.uint8)
        if self.leads and data:
            sent = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        sent = sent.to(self._device)
        _sent(distributed.broadcast, sent, 0)
        return bytes(sent.cpu().numpy().tobytes())

    def _mean(self, values: list[nn.Parameter], share: float) -> None:
        flat = torch.cat([value.grad.detach().float().flatten() for value in values]).to(self._device)
        flat *= share
        _sent(distributed.all_reduce, flat)
        start = 0
        for value in values:
            value.grad.copy_(flat[start : start + value.numel()].view_as(value))
            start += value.numel()


def _sent(send: Callable[..., object], *args: object) -> None:
    """Sends, and tells a process that is gone from a fault of this one: torch gives both as RuntimeError."""
    try:
        send(*args)
    except RuntimeError as error:
        raise PeerError(f"another worker no longer answers ({str(error).strip().partition(chr(10))[0]})") from error


class _Gather(torch.autograd.Function):  # type: ignore[misc]
    """(own rows, d) -> (n, d): the rows of all processes in their order."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, n: int, ring: Ring) -> Tensor:
        ctx.n, ctx.ring, ctx.shape = n, ring, own.shape
        parts = [Ring(rank, ring.world).part(n) for rank in range(ring.world)]
        longest = max(part.stop - part.start for part in parts)
        part = parts[ring.rank]
        sent = torch.zeros((longest, *own.shape[1:]), dtype=torch.float32, device=ring._device)
        sent[: part.stop - part.start] = own[: part.stop - part.start].float()
        found = [torch.empty_like(sent) for _ in parts]
        _sent(distributed.all_gather, found, sent)
        rows = [one[: part.stop - part.start] for one, part in zip(found, parts, strict=True)]
        return torch.cat(rows).to(own.device, own.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        part = ctx.ring.part(ctx.n)
        own = gradient.new_zeros(ctx.shape)
        own[: part.stop - part.start] = gradient[part] * ctx.ring.world
        return own, None, None
