"""Asks every scorer every question and measures the answers under one protocol."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from langrec.data.ids import Ids
from langrec.errors import DataError, SettingsError
from langrec.evaluation import metrics
from langrec.evaluation.beside import Beside, Bound, Control, better_lists
from langrec.evaluation.compare import Difference, Measured, difference
from langrec.evaluation.found import MANY, MANY_ROWS, asked_about, few, found_lists
from langrec.evaluation.intervals import Resamples, mean, percentiles
from langrec.evaluation.lists import TopLists, join_lists, top_lists
from langrec.evaluation.metrics import Values, judge
from langrec.evaluation.outside import OutsideLists
from langrec.evaluation.protocol import Targets
from langrec.evaluation.reliability import reliability
from langrec.evaluation.report import MIX, Report, Row
from langrec.evaluation.slices import slices
from langrec.evaluation.suite import (
    DEBIAS_BETA,
    Column,
    ItemFacts,
    beyond_relevance,
    of_slice,
    relevance,
    table,
)
from langrec.protocols import Progress
from langrec.ranking.alone import Answering
from langrec.recipe import to_dict
from langrec.settings import EvaluateSettings, Settings, section_of
from langrec.types import FloatMatrix, Mask, QueryBlock


class ScorerLike(Protocol):
    """All that measuring needs of a model; one that has an `answer` is asked for candidates instead (`Answering`)."""

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n) scores, higher is better, NaN = cannot score."""
        ...


