"""The adaptation as one HTML page that holds everything it needs: curves, the report by class, settings."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any


def page(summary: Mapping[str, Any]) -> str:
    """The page's HTML, from the content of metrics.json. All texts are escaped: they come from people's files."""
    from plotly.offline import get_plotlyjs

    template = Template(files("langrec.lm.adapt").joinpath("report.html").read_text("utf-8"))
    part = "test" if summary["test"] else "valid"
    text = {
        "title": f"{summary['task']}, {summary['kind']}: {summary['model']}",
        "headline": f"{summary['model']} adapted by {summary['kind']} for {summary['task']}",
        "part": {"test": "the test", "valid": "validation"}[part],
        "settings": json.dumps(summary["settings"], indent=1),
    }
    return template.substitute(
        {name: html.escape(value) for name, value in text.items()},
        tiles=_tiles(summary, part),
        notes="".join(f"<li>{html.escape(note)}</li>" for note in summary["notes"]),
        classes=_classes(summary[part]),
        epochs=_epochs(summary["epochs"]),
        data=_inside_script({"epochs": summary["epochs"]}),
        plotly=get_plotlyjs(),
    )


def _tiles(summary: Mapping[str, Any], part: str) -> str:
    numbers = {
        name: value
        for name, value in summary[part].items()
        if isinstance(value, float) and not name.endswith(("_low", "_high"))
    }
    tiles = [
        (name.replace("_", " "), f"{value:.4f}", _bounds(summary[part].get(f"{name}_interval")))
        for name, value in numbers.items()
    ]
    tiles += [
        ("trained parameters", f"{summary['trainable_share']:.2%}", "of all, head included"),
        ("time", f"{summary['seconds']:.1f} s", f"in {summary['precision'] or 'fp32'}"),
    ]
    return "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}<small>{html.escape(note)}</small></dd></div>"
        for name, value, note in tiles
    )


def _bounds(interval: Any) -> str:
    if not interval or interval[0] is None:
        return ""
    return f"interval {interval[0]:.4f} to {interval[1]:.4f}"


def _classes(numbers: Mapping[str, Any]) -> str:
    """The classification report as a table; a sentence where the task has no classes."""
    if "classes" not in numbers:
        return "<p>This task has no classes.</p>"
    lines = [(name, one, str(one["support"])) for name, one in numbers["classes"].items()]
    lines += [(f"{name} average", numbers[name], str(numbers["rows"])) for name in ("macro", "weighted")]
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        + "".join(
            f"<td>{'–' if one[key] is None else format(one[key], '.4f')}</td>" for key in ("precision", "recall", "f1")
        )
        + f"<td>{support}</td></tr>"
        for name, one, support in lines
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("class", "precision", "recall", "F1", "support"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _epochs(epochs: list[Mapping[str, Any]]) -> str:
    if not epochs:
        return "<p>Nothing was trained by epochs.</p>"
    names = list(dict.fromkeys(name for row in epochs for name in row))
    head = "".join(f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in names)
    rows = "".join("<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>" for row in epochs)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.5g}" if isinstance(value, float) else html.escape(str(value))


def _inside_script(value: Any) -> str:
    """JSON that no HTML parser reads as a tag or a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
