"""The language model that reads the best of a list again: opened, judged on validation, compared on the test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from langrec.choosing import Chosen, Reading, finding_candidates, fit
from langrec.data.cache import cache_folder
from langrec.data.dataset import Dataset
from langrec.data.splits import Split
from langrec.encoders import load_encoder, load_saved
from langrec.encoders.transformer import TransformerEncoder
from langrec.entering import enters_mix
from langrec.errors import SettingsError
from langrec.evaluation.found import few
from langrec.evaluation.protocol import Targets, next_item
from langrec.fusing import Gains, blocks, difference, gain, told_interval
from langrec.lm.adapt.head import CONFIG, Head
from langrec.lm.adapt.question import QUESTION
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.model import read_json
from langrec.protocols import Progress
from langrec.ranking import cross as served
from langrec.ranking.cross import Cross
from langrec.ranking.fusion import Fusion
from langrec.ranking.near import find, weigh
from langrec.ranking.select import top_k
from langrec.recipe import to_dict
from langrec.settings import RankingSettings, Settings
from langrec.steps import Steps
from langrec.types import FloatVector, IntVector

# How loud the model may speak, 1 as loud as the mix among the items that it reads; validation chooses.
WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
# Places that NDCG@10 counts.
COUNTED = 10


def check(settings: Settings) -> None:
    """Refuses before any work a model that cannot rerank.

    Raises:
        SettingsError: there is no such folder, or what is in it does not read history and candidate together.
    """
    if settings.ranking.rerank.model:
        _folder(settings.ranking.rerank.model)


def open_model(settings: Settings, told: Progress) -> Cross:
    """The model of the settings in the runtime that is fastest here, of no weight yet.

    Raises:
        SettingsError: see `check`.
        MissingExtra: it is not exported yet, and PyTorch is not installed.
        BundleError: a file is damaged.
    """
    own = settings.ranking.rerank
    folder = _folder(own.model)
    head = Head.load(folder)
    if (folder / served.CONFIG).is_file():
        encoder: Any = load_saved(folder / "encoder", threads=settings.encoder.threads)
        told_of_it = read_json(folder / served.CONFIG)
    else:
        told_of_it = read_json(folder / CONFIG)
        longest = int(told_of_it.get("max_tokens") or AdaptSettings().max_tokens)
        encoder = load_encoder(replace(settings.encoder, name=str(folder), max_tokens=longest), progress=told)
    if isinstance(encoder, TransformerEncoder):
        # A question is read as it was in training: without what its model puts before an item's text.
        encoder.exported = replace(encoder.exported, prompts={})
        encoder.progress = None
    if head.weight.shape != (1, encoder.dim):
        size = "x".join(map(str, head.weight.shape))
        raise SettingsError(
            f"ranking.rerank.model {folder}: its head is {size}, its vectors have {encoder.dim} numbers; "
            "do not narrow a model that reranks",
            field="ranking.rerank.model",
        )
    return Cross(encoder, head, own.top, 0.0, str(told_of_it.get("past") or AdaptSettings().past))


def choose_rerank(
    dataset: Dataset,
    split: Split,
    reading: Reading,
    chosen: Chosen,
    settings: Settings,
    told: Progress,
    steps: Path | None = None,
) -> tuple[Cross | None, dict[str, Any]]:
    """The model with the weight that validation gives it, where it helps or is insisted on; and what was found.

    Args:
        steps: where finished steps are kept; None = the cache folder.

    Returns:
        The model, None where it stays off; and plain values for the manifest, empty where none is named.
    """
    own = settings.ranking.rerank
    if not own.model:
        return None, {}
    told("open the reranker", 0, 0)
    cross = open_model(settings, told)
    key = {
        "data": dataset.hash(),
        "texts": hashlib.sha256("\n".join(reading.texts).encode("utf-8", "surrogatepass")).hexdigest(),
        "split": to_dict(settings.split),
        "parts": split.hash(),
        "encoders": reading.identities,
        "params": chosen.params,
        "mix": chosen.mix.to_dict(),
        "why": chosen.why,
        "ranking": to_dict(settings.ranking),
        "reader": cross.encoder.identity,
        "head": hashlib.sha256(cross.head.weight.tobytes()).hexdigest(),
    }

    def judged() -> dict[str, Any]:
        asked = next_item(split.train, split.valid, len(dataset.users), own.questions, settings.ranking.seed)
        if not len(asked):
            return {"weight": own.weight or 1.0, "loud": 1.0, "questions": 0, "why": "validation asks no question"}
        params = {name: found for name, found in chosen.params.items() if enters_mix(name)}
        fusion = fit(dataset, split.train, reading, replace(chosen, params=params), settings, steps)
        fusion = finding_candidates(fusion, settings, split.train, len(dataset.users))
        read = _read(fusion, asked, cross, dataset, reading.texts, settings.ranking, told)
        return _judged(read, own.weight, settings.ranking.seed)

    told("judge the rerank", 0, 0)
    found = Steps(cache_folder() / "steps" if steps is None else steps).run("rerank", key, judged)
    on = own.use == "always" or bool(found["questions"] and found["low"] > 0)
    made = {"model": own.model, "reader": cross.encoder.identity, "on": on, "top": own.top, "validation": found}
    return (replace(cross, weight=found["weight"] * found["loud"]) if on else None), made


def compare(
    fusion: Fusion,
    asked: Targets,
    cross: Cross,
    dataset: Dataset,
    texts: list[str],
    settings: Settings,
    told: Progress,
) -> dict[str, Any]:
    """What the rerank is worth on these questions: NDCG@10 with and without it, and the interval of the difference.

    Args:
        fusion: with indexes where the catalogue is too large to score it whole.
        texts: of the items, by which candidates are read.
    """
    read = _read(fusion, asked, cross, dataset, texts, settings.ranking, told)
    return _said(read, read.gains(cross.weight), settings.ranking.seed)


def told_of(made: dict[str, Any]) -> str:
    """One sentence on the rerank, for the model card and the command line."""
    valid, test = made["validation"], made.get("test")
    words = f"rerank {'on' if made['on'] else 'off'}, weight {valid['weight']:g}: {valid['why']}"
    if test:
        words += f"; on the test {test['why']}; the table of models is of the mix without it"
    return words


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """The best items of the questions whose right answer is among them: only there a rerank changes the gain.

    Attributes:
        users: (q,) of all questions.
        base: (q,) NDCG@10 of the mix.
        places: questions that were read.
        mixed: of each of these, the scores of its items.
        logits: of each, what the model says.
        right: of each, the place of the right answer.
    """

    users: Any
    base: Gains
    places: list[int]
    mixed: list[FloatVector]
    logits: list[FloatVector]
    right: list[int]

    def gains(self, factor: float) -> Gains:
        """(q,) NDCG@10 with the model's logits counted so much."""
        out = self.base.copy()
        for place, mixed, logits, right in zip(self.places, self.mixed, self.logits, self.right, strict=True):
            scores = mixed + np.float32(factor) * logits
            ahead = (scores > scores[right]).sum() + (scores[:right] == scores[right]).sum()
            out[place] = gain(np.array([1 + ahead]))[0]
        return out

    def loud(self) -> float:
        """The spread of the mix over that of the logits, among the items of one list."""
        mine = float(np.mean([one.std() for one in self.logits])) if self.logits else 0.0
        theirs = float(np.mean([one.std() for one in self.mixed])) if self.mixed else 0.0
        return theirs / mine if mine > 0 and theirs > 0 else 1.0


