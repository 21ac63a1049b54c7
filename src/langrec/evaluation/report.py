"""What a measuring run found, and its files: rows, differences, protocol stamp, lists, and pages for people."""

from __future__ import annotations

import contextlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from langrec.data.ids import Ids
from langrec.errors import DataError
from langrec.evaluation.beside import Beside
from langrec.evaluation.compare import Difference, Measured
from langrec.evaluation.lists import TopLists
from langrec.evaluation.reliability import Reliability
from langrec.types import AnyPath

if TYPE_CHECKING:
    from rich.table import Table

MIX = "mix"  # the name of the fused model

STAMPED = ("data", "split", "cut", "valid_from", "test_from")  # what a caller may give for the line of the stamp

TABLE_METRICS = ("ndcg", "recall", "hitrate", "mrr", "coverage", "novelty", "diversity", "ndcg_debiased")


@dataclass(frozen=True, slots=True)
class Row:
    """One number: the value of a metric for a model on a slice, with its interval (NaN = none) and its questions."""

    model: str
    slice: str
    metric: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The result of `evaluate`.

    Attributes:
        rows: every number of the models.
        differences: every model against the best single scorer, paired.
        measured: per-question values by model, for `compare`.
        lists: the models' answers.
        ranks: how many ranks of each list are written.
        users: user ids.
        items: item ids.
        protocol: the stamp: all that is needed to repeat the numbers.
        seconds: scoring seconds by model.
        peak_memory: bytes.
        primary: the metric that picks the best, such as ndcg@10.
        reference: the best single scorer.
        chosen: the model in use.
        beside: controls and bounds, with their numbers.
        titles: what people read for an item; None = its id.
        fit_seconds: seconds of fitting by model, where known.
        reliability: whether stated probabilities came true; None = none were stated.
    """

    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    measured: Mapping[str, Measured]
    lists: Mapping[str, TopLists]
    ranks: int
    users: Ids
    items: Ids
    protocol: Mapping[str, Any]
    seconds: Mapping[str, float]
    peak_memory: int
    primary: str
    reference: str
    chosen: str
    beside: Beside = field(default_factory=Beside)
    titles: Sequence[str] | None = None
    fit_seconds: Mapping[str, float] = field(default_factory=dict)
    reliability: Reliability | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Names in the order of measuring."""
        return tuple(self.lists)

    @property
    def slices(self) -> tuple[str, ...]:
        """Slices that hold a question."""
        return tuple(dict.fromkeys(row.slice for row in self.rows))

    def row(self, model: str, metric: str, part: str = "all") -> Row:
        """One number.

        Raises:
            DataError: it was not measured.
        """
        for row in (*self.rows, *self.beside.rows):
            if row.model == model and row.metric == metric and row.slice == part:
                return row
        raise DataError(f"{model}, {part}, {metric}: not in this report")

    def value(self, model: str, metric: str, part: str = "all") -> float:
        """One number's value.

        Raises:
            DataError: it was not measured.
        """
        return self.row(model, metric, part).value

    def difference(self, model: str, part: str = "all", metric: str | None = None) -> Difference | None:
        """The paired difference to the best single scorer, None for that scorer itself or where it was not made.

        That of a control is to what it is a control of, that of a bound to the model in use.
        """
        wanted = (model, part, metric or self.primary)
        gaps = (*self.differences, *self.beside.differences)
        return next((d for d in gaps if (d.model, d.slice, d.metric) == wanted), None)

    def frame(self) -> pl.DataFrame:
        """Every number as rows `model, slice, metric, value, low, high, n`, as in metrics.json."""
        return pl.DataFrame([asdict(row) for row in self.rows])

    def stamp(self) -> str:
        """The protocol in one line, to copy beside a number."""
        p = self.protocol
        given = [f"{name} {_short(name, p[name])}" for name in STAMPED if p.get(name) is not None]
        return " · ".join(
            [
                f"langrec {p['versions']['langrec']}",
                *given,
                f"{p['question']}: {p['questions']:,} questions of {p['users']:,} users",
                f"{p['items']:,} candidates less the history",
                f"ties by item number, {p['bootstrap']:,} resamples by user, {p['confidence']:.0%}, seed {p['seed']}",
            ]
        )

    def write(self, folder: AnyPath, page: bool = True) -> None:
        """Writes metrics.json, differences.json, protocol.json, questions.parquet, report.md, report.html and
        lists/<model>.parquet.

        Controls and bounds stand in controls.json, and reliability.json says whether stated probabilities came true;
        each is there only where there is something to say. What an earlier report wrote of other models is taken away;
        files of others stay.

        Args:
            page: False writes no report.html, and takes away that of an earlier run: it would show other numbers.
        """
        folder = Path(folder)
        earlier = lists_in(folder)
        (folder / "lists").mkdir(parents=True, exist_ok=True)
        _write_json(folder / "metrics.json", [asdict(row) for row in self.rows])
        _write_json(folder / "differences.json", [asdict(row) for row in self.differences])
        _write_json(folder / "protocol.json", dict(self.protocol))
        told = {
            "controls.json": self._beside() if self.beside.what else None,
            "reliability.json": None if self.reliability is None else asdict(self.reliability),
        }
        for name, value in told.items():
            if value is None:
                (folder / name).unlink(missing_ok=True)
            else:
                _write_json(folder / name, value)
        self.questions().write_parquet(folder / "questions.parquet")
        (folder / "report.md").write_text(self.markdown(), "utf-8")
        if page:
            from langrec.evaluation.page import page as html_page

            (folder / "report.html").write_text(html_page(self), "utf-8")
        else:
            (folder / "report.html").unlink(missing_ok=True)
        written = {folder / "lists" / f"{_file_name(model)}.parquet": model for model in self.models}
        for other in earlier - set(written):
            other.unlink(missing_ok=True)
        for file, model in written.items():
            self.list_frame(model).write_parquet(file)

    def _beside(self) -> dict[str, Any]:
        return {
            "what": {
                name: {"kind": one.kind, "of": one.of, "says": one.says} for name, one in self.beside.what.items()
            },
            "metrics": [asdict(row) for row in self.beside.rows],
            "differences": [asdict(row) for row in self.beside.differences],
        }

    def questions(self) -> pl.DataFrame:
        """What was asked, as rows `user_id, at, event`; `event` is null for one list per user."""
        measured = self.measured[self.models[0]]
        block, events = measured.targets.block, measured.targets.events
        return pl.DataFrame(
            {
                "user_id": pl.Series(measured.user_ids, dtype=pl.String),
                "at": block.at,
                "event": pl.Series(events, dtype=pl.Int64).set(pl.Series(events < 0), None),
            }
        )

    def list_frame(self, model: str) -> pl.DataFrame:
        """A model's lists as rows `user_id, at, event, item_id, rank, score`, best first.

        A question without any list row was answered with nothing.
        """
        top, targets = self.lists[model], self.measured[model].targets
        nums = top.nums[:, : self.ranks]
        asked, place = np.nonzero(nums >= 0)
        users = np.asarray(self.measured[model].user_ids, dtype=object)
        return pl.DataFrame(
            {
                "user_id": pl.Series(users[asked].tolist(), dtype=pl.String),
                "at": targets.block.at[asked],
                "event": targets.events[asked],
                "item_id": pl.Series(self.items.names[nums[asked, place]].tolist(), dtype=pl.String),
                "rank": (place + 1).astype(np.int32),
                "score": top.scores[asked, place],
            }
        ).with_columns(pl.when(pl.col("event") >= 0).then(pl.col("event")).alias("event"))

    def ordered(self, metric: str | None = None) -> list[Row]:
        """The whole test's rows of a metric (the primary one by default), best first."""
        rows = [row for row in self.rows if row.slice == "all" and row.metric == (metric or self.primary)]
        return sorted(rows, key=lambda row: -1.0 if math.isnan(row.value) else row.value, reverse=True)

    def head(self) -> tuple[str, ...]:
        """Metrics of the short table, in order."""
        k = self.primary.partition("@")[2]
        there = {row.metric for row in self.rows}
        return tuple(name for name in (*(f"{name}@{k}" for name in TABLE_METRICS), "auc") if name in there)

    def table(self) -> Table:
        """The short table for the terminal: the whole test, best first."""
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        # Eighty columns hold no more; the Markdown and HTML reports show every metric.
        metrics = [name for name in self.head() if name.split("@")[0] in ("ndcg", "coverage")]
        table = Table(
            box=SIMPLE,
            padding=(0, 1, 0, 0),
            title=f"{self.primary} with {self.protocol['confidence']:.0%} interval by user",
            title_justify="left",
        )
        table.add_column("model", min_width=15, overflow="fold")
        for metric in metrics:
            table.add_column(metric.replace("coverage@", "coverage\n@"), justify="right", no_wrap=True)
        table.add_column(f"against\n{self.reference}", justify="right", min_width=14, overflow="fold")
        table.add_column("seconds", justify="right", no_wrap=True)
        for row in self.ordered():
            cells = [self._cell(row.model, metric, metric == self.primary) for metric in metrics]
            style = "bold" if row.model == self.chosen else ""
            line = [row.model, *cells, self._against(row.model, short=True), self._seconds(row.model)]
            table.add_row(*(Text(cell) for cell in line), style=style)
        if self.beside.what:
            table.add_section()
            table.caption = "Below the line: controls, and bounds that look at the answer."
            table.caption_justify = "left"
        for name, one in self.beside.what.items():
            cells = [self._cell(name, metric, metric == self.primary) for metric in metrics]
            line = [name, *cells, one.kind, self._seconds(name)]
            table.add_row(*(Text(cell) for cell in line), style="dim")
        return table

    def __repr__(self) -> str:
        best = self.row(self.chosen if self.chosen in self.models else self.models[0], self.primary)
        shown = f"{self.primary} of {best.model} {number(best.value)} [{number(best.low)}, {number(best.high)}]"
        return f"<Report of {', '.join(self.models)}: {shown}, of {best.n:,} questions>"

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.markdown()

    def markdown(self) -> str:
        """The short table, the primary metric by slice, and the protocol, as Markdown."""
        metrics = self.head()
        lines = [
            "# Measured recommendations",
            "",
            self.stamp(),
            *(["", f"This leaks: {_escape(str(self.protocol['leaks']))}."] if self.protocol.get("leaks") else []),
            "",
            _line(["model", *metrics, f"against {_escape(self.reference)}", "seconds"]),
            _line(["---", *["---:"] * (len(metrics) + 2)]),
        ]
        for row in self.ordered():
            cells = [self._cell(row.model, metric, metric == self.primary) for metric in metrics]
            name = f"**{_escape(row.model)}**" if row.model == self.chosen else _escape(row.model)
            lines.append(_line([name, *cells, self._against(row.model), self._seconds(row.model)]))
        counts = [f"{part} ({self.row(self.reference, self.primary, part).n:,})" for part in self.slices]
        lines += ["", f"## {self.primary} by slice", "", _line(["model", *counts])]
        lines.append(_line(["---", *["---:"] * len(counts)]))
        for row in self.ordered():
            values = [number(self.value(row.model, self.primary, part)) for part in self.slices]
            lines.append(_line([_escape(row.model), *values]))
        if self.beside.what:
            lines += ["", "## Controls and bounds", "", "None of these is a model that could be used.", ""]
            lines += [_line(["name", self.primary, "against", "difference", "what it is"])]
            lines += [_line(["---", "---:", "---", "---:", "---"])]
        for name, one in self.beside.what.items():
            gap = self.difference(name)
            cells = [_escape(gap.reference), self._against(name)] if gap else ["", ""]
            what = f"a {one.kind}: {_escape(one.says)}"
            lines.append(_line([_escape(name), self._cell(name, self.primary, True), *cells, what]))
        lines += self._reliability()
        lines += ["", "A gain or a loss is named only where the paired interval by user leaves out 0.", ""]
        return "\n".join(lines)

    def _reliability(self) -> list[str]:
        found = self.reliability
        if found is None:
            return []
        lines = ["", "## Probabilities", ""]
        lines += [
            f"{_escape(found.model)}, the first {found.ranks} of {found.questions:,} lists: said {found.said:.2%}, "
            f"came {found.came:.2%}, expected calibration error {found.error:.2%}.",
            "",
            _line(["said", "came", "interval", "items"]),
            _line(["---:"] * 4),
        ]
        for one in found.bins:
            cells = [f"{one.said:.2%}", f"{one.came:.2%}", span(one.low, one.high, ".2%"), f"{one.n:,}"]
            lines.append(_line(cells))
        return lines

    def _cell(self, model: str, metric: str, interval: bool) -> str:
        row = self.row(model, metric)
        text = number(row.value, metric)
        return f"{text} [{number(row.low)}, {number(row.high)}]" if interval and not math.isnan(row.low) else text

    def _seconds(self, model: str) -> str:
        """Scoring seconds; a bound has none, because it is made of others' lists."""
        return f"{self.seconds[model]:.1f}" if model in self.seconds else "–"

    def _against(self, model: str, short: bool = False) -> str:
        gap = self.difference(model)
        if gap is None:
            return "reference"
        share = "" if math.isnan(gap.relative) else f" ({gap.relative:+.1%})"
        if short and share:
            return f"{gap.relative:+.1%} {gap.verdict.removesuffix(' shown')}"
        return f"{gap.difference:+.4f}{share} {gap.verdict}"


