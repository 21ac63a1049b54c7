"""A study as one HTML page that holds everything it needs: the way to the best, what mattered, every trial."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from langrec.lm.compress.page import document, table


def page(summary: Mapping[str, Any]) -> str:
    """The page of the content of trials.json. All names are escaped: they come from people's files."""
    from plotly.offline import get_plotlyjs

    script = files("langrec.tuning").joinpath("report.js").read_text("utf-8")
    best, rows = summary["best"], summary["trials"]
    counts = {state: sum(row["state"] == state for row in rows) for state in ("done", "cut short", "failed")}
    lead = (
        f"Trial {best['trial']} of {len(rows)} reaches {best['value']:.4f} on validation; the settings as they were "
        f"reach {summary['before']:.4f}. "
        + ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        + "."
        + ("" if best["value"] > summary["before"] else " No trial was better than these: keep them, or look on.")
    )
    columns: dict[str, Callable[[Any], str]] = {
        "trial": lambda row: str(row["trial"]),
        summary["metric"]: lambda row: "–" if row["value"] is None else f"{row['value']:.5f}",
        **{name: lambda row, name=name: row["values"].get(name, "–") for name in summary["space"]},  # type: ignore[misc]
        "epochs judged": lambda row: str(len(row["epochs"]) or "–"),
        "seconds": lambda row: "–" if row["seconds"] is None else f"{row['seconds']:.1f}",
        "state": lambda row: row["state"] + (f": {row['why']}" if row["why"] else ""),
    }
    chosen = next((row for row in rows if row["trial"] == best["trial"]), None)
    slices = "".join(
        f'<div id="slice{i}" class="chart" role="img" aria-label="Trials by {html.escape(name)}"></div>'
        for i, name in enumerate(summary["space"])
    )
    mattered = (
        '<div class="card"><div id="importances" class="chart" role="img" aria-label="Importance of each setting">'
        "</div></div><p>The share of each setting in what set the better trials apart (PED-ANOVA). Of few trials it "
        "says little.</p>"
        if summary["importances"]
        else "<p>Too few trials came to an end to tell.</p>"
    )
    return document(
        f"{summary['metric']} of {summary['what']}: {best['value']:.4f}",
        f'<style>.chart {{ height: 340px; }}</style><p class="lead">{html.escape(lead)}</p>'
        f"<p>{html.escape(summary['note'])}</p><p>Use it: <code>{html.escape(summary['use'])}</code></p>"
        '<h2>The way to the best</h2><div class="card"><div id="history" class="chart" role="img" '
        'aria-label="Value of each trial; the table below holds the numbers"></div></div>'
        f'<h2>What mattered</h2>{mattered}<h2>By setting</h2><div class="card">{slices}</div>'
        f'<h2>Every trial</h2><div class="card">{table(rows, columns, chosen)}</div>'
        f'<script type="application/json" id="data">{_inside_script(summary)}</script>'
        f"<script>{get_plotlyjs()}</script><script>{script}</script>",
    )


def _inside_script(value: Any) -> str:
    """JSON that no HTML parser reads as a tag or a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