def _read(
    fusion: Fusion,
    asked: Targets,
    cross: Cross,
    dataset: Dataset,
    texts: list[str],
    ranking: RankingSettings,
    told: Progress,
) -> _Read:
    found = _Read(asked.block.users, np.zeros(len(asked)), [], [], [], [])
    past = dataset.catalogue.titles if cross.past == "titles" else texts
    scored = _dense(fusion, asked) if fusion.near is None else _found(fusion, asked, ranking.retrieved)
    for done, (history, right, nums, mixed, silent) in enumerate(scored):
        scores = np.where((mixed > 0) & ~np.isin(nums, history), mixed, np.nan)
        best = top_k(scores, max(cross.top, COUNTED))
        place = np.flatnonzero(nums[best] == right)
        if len(place):
            found.base[done] = gain(1 + place)[0]
            best = best[: cross.top]
            if place[0] < len(best) and len(history) and not silent:
                found.places.append(done)
                found.mixed.append(scores[best])
                found.logits.append(cross.logits([past[n] for n in history], [texts[n] for n in nums[best]]))
                found.right.append(int(place[0]))
        if done % 100 == 0:
            told("read the best of lists again", done, len(asked))
    return found


# A question: its history, its right answer, the items that were scored, their scores, and whether nothing but
# popularity had anything to say.
_Scored = tuple[IntVector, int, IntVector, FloatVector, bool]