def evaluate(
    models: Mapping[str, ScorerLike | Answering | OutsideLists],
    targets: Targets,
    *,
    users: Ids,
    items: Ids,
    counts: npt.NDArray[np.integer],
    has_text: Mask | None = None,
    vectors: FloatMatrix | None = None,
    settings: EvaluateSettings | Settings | None = None,
    protocol: Mapping[str, Any] | None = None,
    chosen: str | None = None,
    beside: Mapping[str, Control | Bound] | None = None,
    titles: Sequence[str] | None = None,
    fit_seconds: Mapping[str, float] | None = None,
    calibrated: tuple[str, Callable[[FloatMatrix], FloatMatrix]] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures models on the same questions, over the full catalogue without each question's history.

    Args:
        models: scorers by name, in the order of the report; the fused one is called `mix`. Lists that were made
            elsewhere stand among them as `OutsideLists`.
        targets: the questions.
        users: user ids; numbers of `targets.block.users` are places in it.
        items: item ids of the whole catalogue, n of them.
        counts: (n,) training events of each item.
        has_text: (n,) whether an item has a text, for the slices warm and cold; None = every item has one.
        vectors: (n, d) text vectors for the diversity of lists; None leaves it out.
        settings: list lengths, resamples, block size, seed: all settings, or their section `evaluate`.
        protocol: what else the stamp should hold: split, cut times, data hash.
        chosen: the model to mark as the one in use; `mix` by default, or else the best.
        beside: which of the models are controls, and the bounds to make from the models' lists; neither is ever the
            best, the reference or the chosen one. A bound whose models are not all there is left out.
        titles: (n,) what people read for an item in the examples of the page; None = its id.
        fit_seconds: seconds of fitting by model, where known.
        calibrated: a model and what makes probabilities of its scores: next-item questions say whether they come true.
        progress: called with a model's name, questions done and questions in all, after each block.

    Raises:
        DataError: no models, no questions, or scores that do not fit the catalogue.
    """
    chosen_settings = section_of(settings, EvaluateSettings)
    what = {
        name: one
        for name, one in (beside or {}).items()
        if (set(one.of) <= set(models) if isinstance(one, Bound) else name in models)
    }
    _check({name: model for name, model in models.items() if name not in what}, targets, chosen)
    _check_columns(items, counts, has_text, vectors, titles)
    lists, seconds, memory = _answer(models, targets, len(items), chosen_settings, progress)
    seconds = {name: spent for name, spent in seconds.items() if not isinstance(models[name], OutsideLists)}
    facts = ItemFacts(counts, has_text, vectors)
    fitted = {name: round(spent, 3) for name, spent in (fit_seconds or {}).items() if name in models}
    met = {name: round(float(one.found.mean()), 4) for name, one in lists.items() if one.found is not None}
    stamp = {**(protocol or {}), "fit_seconds": fitted, **({"targets_found": met} if met else {})}
    report = _measure(lists, what, targets, users, items, facts, chosen_settings, stamp, chosen, seconds, memory)
    found = None
    if calibrated is not None and targets.question == "next item" and calibrated[0] in lists:
        model, probability = calibrated
        found = reliability(model, probability(lists[model].scores), lists[model], targets, chosen_settings)
    return replace(report, titles=titles, fit_seconds=fitted, reliability=found)


def measure_lists(
    lists: Mapping[str, TopLists],
    targets: Targets,
    *,
    users: Ids,
    items: Ids,
    counts: npt.NDArray[np.integer],
    has_text: Mask | None = None,
    vectors: FloatMatrix | None = None,
    settings: EvaluateSettings | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> Report:
    """`evaluate` for answers that were made elsewhere, such as another library's lists.

    Args:
        lists: answers by name; the other arguments are those of `evaluate`.

    Raises:
        DataError: no lists, no questions, or columns that do not fit the catalogue.
    """
    _check(lists, targets, None)
    _check_columns(items, counts, has_text, vectors, None)
    facts = ItemFacts(counts, has_text, vectors)
    return _measure(
        lists,
        {},
        targets,
        users,
        items,
        facts,
        settings or EvaluateSettings(),
        protocol or {},
        None,
        {},
        peak_memory(),
    )


def _check(models: Mapping[str, Any], targets: Targets, chosen: str | None) -> None:
    if not models:
        raise DataError("nothing to measure: name at least one scorer")
    if not len(targets):
        raise DataError("the test part holds no question: no user has a new item in it; move the cut or add events")
    if chosen is not None and chosen not in models:
        raise SettingsError(f"chosen model {chosen} is not among {', '.join(models)}", field="chosen")


def _check_columns(
    items: Ids,
    counts: npt.NDArray[np.integer],
    has_text: Mask | None,
    vectors: FloatMatrix | None,
    titles: Sequence[str] | None,
) -> None:
    for name, column in (("counts", counts), ("has_text", has_text), ("vectors", vectors), ("titles", titles)):
        if column is not None and len(column) != len(items):
            raise DataError(f"{name}: {len(column)} rows for {len(items)} items", field=name)


def _answer(
    models: Mapping[str, Any],
    targets: Targets,
    n_items: int,
    settings: EvaluateSettings,
    progress: Progress | None,
) -> tuple[dict[str, TopLists], dict[str, float], int]:
    """Lists and scoring seconds of every model, and the process's peak memory in bytes; block after block."""
    k = max(settings.ranks, *settings.k)
    parts: dict[str, list[TopLists]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    for start in range(0, len(targets), settings.block):
        asked = targets.slice(start, start + settings.block)
        for name, model in models.items():
            begin = time.perf_counter()
            answer = _from_candidates if hasattr(model, "answer") else _from_scores
            answer = _from_elsewhere if isinstance(model, OutsideLists) else answer
            try:
                lists, spent = answer(model, asked, k, n_items)
            except DataError as error:
                raise DataError(f"{name}: {error.message}") from error
            parts[name].append(lists)
            seconds[name] += spent - begin
            if progress is not None:
                progress(name, start + len(asked), len(targets))
    return {name: join_lists(blocks) for name, blocks in parts.items()}, seconds, peak_memory()


def _from_elsewhere(model: OutsideLists, asked: Targets, k: int, n_items: int) -> tuple[TopLists, float]:
    """Lists that are there already; nobody knows what they took."""
    return model.lists(asked, k, n_items), time.perf_counter()


def _from_scores(model: Any, asked: Targets, k: int, n_items: int) -> tuple[TopLists, float]:
    """The lists of a model that scores the whole catalogue, and when it had scored."""
    scores = np.asarray(model.score_block(asked.block))
    spent = time.perf_counter()
    if scores.ndim != 2 or scores.dtype.kind not in "fiub":
        raise DataError(f"scores of shape {scores.shape} and type {scores.dtype}; give a matrix of (questions, items)")
    return top_lists(scores, asked, k, n_items), spent


def _from_candidates(model: Answering, asked: Targets, k: int, n_items: int) -> tuple[TopLists, float]:
    """The lists of a model that finds candidates, and when it had answered."""
    sizes = (MANY, MANY_ROWS) if getattr(model, "by_vectors", False) else ()
    answers = [(part, model.answer(part.block, k, asked_about(part, n_items))) for part in few(asked, *sizes)]
    spent = time.perf_counter()
    return join_lists([found_lists(answer, part, k, n_items) for part, answer in answers]), spent


def _measure(
    lists: Mapping[str, TopLists],
    what: Mapping[str, Control | Bound],
    targets: Targets,
    users: Ids,
    items: Ids,
    facts: ItemFacts,
    settings: EvaluateSettings,
    protocol: Mapping[str, Any],
    chosen: str | None,
    seconds: Mapping[str, float],
    memory: int,
) -> Report:
    parts = slices(targets, facts.counts, facts.has_text, settings)
    weights = metrics.inverse_popularity(facts.counts, DEBIAS_BETA)[targets.items]
    resamples = Resamples(targets.block.users, settings.bootstrap, settings.seed)
    user_ids = tuple(users[num] if num >= 0 else "" for num in targets.block.users)
    rows: list[Row] = []
    measured: dict[str, Measured] = {}
    draws: dict[tuple[str, str], Values] = {}
    k = 10 if 10 in settings.k else max(settings.k)
    bounds = {name: one.of for name, one in what.items() if isinstance(one, Bound)}
    made = {name: better_lists([lists[model] for model in of], targets, k) for name, of in bounds.items()}
    for name, answer in (*lists.items(), *made.items()):
        for part, columns in _columns_by_slice(answer, targets, parts, weights, facts, settings).items():
            values, column_weights = table(columns)
            draws[name, part] = resamples.means(values, column_weights)
            low, high = percentiles(draws[name, part], settings.confidence)
            counted = (~np.isnan(values)).sum(axis=0)
            for i, (metric, value) in enumerate(zip(columns, mean(values, column_weights), strict=True)):
                rows.append(Row(name, part, metric, float(value), float(low[i]), float(high[i]), int(counted[i])))
            asked = ~np.isnan(columns[f"recall@{settings.k[0]}"].values)
            rows.extend(_coverage(name, part, answer, asked, len(items), settings.k))
            if part == "all":
                measured[name] = Measured(name, targets, user_ids, columns)
    primary = f"ndcg@{k}"
    models = [name for name in lists if name not in what]
    best = _best(rows, primary, [name for name in models if name != MIX] or models)
    in_use = chosen or (MIX if MIX in models else best)
    against = dict.fromkeys(models, best)
    for name, one in what.items():
        subject = in_use if isinstance(one, Bound) else one.of
        against[name] = subject if subject in lists else best
    gaps = _differences(rows, draws, against, list(measured[best].columns), primary, settings)
    return Report(
        rows=tuple(row for row in rows if row.model not in what),
        differences=tuple(gap for gap in gaps if gap.model not in what),
        beside=Beside(
            what,
            tuple(row for row in rows if row.model in what),
            tuple(gap for gap in gaps if gap.model in what),
        ),
        measured=measured,
        lists={name: lists[name] for name in models},
        ranks=settings.ranks,
        users=users,
        items=items,
        protocol=_stamp(protocol, targets, len(items), settings, primary, best, in_use, models, what, seconds, memory),
        seconds=dict(seconds),
        peak_memory=memory,
        primary=primary,
        reference=best,
        chosen=in_use,
    )


def _columns_by_slice(
    lists: TopLists,
    targets: Targets,
    parts: Mapping[str, Mask],
    weights: Values,
    facts: ItemFacts,
    settings: EvaluateSettings,
) -> dict[str, dict[str, Column]]:
    judged = judge(lists.nums, targets.offsets, targets.items)
    alone = beyond_relevance(lists, facts, settings.k)
    whole = relevance(judged, lists, weights, settings.k)
    single = bool((np.diff(targets.offsets) == 1).all())
    out: dict[str, dict[str, Column]] = {}
    for part, mask in parts.items():
        if part == "all":
            ours, asked = whole, judged.relevant() > 0
        elif single:  # one target each: a slice is a choice of questions
            ours, asked = of_slice(whole, mask), mask
        else:
            only = judged.only(mask)
            ours, asked = relevance(only, lists, weights, settings.k), only.relevant() > 0
        out[part] = ours | of_slice(alone, asked)
    return out


def _coverage(model: str, part: str, lists: TopLists, asked: Mask, n_items: int, ks: tuple[int, ...]) -> list[Row]:
    """Coverage belongs to a set of lists: it has no per-question values, hence no interval."""
    nan = float("nan")
    shown = lists.nums[asked]
    return [Row(model, part, f"coverage@{k}", metrics.coverage(shown, k, n_items), nan, nan, len(shown)) for k in ks]


def _best(rows: list[Row], metric: str, names: list[str]) -> str:
    """The model of the highest value on the whole test, the earlier one of equals."""
    values = {row.model: row.value for row in rows if row.slice == "all" and row.metric == metric}
    return max(names, key=lambda name: np.nan_to_num(values[name], nan=-1.0))


def _differences(
    rows: list[Row],
    draws: Mapping[tuple[str, str], Values],
    against: Mapping[str, str],
    names: list[str],
    primary: str,
    settings: EvaluateSettings,
) -> list[Difference]:
    """Every model against that which is named: all metrics on the whole test, the primary one on every slice."""
    found = {(row.model, row.slice, row.metric): row for row in rows}
    out = []
    for (model, part), sample in draws.items():
        reference = against[model]
        if model == reference:
            continue
        low, high = percentiles(sample - draws[reference, part], settings.confidence)
        for i, metric in enumerate(names):
            if part == "all" or metric == primary:
                ours, theirs = found[model, part, metric], found[reference, part, metric]
                values, bounds = (ours.value, theirs.value), (float(low[i]), float(high[i]))
                out.append(difference((model, reference), part, metric, values, bounds, min(ours.n, theirs.n)))
    return out


def _stamp(
    given: Mapping[str, Any],
    targets: Targets,
    n_items: int,
    settings: EvaluateSettings,
    primary: str,
    reference: str,
    chosen: str,
    models: Sequence[str],
    what: Mapping[str, Control | Bound],
    seconds: Mapping[str, float],
    memory: int,
) -> dict[str, Any]:
    """Everything that another person needs to repeat the numbers."""
    packages = ("langrec", "numpy", "scipy", "polars")
    measured = {
        "question": targets.question,
        "questions": len(targets),
        "targets": len(targets.items),
        "users": len(np.unique(targets.block.users)),
        "candidates": "full catalogue without the history of the question",
        "items": n_items,
        **to_dict(settings),
        "ties": "lower item number first",
        "interval": "percentile bootstrap by user",
        "debias_beta": DEBIAS_BETA,
        "primary": primary,
        "reference": reference,
        "chosen": chosen,
        "models": list(models),
        "controls": {name: one.of for name, one in what.items() if isinstance(one, Control)},
        "bounds": {name: list(one.of) for name, one in what.items() if isinstance(one, Bound)},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_mb": round(memory / 1e6, 1),
        "versions": {
            **given.get("versions", {}),
            "python": ".".join(map(str, sys.version_info[:3])),
            **{name: version(name) for name in packages},
        },
    }
    # What was ranked, where it was not the whole catalogue, the caller knows.
    return {**given, **measured, **{name: given[name] for name in ("candidates",) if name in given}}


def peak_memory() -> int:
    """Most bytes that this process has held at once so far, whatever for."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
