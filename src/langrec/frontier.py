"""The frontier of quality against cost: every rung from a token table to a cross-encoder, measured on the same data.

A rung is a saved encoder. What it is worth is the NDCG@10 of raw text similarity: the user's next item, looked for by
the texts of the history alone; and, where asked for, that of the whole recommender that reads with it.
"""

from __future__ import annotations

import dataclasses
import html
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from langrec.choosing import ndcg_at_10
from langrec.data.dataset import Dataset
from langrec.data.events import joined
from langrec.data.fitting import FitData
from langrec.data.splits import Split, split_events
from langrec.encoders import load_saved
from langrec.errors import DataError
from langrec.evaluation.protocol import Targets, next_item
from langrec.evaluation.report import plain, span
from langrec.evaluation.run import evaluate
from langrec.lm.compress.chain import compress
from langrec.lm.compress.corpus import Corpus
from langrec.lm.compress.cross import Cross, Reranked, load_cross, seconds
from langrec.lm.compress.exports import saved
from langrec.lm.compress.light import Gap, Items, LightReranked, teach
from langrec.lm.compress.page import Point, document, scatter, table
from langrec.lm.compress.quality import Judge, Measured
from langrec.lm.compress.steps import parse_steps
from langrec.lm.compress.work import Healing
from langrec.lm.model import find_model
from langrec.protocols import Progress, untold
from langrec.retrieval.vectors import Vectors
from langrec.settings import CompressSettings, EncoderAdaptSettings, Settings
from langrec.training import MIX, evaluate_models
from langrec.types import FloatMatrix

METRIC = "ndcg@10"
REFERENCE = "whole fp32"
# The rungs that every run has: name, and the steps that make it from the model.
LADDER = (
    ("static table", "static:256"),
    ("pruned int8", "drop:best,prune:units=0.5,quantise"),
    ("whole int8", "quantise"),
    (REFERENCE, ""),
)
# Decays of the history that validation chooses among, for each rung by itself.
DECAYS = (0.0, 0.1, 0.3)
TUNE_QUESTIONS, RERANKED = 1_000, 50
CROSS, LIGHT = "cross-encoder rerank", "light rerank, taught by it"
# Questions of validation that the light ranker is taught on.
TAUGHT = 200


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung, measured.

    Attributes:
        name: what it is.
        steps: how it was made.
        folder: the saved encoder; empty where it cannot be served as one.
        megabytes: what is loaded (10^6 bytes).
        texts_per_second: of mixed length.
        ms: milliseconds to read one short text and score the catalogue with it, median.
        ndcg: NDCG@10 of raw text similarity on the test.
        low: lower end of its 95 % interval, users resampled.
        high: upper end.
        pairs: NDCG@10 of a title finding its text.
        valid: NDCG@10 of raw text similarity on validation; None where nothing is chosen by it.
        recommender: NDCG@10 of the mix that reads with it on the test; None = not measured.
        recommender_valid: the same on validation.
        decay: how fast the history fades, as validation chose.
        fits: whether it is within the budget.
        note: what was done.
    """

    name: str
    steps: str
    folder: str
    megabytes: float
    texts_per_second: float
    ms: float
    ndcg: float
    low: float
    high: float
    pairs: float
    valid: float | None = None
    recommender: float | None = None
    recommender_valid: float | None = None
    decay: float = 0.0
    fits: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Frontier:
    """Every rung, cheapest first, and the choice.

    Attributes:
        rungs: measured rungs.
        chosen: name of the one to take; empty where none fits.
        why: the reason, in one sentence.
        budget: the stated limits, `max_ms` and `max_mb`; None = none.
        protocol: data, split, questions.
        gap: between a cross-encoder and the light formula that learned its order; None without a cross-encoder.
    """

    rungs: tuple[Rung, ...]
    chosen: str
    why: str
    budget: dict[str, float | None]
    protocol: dict[str, Any]
    gap: Gap | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what frontier.json holds."""
        return dataclasses.asdict(self)


