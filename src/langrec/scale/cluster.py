"""Ray, started here or joined: how many workers there are, and what each may use."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from langrec import errors
from langrec.errors import LangrecError, MissingExtra, SettingsError

# Nothing is sent anywhere, and what Ray measures about itself is not gathered. Workers are worth as much as this
# process (Ray would let everything else on the machine go before them), and stay in its folder, so that paths mean the
# same to them; a busy machine gets the time it needs to start them.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Ray Data's workers bring a warning about what Ray Data does itself.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    # Ray looks every two seconds whether the workers are done, which a short run waits for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}
# What a worker on another machine must know of this one's surroundings.
PASSED_ON = ("LANGREC_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
# How often a worker that was lost is made anew.
RESTARTS = 2
# Ray gives a node 30 seconds to come up, which a machine at its limit may not manage at once.
TRIES = 4


@dataclass(frozen=True, slots=True)
class Cluster:
    """Workers that can be asked for.

    Attributes:
        workers: processes that compute.
        cores: of each.
        gpu: each has a graphics card.
    """

    workers: int
    cores: int = 1
    gpu: bool = False

    @property
    def needs(self) -> dict[str, float]:
        """What a worker occupies, as Ray counts it."""
        return {"num_cpus": self.cores, "num_gpus": 1 if self.gpu else 0}


@contextmanager
def cluster(workers: int, address: str = "", *, cores: int = 0) -> Iterator[Cluster]:
    """Ray with so many workers while the block runs: started on this machine, or joined where an address is given.

    Where the caller has started or joined Ray already, that is used, and left running.

    Args:
        workers: processes that compute, 1 or more.
        address: auto, or host:port of the head node; empty starts Ray here and ends it afterwards.
        cores: of each worker; 0 = an even share of the cores that there are.

    Raises:
        MissingExtra: Ray is not installed.
        SettingsError: no such cluster, or it has not the cores for so many workers.
    """
    if workers < 1:
        raise SettingsError(f"--workers {workers}: needs at least 1", field="workers")
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("scale", "--workers (or leave it out)") from error
    ours = not ray.is_initialized()
    if ours:
        _join(ray, address) if address else _start(ray, max(workers * max(cores, 1), os.cpu_count() or 1))
    try:
        yield _cluster(ray.cluster_resources(), workers, cores)
    finally:
        if ours:
            ray.shutdown()


def _cluster(there: Mapping[str, float], workers: int, cores: int) -> Cluster:
    has = int(there.get("CPU", 0))
    if has < workers * max(cores, 1):
        raise SettingsError(
            f"--workers {workers}: the cluster has {has} cores; ask for {max(has, 1)} or fewer, or add nodes",
            field="workers",
        )
    return Cluster(workers, cores or has // workers, int(there.get("GPU", 0)) >= workers)


def _start(ray: Any, cores: int) -> None:
    """A cluster of this machine alone; its dashboard is off."""
    import psutil

    for left in reversed(range(TRIES)):
        before = set(psutil.Process().children(recursive=True))
        try:
            with _unannounced():
                ray.init(num_cpus=cores, include_dashboard=False, **_silent())
            return
        except Exception as error:  # Ray raises plain Exception where a node is late
            ray.shutdown()
            # It leaves running what it had started so far, which the next try would have to share the machine with.
            for child in set(psutil.Process().children(recursive=True)) - before:
                with suppress(psutil.Error):
                    child.kill()
            if not left:
                raise SettingsError(
                    f"--workers: Ray did not start on this machine ({str(error).splitlines()[0]}); leave it out",
                    field="workers",
                ) from error
            time.sleep(2)


def _join(ray: Any, address: str) -> None:
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        with _unannounced():
            ray.init(address=address, runtime_env={"env_vars": {**passed, **QUIET}}, **_silent())
    except Exception as error:  # ConnectionError, RuntimeError, ValueError: by the form of the address
        raise SettingsError(
            f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0]}); "
            "`ray start --head` begins one",
            field="address",
        ) from error


@contextmanager
def _unannounced() -> Iterator[None]:
    """Passes on what is written to the console while the block runs, but for Ray's line that it will write little."""
    with tempfile.TemporaryFile() as written:
        console = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(console, 2)
            written.seek(0)
            for line in written:
                if b"RAY_BACKEND_LOG_LEVEL" not in line:
                    os.write(console, line)
            os.close(console)


def _silent() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": True}


@contextmanager
def silenced() -> Iterator[None]:
    """While the block runs, Ray's libraries do not write to the console: langrec says what there is to say."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data", "ray.train", "ray.tune")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def as_raised(kind: str, message: str, field: str | None) -> LangrecError:
    """An error of ours that a worker raised, from its type's name and what it said."""
    found = getattr(errors, kind, LangrecError)
    if found is MissingExtra:  # it makes its message itself
        found = SettingsError
    raised: LangrecError = found(message, field=field)
    return raised
