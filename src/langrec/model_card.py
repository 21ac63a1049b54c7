"""A release's model card: what it was made from, how, and what it was measured to be worth, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langrec.evaluation.report import span


def model_card(manifest: Mapping[str, Any]) -> str:
    """The card of a release with this manifest."""
    data = manifest["data"]
    notes = manifest.get("notes", ())
    lines = [
        f"# Release {manifest['stamp']}",
        "",
        f"Made {manifest['made_at']} from {data['n_events']:,} events of {data['n_users']:,} users and "
        f"{data['n_items']:,} items (data {data['hash'][:12]}).",
        "",
        f"Scorers: {', '.join(manifest['models'])}; answered by: {manifest.get('chosen', 'mix')}.",
        f"Encoders: {', '.join(f'{space}: {identity}' for space, identity in manifest['encoders'].items()) or 'none'}.",
        *_made(manifest),
        *(["", *(f"Note: {note}." for note in notes)] if notes else []),
        "",
    ]
    rows = [row for row in manifest["metrics"] if row["slice"] == "all" and row["metric"] == "ndcg@10"]
    if rows:
        lines += ["| model | NDCG@10 | interval |", "| --- | --- | --- |"]
        lines += [f"| {row['model']} | {row['value']:.4f} | {span(row['low'], row['high'], '.4f')} |" for row in rows]
        lines += ["", "Measured on held-out events, full catalogue; the protocol stands in measure/protocol.json.", ""]
    return "\n".join(lines)


def _made(manifest: Mapping[str, Any]) -> list[str]:
    """How the encoder was adapted and made cheaper, as sentences of the model card."""
    lines = []
    adapted, compressed = manifest.get("adapted"), manifest.get("compressed")
    if adapted and adapted["rows"]:
        lines.append(
            f"Adapted from {adapted['model']} on the training part: {adapted['task']}, {adapted['kind']}, "
            f"{adapted['trainable_share']:.2%} of the parameters trained on {adapted['rows']['train']:,} rows in "
            f"{adapted['seconds']:,.0f} s; {adapted['judged']} on rows held out of it {adapted['before']:.4f} before, "
            f"{adapted['after']:.4f} after."
        )
    if compressed:
        first, last = compressed["rows"][0], compressed["rows"][-1]
        lines.append(
            f"Made cheaper by {', '.join(compressed['steps'])} in {compressed['seconds']:,.0f} s: "
            f"{first['megabytes']:.1f} to {last['megabytes']:.1f} MB, {first['texts_per_second']:,.0f} to "
            f"{last['texts_per_second']:,.0f} texts a second; kept {last['kept']:.1%} of NDCG@10 where "
            f"{compressed['question']}."
        )
    return lines