def frontier(
    dataset: Dataset,
    out: Path,
    settings: Settings | None = None,
    *,
    max_ms: float | None = None,
    max_mb: float | None = None,
    tuned: Sequence[str] = (),
    cross: str | None = None,
    mix: Callable[[Path], tuple[float, float]] | None = None,
    healing: Healing | None = None,
    questions: int = 0,
    progress: Progress | None = None,
) -> Frontier:
    """Makes and measures every rung, chooses for the budget, and writes frontier.json, frontier.html and `chosen/`.

    Args:
        dataset: items and events.
        out: where to; rungs are kept in `rungs/` and not made twice.
        settings: encoder (its name is the model that rungs are made from), split, measuring.
        max_ms: most milliseconds a request.
        max_mb: most megabytes loaded.
        tuned: further model folders, such as `langrec adapt` writes.
        cross: a cross-encoder's folder (`load_cross`): it looks again at the best of the whole model.
        mix: NDCG@10 of the recommender that reads with a saved encoder, on validation and on the test; None leaves
            the columns out.
        healing: how the pruned rung is trained.
        questions: measure on at most so many questions, drawn at random; 0 = all.
        progress: is told each step.

    Raises:
        DataError: the test holds no question, or too few items have texts.
        SettingsError: a model or the cross-encoder cannot be read.
    """
    settings, told = _counting_ten(settings or Settings()), progress or untold
    split = split_events(dataset.events, len(dataset.users), settings.split)
    seen = split.train if split.kind == "loo" else joined(split.train, split.valid)
    targets = next_item(seen, split.test, len(dataset.users), questions or None, settings.evaluate.seed)
    if not len(targets):
        raise DataError("the test part holds no item that is new to its user: there is nothing to measure")
    # What cannot be read is refused before the rungs, which take long.
    for model in (settings.encoder.name, *tuned):
        find_model(model, settings.encoder.max_tokens)
    encoder = load_cross(Path(cross), settings.encoder.max_tokens) if cross else None
    corpus = Corpus.of_catalogue(dataset.catalogue)
    judge = Judge(corpus.judged(), _opened(settings))
    made = list(_rungs(corpus, out / "rungs", settings, tuned, healing or Healing(), told))
    texts = dataset.catalogue.texts(settings.encoder.fields)
    scorers: dict[str, Any] = {}
    valid: dict[str, float | None] = {}
    measured: dict[str, Measured] = {}
    # The whole model is measured first: it is what the others are compared with.
    for name, folder, _, note in sorted(made, key=lambda one: one[0] != REFERENCE):
        told(f"measure: {name}", 0, 0)
        measured[name] = judge(folder, name, note)
        scorers[name], valid[name] = _scorer(_opened(settings)(folder).encode(texts), dataset, split, texts)
    gap = None
    if encoder is not None:
        base, titles = scorers[REFERENCE], dataset.catalogue.titles
        scorers[CROSS] = Reranked(base, encoder, titles, texts, RERANKED)
        measured[CROSS] = _with_cross(measured[REFERENCE], encoder, CROSS, texts)
        made.append((CROSS, Path(), "rerank", f"{RERANKED} best of the {REFERENCE} model looked at again"))
        told("teach the light ranker", 0, 0)
        items = Items.of(base.vectors, titles, texts)
        asked = next_item(split.train, split.valid, len(dataset.users), TAUGHT, 0)
        if len(asked):
            student, gap = teach(base, encoder, items, asked.block, RERANKED)
            scorers[LIGHT] = LightReranked(base, student, items, RERANKED)
            measured[LIGHT] = replace(measured[REFERENCE], name=LIGHT)
            said = f"agrees with its teacher {gap.agreement:.3f} (before {gap.base_agreement:.3f}); "
            said += f"{gap.ms_student:.2f} in place of {gap.ms_teacher:.0f} ms per 1,000 candidates"
            made.append((LIGHT, Path(), "rerank by features", said))
    told("measure the lists", 0, 0)
    report = evaluate(
        scorers,
        targets,
        users=dataset.users,
        items=dataset.catalogue.ids,
        counts=np.bincount(seen.items, minlength=len(dataset.catalogue)),
        has_text=np.array([bool(text) for text in texts]),
        settings=settings.evaluate,
        progress=told,
    )
    rungs = []
    for name, folder, steps, note in made:
        told(f"measure: {name}", 0, 0)
        one, row = measured[name], report.row(name, METRIC)
        whole = mix(folder) if mix and folder != Path() else None
        rung = Rung(
            name=name,
            steps=steps,
            folder="" if folder == Path() else str(folder.relative_to(out)),
            megabytes=one.megabytes,
            texts_per_second=one.texts_per_second,
            ms=round(one.ms + _ms_to_score(scorers[name], targets), 3),
            ndcg=round(row.value, 5),
            low=round(row.low, 5),
            high=round(row.high, 5),
            pairs=one.ndcg,
            valid=valid.get(name),
            recommender=None if whole is None else round(whole[1], 5),
            recommender_valid=None if whole is None else round(whole[0], 5),
            decay=float(getattr(scorers[name], "decay", 0.0)),
            note=note,
        )
        rungs.append(replace(rung, fits=_fits(rung, max_ms, max_mb)))
    rungs.sort(key=lambda one: (one.ms, one.megabytes))
    chosen, why = choose_rung(rungs, max_ms, max_mb)
    protocol = {
        "data": dataset.hash(),
        "model": settings.encoder.name,
        "split": split.kind,
        "cut": list(settings.split.cut),
        "questions": len(targets),
        "items": len(dataset.catalogue),
        "stamp": report.stamp(),
    }
    found = Frontier(tuple(rungs), chosen, why, {"max_ms": max_ms, "max_mb": max_mb}, protocol, gap)
    _write(found, out)
    return found


