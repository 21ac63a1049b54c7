"""A model as it is kept for serving: a folder with ONNX files, tokenizer.json, the token table and encoder.json."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langrec.errors import BundleError

FORMAT = 1
# How the int8 file is made: a model exported before a change of method is exported again.
INT8_METHOD = 3
FP32, INT8 = "model.onnx", "model-int8.onnx"
TOKENIZER, TABLE, CONFIG = "tokenizer.json", "tokens.safetensors", "encoder.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """What encoder.json says.

    Attributes:
        identity: the space of the fp32 vectors.
        dim: their width.
        max_tokens: longest text in tokens.
        pad_id: the padding token.
        special: the special tokens that are no part of a text.
        prompts: text put before a query or an item, by role.
        runtime: the runtime that was in use when the folder was saved.
        int8_method: how its int8 file is made, and so part of what its vectors are.
        int8_exact: whether int8 vectors are as good as equal to the fp32 ones, so that they may share a space.
    """

    identity: str
    dim: int
    max_tokens: int
    pad_id: int
    special: tuple[int, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "onnx-fp32"
    int8_method: int = 2
    int8_exact: bool = False

    def save(self, folder: Path) -> None:
        """Writes encoder.json."""
        text = json.dumps({"format": FORMAT, "kind": "transformer", **dataclasses.asdict(self)}, indent=1)
        half = folder / f"{CONFIG}.{os.getpid()}.half"  # the cache's is written again by who measures runtimes
        half.write_text(text + "\n", "utf-8")
        half.replace(folder / CONFIG)

    @classmethod
    def load(cls, folder: Path) -> Exported:
        """Reads encoder.json.

        Raises:
            BundleError: it is missing, damaged or of another format.
        """
        values = read_config(folder)
        known = {f.name for f in dataclasses.fields(cls)}
        try:
            found = cls(**{key: value for key, value in values.items() if key in known})
        except TypeError as error:
            raise BundleError(f"{folder / CONFIG}: {error}") from error
        return dataclasses.replace(found, special=tuple(found.special))


def read_config(folder: Path) -> dict[str, Any]:
    """The content of encoder.json.

    Raises:
        BundleError: it is missing, damaged or of another format.
    """
    file = folder / CONFIG
    try:
        values = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise BundleError(f"{file}: cannot be read; the folder holds no saved encoder") from error
    except ValueError as error:
        raise BundleError(f"{file}: not JSON ({error})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise BundleError(f"{file}: format {values.get('format') if isinstance(values, dict) else '?'} is not {FORMAT}")
    return values