def _dense(fusion: Fusion, asked: Targets) -> Iterator[_Scored]:
    """Every question with the whole catalogue scored."""
    nums = np.arange(fusion.n_items, dtype=np.int32)
    for part in blocks(asked, fusion):
        signals = fusion.signal_scores(part.block)
        silent = fusion.silent(signals)
        mixed = np.asarray(fusion.parts(signals, part.block).sum(axis=0), dtype=np.float32)
        for i in range(len(part)):
            yield part.block.history(i), int(part.items[i]), nums, mixed[i], bool(silent[i])


def _found(fusion: Fusion, asked: Targets, retrieved: int) -> Iterator[_Scored]:
    """Every question with what the retrievers of a large catalogue find."""
    for part in few(asked):
        block = replace(part.block, kept={})
        candidates = find(fusion, block, retrieved).asked
        weighed = weigh(fusion, block, candidates)
        for i, (lo, hi) in enumerate(pairwise(candidates.offsets)):
            found = candidates.nums[lo:hi], weighed.mixed[lo:hi]
            yield block.history(i), int(part.items[i]), *found, bool(weighed.silent[i])


def _judged(read: _Read, weight: float, seed: int) -> dict[str, Any]:
    """The best weight, and how it does on users that it was not chosen on."""
    loud, weights = read.loud(), (weight,) if weight > 0 else WEIGHTS
    every = np.stack([read.gains(one * loud) for one in weights], axis=1)
    odd, ours = read.users % 2 == 1, np.empty(len(read.base))
    for half in (odd, ~odd):
        chosen = int(np.argmax(every[~half].mean(axis=0))) if (~half).any() else 0
        ours[half] = every[half, chosen]
    best = weights[int(np.argmax(every.mean(axis=0)))]
    return {"weight": best, "loud": loud, **_said(read, ours, seed)}


def _said(read: _Read, ours: Gains, seed: int) -> dict[str, Any]:
    low, high = difference(np.stack([ours, read.base], axis=1), read.users, seed)
    with_it, without = float(ours.mean()), float(read.base.mean())
    why = f"NDCG@10 {with_it:.4f} with it, {without:.4f} without {told_interval(low, high)}"
    why += f" on {len(read.base):,} questions"
    said = {"with": with_it, "without": without, "low": low, "high": high}
    return {**said, "questions": len(read.base), "read": len(read.places), "why": why}


def _folder(name: str) -> Path:
    """The folder of a model that reads questions: as named, or within the output of adapt, of compress, of a release.

    Raises:
        SettingsError: there is none.
    """
    named = Path(name).expanduser()
    for folder in (named, named / "rerank", named / "encoder", named / "model"):
        if (folder / served.CONFIG).is_file():
            return folder
        if (folder / CONFIG).is_file():
            reads = read_json(folder / CONFIG).get("reads")
            if reads == QUESTION:
                return folder
            raise SettingsError(
                f"ranking.rerank.model {folder}: does not read history and candidate together; tune one with "
                "langrec adapt --task recommend --set reads=question",
                field="ranking.rerank.model",
            )
    what = "holds no tuned model (langrec adapt --task recommend --set reads=question makes one)"
    raise SettingsError(
        f"ranking.rerank.model {named}: {what if named.is_dir() else 'no such folder'}", field="ranking.rerank.model"
    )
