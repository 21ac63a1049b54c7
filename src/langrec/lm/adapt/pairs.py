"""The task pairs: texts that belong together (a history and its next item, two items bought together) come together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from langrec.errors import DataError, SettingsError
from langrec.lm.adapt.examples import open_table, read_columns, strings, titles
from langrec.lm.adapt.job import Job, Result
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.loop import shuffled
from langrec.lm.adapt.metrics import interval
from langrec.lm.adapt.question import LATEST
from langrec.lm.adapt.rows import read_rows

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Texts and what belongs to them.

    Attributes:
        anchors: n texts.
        positives: n texts.
        negatives: n hard negatives; "" where there is none.
        users: (n,) user of each row: other rows of the user are no negatives; None where unknown.
        rows: (n,) 0-based data row of each in its file.
    """

    anchors: tuple[str, ...]
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    users: npt.NDArray[Any] | None
    rows: Places

    def __len__(self) -> int:
        return len(self.anchors)

    def take(self, rows: Places) -> Pairs:
        """Some of them, in the order asked for."""
        parts = ((part[i] for i in rows) for part in (self.anchors, self.positives, self.negatives))
        anchors, positives, negatives = (tuple(part) for part in parts)
        return Pairs(anchors, positives, negatives, None if self.users is None else self.users[rows], self.rows[rows])


def read_pairs(path: Path) -> Pairs:
    """Reads `anchor, positive`, or `history, candidate` (a history as in `read_choices`).

    A column `negative` (a hard negative) and a column `user_id` or `user` are read where they are there.

    Raises:
        DataError: neither layout, or a blank text; the row and the column are named.
    """
    names = open_table(path, ("anchor", "positive", "history", "candidate")).frame.columns
    who = next((name for name in ("user_id", "user") if name in names), None)
    more = [name for name in (who, "negative") if name and name in names]
    if "history" in names and "anchor" not in names:
        frame = read_columns(path, ["history", "candidate", *more])
        anchors = tuple("; ".join(reversed(titles(value)[-LATEST:])) for value in frame["history"])
        if "" in anchors:
            row = frame["row"][anchors.index("")] + 1
            raise DataError(f"{path}: row {row}: column history is blank; fill or remove it", field="history")
        positives = strings(frame, "candidate", path)
    else:
        frame = read_columns(path, ["anchor", "positive", *more])
        anchors, positives = strings(frame, "anchor", path), strings(frame, "positive", path)
    negatives = tuple(frame["negative"].cast(pl.String).fill_null("")) if "negative" in more else ("",) * frame.height
    users = frame[who].cast(pl.String).fill_null("").to_numpy() if who else None
    return Pairs(anchors, positives, negatives, users, frame["row"].to_numpy())


