"""What every peer's script shares: reads the rows and questions, tunes on validation, answers the test, writes lists.

Runs in the peer's own environment, which need not hold langrec: NumPy and Polars only.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

K = 20  # ranks of a list
CELLS = 40_000_000  # scores held at once
PATIENCE = 4  # epochs without a better validation after which training ends


@dataclass(frozen=True)
class Rows:
    """What a model may learn from, oldest first.

    Attributes:
        users: (m,) user codes by first appearance.
        items: (m,) rows of items.parquet.
        at: (m,) epoch milliseconds, or places within the user where the set has no times.
        user_ids: the users by code.
        n_items: items of the catalogue.
    """

    users: np.ndarray
    items: np.ndarray
    at: np.ndarray
    user_ids: list[str]
    n_items: int

    @property
    def code_of(self) -> dict[str, int]:
        """User codes by id."""
        return {name: code for code, name in enumerate(self.user_ids)}

    def matrix(self) -> Any:
        """(users, items) SciPy CSR of 1 where there is a row."""
        from scipy.sparse import csr_matrix

        ones = np.ones(len(self.users), dtype=np.float32)
        found = csr_matrix((ones, (self.users, self.items)), shape=(len(self.user_ids), self.n_items))
        found.sum_duplicates()
        found.data[:] = 1.0
        return found

    def sequences(self) -> list[np.ndarray]:
        """Item rows of each user, oldest first."""
        order = np.argsort(self.users, kind="stable")
        ends = np.cumsum(np.bincount(self.users, minlength=len(self.user_ids)))
        return np.split(self.items[order], ends[:-1])


@dataclass(frozen=True)
class Questions:
    """Users with their histories; the targets of the validation only.

    Attributes:
        users: q user ids.
        histories: q arrays of item rows, oldest first.
        targets: (q,) item rows, None for the test.
    """

    users: list[str]
    histories: list[np.ndarray]
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def blocks(self, n_items: int) -> Iterator[tuple[int, Questions]]:
        """Pieces whose scores fit in memory, each with its first question's place."""
        step = max(1, CELLS // max(n_items, 1))
        for start in range(0, len(self), step):
            part = slice(start, start + step)
            targets = None if self.targets is None else self.targets[part]
            yield start, Questions(self.users[part], self.histories[part], targets)

    def matrix(self, n_items: int) -> Any:
        """(q, items) SciPy CSR of 1 where an item is in the history."""
        from scipy.sparse import csr_matrix

        lengths = [len(history) for history in self.histories]
        flat = np.concatenate([*self.histories, np.zeros(0, dtype=np.int32)])
        rows = np.repeat(np.arange(len(self)), lengths)
        found = csr_matrix((np.ones(len(flat), dtype=np.float32), (rows, flat)), shape=(len(self), n_items))
        found.sum_duplicates()
        found.data[:] = 1.0
        return found


Scores = Callable[[Questions], np.ndarray]  # (q, n) scores, NaN where the model cannot score


@dataclass
class Fitted:
    """A model that answers.

    Attributes:
        scores: of the whole catalogue.
        told: what fitting found that a second fit needs (`epochs`), or the table shows (`seconds_per_epoch`).
    """

    scores: Scores
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """What a model is fitted with.

    Attributes:
        rows: to learn from.
        items: items.parquet.
        point: the settings.
        threads: to use.
        judge: NDCG@10 on validation of a model's scores; None in the second fit, before the test.
        stop: `time.monotonic()` at which training should end.
        told: what the first fit found, for the second.
    """

    rows: Rows
    items: pl.DataFrame
    point: dict[str, Any]
    threads: int
    judge: Callable[[Scores], float] | None
    stop: float
    told: Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """One model of a peer.

    Attributes:
        fit: makes it.
        grid: its settings, tuned on validation.
        note: how it takes a history.
        packages: whose versions the table shows.
    """

    fit: Callable[[Fit], Fitted]
    grid: Sequence[dict[str, Any]]
    note: str
    packages: tuple[str, ...]


def main(models: Mapping[str, Model]) -> None:
    """Fits one model, and writes its lists and what they cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, choices=list(models))
    parser.add_argument("--work", type=Path, required=True, help="folder of the questions")
    parser.add_argument("--out", type=Path, required=True, help="folder for lists.parquet and summary.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1200.0, help="for all of the model's training")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    summary = _run(models[args.model], args)
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")


def _run(model: Model, args: argparse.Namespace) -> dict[str, Any]:
    items = pl.read_parquet(args.work / "items.parquet")
    first, valid = _rows(args.work / "fit_valid.parquet", items), _questions(args.work / "valid.parquet")
    again = (args.work / "fit_valid.parquet").read_bytes() != (args.work / "fit_test.parquet").read_bytes()
    popular = _popular(first)

    def judge(scores: Scores) -> float:
        return ndcg(answer(scores, valid, first.n_items, popular)[0], valid)

    begin = time.monotonic()
    # Where the test has rows of its own to learn from, the model is fitted once more: that is paid from the same purse.
    purse = args.seconds * (0.6 if again else 1.0)
    tried: list[dict[str, Any]] = []
    best: tuple[float, Fitted, dict[str, Any], float] | None = None
    for place, point in enumerate(model.grid):
        left = begin + purse - time.monotonic()
        if place and left < purse * 0.05:
            tried.append({"point": point, "ndcg@10": None, "note": "no time left"})
            continue
        share = left / (len(model.grid) - place)
        at = time.monotonic()
        fitted = model.fit(Fit(first, items, point, args.threads, judge, at + share, {}))
        fit_seconds = time.monotonic() - at
        found = judge(fitted.scores)
        tried.append({"point": point, "ndcg@10": round(found, 5), "seconds": round(fit_seconds, 2), **fitted.told})
        print(json.dumps(tried[-1]), flush=True)
        if best is None or found > best[0]:
            best = (found, fitted, point, fit_seconds)
    assert best is not None
    found, fitted, point, fit_seconds = best
    told = dict(fitted.told)
    if again:
        rows, popular = _rows(args.work / "fit_test.parquet", items), None
        at = time.monotonic()
        fitted = model.fit(Fit(rows, items, point, args.threads, None, begin + args.seconds, told))
        fit_seconds = time.monotonic() - at
        told |= fitted.told
        popular = _popular(rows)
    test = _questions(args.work / "test.parquet")
    at = time.monotonic()
    nums, scores = answer(fitted.scores, test, len(items), popular)
    score_seconds = time.monotonic() - at
    _write(args.out / "lists.parquet", nums, scores, test, items)
    return {
        "point": point,
        "valid_ndcg@10": round(found, 5),
        "grid": tried,
        "tune_seconds": round(sum(row.get("seconds", 0.0) for row in tried), 2),
        "fit_seconds": round(fit_seconds, 2),
        "score_seconds": round(score_seconds, 2),
        "peak_mb": round(peak_mb(), 1),
        "note": model.note,
        "versions": {name: version(name) for name in model.packages},
        **told,
    }


def answer(scores: Scores, asked: Questions, n_items: int, popular: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(q, K) best item rows outside the history and their scores, ties by row, -1 behind the end.

    What the model cannot score stands behind what it can, by popularity: short lists and empty histories are filled so.
    """
    nums = np.full((len(asked), K), -1, dtype=np.int64)
    best = np.full((len(asked), K), np.nan, dtype=np.float64)
    for start, part in asked.blocks(n_items):
        found = np.asarray(scores(part), dtype=np.float64)
        for i, history in enumerate(part.histories):
            row = found[i]
            row[history] = np.nan
            first = _top(row, K)
            if len(first) < K:
                rest = popular.copy()
                rest[history] = np.nan
                rest[first] = np.nan
                first = np.concatenate([first, _top(rest, K - len(first))])
            nums[start + i, : len(first)] = first
            best[start + i, : len(first)] = row[first]
    return nums, best


def factor_scores(
    fit: Fit,
    users: np.ndarray,
    items: np.ndarray,
    mode: str,
    biases: np.ndarray | None = None,
    untrained: str = "nothing",
) -> Scores:
    """Scores of a model that knows users by trained factors alone and folds nothing in.

    Args:
        users: (trained users, d).
        items: (n, d).
        mode: trained = a user's own factors where there are any; history = for everybody the mean of the history's item
            factors. An unknown user gets that mean in both.
        biases: (n,) added to every score.
        untrained: what the factors of items without rows stand on: nothing, so that they are not scored, or text.
    """
    code_of = fit.rows.code_of
    unknown = np.bincount(fit.rows.items, minlength=fit.rows.n_items) == 0
    if untrained == "text":
        unknown[:] = False

    def scores(part: Questions) -> np.ndarray:
        vectors = np.full((len(part), items.shape[1]), np.nan, dtype=np.float64)
        for i, (user, history) in enumerate(zip(part.users, part.histories, strict=True)):
            code = code_of.get(user, -1) if mode == "trained" else -1
            learned = history[~unknown[history]]
            if code >= 0:
                vectors[i] = users[code]
            elif len(learned):
                vectors[i] = items[learned].mean(axis=0)
        found = vectors @ items.T.astype(np.float64)
        if biases is not None:
            found += biases
        found[:, unknown] = np.nan
        return found

    return scores


def ndcg(nums: np.ndarray, asked: Questions, k: int = 10) -> float:
    """Mean NDCG@k with one target per question."""
    assert asked.targets is not None
    row, rank = np.nonzero(nums[:, :k] == asked.targets[:, None])
    return float((1.0 / np.log2(rank + 2.0)).sum() / len(asked)) if len(row) else 0.0


def peak_mb() -> float:
    """Most memory that this process has held; the program that started it does not count."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _top(row: np.ndarray, k: int) -> np.ndarray:
    there = np.flatnonzero(~np.isnan(row) & (row > -np.inf))
    if len(there) > k:
        bound = np.partition(row[there], len(there) - k)[len(there) - k]
        there = there[row[there] >= bound]
    return there[np.lexsort((there, -row[there]))][:k]


def _popular(rows: Rows) -> np.ndarray:
    """(n,) decayed counts: an event a thirtieth of the log's span ago weighs 1/e. NaN for items without rows."""
    span = float(rows.at.max() - rows.at.min()) if len(rows.at) else 0.0
    age = (rows.at.max() - rows.at) / (span / 30.0) if span > 1e6 else np.zeros(len(rows.at))
    counts = np.bincount(rows.items, weights=np.exp(-age) + 1e-9, minlength=rows.n_items)
    return np.where(counts > 0, counts, np.nan)


def _rows(path: Path, items: pl.DataFrame) -> Rows:
    places = items.select("item_id").with_row_index("place")
    frame = pl.read_parquet(path).join(places, on="item_id", how="left", maintain_order="left")
    users = frame["user_id"].unique(maintain_order=True)
    codes = pl.DataFrame({"user_id": users}).with_row_index("code")
    frame = frame.join(codes, on="user_id", how="left", maintain_order="left")
    columns = (frame["code"].to_numpy().astype(np.int32), frame["place"].to_numpy().astype(np.int32))
    return Rows(*columns, frame["at"].to_numpy(), users.to_list(), items.height)


def _questions(path: Path) -> Questions:
    frame = pl.read_parquet(path)
    lengths = frame["history"].list.len().to_numpy()
    flat = frame["history"].explode(empty_as_null=False, keep_nulls=False).to_numpy()
    histories = np.split(flat, np.cumsum(lengths.astype(np.int64))[:-1])
    targets = frame["target"].to_numpy() if "target" in frame.columns else None
    return Questions(frame["user_id"].to_list(), histories, targets)


def _write(path: Path, nums: np.ndarray, scores: np.ndarray, asked: Questions, items: pl.DataFrame) -> None:
    question, place = np.nonzero(nums >= 0)
    users = pl.Series("user_id", asked.users, dtype=pl.String)
    pl.DataFrame(
        {
            "question": question,
            "user_id": users.gather(question),
            "item_id": items["item_id"].gather(nums[question, place]),
            "rank": (place + 1).astype(np.int32),
            "score": scores[question, place].astype(np.float32),
        }
    ).write_parquet(path)
