"""A process in which PyTorch and what comes with it cannot be imported: what a base install serves."""

from __future__ import annotations

import subprocess
import sys

_GONE = """
import sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "onnx", "peft"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Gone())
"""


def printed_by(code: str) -> list[str]:
    """The words that a program prints there; one that fails raises."""
    done = subprocess.run([sys.executable, "-c", _GONE + code], capture_output=True, text=True, check=True)
    return done.stdout.split()
