"""`langrec tune`: settings looked for by trial, on validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langrec.cli.options import (
    Address,
    AsJson,
    Recipe,
    Workers,
    bar,
    check_out,
    read,
    settings_of,
    wide_console,
    workers_of,
)
from langrec.errors import MissingExtra, SettingsError

if TYPE_CHECKING:
    from langrec.tuning import Space, Tuned


def tune(
    out: Annotated[Path, typer.Option("--out", help="Folder of the study: a second call with it goes on.")],
    space: Annotated[list[str], typer.Option("--space", help="key=a,b,c or key=low..high[:log]; may be given often.")],
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials in all, earlier calls counted in.")] = 30,
    events: Annotated[
        Path | None, typer.Option("--events", help="Events: a file, or a folder with events and items.")
    ] = None,
    items: Annotated[Path | None, typer.Option("--items", help="Items: a file or folder.")] = None,
    users: Annotated[Path | None, typer.Option("--users", help="Users: a file or folder.")] = None,
    recipe: Recipe = None,
    of: Annotated[str, typer.Option("--of", help="What is judged: mix, or a scorer, fitted alone.")] = "mix",
    metric: Annotated[
        str, typer.Option("--metric", help="ndcg@10; with --task a number of validation in metrics.json.")
    ] = "",
    task: Annotated[
        str, typer.Option("--task", help="Tune an adaptation instead: classify, recommend, pairs or pretrain.")
    ] = "",
    model: Annotated[str, typer.Option("--model", help="--task: minilm, a model's folder, or a hub id.")] = "minilm",
    kind: Annotated[str, typer.Option("--kind", help="--task: a kind, as of langrec adapt.")] = "full",
    train: Annotated[Path | None, typer.Option("--train", help="--task: training rows.")] = None,
    valid: Annotated[
        Path | None, typer.Option("--valid", help="--task: validation rows; default: some of training.")
    ] = None,
    shots: Annotated[int, typer.Option("--shots", min=0, help="--task: rows drawn per label; 0 = all.")] = 0,
    text: Annotated[str, typer.Option("--text", help="--task: column of the texts.")] = "text",
    label: Annotated[str, typer.Option("--label", help="--task: column of the labels.")] = "label",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the search (and of the adaptations).")] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value (--task: name=value) of every trial; may be given often."),
    ] = None,
    workers: Workers = 0,
    address: Address = "",
    as_json: AsJson = False,
) -> None:
    """Look for better settings of the recommender, or of an adaptation, on validation alone.

    Writes `trials.json`, `best.toml` (a recipe for `langrec train`), `report.html` and `study.db`, from which a second
    call goes on. Nothing of the test is read. docs/tune.md explains the space, what is judged, and what is cut short.

    Example: `langrec tune --trials 30 --events ml-latest-small --of id_tower --space id_tower.rate=1e-4..1e-2:log --space id_tower.dim=32,64,128 --out tuned`

    Example: `langrec tune --trials 20 --events events.csv --items items.csv --space retrieval.ease_reg=50..2000:log --out tuned`

    Example: `langrec tune --trials 20 --task classify --kind lora --train train.csv --space rate=1e-4..1e-2:log --space rank=4,8,16 --out tuned`

    Example: `langrec tune --trials 40 --events events.csv --space retrieval.ease_reg=50..2000:log --out tuned --workers 4`
    """  # noqa: E501 - an example is one line
    try:
        import optuna  # noqa: F401 - better said before data are read
    except ImportError as error:
        raise MissingExtra("tune", "langrec tune") from error
    from langrec.tuning import parse_space
    from langrec.tuning import tune as run

    looked = parse_space(space)
    check_out(out)
    with workers_of(workers, address) as cluster, bar() as told:
        subject: Any
        if task:
            given = {"--events": events if task not in ("recommend", "pairs") else None, "--recipe": recipe}
            _refuse({**given, "--of": of if of != "mix" else None}, "with --task")
            files = {"train": train, "valid": valid, "events": events, "items": items, "text": text, "label": label}
            about = {"task": task, "kind": kind, "seed": seed, "shots": shots}
            subject = _adaptation(model, about, files, metric, overrides or [], told)
        else:
            _refuse({"--train": train, "--valid": valid, "--shots": shots or None}, "without --task")
            subject = _recommender(events, items, users, settings_of(recipe, overrides), of, metric, looked, told)
        course = None
        if cluster is not None:
            from langrec.scale.tune import at_once

            course = at_once(cluster)
        found = run(subject, looked, out, trials, seed=seed, told=told, course=course)
    if as_json:
        print(json.dumps({**found.summary, "folder": str(out)}, ensure_ascii=False))
        return
    _show(found, out)


def _recommender(
    events: Path | None,
    items: Path | None,
    users: Path | None,
    settings: Any,
    of: str,
    metric: str,
    space: Space,
    told: Any,
) -> Any:
    from langrec.tuning.recommender import METRIC, RecommenderSubject, watched_tower

    if events is None:
        raise SettingsError("--events: is needed (or --task and --train, to tune an adaptation)", field="events")
    if metric not in ("", METRIC):
        raise SettingsError(f"--metric {metric}: validation chooses by {METRIC}; leave it out", field="metric")
    dataset = read(events, items, settings, None, told, users)
    watched, files = watched_tower(space, settings, of), {"events": events, "items": items, "users": users}
    return RecommenderSubject(dataset, settings, of, watched=watched, told=told, files=files)


def _adaptation(
    model: str, about: dict[str, Any], files: dict[str, Any], metric: str, overrides: list[str], told: Any
) -> Any:
    try:
        import torch  # noqa: F401 - the first thing that the extra lm brings
    except ImportError as error:
        raise MissingExtra("lm", "langrec tune --task") from error
    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.settings import AdaptSettings, with_overrides
    from langrec.tuning.adaptation import AdaptationSubject

    settings = with_overrides(AdaptSettings(**about), overrides)
    return AdaptationSubject(model, settings, Files(**files), metric, told)


def _refuse(given: dict[str, Any], where: str) -> None:
    """Options that would be passed over in silence."""
    for name, value in given.items():
        if value is not None:
            raise SettingsError(f"{name} {value}: has no meaning {where}; leave it out", field=name.lstrip("-"))


def _show(found: Tuned, out: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    summary, console = found.summary, wide_console()
    table = Table(title=f"{summary['metric']} of {summary['what']}, on validation", title_justify="left")
    for name in ("trial", summary["metric"], *summary["space"]):
        table.add_column(escape(name), justify="right")
    table.add_row("as it was", f"{found.before:.4f}", *("" for _ in summary["space"]))
    done = sorted((row for row in summary["trials"] if row["state"] == "done"), key=lambda row: -row["value"])
    for row in done[:5]:
        values = [escape(row["values"].get(name, "")) for name in summary["space"]]
        mark = "[bold]" if row["trial"] == found.number else ""
        table.add_row(f"{mark}{row['trial']}", f"{row['value']:.4f}", *values)
    console.print(table)
    for state in ("cut short", "failed"):
        some = [row for row in summary["trials"] if row["state"] == state]
        if some:
            why = f" (trial {some[0]['trial']}: {some[0]['why']})" if some[0]["why"] else ""
            console.print(escape(f"{len(some)} {state}{why}"), soft_wrap=True)
    shares = sorted(summary["importances"].items(), key=lambda one: -one[1])
    if shares:
        console.print(escape("mattered " + ", ".join(f"{name} {share:.0%}" for name, share in shares)), soft_wrap=True)
    if found.value > found.before:
        console.print(escape(f"use      {summary['use']}"), soft_wrap=True)
    else:
        console.print("no trial was better than the settings as they were: keep these, or look on", soft_wrap=True)
    console.print(escape(f"report   {out / 'report.html'}"), soft_wrap=True)