def mix_ndcg(dataset: Dataset, settings: Settings) -> Callable[[Path], tuple[float, float]]:
    """What `frontier` takes as `mix`: the NDCG@10 of the whole recommender whose texts a saved encoder reads."""

    def measured(folder: Path) -> tuple[float, float]:
        encoder = replace(settings.encoder, name=str(folder), adapt=EncoderAdaptSettings())
        own = _counting_ten(replace(settings, encoder=encoder, compress=CompressSettings()))
        report, _ = evaluate_models(dataset, own, (MIX,))
        mixed = report.protocol["mix"]
        return float(mixed["validation"][mixed["kind"]]), report.value(MIX, METRIC)

    return measured


def _counting_ten(settings: Settings) -> Settings:
    """The settings with lists of ten among those that are measured: by these the rungs are compared."""
    lengths = tuple(sorted({*settings.evaluate.k, 10}))
    return replace(settings, evaluate=replace(settings.evaluate, k=lengths))


def choose_rung(rungs: Sequence[Rung], max_ms: float | None, max_mb: float | None) -> tuple[str, str]:
    """The rung to take and why: the best on validation within the budget, the faster of equals; empty where none fits.

    The recommender's NDCG@10 decides where it was measured on every rung that fits, else that of text similarity. The
    test decides nothing, unless the validation holds no question.
    """
    limits = [f"{limit:g} {unit}" for limit, unit in ((max_ms, "ms"), (max_mb, "MB")) if limit is not None]
    within = f"within {' and '.join(limits)}" if limits else "without a budget"
    able = [one for one in rungs if _fits(one, max_ms, max_mb)]
    if not able:
        near = min(rungs, key=lambda one: max(one.ms / (max_ms or np.inf), one.megabytes / (max_mb or np.inf)))
        return "", f"no rung is {within}; the nearest is {near.name} with {near.ms:.1f} ms and {near.megabytes:.1f} MB"
    served = [one for one in able if one.folder]
    if not served:
        return "", f"no rung {within} can be served as an encoder"
    ways: tuple[tuple[str, Callable[[Rung], float | None], Callable[[Rung], float | None]], ...] = (
        ("the recommender on validation", lambda one: one.recommender_valid, lambda one: one.recommender),
        ("text similarity on validation", lambda one: one.valid, lambda one: one.ndcg),
        ("text similarity on the test, as validation holds no question", lambda one: one.ndcg, lambda one: one.ndcg),
    )
    what, worth, tested = next(way for way in ways if all(way[1](one) is not None for one in served))
    best = max(served, key=lambda one: (round(worth(one) or 0.0, 4), -one.ms))
    why = f"{best.name} has the best NDCG@10 of {what} {within}: {worth(best):.4f}, on the test {tested(best):.4f}"
    over = [one for one in rungs if one not in able and one.ndcg > best.ndcg]
    if over:
        top = max(over, key=lambda one: one.ndcg)
        why += f"; {top.name} would reach {top.ndcg:.4f} at {top.ms:.1f} ms and {top.megabytes:.1f} MB"
    return best.name, why


def _fits(rung: Rung, max_ms: float | None, max_mb: float | None) -> bool:
    return (max_ms is None or rung.ms <= max_ms) and (max_mb is None or rung.megabytes <= max_mb)


def _opened(settings: Settings) -> Callable[[Path], Any]:
    return lambda folder: load_saved(folder, threads=settings.encoder.threads)


