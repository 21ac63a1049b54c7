"""Examples for people: a few questions of the test, with the lists of two models side by side.

They are drawn at random from each kind of outcome, and the kind's share is said: nobody picked the nice ones.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from langrec.evaluation.report import Report
from langrec.types import Mask

SHOWN = 5  # items of each list and of each history
OF_EACH = 2  # examples of each kind


@dataclass(frozen=True, slots=True)
class Shown:
    """One model's answer.

    Attributes:
        model: its name.
        titles: the first items of its list.
        hits: which of them are targets.
        rank: full rank of the best target.
    """

    model: str
    titles: tuple[str, ...]
    hits: tuple[bool, ...]
    rank: int


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its answers.

    Attributes:
        user: the user's id, empty for one outside the data.
        at: when it was asked, in epoch milliseconds.
        history: the newest items, newest first.
        before: items of the whole history.
        targets: the first of what the user did next.
        after: how many that was.
        candidates: items that could have been shown.
        answers: of each model.
    """

    user: str
    at: int
    history: tuple[str, ...]
    before: int
    targets: tuple[str, ...]
    after: int
    candidates: int
    answers: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """Examples of one outcome, with the share of all questions that have it."""

    says: str
    share: float
    examples: tuple[Example, ...]


def pair(report: Report) -> tuple[str, ...]:
    """The models whose lists are shown: the one in use, and the best of the others where there are others."""
    others = [row.model for row in report.ordered() if row.model != report.chosen]
    best = report.reference if report.reference in others else next(iter(others), None)
    return (report.chosen,) if best is None else (report.chosen, best)


def examples(report: Report, of_each: int = OF_EACH) -> tuple[Kind, ...]:
    """Questions drawn under the report's seed, by whose first five hold a target; kinds without a question left out."""
    models = pair(report)
    targets = report.measured[models[0]].targets
    owners = np.repeat(np.arange(len(targets)), np.diff(targets.offsets))
    width = len(report.items) + 1
    wanted = np.unique(owners * width + targets.items)
    rows = np.arange(len(targets))[:, None] * width
    right = {name: np.isin(rows + report.lists[name].nums[:, :SHOWN], wanted) for name in models}
    shows: dict[str, Mask] = {name: np.asarray(hits.any(axis=1)) for name, hits in right.items()}
    if len(models) == 2:
        one, two = (shows[name] for name in models)
        kinds = {
            f"Only {models[0]} shows what came next": one & ~two,
            f"Only {models[1]} shows it": two & ~one,
            "Both show it": one & two,
            "Neither shows it": ~(one | two),
        }
    else:
        kinds = {"What came next is shown": shows[models[0]], "It is not shown": ~shows[models[0]]}
    order = np.random.default_rng(report.protocol["seed"]).permutation(len(targets))
    met: set[int] = set()
    found = []
    for says, there in kinds.items():
        drawn: list[int] = []
        for question in order[there[order]]:
            user = int(targets.block.users[question])
            if user not in met and len(drawn) < of_each:
                met.add(user)
                drawn.append(int(question))
        if drawn:
            made = tuple(_example(report, models, right, question) for question in drawn)
            found.append(Kind(says, float(there.mean()), made))
    return tuple(found)


def _example(report: Report, models: tuple[str, ...], right: dict[str, Mask], question: int) -> Example:
    one = report.measured[models[0]]
    targets = one.targets
    start, stop = targets.offsets[question : question + 2]
    history, goals = targets.block.history(question), targets.items[start:stop]
    answers = []
    for name in models:
        top = report.lists[name]
        listed = np.flatnonzero(top.nums[question, :SHOWN] >= 0)
        hits = tuple(bool(hit) for hit in right[name][question, listed])
        titles = _titles(report, top.nums[question, listed])
        answers.append(Shown(name, titles, hits, int(top.ranks[start:stop].min())))
    return Example(
        user=one.user_ids[question],
        at=int(targets.block.at[question]),
        history=_titles(report, history[::-1][:SHOWN]),
        before=len(history),
        targets=_titles(report, goals[:SHOWN]),
        after=len(goals),
        candidates=int(report.lists[models[0]].candidates[question]),
        answers=tuple(answers),
    )


def _titles(report: Report, nums: npt.NDArray[np.integer]) -> tuple[str, ...]:
    names = report.items.names if report.titles is None else report.titles
    return tuple(str(names[num]) for num in nums)


# ---- as HTML ------------------------------------------------------------------------------------------------------


def as_html(kinds: tuple[Kind, ...]) -> str:
    """The examples as cards; every name and title is escaped."""
    parts = []
    for kind in kinds:
        cards = "".join(_card(example) for example in kind.examples)
        head = f"<h3>{html.escape(kind.says)} <small>{kind.share:.1%} of the questions</small></h3>"
        parts.append(f'{head}<div class="examples">{cards}</div>')
    return "".join(parts)


def _card(example: Example) -> str:
    who = f"User {example.user}" if example.user else "A user outside the data"
    day = datetime.fromtimestamp(example.at / 1000, tz=UTC).strftime("%Y-%m-%d")
    history = _names(example.history, example.before - len(example.history), "none yet")
    targets = _names(example.targets, example.after - len(example.targets), "")
    lists = "".join(_answer(answer, example) for answer in example.answers)
    return (
        f'<article class="card"><p class="who">{html.escape(who)} · {day}</p>'
        f"<dl><dt>Before, newest first</dt><dd>{history}</dd><dt>What came next</dt><dd><b>{targets}</b></dd></dl>"
        f'<div class="lists">{lists}</div></article>'
    )


def _names(titles: tuple[str, ...], more: int, nothing: str) -> str:
    shown = " · ".join(f'<span dir="auto">{html.escape(title)}</span>' for title in titles) or nothing
    return f"{shown} <small>and {more:,} more</small>" if more > 0 else shown


def _answer(answer: Shown, example: Example) -> str:
    rows = "".join(
        f'<li{" class=hit" if hit else ""}><span dir="auto">{html.escape(title)}</span>'
        + ('<span class="hidden"> (what came next)</span>' if hit else "")
        + "</li>"
        for title, hit in zip(answer.titles, answer.hits, strict=True)
    )
    what = "It is" if example.after == 1 else "The first of them is"
    place = "" if any(answer.hits) else f"<p>{what} at {answer.rank:,} of {example.candidates:,}</p>"
    body = f"<ol>{rows}</ol>" if rows else "<p>no answer</p>"
    return f"<div><h4>{html.escape(answer.model)}</h4>{body}{place}</div>"
