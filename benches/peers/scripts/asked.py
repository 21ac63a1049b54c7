"""What every peer's script shares: reads the rows and questions, tunes on validation, answers the test, writes lists.

Runs in the peer's own environment, which need not hold langrec: NumPy and Polars only.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

K = 20  # ranks of a list
CELLS = 40_000_000  # scores held at once
PATIENCE = 6  # judgements without a better validation after which a point's training ends


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


@dataclass(frozen=True)
class Fitted:
    """A model as far as it is trained.

    Attributes:
        scores: of the whole catalogue; valid until the model is trained further.
        epochs: passes over the rows so far, 1 for a model that is made at once.
        kept: makes the same model again as it is now, unharmed by further training; None where there is none.
    """

    scores: Scores
    epochs: float = 1.0
    kept: Callable[[], Scores] | None = None


@dataclass(frozen=True)
class Fit:
    """What a model is fitted with.

    Attributes:
        rows: to learn from.
        items: items.parquet.
        point: the settings.
        threads: to use.
    """

    rows: Rows
    items: pl.DataFrame
    point: dict[str, Any]
    threads: int


@dataclass(frozen=True)
class Model:
    """One model of a peer.

    Attributes:
        fit: trains it; yields it whenever it is worth judging, and once if it is made at once.
        grid: its settings, tuned on validation.
        note: how it takes a history.
        packages: whose versions the table shows.
    """

    fit: Callable[[Fit], Iterator[Fitted]]
    grid: Sequence[dict[str, Any]]
    note: str
    packages: tuple[str, ...]


class Clock:
    """Seconds that the processor has worked for this process, by thread.

    Where the process has the machine to itself these are about the wall's seconds; where it shares the machine or is
    paused, they do not pass meanwhile.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._begin = time.process_time()

    def now(self) -> float:
        """Since it was made."""
        return (time.process_time() - self._begin) / self._threads


class Trial:
    """One point of the grid as far as it is trained; remembers itself at its best validation."""

    def __init__(self, model: Model, fit: Fit, clock: Clock) -> None:
        self.point = fit.point
        self.value = -1.0
        self.epochs = self.best_epochs = 0.0
        self.seconds = self.worked = 0.0  # on the wall, and on the clock; judging is not in them
        self.spent = 0.0  # on the clock, judging included
        self.scores: Scores | None = None
        self.done = False
        self._steps = model.fit(fit)
        self._since = 0
        self._clock = clock

    def step(self, judge: Callable[[Scores], float]) -> None:
        """Trains on, judges, and ends without a gain for `PATIENCE` judgements."""
        begin, wall = self._clock.now(), time.monotonic()
        fitted = next(self._steps, None)
        self.seconds += time.monotonic() - wall
        self.worked += self._clock.now() - begin
        if fitted is None:
            self.done = True
            return
        self.epochs = fitted.epochs
        value = judge(fitted.scores)
        self._since += 1
        if value > self.value:
            self.scores = fitted.kept() if fitted.kept else fitted.scores
            self.value, self.best_epochs, self._since = value, self.epochs, 0
        self.done = fitted.kept is None or self._since >= PATIENCE
        self.spent += self._clock.now() - begin
        print(f"{self.point} epoch {self.epochs:.2f}: {value:.5f}, {self.seconds:.1f} s", flush=True)

    def told(self) -> dict[str, Any]:
        """A line of the grid."""
        return {
            "point": self.point,
            "ndcg@10": round(self.value, 5),
            "best_epoch": round(self.best_epochs, 2),
            "epochs": round(self.epochs, 2),
            "seconds": round(self.seconds, 2),
            "worked": round(self.worked, 2),
            "ended": "judged" if self.done else "time was up",
        }


def main(models: Mapping[str, Model]) -> None:
    """Fits one model, and writes its lists and what they cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, choices=list(models))
    parser.add_argument("--work", type=Path, required=True, help="folder of the questions")
    parser.add_argument("--out", type=Path, required=True, help="folder for lists.parquet and summary.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1200.0, help="for all of the model's training, see `Clock`")
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

    clock = Clock(args.threads)
    # Where the test has rows of its own to learn from, the model is fitted once more, out of the same purse.
    end = args.seconds * (0.6 if again else 1.0)
    trials = [Trial(model, Fit(first, items, point, args.threads), clock) for point in model.grid]
    best = _race(trials, judge, clock, end)
    scores, fit_seconds, epochs = best.scores, best.seconds, best.epochs
    if again:
        rows = _rows(args.work / "fit_test.parquet", items)
        popular = _popular(rows)
        at = time.monotonic()
        for fitted in model.fit(Fit(rows, items, best.point, args.threads)):
            scores, epochs = fitted.scores, fitted.epochs
            if epochs >= best.best_epochs - 1e-6 or clock.now() > args.seconds:
                break
        fit_seconds = time.monotonic() - at
    assert scores is not None
    test = _questions(args.work / "test.parquet")
    at = time.monotonic()
    nums, values = answer(scores, test, len(items), popular)
    score_seconds = time.monotonic() - at
    _write(args.out / "lists.parquet", nums, values, test, items)
    return {
        "point": best.point,
        "valid_ndcg@10": round(best.value, 5),
        "grid": [trial.told() for trial in trials],
        "tune_seconds": round(sum(trial.seconds for trial in trials), 2),
        "fit_seconds": round(fit_seconds, 2),
        "score_seconds": round(score_seconds, 2),
        "seconds_per_epoch": round(best.seconds / max(best.epochs, 1e-9), 3),
        "worked_per_epoch": round(best.worked / max(best.epochs, 1e-9), 3),
        "epochs": round(epochs if again else best.best_epochs, 2),
        "peak_mb": round(peak_mb(), 1),
        "note": model.note,
        "versions": {name: version(name) for name in model.packages},
    }


def _race(trials: list[Trial], judge: Callable[[Scores], float], clock: Clock, end: float) -> Trial:
    """The best point on validation: all run for a part of the time, then the leaders run on while there is any."""
    share = end / 2 / len(trials)
    best: Trial | None = None
    for trial in trials:
        while not trial.done and trial.spent < share and (clock.now() < end or best is None):
            trial.step(judge)
        if best is None or trial.value > best.value:
            loser, best = best, trial
        else:
            loser = trial
        if loser is not None and loser.done:
            loser.scores = None  # its memory is free for the next
    for trial in sorted(trials, key=lambda trial: -trial.value):
        while not trial.done and clock.now() < end:
            trial.step(judge)
    return max(trials, key=lambda trial: trial.value)


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
