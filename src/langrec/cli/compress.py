"""`langrec compress`: a model made cheaper by a chain of steps, measured after each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langrec.alone import alone
from langrec.cli.options import AsJson, ItemsPath, bar, check_out, wide_console

if TYPE_CHECKING:
    from langrec.lm.compress.chain import Compressed
    from langrec.lm.compress.corpus import Corpus


def compress(
    model: Annotated[str, typer.Argument(help="minilm, a folder or a hub id.")],
    steps: Annotated[str, typer.Option("--steps", help="Steps in order, comma separated; see docs/compress.md.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the model and the report.")],
    texts: Annotated[
        Path | None,
        typer.Option("--texts", help="CSV, JSON lines or Parquet: text, and title if there is one."),
    ] = None,
    items: ItemsPath = None,
    heal: Annotated[bool, typer.Option("--heal/--no-heal", help="Train after drop and prune.")] = True,
    epochs: Annotated[int, typer.Option("--epochs", help="Most passes over the texts when training.", min=1)] = 6,
    minutes: Annotated[float, typer.Option("--minutes", help="No epoch begins later; 0 = no limit.", min=0)] = 0,
    rate: Annotated[float, typer.Option("--rate", help="Highest learning rate.", min=0)] = 3e-4,
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    cross: Annotated[Path | None, typer.Option("--cross", help="A cross-encoder's folder, for the step teach.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Longest text in tokens.", min=3)] = 256,
    threads: Annotated[int, typer.Option("--threads", help="Threads; 0 = all cores.", min=0)] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of the order of texts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a language model cheaper, and show what each step costs and keeps.

    Steps: `drop:2` (every second layer; `drop:first3`, `drop:best3`), `prune:0.5` (half of the units and heads;
    `prune:units=0.5/heads=0.25`), `distil:6` (six epochs towards the first model's vectors), `teach` (towards the order
    of a cross-encoder), `project:128` (narrower vectors), `quantise` (`quantise:static`, `quantise:dynamic`,
    `quantise:weights`), `static:256` (a token table), `binary:4` (sign codes). After `drop` and `prune` the model heals
    on the texts by itself.

    Writes `model/`, which `encoder.name` takes, `encoder/`, which serving loads, `report.json` and `report.html`.

    Example: `langrec compress minilm --steps drop:2,prune:units=0.5,quantise --items movies.csv --out small`

    Example: `langrec compress minilm --steps static:256 --texts texts.csv --out table`
    """
    from langrec.encoders import load_saved
    from langrec.errors import SettingsError
    from langrec.lm.compress.chain import compress as run
    from langrec.lm.compress.steps import parse_steps
    from langrec.lm.compress.work import Healing

    if precision not in ("auto", "fp32", "bf16"):
        raise SettingsError(f"--precision {precision}: not auto, fp32 or bf16", field="precision")
    parsed = parse_steps(steps)
    check_out(out)
    healing = Healing(epochs=epochs, rate=rate, minutes=minutes, precision=precision, seed=seed)
    with alone(out), bar() as told:
        found = run(
            model,
            parsed,
            out,
            _corpus(texts, items),
            open_encoder=lambda folder: load_saved(folder, threads=threads),
            healing=healing,
            heal=heal,
            max_tokens=max_tokens,
            threads=threads,
            cross=cross,
            progress=told,
        )
    if as_json:
        sys.stdout.write(json.dumps(found.to_dict(), indent=1) + "\n")
    else:
        _show(found)


def _corpus(texts: Path | None, items: Path | None) -> Corpus | None:
    from langrec.errors import SettingsError
    from langrec.lm.compress.corpus import Corpus

    if texts and items:
        raise SettingsError("--texts and --items: give one of them", field="texts")
    if texts:
        return Corpus.read(texts)
    if items:
        from langrec.data.load import load_dataset

        dataset, _ = load_dataset(None, items)
        return Corpus.of_catalogue(dataset.catalogue, items.name)
    return None


def _show(found: Compressed) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    about = found.corpus
    title = f"{found.model}: {about['question']} ({about['judged']:,} pairs)"
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("step", "MB", "texts/s", "ms", "NDCG@10", "kept", "held out", "cosine", "top-10", "runtime"):
        # Where a terminal is narrow words are broken, and no figure is cut.
        word = name in ("step", "runtime")
        table.add_column(name, justify="left" if word else "right", no_wrap=not word, overflow="fold")
    for row in found.rows:
        cosine = "-" if row.cosine is None else f"{row.cosine:.4f}"
        numbers = [f"{row.megabytes:.1f}", f"{row.texts_per_second:,.0f}", f"{row.ms:.2f}", f"{row.ndcg:.4f}"]
        shares = [f"{row.kept:.1%}", f"{row.kept_held_out:.1%}", cosine, f"{row.top10:.3f}"]
        table.add_row(escape(row.name), *numbers, *shares, row.runtime)
    console = wide_console()
    console.print(table)
    for row in found.rows:
        if row.note:
            console.print(f"{escape(row.name)}: {escape(row.note)}")
    for name in ("model", "encoder", "report.html"):
        console.print(f"{name:<12} {escape(str(found.folder / name))}", soft_wrap=True)
