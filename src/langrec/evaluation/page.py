"""The report as one HTML page that holds everything it needs: no file beside it, no network."""

from __future__ import annotations

import html
import json
import math
from importlib.resources import files
from string import Template
from typing import Any

from langrec.evaluation.compare import Difference
from langrec.evaluation.examples import as_html, examples
from langrec.evaluation.reliability import as_svg
from langrec.evaluation.report import Report, number, plain, span
from langrec.evaluation.slices import MEANING


def page(report: Report) -> str:
    """The page's HTML. All names are escaped: they come from people's files and settings."""
    from plotly.offline import get_plotlyjs

    assets = files("langrec.evaluation").joinpath("assets")
    template = Template(assets.joinpath("report.html").read_text("utf-8"))
    text = {
        "title": f"{report.chosen}: {report.primary} {number(report.value(report.chosen, report.primary))}",
        "headline": _headline(report),
        "lead": _lead(report),
        "primary": _metric(report.primary),
        "confidence": f"{report.protocol['confidence']:.0%}",
        "reference": report.reference,
        "apart": "; controls and bounds are hatched and stand below" if report.beside.what else "",
        "stamp": report.stamp(),
        "protocol": json.dumps(plain(report.protocol), indent=2, ensure_ascii=False),
    }
    return template.substitute(
        {name: html.escape(value) for name, value in text.items()},
        warning=_warning(report),
        tiles=_tiles(report),
        differences=_differences(report),
        beside=_beside(report),
        reliability=_reliability(report),
        examples=as_html(examples(report)),
        data=_inside_script(_data(report)),
        style=assets.joinpath("report.css").read_text("utf-8"),
        script=assets.joinpath("report.js").read_text("utf-8"),
        plotly=get_plotlyjs(),
    )


def _headline(report: Report) -> str:
    row = report.row(report.chosen, report.primary)
    return f"{report.chosen} reaches {_metric(report.primary)} {number(row.value)}"


def _lead(report: Report) -> str:
    gap = report.difference(report.chosen)
    if gap is None:
        return f"It is the best of {len(report.models)} scorers."
    share = "" if math.isnan(gap.relative) else f" ({gap.relative:+.1%})"
    bounds = f"{gap.difference:+.4f}{share}, interval {span(gap.low, gap.high)}"
    what = {
        "gain": "That is a gain over",
        "loss": "That is a loss against",
        "no gain shown": "No gain is shown over",
    }[gap.verdict]
    return f"{what} {gap.reference}, the best single scorer: {bounds}."


def _warning(report: Report) -> str:
    """What the split lets training know that a running system could not."""
    leaks = report.protocol.get("leaks")
    return f'<p class="warning">This leaks: {html.escape(str(leaks))}.</p>' if leaks else ""


def _tiles(report: Report) -> str:
    row, p = report.row(report.chosen, report.primary), report.protocol
    tiles = [
        (f"In use: {report.chosen}", number(row.value), span(row.low, row.high, ".4f")),
        ("Best single scorer", report.reference, number(report.value(report.reference, report.primary))),
        ("Questions", f"{p['questions']:,}", f"{p['question']}, of {p['users']:,} users"),
        ("Candidates", f"{p['items']:,}", "full catalogue less the history"),
        ("Peak memory", f"{report.peak_memory / 1e9:.2f} GB", f"{sum(report.seconds.values()):.1f} s of scoring"),
    ]
    return "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}<small>{html.escape(note)}</small></dd></div>"
        for name, value, note in tiles
    )


def _differences(report: Report) -> str:
    """The paired differences of the primary metric on the whole test, best first, as a table with a forest plot."""
    gaps = [gap for row in report.ordered() if (gap := report.difference(row.model)) is not None]
    if not gaps:
        return "<p>There is only one scorer.</p>"
    lines = "".join(_difference(gap, _ends(gaps), gap.model == report.chosen) for gap in gaps)
    names = ("scorer", "verdict", "difference", "relative", "interval", "")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    caption = f'<caption class="hidden">Paired differences to {html.escape(report.reference)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _ends(gaps: list[Difference]) -> tuple[float, float]:
    """What the axis of a forest plot reaches: all intervals, and 0."""
    ends = [0.0, *(bound for gap in gaps for bound in (gap.low, gap.high) if not math.isnan(bound))]
    return min(ends), max(ends)


