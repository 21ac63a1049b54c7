"""What every bench shares: the machine it ran on, and where its result is written."""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
PACKAGES = ("langrec", "numpy", "scipy", "polars", "onnxruntime", "openvino", "torch", "transformers", "fastapi")


class _Shown(argparse.RawDescriptionHelpFormatter):
    """Help with the lines as they are written, and the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if text is None or action.default in (None, "", False, argparse.SUPPRESS) or action.default == []:
            return text
        return f"{text} (default: %(default)s)"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options of a bench, to be added; `--help` shows what the bench says of itself, and runs nothing."""
    return argparse.ArgumentParser(description=doc, formatter_class=_Shown)


def machine() -> dict[str, Any]:
    """Processor, its flags that matter, cores, Python, date and library versions."""
    model, flags = platform.processor() or platform.machine(), set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() == "flags":
                flags = set(value.split())
                break
    return {
        "cpu": model,
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def write(name: str, result: dict[str, Any]) -> Path:
    """Writes a result with the machine to results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n", "utf-8")
    return path


def kept(name: str, rows: list[dict[str, Any]], *keys: str, under: str = "rows") -> list[dict[str, Any]]:
    """The rows of results/<name>.json that an earlier run measured and these do not replace, told apart by `keys`."""
    path, now = RESULTS / f"{name}.json", {tuple(row[key] for key in keys) for row in rows}
    was = json.loads(path.read_text("utf-8"))[under] if path.exists() else []
    return [row for row in was if tuple(row[key] for key in keys) not in now]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
