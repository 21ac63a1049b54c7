"""Text to vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langrec.registry import find, find_saved, is_plugin
from langrec.settings import EncoderSettings, Settings, section_of

if TYPE_CHECKING:
    from langrec.encoders.hashing import HashingEncoder
    from langrec.encoders.static import StaticEncoder
    from langrec.encoders.transformer import TransformerEncoder
    from langrec.protocols import Progress

__all__ = ["load_encoder", "load_saved"]


def load_encoder(
    settings: EncoderSettings | Settings, *, progress: Progress | None = None
) -> HashingEncoder | TransformerEncoder | Any:
    """The encoder that the settings name, ready to read.

    The first use of a model exports it into the cache and, with `runtime = "auto"`, measures which runtime is fastest
    here; both take seconds to a minute and are kept.

    Args:
        settings: all settings, or their section `encoder`.
        progress: called with (what, done, total) while it exports, measures, and later reads texts.

    Raises:
        SettingsError: no such model or runtime.
        MissingExtra: the model needs packages that are not installed.
    """
    settings = section_of(settings, EncoderSettings)
    if settings.name == "hashing":
        from langrec.encoders.hashing import HashingEncoder

        return HashingEncoder()
    if is_saved(settings.name):
        return load_saved(Path(settings.name).expanduser(), threads=settings.threads)
    if is_plugin("encoders", settings.name):
        return find("encoders", settings.name)(settings)
    from langrec.encoders.prepare import prepare

    return prepare(settings, progress)


def load_saved(folder: Path, *, threads: int = 0) -> HashingEncoder | StaticEncoder | TransformerEncoder | Any:
    """The encoder in a folder that `encoder.save` wrote, without torch.

    Args:
        folder: the saved encoder.
        threads: threads to compute with; 0 = all cores.

    Raises:
        BundleError: a file is missing, damaged or of another format, or of a kind that no installed package registers.
    """
    from langrec.lm.exported import CONFIG, read_config

    return find_saved("encoders", str(read_config(folder).get("kind")), folder / CONFIG).load(folder, threads)


def is_saved(name: str) -> bool:
    """Whether a setting names a folder that `encoder.save` or `langrec compress` wrote, not a model's source folder."""
    from langrec.lm.exported import CONFIG

    folder = Path(name).expanduser()
    return (folder / CONFIG).is_file() and not (folder / "config.json").exists()