def _rungs(
    corpus: Corpus, folder: Path, settings: Settings, tuned: Sequence[str], healing: Healing, told: Progress
) -> Sequence[tuple[str, Path, str, str]]:
    """(name, saved encoder, steps, note) of every rung that is an encoder, made where it is not there yet."""
    found = []
    own, exports = settings.encoder, folder / "exports"
    for name, steps in LADDER:
        told(f"make: {name}", 0, 0)
        place = folder / name.replace(" ", "-")
        if not steps:
            model = find_model(own.name, own.max_tokens)
            found.append((name, saved(model, place / f"encoder-{model.hash[:12]}", exports), "", "as it is"))
            continue
        done = compress(
            own.name,
            parse_steps(steps),
            place,
            corpus,
            open_encoder=_opened(settings),
            healing=healing,
            max_tokens=own.max_tokens,
            threads=own.threads,
            exports=exports,
            progress=told,
        )
        found.append((name, place / "encoder", ",".join(done.steps), done.rows[-1].note))
    for one in tuned:
        model = find_model(one, own.max_tokens)
        name = f"tuned {Path(one).name}"
        found.append((name, saved(model, folder / f"tuned-{model.hash[:12]}", exports), "", "given"))
    return found


def _scorer(vectors: FloatMatrix, dataset: Dataset, split: Split, texts: Sequence[str]) -> tuple[Vectors, float | None]:
    """Raw text similarity with the decay that is best on validation, and its NDCG@10 there; None without questions."""
    data = FitData(split.train, len(dataset.users), len(dataset.catalogue), texts, {"vectors": vectors})
    scorer = Vectors.fit(data, Settings().retrieval)
    asked = next_item(split.train, split.valid, len(dataset.users), TUNE_QUESTIONS, 0)
    if not len(asked):
        return scorer, None
    tried = {decay: ndcg_at_10(scorer.with_params(decay=decay).score_block, asked) for decay in DECAYS}
    best = max(tried, key=lambda decay: tried[decay])
    return scorer.with_params(decay=best), round(tried[best], 5)


def _with_cross(base: Measured, encoder: Cross, name: str, texts: Sequence[str]) -> Measured:
    """The costs of looking again: reading the query as before, and RERANKED pairs."""
    some = [text for text in texts if text][:RERANKED] or [""]
    return replace(
        base,
        name=name,
        megabytes=round(base.megabytes + encoder.megabytes, 2),
        texts_per_second=round(len(some) / seconds(encoder, some), 1),
        ms=round(base.ms, 3),
        note="",
    )


def _ms_to_score(scorer: Any, targets: Targets) -> float:
    """Milliseconds to score the catalogue for one question, median."""
    taken = []
    for i in range(min(9, len(targets))):
        begun = time.perf_counter()
        scorer.score_block(targets.slice(i, i + 1).block)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken)) * 1000


def _write(found: Frontier, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "frontier.json").write_text(json.dumps(plain(found.to_dict()), indent=1) + "\n", "utf-8")
    (out / "frontier.html").write_text(_page(found), "utf-8")
    shutil.rmtree(out / "chosen", ignore_errors=True)
    taken = next((one for one in found.rungs if one.name == found.chosen), None)
    if taken:
        shutil.copytree(out / taken.folder, out / "chosen")


def _page(found: Frontier) -> str:
    rows = [dataclasses.asdict(one) for one in found.rungs]
    chosen = next((row for row in rows if row["name"] == found.chosen), None)
    columns: dict[str, Callable[[Any], str]] = {
        "rung": lambda row: row["name"],
        "NDCG@10": lambda row: f"{row['ndcg']:.4f}",
        "interval": lambda row: span(row["low"], row["high"], ".4f"),
        "title finds text": lambda row: f"{row['pairs']:.4f}",
        "recommender": lambda row: "–" if row["recommender"] is None else f"{row['recommender']:.4f}",
        "texts/s": lambda row: f"{row['texts_per_second']:,.0f}",
        "ms a request": lambda row: f"{row['ms']:.2f}",
        "MB": lambda row: f"{row['megabytes']:.1f}",
        "in budget": lambda row: "yes" if row["fits"] else "no",
        "how it was made": lambda row: f"{row['steps'] or 'as it is'}. {row['note']}",
    }
    p = found.protocol
    points = [Point(one.name, one.texts_per_second, one.ndcg, one.name == found.chosen) for one in found.rungs]
    said = (
        f"{p['questions']:,} questions: the user's next item among {p['items']:,}, looked for by the texts of the "
        f"history alone. {p['stamp']}."
    )
    return document(
        f"{found.chosen or 'No rung'} for this budget",
        f'<p class="lead">{html.escape(found.why)}.</p><div class="card">'
        + scatter(points, "texts a second", "NDCG@10 of text similarity")
        + f'</div><h2>Every rung</h2><p>{html.escape(said)}</p><div class="card">{table(rows, columns, chosen)}</div>',
    )
