"""`langrec adapt`: a pretrained model tuned for a task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langrec.alone import alone
from langrec.cli.options import Address, AsJson, Workers, bar, check_out, wide_console, workers_of
from langrec.errors import SettingsError

if TYPE_CHECKING:
    from langrec.scale.cluster import Cluster

# More classes than this are read in the report.
FEW_CLASSES = 12
# Options that say nothing to other tasks than these.
OF_TASKS = {
    "hard_negatives": ("pairs", "recommend"),
    "pairs": ("pairs",),
    "meta": ("recommend",),
    "objective": ("pretrain",),
}
SettingValues = Annotated[
    list[str] | None, typer.Option("--set", help="name=value, see docs/adapt.md; may be given often.")
]


def adapt(
    task: Annotated[str, typer.Option("--task", help="classify, recommend, pairs, pretrain or joint.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the model, metrics.json and the report.")],
    model: Annotated[str, typer.Option("--model", help="minilm, a model's folder, or a hub id.")] = "minilm",
    kind: Annotated[
        str,
        typer.Option("--kind", help="full, head, last, adapter, lora, adalora, dora, ia3, bitfit or side."),
    ] = "full",
    train: Annotated[Path | None, typer.Option("--train", help="Training rows: CSV, JSON lines or Parquet.")] = None,
    valid: Annotated[Path | None, typer.Option("--valid", help="Validation rows; default: some of training.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Test rows.")] = None,
    events: Annotated[
        Path | None, typer.Option("--events", help="recommend, pairs: a log to make the rows from, cut by time.")
    ] = None,
    items: Annotated[Path | None, typer.Option("--items", help="Items of that log.")] = None,
    shots: Annotated[
        int, typer.Option("--shots", min=0, help="Rows drawn per label (recommend: in all); 0 = all.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of drawing, order, weights and dropout.")] = 0,
    text: Annotated[str, typer.Option("--text", help="classify, pretrain, joint: column of the texts.")] = "text",
    label: Annotated[str, typer.Option("--label", help="classify, joint: column of the labels.")] = "label",
    more: Annotated[
        list[str] | None, typer.Option("--also", help="joint: task=file of a further task; may be given often.")
    ] = None,
    hard: Annotated[
        str,
        typer.Option(
            "--hard-negatives", help="pairs, recommend: bm25 or ease finds a hard negative for each row; or none."
        ),
    ] = "none",
    of: Annotated[
        str,
        typer.Option(
            "--pairs",
            help="pairs, with --events: histories and the item liked next, or items that one user liked.",
        ),
    ] = "histories",
    meta: Annotated[
        str,
        typer.Option("--meta", help="recommend: reptile learns a head that a few rows of a new user adapt; or none."),
    ] = "none",
    objective: Annotated[
        str, typer.Option("--objective", help="pretrain: auto, or gpl with --set gpl.cross=FOLDER of a cross-encoder.")
    ] = "auto",
    track: Annotated[
        list[str] | None,
        typer.Option("--track", help="wandb or mlflow beside TensorBoard; may be given often. Local by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last epoch of an interrupted run.")] = False,
    workers: Workers = 0,
    address: Address = "",
    overrides: SettingValues = None,
    as_json: AsJson = False,
) -> None:
    """Tune a language model for a task, with all or few of its parameters.

    Writes `metrics.json`, `predictions.parquet`, `report.html`, the tuned model in `model/`, and TensorBoard's events
    in `tensorboard/`; what `--track` names writes beside them. docs/adapt.md explains tasks, kinds, files and settings.

    Example: `langrec adapt --task classify --kind lora --train train.csv --test test.csv --out intents`

    Example: `langrec adapt --task classify --shots 10 --seed 1 --train train.csv --test test.csv --out few`

    Example: `langrec adapt --task recommend --kind side --shots 64 --train train.json --valid valid.json --out liked`

    Example: `langrec adapt --task recommend --kind last --events shop --set reads=question --out judge`

    Example: `langrec adapt --task pairs --kind side --events ml-latest-small --out domain`

    Example: `langrec adapt --task pairs --kind side --events ml-latest-small --pairs items --out together`

    Example: `langrec adapt --task pairs --kind lora --events ml-latest-small --hard-negatives bm25 --out sharper`

    Example: `langrec adapt --task pretrain --kind lora --objective gpl --train t.csv --out gpl --set gpl.cross=judge`

    Example: `langrec adapt --task recommend --kind head --meta reptile --events ml-latest-small --out newcomers`

    Example: `langrec adapt --task classify --kind lora --train train.csv --out told --track mlflow --track wandb`

    Example: `langrec adapt --task classify --kind side --train rows.jsonl --out side --set epochs=20 --set rate=0.002`

    Example: `langrec adapt --task classify --kind lora --train train.csv --out intents --workers 2`
    """
    from langrec.lm.adapt.settings import AdaptSettings, with_overrides

    named = AdaptSettings(
        task=task, kind=kind, seed=seed, shots=shots, hard_negatives=hard, objective=objective, meta=meta, pairs=of
    )
    settings = with_overrides(named, overrides or [])
    for name, tasks in OF_TASKS.items():
        if task not in tasks and (value := getattr(settings, name)) != getattr(AdaptSettings(), name):
            option = name.replace("_", "-")
            raise SettingsError(f"--{option} {value}: is of --task {' and '.join(tasks)}, not of {task}", field=name)
    if events is not None and task not in ("recommend", "pairs"):
        raise SettingsError(f"--events: is of --task recommend and pairs, not of {task}; give --train", field="events")
    further = {}
    for one in more or []:
        name, sign, path = one.partition("=")
        if not sign:
            raise SettingsError(f"--also {one}: needs task=file", field="also")
        further[name] = Path(path)
    check_out(out)
    with alone(out), workers_of(workers, address) as cluster, bar() as told:
        files = {"events": events, "items": items, "text": text, "label": label, "more": further}
        rows = {"train": train, "valid": valid, "test": test, **files}
        summary = _run(model, settings, rows, out, cluster, resume=resume, track=track or (), told=told)
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
        return
    for one in (table(summary), classes(summary)):
        if one is not None:
            wide_console().print(one)
    for note in summary["notes"]:
        print(f"note: {note}")
    print(f"model  {out / 'model'}")
    print(f"report {out / 'report.html'}")


def _run(
    model: str, settings: Any, files: dict[str, Any], out: Path, cluster: Cluster | None, **rest: Any
) -> dict[str, Any]:
    from langrec.errors import MissingExtra

    try:
        import torch  # noqa: F401 - the first thing that the extra lm brings
    except ImportError as error:
        raise MissingExtra("lm", "langrec adapt") from error
    from langrec.lm.adapt.job import Files

    if cluster is not None:
        from langrec.scale.adapt import adapt as run_together

        return run_together(model, settings, Files(**files), out, cluster, **rest)
    from langrec.lm.adapt.run import adapt as run

    return run(model, settings, Files(**files), out, **rest)


def table(summary: dict[str, Any]) -> Any:
    """The numbers of validation and test, side by side, with their intervals; None where nothing was measured."""
    from rich.table import Table

    parts = {name: summary[name] for name in ("valid", "test") if summary[name]}
    if not parts:
        return None
    drawn = any(name.endswith("_interval") for numbers in parts.values() for name in numbers)
    by = {name: numbers["intervals_by"] for name, numbers in parts.items() if "intervals_by" in numbers}
    alike = list(by.values())[:1] if len(set(by.values())) == 1 else [f"{unit} ({name})" for name, unit in by.items()]
    rows = Table(
        title=f"{summary['task']}, {summary['kind']}: {summary['trainable_share']:.2%} of the parameters trained",
        caption=f"intervals: 95 %{' by ' if by else ''}{', '.join(alike)}" if drawn else None,
    )
    rows.add_column("metric")
    for name in parts:
        rows.add_column(name, justify="right")
    for metric in dict.fromkeys(name for numbers in parts.values() for name in numbers):
        values = [numbers.get(metric) for numbers in parts.values()]
        if all(value is None or isinstance(value, int | float) for value in values):
            between = [numbers.get(f"{metric}_interval") for numbers in parts.values()]
            rows.add_row(metric, *map(_number, values, between))
        if metric in ("macro", "weighted"):
            shown = [value["f1"] if isinstance(value, dict) else None for value in values]
            rows.add_row(f"{metric} F1", *map(_number, shown))
    return rows


def classes(summary: dict[str, Any]) -> Any:
    """Precision, recall, F1 and support of each class, on the test if there is one; None of none or of many."""
    from rich.markup import escape
    from rich.table import Table

    part = summary["predictions_of"]
    found = summary[part].get("classes", {})
    if not 0 < len(found) <= FEW_CLASSES:
        return None
    rows = Table(title=f"{part}, by class")
    rows.add_column("class", overflow="fold")
    for name in ("precision", "recall", "F1", "support"):
        rows.add_column(name, justify="right")
    for name, one in found.items():
        rows.add_row(escape(name), *(_number(one[key]) for key in ("precision", "recall", "f1")), f"{one['support']:,}")
    return rows


def _number(value: float | None, between: list[float | None] | None = None) -> str:
    """A number with its interval; a dash for none."""
    if value is None:
        return "–"
    low, high = between or (None, None)
    return f"{value:.4g}" if low is None or high is None else f"{value:.4g} [{low:.4g}, {high:.4g}]"
