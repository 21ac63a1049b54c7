"""`langrec label`: what to label next, the labels read back, labels that look wrong, labels for free."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from langrec.alone import one_by_one
from langrec.cli.options import AsJson, Overrides, Recipe, bar, check_out_file, settings_of

app = typer.Typer(
    no_args_is_help=True,
    help="""Choose texts to label next, merge labels, flag wrong ones, spread sure ones.

    Example: langrec label next --pool texts.csv --labelled labelled.csv --count 50 --out next.csv
    """,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

PoolPath = Annotated[Path, typer.Option("--pool", help="Unlabelled texts: CSV, JSON lines or Parquet.")]
Labelled = Annotated[Path, typer.Option("--labelled", help="Labelled texts: CSV, JSON lines or Parquet.")]
MaybeLabelled = Annotated[Path | None, typer.Option("--labelled", help="What is labelled already; none at first.")]
TextName = Annotated[str, typer.Option("--text", help="Column of the texts.")]
LabelName = Annotated[str, typer.Option("--label", help="Column of the labels.")]


@app.command("next")
def next_(
    pool: PoolPath,
    labelled: MaybeLabelled = None,
    out: Annotated[Path, typer.Option("--out", help="File to write: .csv, .jsonl or .parquet.")] = Path("next.csv"),
    by: Annotated[str, typer.Option("--by", help="badge, margin, entropy, coreset or random.")] = "badge",
    count: Annotated[int, typer.Option("--count", min=1, help="How many texts.")] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn.")] = 0,
    text: TextName = "text",
    label: LabelName = "label",
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Choose the texts that are worth labelling next, and write them with a blank label to fill in.

    Writes `row` (0-based data row of the pool), the text, `why`, and the blank label. Texts that are labelled already
    are passed over, and a text that stands there often comes once. `--set encoder.name=…` names what reads them.

    Example: `langrec label next --pool texts.csv --count 50 --out first.csv`

    Example: `langrec label next --pool texts.csv --labelled labelled.csv --by margin --out next.csv`
    """
    from langrec.lm.adapt.examples import read_texts
    from langrec.lm.labels.files import check_kept, check_names, read_pool, write_next
    from langrec.lm.labels.pick import pick

    check_names(text, label)
    _check_out(out, pool, labelled)
    known = read_texts(labelled, text, label) if labelled else None
    check_kept(out, known.texts if known else (), text, label, "merge them first, and give --labelled")
    offered = read_pool(pool, known, text)
    with bar() as told:
        read = _reader(recipe, overrides, told)
        labels = list(known.labels) if known else []
        picks = pick(by, read(offered.texts.texts), read(known.texts if known else ()), labels, count, seed)
    with one_by_one(out.parent):  # a person, or another run, may have filled it in meanwhile
        check_kept(out, known.texts if known else (), text, label, "merge them first, and give --labelled")
        write_next(out, offered, picks, text, label)
    summary = {"out": str(out), "by": picks.by, "texts": len(picks), "open": len(offered.texts) - len(picks)}
    if as_json:
        print(json.dumps({**summary, "rows": offered.texts.rows[picks.rows].tolist()}))
        return
    if picks.by != by:
        print(f"note: {by} needs texts of two labels to go by; {picks.by} chose instead")
    print(f"{len(picks)} texts chosen by {picks.by}; {summary['open']} are left after them")
    if len(picks):
        known_in, to = (f"--labelled {labelled} ", labelled) if labelled else ("", "labelled.csv")
        print(f"fill in the column {label} of {out}, then: langrec label merge {known_in}--answers {out} --out {to}")


@app.command()
def merge(
    answers: Annotated[list[Path], typer.Option("--answers", help="A filled-in file; may be given often.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; it may be the labelled one.")],
    labelled: MaybeLabelled = None,
    pool: Annotated[
        Path | None,
        typer.Option("--pool", help="Where the answers' rows came from: checks that their texts are those."),
    ] = None,
    text: TextName = "text",
    label: LabelName = "label",
    as_json: AsJson = False,
) -> None:
    """Read labels back: what was labelled before stays as it is, and what the answers add comes after it.

    A text with two labels is a conflict: nothing of it is taken over; it is named, and written to `OUT.conflicts.csv`.

    Example: `langrec label merge --labelled labelled.csv --answers next.csv --out labelled.csv`

    Example: `langrec label merge --answers anna.csv --answers ben.csv --pool texts.csv --out labelled.csv`
    """
    from langrec.lm.labels.files import check_kept, check_names, write, write_conflicts
    from langrec.lm.labels.files import merge as merged

    check_names(text, label)
    _check_out(out, pool, *answers)
    aside = out.with_name(f"{out.name}.conflicts.csv")
    with one_by_one(out.parent):  # another merge may add to the same file
        found = merged(labelled, answers, pool, text, label)
        check_kept(out, found.frame[text], text, label, f"give --labelled {out} to add to them")
        write(found.frame, out)
        if found.conflicts:
            write_conflicts(aside, found.conflicts)
        else:
            aside.unlink(missing_ok=True)
    numbers = {"rows": found.frame.height, "added": found.added, "known": found.known, "open": found.open}
    if as_json:
        conflicts = [{name: getattr(one, name) for name in one.__slots__} for one in found.conflicts]
        print(json.dumps({"out": str(out), **numbers, "conflicts": conflicts, "new_labels": found.new_labels}))
        return
    print(
        f"{found.added} labels added, {found.known} known already, {found.open} still blank: {found.frame.height} rows"
    )
    for name, near in found.new_labels.items():
        print(f"note: {name} is a new label" + (f" (is it {near}?)" if near else ""))
    for one in found.conflicts[:20]:
        print(f"conflict: {one.where} says {one.label}, {one.other_where} has {one.other}: {one.text}", file=sys.stderr)
    if found.conflicts:
        print(f"{len(found.conflicts)} conflicts were left out: {aside}", file=sys.stderr)
    print(f"wrote {out}")


