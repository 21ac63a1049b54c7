"""Pre-training for search on pseudo-labels: a cross-encoder says by how much a passage answers better than another.

As GPL does (Wang et al. 2022): queries are made from the passages, each gets passages that the model itself finds near,
and the model learns the cross-encoder's margins between its own passage and those. Queries come from an encoder-decoder
where one is given (doc2query, Nogueira & Lin 2019), else they are the passage's title or first sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from langrec.errors import UNREADABLE, MissingExtra, SettingsError
from langrec.lm.adapt.head import CONFIG
from langrec.lm.adapt.job import Job
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.loop import shuffled
from langrec.lm.compress.cross import Cross, CrossEncoder, Question
from langrec.lm.robust.translate import plain

Places = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]
# Passages that a query is set against, drawn among so many near ones; queries at most; words of a query.
NEGATIVES, NEAR, MOST = 4, 30, 10_000
SHORTEST, LONGEST = 2, 16
# A query made by an encoder-decoder: longest in tokens, drawn among the likeliest so many words.
TOKENS, LIKELIEST, BATCH = 24, 25, 16
_END = re.compile(r"(?<=[.!?。!?])\s+|[\n|;]|\s[-–—]\s|:\s")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Queries beside their own passage and others, and the teacher's margins between them.

    Attributes:
        queries: q texts.
        passages: p distinct texts.
        own: (q,) passage of each query.
        others: (q, m) passages that it is set against.
        margins: (q, m) float32 the teacher's score of the own passage less that of the other.
    """

    queries: tuple[str, ...]
    passages: tuple[str, ...]
    own: Places
    others: Places
    margins: Singles


def query_of(passage: str) -> str:
    """The passage's title or first sentence, at most LONGEST words of it."""
    parts = [part.strip(" \"'.") for part in _END.split(passage.strip()) if part and part.strip(" \"'.")]
    taken: list[str] = []
    for part in parts:
        taken += part.split()
        if len(taken) >= SHORTEST:
            break
    return " ".join(taken[:LONGEST]) or passage.strip()


def made_queries(folder: str, passages: Sequence[str], seed: int) -> list[str]:
    """A query for each passage, drawn from an encoder-decoder by the seed; a blank one falls back on `query_of`.

    Raises:
        SettingsError: the folder holds no encoder-decoder.
        MissingExtra: transformers is not installed.
    """
    try:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("lm", "making queries") from error
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise SettingsError(
            f"gpl.generator {folder}: no encoder-decoder that transformers reads; leave it empty for first sentences",
            field="adapt.gpl_generator",
        ) from error
    found: list[str] = []
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for start in range(0, len(passages), BATCH):
            some = [plain(text) for text in passages[start : start + BATCH]]
            read = tokenizer(some, return_tensors="pt", padding=True, truncation=True, max_length=256)
            read.pop("token_type_ids", None)
            out = model.generate(**read, max_new_tokens=TOKENS, do_sample=True, top_k=LIKELIEST, num_beams=1)
            said = [plain(text) for text in tokenizer.batch_decode(out, skip_special_tokens=True)]
            found += [text or query_of(passage) for text, passage in zip(said, some, strict=True)]
    return found


