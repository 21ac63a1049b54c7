"""The report of a chain as one HTML page without network, and the plot of quality against speed that others use too."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STYLE = """
:root { --page: #f6f7f9; --card: #fff; --ink: #17202b; --soft: #52606f; --line: #dde2e8; --accent: #1f63d6;
  --dot: #6b7a8a; }
@media (prefers-color-scheme: dark) {
  :root { --page: #10151b; --card: #181f27; --ink: #e9eef3; --soft: #a3b0bd; --line: #2c3743; --accent: #6ea3ff;
    --dot: #93a2b1; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px; }
h1 { margin: 0 0 8px; font-size: 30px; line-height: 1.2; text-wrap: balance; }
h2 { margin: 40px 0 8px; font-size: 20px; }
p { max-width: 76ch; color: var(--soft); margin: 0 0 12px; } .lead { color: var(--ink); font-size: 18px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td.note { text-align: left; } td.note { white-space: normal; min-width: 260px; color: var(--soft); }
thead th { color: var(--soft); font-weight: 500; } tbody tr:last-child > * { border-bottom: 0; }
tr.chosen > * { font-weight: 700; }
svg { width: 100%; min-width: 640px; height: auto; display: block; } svg text { fill: var(--ink); font-size: 13px; }
svg .axis { stroke: var(--line); } svg .tick { fill: var(--soft); font-size: 12px; } svg .dot { fill: var(--dot); }
svg .chosen { fill: var(--accent); } svg .edge { stroke: var(--accent); fill: none; stroke-dasharray: 4 4; }
"""
WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 960, 420, 72, 40, 24, 56


@dataclass(frozen=True, slots=True)
class Point:
    """A dot of the plot: its name, where it is, and whether it is the chosen one."""

    name: str
    x: float
    y: float
    chosen: bool = False


def page(report: Mapping[str, Any]) -> str:
    """The page of what `Compressed.to_dict` gives. All names are escaped: they come from people's files."""
    rows, about = report["rows"], report["corpus"]
    first, last = rows[0], rows[-1]
    before, after = first["texts_per_second"], last["texts_per_second"]
    head = (
        f"{report['model']}: {after / max(before, 1e-9):.1f} times the texts a second, "
        f"{last['kept']:.1%} of the NDCG@10"
    )
    lead = (
        f"{first['megabytes']:.1f} MB became {last['megabytes']:.1f} MB, {before:,.0f} texts a second became "
        f"{after:,.0f}. On pairs that no step trained on, {last['kept_held_out']:.1%} of the NDCG@10 is kept."
    )
    points = [Point(row["name"], row["texts_per_second"], row["ndcg"], row is last) for row in rows]
    said = (
        f"Judged on {about['judged']:,} of {about['pairs']:,} pairs of {about['source'] or 'texts'}: "
        f"{about['question']}; "
        f"{about['held_out']:,} pairs were held out of all training. Trained on {about['trained_on']:,} texts. "
        "Megabytes are what the runtime loads; the original is measured in the fastest fp32 runtime that is installed."
    )
    columns = {
        "step": lambda row: row["name"],
        "runtime": lambda row: row["runtime"],
        "dim": lambda row: str(row["dim"]),
        "MB": lambda row: f"{row['megabytes']:.1f}",
        "texts/s": lambda row: f"{row['texts_per_second']:,.0f}",
        "ms, one text": lambda row: f"{row['ms']:.2f}",
        "NDCG@10": lambda row: f"{row['ndcg']:.4f}",
        "kept": lambda row: f"{row['kept']:.1%}",
        "kept, held out": lambda row: f"{row['kept_held_out']:.1%}",
        "cosine": lambda row: "–" if row["cosine"] is None else f"{row['cosine']:.4f}",
        "top-10": lambda row: f"{row['top10']:.3f}",
        "what was done": lambda row: row["note"],
    }
    return document(
        head,
        f'<p class="lead">{html.escape(lead)}</p><div class="card">'
        + scatter(points, "texts a second", "NDCG@10")
        + f'</div><h2>Each step</h2><p>{html.escape(said)}</p><div class="card">{table(rows, columns, last)}</div>',
    )


def document(title: str, body: str) -> str:
    """A whole page: `body` is HTML, the title is text."""
    name = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main><h1>{name}</h1>{body}</main></body></html>\n"
    )


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Any], chosen: Any = None) -> str:
    """An HTML table: a column per entry of `columns`, which makes a cell's text from a row."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    lines = []
    for row in rows:
        cells = [html.escape(str(cell(row))) for cell in columns.values()]
        marks = [' class="note"' if len(cell) > 40 else "" for cell in cells]
        inner = "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks[1:], cells[1:], strict=True))
        mark = ' class="chosen"' if row is chosen else ""
        lines.append(f'<tr{mark}><th scope="row">{cells[0]}</th>{inner}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def scatter(points: Sequence[Point], x: str, y: str) -> str:
    """An SVG of named dots over a logarithmic x axis, with a line along those that no other beats in both."""
    shown = [one for one in points if one.x > 0 and math.isfinite(one.y)]
    if not shown:
        return ""
    low, high = math.log10(min(one.x for one in shown)) - 0.1, math.log10(max(one.x for one in shown)) + 0.25
    top = max(one.y for one in shown) * 1.08 or 1.0
    bottom = min(0.9 * min(one.y for one in shown), top - 1e-3)

    def across(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDE - LEFT - RIGHT)

    def up(value: float) -> float:
        return TOP + (top - value) / (top - bottom) * (HIGH - TOP - BOTTOM)

    def label(text: str, left: float, down: float, anchor: str, kind: str = ' class="tick"') -> str:
        return f'<text{kind} x="{left:.1f}" y="{down:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'

    def line(x1: float, y1: float, x2: float, y2: float) -> str:
        return f'<line class="axis" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'

    parts = [f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{html.escape(y)} against {html.escape(x)}">']
    for at in (digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in (1, 2, 5)):
        if low <= math.log10(at) <= high:
            parts.append(line(across(at), TOP, across(at), HIGH - BOTTOM))
            parts.append(label(f"{at:,g}", across(at), HIGH - BOTTOM + 18, "middle"))
    for at in (bottom + (top - bottom) * i / 4 for i in range(5)):
        parts.append(line(LEFT, up(at), WIDE - RIGHT, up(at)))
        parts.append(label(f"{at:.3f}", LEFT - 8, up(at) + 4, "end"))
    edge = sorted(_unbeaten(shown), key=lambda one: one.x)
    parts.append(f'<polyline class="edge" points="{" ".join(f"{across(o.x):.1f},{up(o.y):.1f}" for o in edge)}"/>')
    taken: list[tuple[float, float]] = []
    for one in sorted(shown, key=lambda o: up(o.y)):
        place = up(one.y) - 10
        while any(abs(place - at) < 15 and abs(across(one.x) - where) < 170 for where, at in taken):
            place += 15
        taken.append((across(one.x), place))
        end = across(one.x) > WIDE - 200
        kind = "chosen" if one.chosen else "dot"
        parts.append(f'<circle class="{kind}" cx="{across(one.x):.1f}" cy="{up(one.y):.1f}" r="6"/>')
        parts.append(label(one.name, across(one.x) + (-10 if end else 10), place, "end" if end else "start", ""))
    parts.append(label(f"{x} (logarithmic)", (WIDE + LEFT) / 2, HIGH - 10, "middle"))
    turned = f' class="tick" transform="rotate(-90 16 {HIGH / 2})"'
    parts.append(label(y, 16, HIGH / 2, "middle", turned))
    return "".join(parts) + "</svg>"


def _unbeaten(points: Sequence[Point]) -> list[Point]:
    """Those that no other point is at least as good as in both, and better in one."""
    return [
        one
        for one in points
        if not any(other.x >= one.x and other.y >= one.y and (other.x, other.y) != (one.x, one.y) for other in points)
    ]
