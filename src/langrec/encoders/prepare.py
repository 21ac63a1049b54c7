"""From settings to a running transformer encoder: find the model, export it once, open the runtime."""

from __future__ import annotations

from pathlib import Path

from langrec.data.cache import cache_folder
from langrec.encoders.transformer import TransformerEncoder
from langrec.lm import exported
from langrec.lm.exported import Exported
from langrec.lm.model import TextModel, find_model
from langrec.lm.reader import Progress
from langrec.lm.runtimes import open_runtime
from langrec.settings import EncoderSettings


def prepare(settings: EncoderSettings, progress: Progress | None = None) -> TransformerEncoder:
    """The transformer that the settings name, exported into the cache and opened in its runtime."""
    model = find_model(settings.name, settings.max_tokens)
    folder, found = exported_model(model, cache_root(settings), progress)
    name = "onnx-fp32" if settings.runtime == "auto" else settings.runtime
    runtime = open_runtime(name, folder, settings.threads, model)
    return TransformerEncoder(folder, found, runtime, token_budget=settings.token_budget, progress=progress)


def cache_root(settings: EncoderSettings) -> Path:
    """The folder of exported models and vectors."""
    return Path(settings.cache).expanduser() if settings.cache else cache_folder()


def exported_model(model: TextModel, root: Path, progress: Progress | None = None) -> tuple[Path, Exported]:
    """The model's exported folder in the cache, made now if it is not there."""
    folder = root / "models" / f"{model.hash[:16]}-{model.pooling}-{model.max_tokens}"
    if (folder / exported.CONFIG).exists():
        return folder, Exported.load(folder)
    from langrec.lm.export import export

    if progress:
        progress("export", 0, 1)
    found = export(model, folder)
    if progress:
        progress("export", 1, 1)
    return folder, found