class Gpl:
    """Margin-MSE (Hofstätter et al. 2020): the model's margins between passages come to the teacher's.

    The model's cosines are stretched so that its margins spread as the teacher's do before training.
    """

    def __init__(self, adapted: Adapted, train: Judged, valid: Judged, test: Judged | None = None) -> None:
        self.adapted = adapted
        self.parts = {"train": train, "valid": valid, **({"test": test} if test else {})}
        self.feeds = {
            name: (adapted.feed_to_train if name == "train" else adapted.feed)([*part.queries, *part.passages])
            for name, part in self.parts.items()
        }
        self.heads = nn.ModuleDict()
        self.scale = 1.0
        spread = float(self._margins("train").std())
        self.scale = float(train.margins.std()) / max(spread, 1e-6)

    def batches(self, rng: np.random.Generator) -> list[Any]:
        """Queries in random order, alike in length, and which of its passages each is set against."""
        part, size = self.parts["train"], max(2, self.adapted.settings.batch // 2)
        found = shuffled(self.feeds["train"].lengths[: len(part.queries)], size, rng)
        # Drawn here and not in the loss: processes that train together must set a query against the same passage.
        return [(rows, rng.integers(part.others.shape[1], size=len(rows))) for rows in found]

    def loss(self, batch: tuple[Places, Places]) -> Tensor:
        """The mean squared difference of margins, one for each query, over the mean square of the teacher's."""
        part, (rows, at) = self.parts["train"], batch
        n = len(part.queries)
        places = np.concatenate([rows, n + part.own[rows], n + part.others[rows, at]])
        texts, back = np.unique(places, return_inverse=True)
        vectors = self.adapted.trained(*self.feeds["train"](texts)).float()
        asked, own, other = vectors[torch.from_numpy(back.reshape(3, -1)).to(vectors.device)]
        found = self.scale * (asked * (own - other)).sum(1)
        wanted = torch.from_numpy(part.margins[rows, at]).to(found.device)
        return functional.mse_loss(found, wanted) / self._spread("train")

    def judge(self, precision: str, name: str = "valid") -> tuple[float, dict[str, float]]:
        """Less the loss on held-out queries, and how often the two agree on which passage is better."""
        part = self.parts[name]
        found = self.scale * self._margins(name, precision)
        loss = float(((found - part.margins) ** 2).mean()) / self._spread(name)
        agree = float(np.mean(np.sign(found) == np.sign(part.margins)))
        return -loss, {"valid_loss": loss, "agreement": agree}

    def save(self, out: Path) -> None:
        """There is no head to keep."""

    def _margins(self, name: str, precision: str = "fp32") -> Singles:
        part = self.parts[name]
        feed = self.feeds[name]
        vectors = self.adapted.vectors(getattr(feed, "feed", feed), precision).cpu().numpy()
        asked, passages = (
            vectors[: len(part.queries)],
            vectors[len(part.queries) : len(part.queries) + len(part.passages)],
        )
        other = np.einsum("qd,qmd->qm", asked, passages[part.others])
        return np.asarray(np.einsum("qd,qd->q", asked, passages[part.own])[:, None] - other, dtype=np.float32)

    def _spread(self, name: str) -> float:
        return max(float((self.parts[name].margins ** 2).mean()), 1e-6)


def judged(
    adapted: Adapted, passages: Sequence[str], queries: Sequence[str], teacher: Cross, seed: int, kept: Path | None
) -> Judged:
    """The teacher's margins for each query between its own passage and some that the model finds near.

    Args:
        kept: a file that keeps the teacher's scores for a run that is resumed.

    Raises:
        SettingsError: fewer than three different passages.
    """
    texts = list(dict.fromkeys(passages))
    if len(texts) < 3:
        raise SettingsError("objective gpl: needs three different texts or more on each side", field="adapt.objective")
    place = {text: i for i, text in enumerate(texts)}
    own = np.array([place[text] for text in passages], dtype=np.int64)
    vectors = adapted.vectors(adapted.feed([*queries, *texts])).cpu().numpy()
    near = _near(vectors[: len(queries)], vectors[len(queries) :], own)
    rng = np.random.default_rng((seed, 13))
    others = np.stack([rng.choice(row, min(NEGATIVES, near.shape[1]), replace=False) for row in near])
    pairs = [(queries[i], texts[j]) for i in range(len(queries)) for j in (own[i], *others[i])]
    scores = _scored(teacher, pairs, kept).reshape(len(queries), -1)
    return Judged(tuple(queries), tuple(texts), own, others, scores[:, :1] - scores[:, 1:])


def _near(asked: Singles, passages: Singles, own: Places) -> Places:
    """(q, up to NEAR) the nearest passages of each query, but its own."""
    n = min(NEAR, len(passages) - 1)
    found = np.empty((len(asked), n), dtype=np.int64)
    for start in range(0, len(asked), 512):
        scores = asked[start : start + 512] @ passages.T
        scores[np.arange(len(scores)), own[start : start + 512]] = -np.inf
        found[start : start + 512] = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    return found


def _scored(teacher: Cross, pairs: Sequence[tuple[str, str]], kept: Path | None) -> Singles:
    digest = hashlib.sha256("\0".join(f"{a}\0{b}" for a, b in pairs).encode()).hexdigest()
    if kept is not None and kept.is_file():
        try:
            with np.load(kept, allow_pickle=False) as file:
                if str(file["digest"]) == digest:
                    return np.asarray(file["scores"], dtype=np.float32)
        except UNREADABLE:
            pass
    scores = np.asarray(teacher.score([a for a, _ in pairs], [b for _, b in pairs]), dtype=np.float32)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        half = kept.with_suffix(".half")
        with half.open("wb") as out:
            np.savez(out, digest=digest, scores=scores)
        half.replace(kept)
    return scores


def build(job: Job, train: Sequence[str], valid: Sequence[str], test: Sequence[str] = ()) -> Gpl:
    """Makes queries, asks the teacher, and says both in the job's notes.

    Raises:
        SettingsError: no teacher was given, or it cannot be read.
    """
    settings = job.settings
    if not settings.gpl_cross:
        raise SettingsError(
            "objective gpl: needs a cross-encoder; give its folder with --set gpl.cross=FOLDER", field="adapt.gpl_cross"
        )
    folder, tokens = Path(settings.gpl_cross), max(256, settings.max_tokens)
    asks = (folder / CONFIG).is_file()
    teacher: Cross = Question(folder, tokens, longest=None) if asks else CrossEncoder.load(folder, tokens)
    if len(train) > MOST:
        order = np.random.default_rng((settings.seed, 12)).permutation(len(train))[:MOST]
        job.notes.append(f"{MOST} of {len(train)} texts were drawn for queries.")
        train = [train[i] for i in np.sort(order)]
    parts = {}
    for name, texts in {"train": train, "valid": valid, **({"test": test} if test else {})}.items():
        job.told(f"make queries for {name}", 0, 0)
        given = settings.gpl_generator
        queries = made_queries(given, texts, settings.seed) if given else [query_of(text) for text in texts]
        job.told(f"ask the cross-encoder about {name}", 0, 0)
        kept = job.out / "checkpoint" / f"teacher-{name}.npz"
        parts[name] = judged(job.adapted, texts, queries, teacher, settings.seed, kept)
    way = "an encoder-decoder" if settings.gpl_generator else "titles and first sentences"
    rows = parts["train"].margins.size
    better = float(np.mean(parts["train"].margins > 0))
    job.notes.append(
        f"Queries were made by {way}; the cross-encoder judged {rows} pairs of passages, "
        f"{better:.0%} of them for the query's own passage."
    )
    return Gpl(job.adapted, parts["train"], parts["valid"], parts.get("test"))
