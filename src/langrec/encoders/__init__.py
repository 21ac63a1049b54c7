"""Text to vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langrec.errors import BundleError
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
    from langrec import registry

    if is_saved(settings.name):
        return load_saved(Path(settings.name).expanduser(), threads=settings.threads)
    if settings.name not in registry.ENCODERS and is_plugin(settings.name):
        return registry.find("encoders", settings.name)(settings)
    from langrec.encoders.prepare import prepare

    return prepare(settings, progress)


def load_saved(folder: Path, *, threads: int = 0) -> HashingEncoder | StaticEncoder | TransformerEncoder:
    """The encoder in a folder that `encoder.save` wrote, without torch.

    Args:
        folder: the saved encoder.
        threads: threads to compute with; 0 = all cores.

    Raises:
        BundleError: a file is missing, damaged or of another format.
    """
    from langrec.lm.exported import CONFIG, read_config

    kind = read_config(folder).get("kind")
    if kind == "hashing":
        from langrec.encoders.hashing import HashingEncoder

        return HashingEncoder.load(folder, threads)
    if kind == "static":
        from langrec.encoders.static import StaticEncoder

        return StaticEncoder.load(folder, threads)
    if kind == "transformer":
        from langrec.encoders.transformer import TransformerEncoder

        return TransformerEncoder.load(folder, threads)
    raise BundleError(f"{folder / CONFIG}: kind {kind} is not hashing, static or transformer")


def is_saved(name: str) -> bool:
    """Whether a setting names a folder that `encoder.save` or `langrec compress` wrote, not a model's source folder."""
    from langrec.lm.exported import CONFIG

    folder = Path(name).expanduser()
    return (folder / CONFIG).is_file() and not (folder / "config.json").exists()


def is_plugin(name: str) -> bool:
    """Whether a setting names an encoder that another package registers."""
    from importlib.metadata import entry_points

    return any(point.name == name for point in entry_points(group="langrec.encoders"))
