"""This machine as far as it decides which runtime is fastest: processor, flags, libraries, threads."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Flags that change which kernels a runtime picks.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm", "bf16")
LIBRARIES = ("onnxruntime", "openvino", "torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """What was measured on.

    Attributes:
        processor: the model's name.
        flags: those of FLAGS that it has.
        cores: logical cores this process may use.
        python: version.
        libraries: version by name, empty where one is not installed.
    """

    processor: str
    flags: tuple[str, ...]
    cores: int
    python: str
    libraries: dict[str, str]

    def key(self, *more: str) -> str:
        """A short hash of everything that could change a measurement, with `more` mixed in."""
        text = json.dumps([asdict(self), more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@functools.cache
def this_machine() -> Machine:
    """The machine this process runs on."""
    processor, flags = _linux_processor()
    return Machine(
        processor=processor or platform.processor() or platform.machine(),
        flags=tuple(flag for flag in FLAGS if flag in flags),
        cores=cores(),
        python=platform.python_version(),
        libraries={name: _version(name) for name in LIBRARIES},
    )


def cores() -> int:
    """Logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _linux_processor() -> tuple[str, set[str]]:
    name, flags = "", set[str]()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return name, flags
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and not name:
            name = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = set(value.split())
    return name, flags


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