@app.command()
def check(
    labelled: Labelled,
    out: Annotated[Path, typer.Option("--out", help="File to write: .csv, .jsonl or .parquet.")] = Path("flags.csv"),
    neighbours: Annotated[int, typer.Option("--neighbours", min=1, help="Nearest texts that vote.")] = 10,
    least: Annotated[
        float, typer.Option("--least", min=0, max=1, help="Share of the votes from which a label is suggested.")
    ] = 0.5,
    text: TextName = "text",
    label: LabelName = "label",
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Flag labels that look wrong: the nearest texts have another one, or the same text stands there with another.

    Nothing is changed: a person decides.

    Example: `langrec label check --labelled labelled.csv --out flags.csv`
    """
    from langrec.lm.adapt.examples import read_texts
    from langrec.lm.labels.files import check_names, write_flags
    from langrec.lm.labels.noise import contradictions, flags

    check_names(text, label)
    _check_out(out, labelled)
    known = read_texts(labelled, text, label)
    sure = contradictions(known.texts, known.labels)
    with bar() as told:
        vectors = _reader(recipe, overrides, told)(known.texts)
    said = {flag.row for flag in sure}
    found = [*sure, *(flag for flag in flags(vectors, known.labels, neighbours, least) if flag.row not in said)]
    write_flags(out, found, known, text, label)
    if as_json:
        print(json.dumps({"out": str(out), "rows": len(known), "flagged": len(found), "contradictions": len(sure)}))
        return
    print(f"{len(found)} of {len(known)} labels look wrong, {len(sure)} of them because the same text has two")
    for flag in found[:10]:
        print(f"row {known.rows[flag.row] + 1}: {flag.label}, perhaps {flag.suggested} ({flag.why})")
    print(f"wrote {out}")


@app.command()
def spread(
    pool: PoolPath,
    labelled: Labelled,
    out: Annotated[Path, typer.Option("--out", help="File to write: .csv, .jsonl or .parquet.")] = Path("spread.csv"),
    confidence: Annotated[float, typer.Option("--confidence", help="Probability from which a label is taken.")] = 0.9,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds at most.")] = 5,
    growth: Annotated[
        float, typer.Option("--growth", help="Of each label, a round takes this share of the labelled texts a label.")
    ] = 0.5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the texts that the gain is judged on.")] = 0,
    text: TextName = "text",
    label: LabelName = "label",
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Label what a classifier is sure of, each label alike, and say whether training on it helps (self-training).

    The gain is judged on labelled texts that neither way learned from; where none is shown, it says so.

    Example: `langrec label spread --pool texts.csv --labelled labelled.csv --confidence 0.9 --out spread.csv`
    """
    from langrec.lm.adapt.examples import read_texts
    from langrec.lm.labels.files import check_names, read_pool, write_spread
    from langrec.lm.labels.spread import gain
    from langrec.lm.labels.spread import spread as spread_labels

    check_names(text, label)
    _check_out(out, pool, labelled)
    known = read_texts(labelled, text, label)
    offered = read_pool(pool, known, text)
    how: dict[str, Any] = {"confidence": confidence, "rounds": rounds, "growth": growth}
    with bar() as told:
        read = _reader(recipe, overrides, told)
        free, given = read(offered.texts.texts), read(known.texts)
        found = spread_labels(free, given, known.labels, **how)
        judged = gain(free, given, known.labels, seed=seed, **how)
    write_spread(out, offered, found, text, label)
    said = judged.told if judged else "Too few labelled texts to judge the gain: none could be held out."
    counts = {name: sum(one.label == name for one in found) for name in sorted(set(known.labels))}
    if as_json:
        numbers = {name: getattr(judged, name) for name in judged.__slots__} if judged else None
        print(json.dumps({"out": str(out), "labels": len(found), "by_label": counts, "gain": numbers, "said": said}))
        return
    fewest, most = min(counts.values()), max(counts.values())
    print(f"{len(found)} of {len(offered.texts)} texts got a label, {fewest} to {most} of each of {len(counts)} labels")
    print(said)
    print(f"wrote {out}")


def _check_out(out: Path, *read: Path | None) -> None:
    """Raises SettingsError where nothing can be written there, or where it is a file that is only read."""
    from langrec.errors import SettingsError

    check_out_file(out)
    if any(one is not None and one.exists() and out.exists() and out.samefile(one) for one in read):
        raise SettingsError(f"--out {out}: is a file that this command reads; name another", field="out")


def _reader(recipe: Path | None, overrides: list[str] | None, told: Any) -> Any:
    """From texts to frozen unit vectors, by the encoder of the settings; what was read once is kept."""
    from langrec.data.cache import cache_folder
    from langrec.encoders import load_encoder
    from langrec.encoders.cache import encode_cached

    settings = settings_of(recipe, overrides).encoder
    encoder = load_encoder(settings, progress=told)
    folder = Path(settings.cache) if settings.cache else cache_folder()
    return lambda texts: encode_cached(encoder, list(texts), folder / "vectors", progress=told)
