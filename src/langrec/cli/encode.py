"""`langrec encode`: the vectors of a catalogue, by one process or by many."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.options import Address, AsJson, Overrides, Recipe, Workers, bar, check_out, settings_of, workers_of


def encode(
    items: Annotated[Path, typer.Option("--items", help="Items: a file or folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the vectors: a second call with it goes on.")],
    workers: Workers = 0,
    address: Address = "",
    block: Annotated[int, typer.Option("--block", min=1, help="Texts of a block, which is read whole.")] = 4096,
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Read the text of every item, and write its vector.

    Writes `blocks/*.npy` (float32 unit rows, each file under the hash of its texts), `items.parquet` (`item_id`, in the
    order of the rows) and, last, `encoded.json`. A block that is there is not read again: an interrupted run goes on,
    and a changed catalogue costs the blocks that changed. docs/scale.md tells how to run it on several machines.

    Example: `langrec encode --items items.csv --out vectors`

    Example: `langrec encode --items items.parquet --out vectors --workers 4 --set encoder.runtime=onnx-int8`

    Example: `langrec encode --items items.parquet --out vectors --workers 64 --address auto --json`
    """
    from langrec.data.load import load_dataset
    from langrec.encoders import load_encoder

    settings = settings_of(recipe, overrides)
    check_out(out)
    with workers_of(workers, address) as cluster, bar() as told:
        from langrec.scale.encode import encode_catalogue

        dataset, _ = load_dataset(None, items, settings.data, progress=lambda what: told(f"read: {what}"))
        encoder = load_encoder(settings.encoder, progress=told)
        texts = dataset.catalogue.texts(settings.encoder.fields)
        ids = dataset.catalogue.frame["item_id"].to_list()
        start = time.perf_counter()
        found = encode_catalogue(encoder, ids, texts, out, cluster, block=block, progress=told)
        seconds = time.perf_counter() - start
    summary = {
        "items": len(found),
        "dim": found.dim,
        "identity": found.identity,
        "blocks": len(found.blocks),
        "read": found.read,
        "seconds": seconds,
        "folder": str(out),
    }
    if as_json:
        print(json.dumps(summary))
        return
    print(f"{len(found):,} vectors of {found.dim} numbers in {out}")
    print(f"blocks  {found.read} of {len(found.blocks)} were read now, in {seconds:.1f} s; the others were there")
    print(f"space   {found.identity}")
