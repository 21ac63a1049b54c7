"""From settings to a running transformer encoder: find the model, export it once, take the fastest runtime."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from langrec.data.cache import cache_folder
from langrec.encoders.transformer import TransformerEncoder
from langrec.errors import BundleError
from langrec.lm import exported
from langrec.lm.exported import Exported
from langrec.lm.measure import choose_runtime, known_choice
from langrec.lm.model import TextModel, find_model
from langrec.lm.runtimes import open_runtime, reads_int8
from langrec.lm.tokens import Tokens
from langrec.protocols import Progress
from langrec.sealed import read_seal, seal, sealed
from langrec.settings import EncoderSettings


def prepare(settings: EncoderSettings, progress: Progress | None = None) -> TransformerEncoder:
    """The transformer that the settings name, exported into the cache and opened in its runtime.

    An export that cannot be read, as a crash of the machine may leave one, is made again.
    """
    model = find_model(settings.name, settings.max_tokens)
    try:
        return _opened(settings, model, progress)
    except BundleError:
        shutil.rmtree(model_folder(model, cache_root(settings)), ignore_errors=True)
        return _opened(settings, model, progress)


def _opened(settings: EncoderSettings, model: TextModel, progress: Progress | None) -> TransformerEncoder:
    root = cache_root(settings)
    folder, found = exported_model(model, root, progress)
    name: str = settings.runtime
    if name == "auto":
        choice = known_choice(root, found, settings.threads) or choose_runtime(
            root, folder, found, model, settings.threads, budget=settings.token_budget, progress=progress
        )
        name = choice.runtime
    if reads_int8(name):
        from langrec.lm.int8 import make_int8

        make_int8(folder, found, Tokens.load(folder / exported.TOKENIZER, found.max_tokens))
    _seal(folder)
    runtime = open_runtime(name, folder, settings.threads, model)
    return TransformerEncoder(folder, found, runtime, token_budget=settings.token_budget, progress=progress)


def cache_root(settings: EncoderSettings) -> Path:
    """The folder of exported models and measurements."""
    return Path(settings.cache).expanduser() if settings.cache else cache_folder()


def model_folder(model: TextModel, root: Path) -> Path:
    """Where in the cache a model is exported to."""
    name = re.sub(r"[^\w.-]+", "_", model.name)[-60:]
    return root / "models" / f"{name}-{model.hash[:16]}-{model.pooling}-{model.max_tokens}"


def exported_model(model: TextModel, root: Path, progress: Progress | None = None) -> tuple[Path, Exported]:
    """The model's exported folder in the cache, made now if it is not there as it was written."""
    folder = model_folder(model, root)
    told = sealed(folder)
    if told is not None:
        found = Exported.load(folder)
        if found.int8_method == exported.INT8_METHOD:
            if not told["int8"]:  # one that was not sealed may be half on the disk
                (folder / exported.INT8).unlink(missing_ok=True)
            return folder, found
    from langrec.lm.export import export

    if progress:
        progress("export", 0, 1)
    found = export(model, folder)
    _seal(folder)
    if progress:
        progress("export", 1, 1)
    return folder, found


def _seal(folder: Path) -> None:
    """Writes down what the files of an export are, unless that stands there."""
    int8 = (folder / exported.INT8).exists()
    told = read_seal(folder)
    if told is None or told["int8"] != int8:
        names = [exported.FP32, exported.TOKENIZER, exported.TABLE, *([exported.INT8] if int8 else [])]
        seal(folder, names, int8=int8)