class PairsTask:
    """In-batch softmax over positives, less the log of how often each is one; false negatives are left out.

    Every prefix of the vector from the full width down to `settings.width` is trained alike (Matryoshka, Kusupati et
    al. 2022), so that vectors can be cut. The correction by log Q (Yi et al. 2019) keeps popular items from being
    pushed away only because they are met more often.
    """

    def __init__(self, adapted: Adapted, train: Pairs, valid: Pairs) -> None:
        self.adapted, self.train, self.valid = adapted, train, valid
        self.texts = list(dict.fromkeys((*train.anchors, *train.positives, *(t for t in train.negatives if t))))
        place = {text: i for i, text in enumerate(self.texts)}
        self.feed = adapted.feed_to_train(self.texts)
        self.anchor = np.array([place[text] for text in train.anchors])
        self.positive = np.array([place[text] for text in train.positives])
        self.negative = np.array([place.get(text, -1) for text in train.negatives])
        counts = np.bincount(self.positive, minlength=len(self.texts))
        share = np.maximum(counts, 1) / max(1, counts.sum())
        self.log_share = torch.from_numpy(np.log(share)).float().to(adapted.device)
        self.users = None if train.users is None else np.unique(train.users, return_inverse=True)[1]
        self.known = _known(self.anchor, self.positive, self.users, len(self.texts))
        self.heads = nn.ModuleDict()
        self.widths = widths(adapted.dim, adapted.settings.width)

    def batches(self, rng: np.random.Generator) -> list[Any]:
        """Rows in random order, their anchors alike in length."""
        found = shuffled(self.feed.lengths[self.anchor], self.adapted.settings.batch, rng)
        return [rows for rows in found if len(rows) > 1] or found

    def loss(self, rows: Places) -> Tensor:
        """The mean cross-entropy over the batch's positives (and hard negatives), averaged over widths."""
        wanted = np.unique(np.concatenate([self.positive[rows], self.negative[rows][self.negative[rows] >= 0]]))
        texts, back = np.unique(np.concatenate([self.anchor[rows], wanted]), return_inverse=True)
        vectors = self.adapted.trained(*self.feed(texts)).float()
        asked, offered = vectors[back[: len(rows)]], vectors[back[len(rows) :]]
        right = torch.from_numpy(np.searchsorted(wanted, self.positive[rows])).to(vectors.device)
        wrong = torch.from_numpy(self._false(rows, wanted)).to(vectors.device)
        log_share, total = self.log_share[wanted], torch.zeros((), device=vectors.device)
        for width in self.widths:
            first = functional.normalize(asked[:, :width], dim=1)
            second = functional.normalize(offered[:, :width], dim=1)
            logits = first @ second.T / self.adapted.settings.temperature - log_share
            total = total + functional.cross_entropy(logits.masked_fill(wrong, -1e9), right)
        return total / len(self.widths)

    def _false(self, rows: Places, wanted: Places) -> npt.NDArray[np.bool_]:
        """(rows, wanted) True where an offered text is no negative of a row.

        So it is with the row's own anchor, and with what is positive of the same user or anchor in any row, whether
        the batch holds it as another row's positive or as a hard negative.
        """
        false: npt.NDArray[np.bool_] = self.anchor[rows][:, None] == wanted[None, :]
        for key, known in self.known:
            false |= known[key[rows]][:, wanted].toarray()
        false[np.arange(len(rows)), np.searchsorted(wanted, self.positive[rows])] = False
        return false

    def judge(self, precision: str) -> tuple[float, dict[str, float]]:
        """The mean reciprocal rank on validation, at the full width and at the smallest."""
        told: dict[str, float] = {}
        for width in (self.widths[0], self.widths[-1]):
            rank = self.ranks(self.valid, precision, width)[0]
            name = "" if width == self.widths[0] else f"_{width}"
            told |= {f"mrr{name}": float(np.mean(1 / rank)), f"recall_10{name}": float(np.mean(rank <= 10))}
        return told["mrr"], told

    def ranks(self, pairs: Pairs, precision: str = "fp32", width: int = 0) -> tuple[Places, list[str], Any]:
        """(n,) rank of each row's positive among all distinct positives, the text at the top, and its softmax."""
        offered = list(dict.fromkeys(pairs.positives))
        cut = width or self.adapted.dim
        first, second = (
            functional.normalize(self.adapted.vectors(self.adapted.feed(texts), precision)[:, :cut], dim=1)
            for texts in (pairs.anchors, offered)
        )
        place = {text: i for i, text in enumerate(offered)}
        ranks, best, share = np.empty(len(pairs), dtype=np.int64), [], np.empty(len(pairs), dtype=np.float32)
        for start in range(0, len(pairs), 1024):
            logits = first[start : start + 1024] @ second.T
            rows = range(start, start + len(logits))
            for i, anchor in enumerate(pairs.anchors[j] for j in rows):
                if anchor in place and pairs.positives[start + i] != anchor:
                    logits[i, place[anchor]] = -2.0  # the text itself is no answer
            own = logits[torch.arange(len(logits)), torch.tensor([place[pairs.positives[j]] for j in rows])]
            ranks[rows] = (1 + (logits > own[:, None]).sum(1)).cpu().numpy()
            best += [offered[i] for i in logits.argmax(1).tolist()]
            share[rows] = functional.softmax(logits / self.adapted.settings.temperature, 1).amax(1).cpu().numpy()
        return ranks, best, share

    def measure(self, pairs: Pairs) -> tuple[dict[str, Any], pl.DataFrame]:
        """Ranks of some pairs, at each width, and a line for each row."""
        told: dict[str, Any] = {}
        for width in self.widths:
            rank = self.ranks(pairs, width=width)[0]
            name = "" if width == self.widths[0] else f"_{width}"
            told |= {f"mrr{name}": float(np.mean(1 / rank)), f"recall_10{name}": float(np.mean(rank <= 10))}
        rank, best, share = self.ranks(pairs)
        told["mrr_interval"] = list(interval(1 / rank, pairs.users))
        told["rows"], told["offered"] = len(pairs), len(set(pairs.positives))
        columns = {"row": pairs.rows, "label": pairs.positives, "predicted": best, "probability": share, "rank": rank}
        return told, pl.DataFrame(columns)