def number(value: float, metric: str = "") -> str:
    """A metric's value for people: bits with two decimals, everything else with four."""
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" if metric.startswith("novelty") else f"{value:.4f}"


def span(low: float, high: float, form: str = "+.4f") -> str:
    """An interval for people; a dash where there is none."""
    return "–" if math.isnan(low) or math.isnan(high) else f"{low:{form}} to {high:{form}}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")


def _short(name: str, value: Any) -> str:
    """A value of the stamp in few characters: times as UTC, hashes by their first twelve."""
    if name.endswith("_from") and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text[:12] if len(text) == 64 and " " not in text else text


def lists_in(folder: Path) -> set[Path]:
    """Where the report in a folder has its lists; empty where there is no report that can be read."""
    try:
        rows = json.loads((folder / "metrics.json").read_text("utf-8"))
        return {folder / "lists" / f"{_file_name(row['model'])}.parquet" for row in rows}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def take_away(folder: Path) -> None:
    """Deletes what `Report.write` wrote into a folder, and the folder where nothing else is in it."""
    files = ("metrics", "differences", "protocol", "controls", "reliability")
    for path in (*lists_in(folder), *(folder / f"{name}.json" for name in files)):
        path.unlink(missing_ok=True)
    for name in ("questions.parquet", "report.md", "report.html"):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder / "lists", folder):
        with contextlib.suppress(OSError):
            empty.rmdir()


def _file_name(model: str) -> str:
    """The model's name without what could leave the folder."""
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in model).lstrip(".") or "model"


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def plain(value: Any) -> Any:
    """Plain JSON values of anything in a report; a number that is none becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