def _beside(report: Report) -> str:
    """Controls and bounds with what they are and how far they are from their model, as a section; nothing without."""
    what = report.beside.what
    if not what:
        return ""
    gaps = {name: gap for name in what if (gap := report.difference(name)) is not None}
    ends, lines = _ends(list(gaps.values())), []
    for name, one in what.items():
        row, gap = report.row(name, report.primary), gaps.get(name)
        cells = ["", "", "", ""]
        if gap is not None:
            relative = "–" if math.isnan(gap.relative) else f"{gap.relative:+.1%}"
            cells = [html.escape(gap.reference), f"{gap.difference:+.4f} ({relative})", _forest(gap, ends)]
            cells.insert(2, span(gap.low, gap.high))
        lines.append(
            f'<tr><th scope="row">{html.escape(name)}<small>a {one.kind}: {html.escape(one.says)}</small></th>'
            f"<td>{number(row.value)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        )
    names = ("name", _metric(report.primary), "against", "difference", "interval", "")
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    return (
        '<section aria-labelledby="h-beside"><h2 id="h-beside">Controls and headroom</h2>'
        "<p>None of these is a model that could be used. A control is a model with one thing spoilt: what it loses is "
        "what that thing is worth. A bound looks at the answer: it says how much is left to gain.</p>"
        '<div class="card scroll" tabindex="0" role="region" aria-labelledby="h-beside"><table class="beside">'
        f'<caption class="hidden">Controls and bounds</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _reliability(report: Report) -> str:
    """Whether stated probabilities came true, as a section with the diagram and its numbers; nothing without."""
    found = report.reliability
    if found is None:
        return ""
    lines = "".join(
        f"<tr><td>{one.said:.2%}</td><td>{one.came:.2%}</td><td>{span(one.low, one.high, '.2%')}</td>"
        f"<td>{one.n:,}</td></tr>"
        for one in found.bins
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("said", "came", "interval", "items"))
    return (
        '<section aria-labelledby="h-reliability"><h2 id="h-reliability">Do probabilities come true?</h2>'
        f"<p>The first {found.ranks} items of {found.questions:,} lists of {html.escape(found.model)}, in ten parts by "
        "the probability that each is what the user chooses next. Points on the dashed line are honest; the expected "
        f"calibration error is {found.error:.2%} where {found.said:.2%} was said and {found.came:.2%} came.</p>"
        f'<div class="card calibrated">{as_svg(found)}<div class="scroll" tabindex="0" role="region" '
        'aria-labelledby="h-reliability"><table><caption class="hidden">Said and came</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></div></section>"
    )


def _difference(gap: Difference, ends: tuple[float, float], chosen: bool) -> str:
    style = {"gain": "gain", "loss": "loss", "no gain shown": "none"}[gap.verdict]
    relative = "–" if math.isnan(gap.relative) else f"{gap.relative:+.1%}"
    cells = (f"{gap.difference:+.4f}", relative, span(gap.low, gap.high))
    return (
        f'<tr{" class=chosen" if chosen else ""}><th scope="row">{html.escape(gap.model)}</th>'
        + f'<td><span class="pill {style}">{html.escape(gap.verdict)}</span></td>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + f"<td>{_forest(gap, ends)}</td></tr>"
    )


def _forest(gap: Difference, ends: tuple[float, float]) -> str:
    """One line of a forest plot: the interval, the difference as a dot, and where 0 is."""
    if math.isnan(gap.low) or math.isnan(gap.high):
        return ""
    span = (ends[1] - ends[0]) or 1.0
    zero, low, high, middle = (6 + 208 * (at - ends[0]) / span for at in (0.0, gap.low, gap.high, gap.difference))
    colour = {"gain": "var(--good)", "loss": "var(--bad)", "no gain shown": "var(--soft)"}[gap.verdict]
    return (
        '<svg class="forest" viewBox="0 0 220 20" aria-hidden="true">'
        f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="20"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="10" y2="10" style="stroke:{colour};stroke-width:3"/>'
        f'<circle cx="{middle:.1f}" cy="10" r="5" style="fill:{colour}"/></svg>'
    )


def _data(report: Report) -> dict[str, Any]:
    """What the charts and the table read: values[slice][model][metric] = value, low, high, questions."""
    values: dict[str, dict[str, dict[str, tuple[float, float, float, int]]]] = {}
    for row in (*report.rows, *report.beside.rows):
        at = values.setdefault(row.slice, {}).setdefault(row.model, {})
        at[row.metric] = (_brief(row.value), _brief(row.low), _brief(row.high), row.n)
    return {
        "primary": report.primary,
        "chosen": report.chosen,
        "reference": report.reference,
        "models": [row.model for row in report.ordered()],
        "beside": {name: one.kind for name, one in report.beside.what.items()},
        "slices": report.slices,
        "meaning": MEANING,
        "metrics": list(dict.fromkeys(row.metric for row in report.rows)),
        "lengths": report.protocol["k"],
        "questions": report.protocol["questions"],
        "seconds": report.seconds,
        "fit_seconds": report.fit_seconds,
        "values": values,
    }


def _brief(value: float) -> float:
    """Six decimals are more than a page can show."""
    return round(value, 6)


def _inside_script(value: Any) -> str:
    """JSON that no HTML parser reads as a tag or a comment."""
    text = json.dumps(plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _metric(name: str) -> str:
    """ndcg@10 as people write it."""
    return name.upper() if name.startswith(("ndcg", "mrr", "map", "auc")) else name