def _known(anchor: Places, positive: Places, users: Places | None, n: int) -> list[tuple[Places, sparse.csr_array]]:
    """Keys of the rows (their anchor; their user) and (keys, n) True for texts that are positive of the key."""
    found = []
    for key in (anchor, *(() if users is None else (users,))):
        once = np.unique(np.stack([key, positive], axis=1), axis=0)
        ones, shape = np.ones(len(once), dtype=np.bool_), (int(key.max(initial=0)) + 1, n)
        found.append((key, sparse.csr_array((ones, (once[:, 0], once[:, 1])), shape=shape)))
    return found


def widths(dim: int, smallest: int) -> list[int]:
    """The full width, then halves of it down to `smallest`."""
    found = [dim]
    while found[-1] // 2 >= smallest:
        found.append(found[-1] // 2)
    return found if found[-1] <= smallest or smallest >= dim else [*found, smallest]


def hold_out_pairs(pairs: Pairs, share: float, seed: int) -> tuple[Places, Places]:
    """Rows to train on and to validate on: whole users where they are known and several, else rows."""
    rng, n = np.random.default_rng((seed, 1)), max(1, round(share * len(pairs)))
    group = np.arange(len(pairs)) if pairs.users is None else np.unique(pairs.users, return_inverse=True)[1]
    if group.max(initial=0) < 4:
        group = np.arange(len(pairs))
    order = rng.permutation(int(group.max()) + 1)
    sizes = np.cumsum(np.bincount(group)[order])
    held = np.isin(group, order[: int(np.searchsorted(sizes, n)) + 1])
    return np.flatnonzero(~held), np.flatnonzero(held)


def run(job: Job) -> tuple[Result, PairsTask]:
    """Reads the pairs, trains, and measures."""
    hard, of = job.settings.hard_negatives, job.settings.pairs
    if of == "items" and job.files.events is None:
        raise SettingsError(
            "adapt.pairs items: makes its pairs from a log; give one with --events", field="adapt.pairs"
        )

    def logged(log: Any, name: str) -> Pairs:
        return log.pairs(name, hard if name == "train" else "none", of)  # type: ignore[no-any-return]

    train, valid, test = read_rows(job, read_pairs, logged, hold_out_pairs)
    if hard != "none":
        if job.files.events is None:
            from langrec.lm.adapt.negatives import of_file

            train = of_file(train, hard, job.settings.seed, job.files.source())
        n = sum(bool(text) for text in train.negatives)
        job.notes.append(f"Hard negatives by {hard}, from training alone: {n} of {len(train)} rows have one.")
    job.told("read the texts", 0, 0)
    task = PairsTask(job.adapted, train, valid)
    job.fit_encoder(task)
    parts: dict[str, Pairs] = {"valid": valid, **({"test": test} if test else {})}
    measured = {name: task.measure(part) for name, part in parts.items()}
    rows = {name: len(part) for name, part in {"train": train, **parts}.items()}
    last = measured.get("test", measured["valid"])
    test_numbers = measured["test"][0] if "test" in measured else {}
    return Result(measured["valid"][0], test_numbers, last[1], None, rows), task
