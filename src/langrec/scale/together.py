"""One piece of work in several processes that can talk to one another: Ray Train over torch.distributed.

What they send one another are gradients and numbers; what comes back is the first one's answer. Ray's messages between
the processes of a run are its own; nothing of them is kept on disk.
"""

from __future__ import annotations

import copy
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langrec.errors import LangrecError, SettingsError
from langrec.protocols import Progress
from langrec.scale.cluster import RESTARTS, Cluster, as_raised, silenced

# Seconds between two looks at what the first worker tells.
LOOK = 0.25
Say = Callable[[str, tuple[Any, ...]], None]


class Desk:
    """Where the first worker leaves what it tells and what it found; it lives beside the workers, as an actor."""

    def __init__(self) -> None:
        self._said: list[tuple[str, tuple[Any, ...]]] = []
        self._found: list[Any] = []
        self._refused: tuple[str, str, str | None] | None = None

    def say(self, name: str, values: tuple[Any, ...]) -> None:
        """Leaves one message."""
        self._said.append((name, values))

    def said(self) -> list[tuple[str, tuple[Any, ...]]]:
        """What was told since the last look."""
        said, self._said = self._said, []
        return said

    def finish(self, value: Any) -> None:
        """Leaves the answer."""
        self._found = [value]

    def found(self) -> list[Any]:
        """The answer, where there is one."""
        return self._found

    def refuse(self, kind: str, message: str, field: str | None) -> None:
        """Leaves an error that a person can act on."""
        self._refused = self._refused or (kind, message, field)

    def refused(self) -> tuple[str, str, str | None] | None:
        """Such an error, where there was one."""
        return self._refused


def together(
    cluster: Cluster,
    work: Callable[..., Any],
    *args: Any,
    name: str,
    storage: Path,
    heard: Say | None = None,
) -> Any:
    """Runs `work(rank, say, *args)` in every worker of the cluster at once, and gives what the first one returns.

    In each worker `Ring.here()` knows the others. `say(name, values)` of the first is heard here, as `heard(name,
    values)`, in a thread of its own.

    Args:
        name: of the run, for Ray's own folder.
        storage: where Ray Train keeps its run while it lasts; on several machines a folder that all of them see.

    Raises:
        LangrecError: as `work` raised it.
        SettingsError: the workers could not be started, or were lost more than twice.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    desk = ray.remote(num_cpus=0)(Desk).remote()
    needs: dict[str, float] = {"CPU": cluster.cores, **({"GPU": 1} if cluster.gpu else {})}
    storage.mkdir(parents=True, exist_ok=True)
    given = {"work": work, "desk": desk, "args": ray.put(args)}
    for left in reversed(range(RESTARTS + 1)):
        run = f"{name}-{uuid.uuid4().hex[:12]}"  # a run of the same name would be taken for this one begun anew
        trainer = TorchTrainer(
            _each,
            train_loop_config=given,
            torch_config=TorchConfig(backend="nccl" if cluster.gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=cluster.workers, use_gpu=cluster.gpu, resources_per_worker=needs),
            # Ray would start the workers anew also where the fault is in the work, which once more would not help.
            run_config=RunConfig(
                name=run, storage_path=str(storage.resolve()), failure_config=FailureConfig(max_failures=0)
            ),
        )
        try:
            with silenced(), _Ear(ray, desk, heard):
                trainer.fit()
            break
        except TrainingFailedError as error:
            refused = ray.get(desk.refused.remote())
            if refused is not None:
                raise as_raised(*refused) from None
            if not left:
                raise SettingsError(
                    f"--workers {cluster.workers}: the workers were lost ({_line(error)})", field="workers"
                ) from error
        finally:
            shutil.rmtree(storage / run, ignore_errors=True)
    # A copy: what Ray gives lies in its own memory, which goes when it does.
    return copy.deepcopy(ray.get(desk.found.remote())[0])


def _each(config: dict[str, Any]) -> None:
    """What every worker runs."""
    import ray
    from ray.train import get_context

    from langrec.lm.ring import PeerError

    desk, rank = config["desk"], get_context().get_world_rank()

    def say(name: str, values: tuple[Any, ...]) -> None:
        if rank == 0:
            desk.say.remote(name, values)

    try:
        value = config["work"](rank, say, *ray.get(config["args"]))
    except LangrecError as error:
        ray.get(desk.refuse.remote(type(error).__name__, error.message, error.field))
        raise  # the others wait for this one: Ray ends them
    except PeerError:
        raise  # nothing to refuse: all of them are started anew, and the training goes on after its last epoch
    except Exception as error:
        ray.get(desk.refuse.remote("SettingsError", f"--workers: a worker failed ({_line(error)})", "workers"))
        raise
    if rank == 0:
        ray.get(desk.finish.remote(value))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


class _Ear:
    """While the block runs, passes on what is left at the desk."""

    def __init__(self, ray: Any, desk: Any, heard: Say | None) -> None:
        self._ray, self._desk, self._heard = ray, desk, heard
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        while True:
            over = self._over.wait(LOOK)
            for name, values in self._ray.get(self._desk.said.remote()):
                if self._heard is not None:
                    self._heard(name, values)
            if over:
                return


def told_to(progress: Progress | None) -> Say:
    """Hears what a worker tells as progress."""

    def heard(name: str, values: tuple[Any, ...]) -> None:
        if progress is not None and name == "told":
            progress(*values)

    return heard
