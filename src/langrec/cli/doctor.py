"""`langrec doctor`: what this machine has, what is missing, and which runtime reads text fastest here."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langrec.cli.options import AsJson, Overrides, Recipe, settings_of, wide_console

if TYPE_CHECKING:
    from langrec.settings import EncoderSettings

# A need of an extra, as the metadata of a package say it: name, version, extra.
_NEED = re.compile(r"([\w.-]+).*;\s*extra == ['\"]([\w-]+)['\"]")
# What only those who work on langrec need.
_OURS = ("check", "test")


def doctor(
    encoder: Annotated[str, typer.Option(help="Encoder whose runtimes are shown: minilm, a folder or a hub id.")] = "",
    threads: Annotated[int, typer.Option(help="Threads of the runtime; 0 = all cores.", min=0)] = 0,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the runtimes again.")] = False,
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the machine, the installed extras, the cache, and the measured runtimes.

    Example: `langrec doctor --measure`
    """
    settings = settings_of(recipe, overrides).encoder
    settings = dataclasses.replace(settings, name=encoder or settings.name, threads=threads or settings.threads)
    found = examine(settings, measure=measure)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        _show(found)


def examine(settings: EncoderSettings, *, measure: bool = False) -> dict[str, Any]:
    """Everything that doctor shows, as plain values.

    Args:
        settings: the encoder whose runtimes are looked at.
        measure: measures them now, even if a table is in the cache.

    Raises:
        BundleError: a saved encoder is damaged.
        SettingsError: there is no such encoder. One whose extra is not installed is no error: that is what is shown.
    """
    import langrec
    from langrec.encoders.prepare import cache_root
    from langrec.lm.machine import this_machine

    root = cache_root(settings)
    machine = this_machine()
    return {
        "langrec": langrec.__version__,
        "python": machine.python,
        "machine": {"processor": machine.processor, "flags": list(machine.flags), "cores": machine.cores},
        "libraries": machine.libraries,
        "extras": {extra: _extra(extra, packages) for extra, packages in _extras().items()},
        "cache": {"folder": str(root), "megabytes": round(_size(root) / 1e6, 1)},
        "encoder": _encoder(settings, root, measure),
    }


def _extras() -> dict[str, list[str]]:
    """The packages that each extra brings."""
    found: dict[str, list[str]] = {}
    for need in requires("langrec") or ():
        said = _NEED.match(need)
        if said is not None and said[2] not in _OURS:
            found.setdefault(said[2], []).append(said[1])
    return dict(sorted(found.items()))


def _extra(extra: str, packages: list[str]) -> dict[str, Any]:
    missing = [name for name in packages if not _is_installed(name)]
    way = f"pip install 'langrec[{extra}]'" if missing else ""
    return {"installed": not missing, "missing": missing, "install": way}


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _encoder(settings: EncoderSettings, root: Path, measure: bool) -> dict[str, Any]:
    from langrec.encoders import is_saved, load_saved
    from langrec.encoders.prepare import exported_model, model_folder
    from langrec.errors import MissingExtra
    from langrec.lm.exported import CONFIG
    from langrec.lm.measure import choose_runtime, known_choice
    from langrec.lm.model import find_model
    from langrec.registry import is_plugin

    shown: dict[str, Any] = {"name": settings.name, "setting": settings.runtime, "runtime": "", "table": [], "note": ""}
    if settings.name == "hashing":
        return {**shown, "note": "hashing needs no runtime"}
    if is_saved(settings.name):
        runtime = getattr(load_saved(Path(settings.name).expanduser(), threads=settings.threads), "runtime", None)
        name = runtime.name if runtime else ""
        return {**shown, "runtime": name, "note": f"a saved encoder, read by {name or 'no runtime: it is a table'}"}
    if is_plugin("encoders", settings.name):
        return {**shown, "note": "is of another package, which chooses how it is run"}
    try:
        model = find_model(settings.name, settings.max_tokens)
        if not measure and not (model_folder(model, root) / CONFIG).exists():
            return {**shown, "note": "not exported yet; langrec doctor --measure does it"}
        folder, found = exported_model(model, root)
        if measure:
            choice = choose_runtime(root, folder, found, model, settings.threads, budget=settings.token_budget)
        else:
            known = known_choice(root, found, settings.threads)
            if known is None:
                return {**shown, "note": "not measured yet; langrec doctor --measure does it"}
            choice = known
    except MissingExtra as error:
        return {**shown, "note": error.message}
    return {
        **shown,
        "runtime": choice.runtime if settings.runtime == "auto" else settings.runtime,
        "threads": choice.threads,
        "seconds": choice.seconds,
        "table": [dataclasses.asdict(row) for row in choice.rows],
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.exists() else 0


def _show(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = wide_console()
    machine, encoder = found["machine"], found["encoder"]
    facts = Table.grid(padding=(0, 2))
    facts.add_row("langrec", f"{found['langrec']}, Python {found['python']}")
    facts.add_row("processor", f"{machine['processor']}, {machine['cores']} cores, {' '.join(machine['flags'])}")
    facts.add_row("libraries", ", ".join(f"{k} {v or 'absent'}" for k, v in found["libraries"].items()))
    for extra, state in found["extras"].items():
        text = "installed" if state["installed"] else f"missing {', '.join(state['missing'])}: {state['install']}"
        facts.add_row(f"extra {extra}", escape(text))
    facts.add_row("cache", escape(f"{found['cache']['folder']} ({found['cache']['megabytes']} MB)"))
    console.print(facts)
    if not encoder["table"]:
        console.print(escape(f"encoder {encoder['name']}: {encoder['note']}"))
        return
    title = f"encoder {encoder['name']}, {encoder['threads']} threads: uses {encoder['runtime']}"
    table = Table(title=escape(title), title_justify="left")
    for name in ("runtime", "texts/s", "cosine", "top-10", "NDCG@10", ""):
        table.add_column(name, justify="left" if name in ("runtime", "") else "right")
    for row in encoder["table"]:
        chosen = "<- in use" if row["name"] == encoder["runtime"] else escape(row["note"])
        numbers = [
            f"{row['texts_per_second']:.0f}",
            f"{row['cosine']:.4f}",
            f"{row['top10']:.3f}",
            f"{row['ndcg']:.3f}",
        ]
        table.add_row(row["name"], *(numbers if row["ndcg"] else ["-"] * 4), chosen)
    console.print(table)
    if encoder["setting"] != "auto":
        console.print(f"encoder.runtime = {encoder['setting']} overrules the measurement")
