"""A training that several processes share: which of them this one is, and what they must agree on.

Every process holds the whole model and takes the same steps. Of each batch it reads its own part, and torch's
DistributedDataParallel averages the gradients on the way back, so that the step is the one that a single process would
have made (Goyal et al. 2017, synchronous data-parallel SGD; Li et al. 2020, "PyTorch Distributed"). Where parts count
for more or less, each scales its loss by its share. Losses that compare the texts of a batch with one another see the
whole batch: `shared` reads a part of the texts and gathers the vectors of all.
"""

from __future__ import annotations

import inspect
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

    def averaged(self, compute: Callable[..., Any], *modules: nn.Module) -> Callable[..., Any]:
        """The function, such that going backward from its loss leaves every process the mean of all gradients.

        All processes get the parameters and buffers of the first. Each has to call the function, and to go `backward`,
        as often as the others. A parameter that no loss hangs on keeps no gradient.

        Args:
            compute: from anything to a loss, or to several values with a loss among them.
            modules: what is trained, and what must be the same everywhere.
        """
        if self.world == 1:
            return compute
        with _answered():
            parallel = nn.parallel.DistributedDataParallel
            # Buffers, such as the vectors of all texts, are sent once; the older name stands for torch before 2.13.
            names = inspect.signature(parallel).parameters
            once = {"forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": False}
            # Not every step trains every head. Gradients lie in what is sent, so that they take no place beside it.
            found: Callable[..., Any] = parallel(
                _Computed(compute, modules), find_unused_parameters=True, gradient_as_bucket_view=True, **once
            )
        return found

    def backward(self, loss: Tensor) -> None:
        """Goes backward.

        Raises:
            PeerError: another process is gone.
        """
        with _answered():
            loss.backward()

    def sum(self, *numbers: float) -> tuple[float, ...]:
        """Each number added up over the processes."""
        if self.world == 1:
            return numbers
        found = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        _sent(distributed.all_reduce, found)
        return tuple(found.tolist())

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


class _Computed(nn.Module):  # type: ignore[misc]
    """What DistributedDataParallel asks for: the modules, and the function as their forward pass."""

    def __init__(self, compute: Callable[..., Any], modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.held, self.compute = nn.ModuleList(modules), compute

    def forward(self, *args: Any) -> Any:
        return self.compute(*args)


@contextmanager
def _answered() -> Iterator[None]:
    """Tells a process that is gone from a fault of this one, by the words of what carries the messages."""
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        if isinstance(error, distributed.DistError) or any(name in said.lower() for name in ("gloo", "nccl")):
            raise _gone(said) from error
        raise


def _gone(said: str) -> PeerError:
    return PeerError(f"another worker no longer answers ({said.strip().partition(chr(10))[0]})")


def _sent(send: Callable[..., object], *args: object) -> None:
    """Sends, and tells a process that is gone from a fault of this one: torch gives both as RuntimeError."""
    try:
        send(*args)
    except RuntimeError as error:
        raise _gone(str(error)) from error


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
