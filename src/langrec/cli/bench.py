"""`langrec bench`: what search and serving take at a size, on the machine at hand."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langrec.cli.bench_serve import serve
from langrec.cli.options import Overrides, Recipe, Told, bar, check_out, check_out_file, settings_of

if TYPE_CHECKING:
    from langrec.settings import Settings
    from langrec.types import FloatMatrix

app = typer.Typer(
    no_args_is_help=True,
    help="""Measure what a size of catalogue or audience takes on this machine.

    Example: langrec bench index --items 100000
    """,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

app.command("serve")(serve)

# Made-up texts that stand in for a catalogue where none is named.
TEXTS = 3000


@app.callback()
def bench() -> None:
    """Measure what a size of catalogue or audience takes on this machine."""


@app.command()
def index(
    items: Annotated[int, typer.Option("--items", min=1000, help="How many vectors are drawn and searched.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="File that the figures are written to.")] = None,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="What the vectors are like: a release, an items file, or a .npy of vectors; may be given often. "
            "Default: made-up texts.",
        ),
    ] = None,
    dim: Annotated[int, typer.Option("--dim", min=2, help="Numbers of a vector.")] = 128,
    peer: Annotated[
        str, typer.Option("--peer", help="Another library beside: usearch, hnswlib, none or auto.")
    ] = "auto",
    folder: Annotated[Path | None, typer.Option("--folder", help="Keep vectors and index here.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn.")] = 0,
    recipe: Recipe = None,
    overrides: Overrides = None,
) -> None:
    """Build an index of many vectors and measure what it finds and costs, beside brute force and another library.

    The vectors are drawn from a mixture that is fitted to real ones. Every search is one query on one core. `--set
    index.…` changes the index. 10 million vectors of 128 numbers take 5 GB on the disk.

    Example: `langrec bench index --items 100000`

    Example: `langrec bench index --items 1000000 --from releases --json index.json --peer usearch`

    Example: `langrec bench index --items 10000000 --from items.csv --folder big --peer none`
    """
    import numpy as np

    from langrec.errors import SettingsError
    from langrec.retrieval.indexes.measure import measure, nearest_cosines, recall_on, write_vectors
    from langrec.retrieval.indexes.mixture import Mixture, projected

    if peer not in ("auto", "none", "usearch", "hnswlib"):
        raise SettingsError(f"--peer {peer}: is not usearch, hnswlib, none or auto", field="peer")
    settings = settings_of(recipe, overrides)
    if json_file is not None:
        check_out_file(json_file, "--json", "index.json")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as spare, bar() as told:
        place = check_out(folder, "--folder") if folder else Path(spare)
        real, named = _vectors(source or [], settings, told)
        told("fit")
        mixture = Mixture.fit(real, dim, rng)
        figures: dict[str, Any] = {"like": named, "components": len(mixture.means)}
        alike = {"real": projected(real, dim), "drawn": mixture.items(len(real), rng)}
        figures["nearest_cosines"] = {name: nearest_cosines(rows, rng) for name, rows in alike.items()}
        figures["real"] = recall_on(real, settings.index, rng, told)
        vectors = write_vectors(mixture, items, place / "vectors.npy", rng, told)
        queries = mixture.queries(2000, rng)
        figures |= measure(vectors, queries, settings.index, place, told, peer=peer)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    _show(figures)


def _vectors(sources: list[Path], settings: Settings, told: Told) -> tuple[FloatMatrix, str]:
    """Real vectors of one width, and what they are."""
    import numpy as np

    from langrec.errors import DataError

    if not sources:
        from langrec.lm.sample import sample_pairs

        titles, descriptions = sample_pairs(TEXTS)
        return _read(titles + descriptions, settings, told), f"{2 * TEXTS:,} made-up texts, {settings.encoder.name}"
    found: list[FloatMatrix] = []
    names = []
    for source in sources:
        file = source
        if source.is_dir() and not (source / "vectors.npy").exists():
            from langrec.releases import current

            kept = "retrieval/vectors/vectors.npy"
            release = source if (source / kept).exists() else current(source)
            file = release / kept
            if not file.exists():
                raise DataError(f"--from {source}: the release has no text vectors (scorer vectors)", field="from")
        elif source.is_dir():
            file = source / "vectors.npy"
        if file.suffix == ".npy":
            rows = np.load(file, allow_pickle=False, mmap_mode="r")
            if rows.ndim != 2 or rows.dtype != np.float32:
                raise DataError(
                    f"--from {file}: holds {rows.dtype} of shape {rows.shape}, not float32 rows", field="from"
                )
        else:
            from langrec.data.load import load_dataset

            dataset, _ = load_dataset(None, file, settings.data, progress=lambda what: told(f"read: {what}"))
            rows = _read(dataset.catalogue.texts(settings.encoder.fields), settings, told)
        if found and rows.shape[1] != found[0].shape[1]:
            raise DataError(f"--from {source}: {rows.shape[1]} numbers a vector, not {found[0].shape[1]}", field="from")
        found.append(np.asarray(rows[np.any(rows, axis=1)]))
        names.append(f"{source.name} ({len(found[-1]):,})")
    return np.concatenate(found), ", ".join(names)


def _read(texts: list[str] | tuple[str, ...], settings: Settings, told: Told) -> FloatMatrix:
    from langrec.data.cache import cache_folder
    from langrec.encoders import load_encoder
    from langrec.encoders.cache import encode_cached

    encoder = load_encoder(settings.encoder, progress=told)
    folder = Path(settings.encoder.cache) if settings.encoder.cache else cache_folder()
    return encode_cached(encoder, list(texts), folder / "vectors", progress=told)


def _show(figures: dict[str, Any]) -> None:
    """The figures as lines to read."""
    real, brute, changes = figures["real"], figures["brute_force"], figures["changes"]
    ten, slower = figures["at_10"], figures["times_faster_than_brute_force"]
    print(f"{figures['items']:,} vectors of {figures['dim']} numbers, like {figures['like']}: {figures['kind']}")
    print(f"build       {figures['build_s']} s, load {figures['load_s']} s")
    print(f"resident    {figures['resident_bytes_per_item']} bytes an item beside the mapped vectors")
    print(f"on disk     {figures['disk_bytes_per_item']} bytes an item")
    print(f"recall      @10 {figures['recall@10']:.4f}  @100 {figures['recall@100']:.4f}")
    near = figures["nearest_cosines"]
    print(f"alike       cosines to the 1st, 10th, 100th neighbour: real {near['real']}, drawn {near['drawn']}")
    print(f"real        {real['items']:,} as they are: @10 {real['recall@10']:.4f}  @100 {real['recall@100']:.4f}")
    print(
        f"search 100  p50 {figures['p50_ms']} ms  p99 {figures['p99_ms']} ms  {figures['per_s']:,} a second on a core"
    )
    print(f"  of the processor: p50 {figures['cpu_p50_ms']} ms  p99 {figures['cpu_p99_ms']} ms")
    print(f"search 10   p50 {ten['p50_ms']} ms  p99 {ten['p99_ms']} ms  {ten['per_s']:,} a second on a core")
    print(f"brute force p50 {brute['p50_ms']} ms: {slower}x slower")
    for share, one in figures["filters"].items():
        print(
            f"filter {share:5} p50 {one['p50_ms']} ms ({one['times_unfiltered']}x)  recall@100 {one['recall@100']:.4f}"
        )
    print(f"add         1 in {changes['add_1_ms']} ms, 1,000 in {changes['add_1000_ms']} ms")
    print(f"remove      1 in {changes['remove_1_ms']} ms, 1,000 in {changes['remove_1000_ms']} ms")
    print(f"then        p50 {changes['search_after_p50_ms']} ms  p99 {changes['search_after_p99_ms']} ms")
    if "peer" in figures:
        other = figures["peer"]
        print(f"{other['name']:11} build {other['build_s']} s, {other['bytes_per_item']} bytes an item", end=", ")
        print(f"recall@100 {other['recall@100']:.4f}, p50 {other['p50_ms']} ms ({other['times_its_p50']}x ours)")
