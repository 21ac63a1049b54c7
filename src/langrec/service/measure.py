"""What a release was measured to be worth: the files in its measure folder, as the console shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from langrec.errors import BundleError


def measured(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Metrics, protocol, the chosen model and each model's seconds.

    Args:
        folder: a release.
        manifest: of the release.

    Raises:
        BundleError: the release was not measured, or its files are damaged.
    """
    protocol = _json(folder / "measure" / "protocol.json")
    seconds = protocol.get("seconds")
    return {
        "release": folder.name,
        "metrics": _json(folder / "measure" / "metrics.json"),
        "protocol": protocol,
        "chosen": _chosen(manifest),
        "seconds": seconds if isinstance(seconds, dict) else {},
    }


def list_models(folder: Path) -> list[str]:
    """Models whose lists the release keeps."""
    return sorted(path.stem for path in (folder / "measure" / "lists").glob("*.parquet"))


def user_lists(folder: Path, user: str, models: list[str], k: int) -> dict[str, list[tuple[str, float]]]:
    """Each model's list of a user from the measuring: the newest one, as (item, score), best first."""
    import polars as pl

    found = {}
    for model in models:
        path = folder / "measure" / "lists" / f"{model}.parquet"
        try:
            rows = pl.scan_parquet(path).filter(pl.col("user_id") == user).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise BundleError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
        if rows.height:
            newest = rows.filter(pl.col("at") == rows["at"].max()) if rows["at"].null_count() < rows.height else rows
            if "event" in newest.columns and newest["event"].null_count() < newest.height:
                newest = newest.filter(pl.col("event") == newest["event"].max())
            rows = newest.sort("rank").head(k)
        found[model] = list(zip(rows["item_id"].to_list(), rows["score"].to_list(), strict=True))
    return found


def _chosen(manifest: dict[str, Any]) -> str:
    chosen = manifest.get("chosen", "mix")
    return chosen if isinstance(chosen, str) else "mix"


def _json(path: Path) -> Any:
    try:
        # A slice without users has no value: files say NaN, which JSON does not know.
        return json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)
    except FileNotFoundError as error:
        # Whoever reads the console is not told where the server keeps its files.
        stamp, part = path.parents[1].name, "/".join(path.parts[-2:])
        raise BundleError(
            f"{stamp} was not measured: it has no {part}; langrec train measures what it writes"
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
