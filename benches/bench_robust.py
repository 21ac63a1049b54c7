"""What robustness gains, in five parts, each over the same runs without it.

    python benches/bench_robust.py --part transfer

ways: altered texts, attacks and keeping on banking77 at 10 rows per label. Gains are paired by test row, averaged over
seeds. transfer: a model tuned on one log, measured on another without, with 1 % and with 10 % of its rows, beside the
plain model with the same rows. matrix: three logs learned one after the other, forwards and backwards, with each way
of keeping, and all of them measured after each. reptile: a head learned over users, for users that it never met.
towers: an id tower on ml-100k after epochs of finding two views of a history, by NDCG@10 on validation; no test is
looked at. Intervals are drawn over rows, or users where these are known; one that holds 0 is told as no gain. Seconds
are processor seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import polars as pl

import common
from langrec.data.cache import cache_folder
from langrec.data.dataset import Dataset
from langrec.data.fitting import FitData
from langrec.data.load import load_dataset
from langrec.data.splits import split_events
from langrec.errors import LangrecError
from langrec.evaluation.protocol import Targets, next_item, target_ranks
from langrec.fusing import gain as gain_of_ranks
from langrec.lm.adapt.examples import Choices
from langrec.lm.adapt.from_log import LIKED
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.metrics import interval
from langrec.lm.adapt.new_users import units_of
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings, with_overrides
from langrec.lm.model import find_model
from langrec.lm.robust.reptile import Meta, Unit, average, best, compare, reptile
from langrec.lm.robust.transfer import Domain, carry, matrix
from langrec.settings import EncoderSettings, IdTowerSettings
from langrec.towers.id_tower import IdTower

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
WAYS = {
    "synonyms": ["augment=synonyms:0.1", "augment.copies=4"],
    "delete": ["augment=delete:0.1", "augment.copies=4"],
    "swap": ["augment=swap:0.1", "augment.copies=4"],
    "synonyms, swap, delete": ["augment=synonyms:0.1,swap:0.1,delete:0.1", "augment.copies=4"],
    "back-translation": ["augment=translate:1", "augment.there=apertium:eng-spa", "augment.back=apertium:spa-eng"],
    "fgm": ["adversarial=fgm"],
    "freelb": ["adversarial=freelb"],
    "l2 toward the start": ["keep.l2=0.01"],
    "interpolate 0.5": ["keep.interpolate=0.5"],
}

LOGS = {
    "films": ("ml-latest-small/ratings.csv.gz", "ml-latest-small/movies.csv.gz"),
    "beauty": ("amazon-beauty-2014/interactions.csv.gz", "amazon-beauty-2014/items.csv.gz"),
    "office": ("amazon-office-2018/interactions.csv.gz", "amazon-office-2018/items.csv.gz"),
}
ORDERS = ("films>beauty>office", "office>beauty>films")
KEEPING = ("", "keep.l2=10", "keep.interpolate=0.5", "keep.replay=0.1")
ROUTES = ("films>beauty", "beauty>films", "films>office", "office>films")
# Titles are read, and these many tokens of them.
TOKENS = 32


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument(
        "--part",
        default="ways",
        choices=("ways", "transfer", "matrix", "reptile", "towers"),
        help="which of the five parts is measured",
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--kind", default="full", help="kind of adaptation")
    parser.add_argument("--seeds", type=int, default=5, help="seeds that each is repeated with")
    parser.add_argument("--rows", type=int, default=4000, help="transfer, matrix: training rows of each log, drawn")
    parser.add_argument("--routes", default=";".join(ROUTES), help="transfer: from>to, joined by ;")
    parser.add_argument("--log", type=Path, default=None, help="towers: a log; default: ml-100k as fetched")
    parser.add_argument("--epochs", type=int, default=20, help="towers: at most so many")
    parser.add_argument("--ways", default=";".join(WAYS), help="names of WAYS, joined by ;")
    parser.add_argument("--quick", action="store_true", help="little data, one seed, one epoch; writes nothing")
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds = 1
    parts = {"ways": ways, "transfer": transfer, "matrix": in_turn, "reptile": new_users, "towers": towers}
    parts[asked.part](asked)


def keep(part: str, result: dict, asked: argparse.Namespace) -> None:
    """Puts a part's result beside those of the others; what a part lists is what has been run of it so far."""
    if asked.quick:
        return
    path = common.RESULTS / "robust.json"
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    parts = {name: value for name, value in known.items() if name != "machine"}
    common.write("robust", {**parts, part: {"date": common.machine()["date"], **result}})


def ways(asked: argparse.Namespace) -> None:
    """What altered texts, attacks and keeping gain on banking77 at 10 rows per label."""
    there = asked.data / "banking77"
    with tempfile.TemporaryDirectory() as name:
        place, labels = Path(name), 6 if asked.quick else None
        files = Files(
            *(cut(there / f"{part}.csv.gz", place, labels) if part else None for part in ("train", "", "test"))
        )
        base = AdaptSettings(kind=asked.kind, shots=10, precision="fp32", epochs=1 if asked.quick else 0)
        plain, seconds = measure(base, [], files, asked.seeds)
        rows = [{"way": "plain", "accuracy": float(plain.mean()), "seconds": seconds}]
        print(rows[0], flush=True)
        for way in asked.ways.split(";"):
            changes = list(WAYS[way])
            if "synonyms" in changes[0] and (asked.data / "wordnet-synsets").is_dir():
                changes.append(f"augment.wordnet={asked.data / 'wordnet-synsets'}")
            try:
                right, seconds = measure(base, changes, files, asked.seeds)
            except LangrecError as error:
                rows.append({"way": way, "left_out": error.message})
            else:
                rows.append(gain(way, right, plain) | {"seconds": seconds, "times_plain": seconds / rows[0]["seconds"]})
            print(rows[-1], flush=True)
            keep(
                "ways",
                {"set": "banking77, 10 per label", "kind": asked.kind, "seeds": asked.seeds, "rows": rows},
                asked,
            )


def transfer(asked: argparse.Namespace) -> None:
    """Zero-shot, 1 % and 10 %: an item's title beside that of the item that its user liked just before."""
    rows, told = 200 if asked.quick else asked.rows, []
    settings = AdaptSettings(kind=asked.kind, precision="fp32", max_tokens=TOKENS, epochs=1 if asked.quick else 0)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        routes = [route.split(">") for route in asked.routes.split(";")]
        domains = {name: by_items(asked.data, name, place, rows) for name in dict.fromkeys(chain(*routes))}
        for source, target in routes:
            start = time.process_time()
            found = carry("minilm", settings, domains[source], domains[target], place / f"{source}-{target}")
            told.append({**asdict(found), "seconds": time.process_time() - start})
            print(found.table(), flush=True)
            about = {"kind": asked.kind, "rows": rows, "reads": f"titles, {TOKENS} tokens"}
            keep("transfer", {**about, "metric": "mrr", "routes": told}, asked)


def in_turn(asked: argparse.Namespace) -> None:
    """What each log's training does to the others: all after each, in two orders, with each way of keeping."""
    rows, told = 200 if asked.quick else asked.rows, []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        domains = {name: by_items(asked.data, name, place, rows) for name in ORDERS[0].split(">")}
        base = AdaptSettings(kind=asked.kind, precision="fp32", max_tokens=TOKENS, epochs=1 if asked.quick else 0)
        for order in ORDERS:
            for i, way in enumerate(KEEPING):
                start = time.process_time()
                settings = with_overrides(base, [way] if way else [])
                turns = [domains[name] for name in order.split(">")]
                found = matrix("minilm", settings, turns, place / f"{turns[0].name}-first-{i}")
                also = {"forgotten": found.forgotten(), "ahead": found.ahead()}
                told.append({"keeping": way, **asdict(found), **also, "seconds": time.process_time() - start})
                print(f"{way or 'plain'}: {also}\n{found.table()}", flush=True)
                about = {"kind": asked.kind, "rows": rows, "reads": f"titles, {TOKENS} tokens"}
                keep("matrix", {**about, "orders": told}, asked)


def by_items(data: Path, name: str, place: Path, rows: int) -> Domain:
    """Pairs of titles from a log: an item that a user liked, and the one liked next; a user's last pair is for test."""
    dataset, titles, liked = read_log(data, name)
    log = dataset.events.take(liked)
    grouped, parts = log.by_user(len(dataset.users)), {"train": [], "test": []}
    for user in range(len(dataset.users)):
        items = grouped.of(user).tolist()
        pairs = [(titles[a], titles[b], str(user)) for a, b in pairwise(items) if titles[a] != titles[b]]
        parts["train"] += pairs[:-1]
        parts["test"] += pairs[-1:]
    files = {}
    for part, most in (("train", rows), ("test", rows // 2)):
        picked = np.random.default_rng(0).permutation(len(parts[part]))[:most]
        files[part] = place / f"{name}-{part}.parquet"
        frame = pl.DataFrame([parts[part][i] for i in picked], schema=["anchor", "positive", "user_id"], orient="row")
        frame.write_parquet(files[part])
    return Domain(name, "pairs", Files(files["train"], None, files["test"]))


def read_log(data: Path, name: str) -> tuple[Dataset, list[str], np.ndarray]:
    """A log, the title of each item, and which events are likes."""
    dataset = load_dataset(*(data / part for part in LOGS[name]))[0]
    texts = dataset.catalogue.texts(EncoderSettings().fields)
    titles = [title or text for title, text in zip(dataset.catalogue.titles, texts, strict=True)]
    values = dataset.events.values
    rated = np.isfinite(values).mean() > 0.5
    return dataset, titles, values > LIKED * np.nanmax(values) if rated else np.ones(len(values), dtype=bool)


def new_users(asked: argparse.Namespace) -> None:
    """A start of the head learned over users, beside the plain one, for users and for a shop that it never met."""
    meta, told = Meta(rounds=20 if asked.quick else 600), {}
    adapted = Adapted(find_model("minilm", TOKENS), AdaptSettings(task="recommend", kind="head", max_tokens=TOKENS))
    units = {name: users_of(asked.data, name, adapted, 40 if asked.quick else 400) for name in ("films", "beauty")}
    begun = time.process_time()
    train, valid, test = (units["films"][i::3] for i in range(3)) if asked.quick else parted(units["films"])
    starts = {"reptile": best(reptile, train, valid, meta), "average": best(average, train, valid, meta)}
    told["seconds"] = time.process_time() - begun
    for name, some in (("new users of films", test), ("users of beauty", units["beauty"])):
        told[name] = compare(starts, some, meta.rows, (0, meta.steps, 4 * meta.steps))
        print(name, json.dumps(told[name], indent=1), flush=True)
    about = {"learned over": f"{len(train)} users of films", "rows of a new user": meta.rows, "reads": "titles"}
    keep("reptile", {**about, "metric": "AUC of a user's later rows", **told}, asked)


def parted(units: list[Unit]) -> tuple[list[Unit], list[Unit], list[Unit]]:
    """Six tenths, two and two of the users."""
    order = np.random.default_rng(0).permutation(len(units))
    first, second = round(0.6 * len(units)), round(0.8 * len(units))
    parts = order[:first], order[first:second], order[second:]
    train, valid, test = ([units[i] for i in part] for part in parts)
    return train, valid, test


def users_of(data: Path, name: str, adapted: Adapted, most: int) -> list[Unit]:
    """Users with 20 items or more, at most 60 of each, drawn; as many unmet items beside them where none is rated."""
    dataset, titles, liked = read_log(data, name)
    users = dataset.events.users
    rng, order, counts = np.random.default_rng(0), np.argsort(users, kind="stable"), np.bincount(users)
    starts = np.cumsum(counts) - counts
    picked = rng.permutation(np.flatnonzero(counts >= 20))[:most]
    rows = np.concatenate([rng.permutation(order[starts[user] : starts[user] + counts[user]])[:60] for user in picked])
    who, items, labels = users[rows], dataset.events.items[rows], liked[rows].astype(float)
    if liked.all():
        met = set(zip(users.tolist(), dataset.events.items.tolist(), strict=True))
        drawn = rng.integers(0, len(titles), len(rows))
        unmet = np.array([pair not in met for pair in zip(who.tolist(), drawn.tolist(), strict=True)])
        who, items = np.concatenate([who, who[unmet]]), np.concatenate([items, drawn[unmet]])
        labels = np.concatenate([labels, np.zeros(int(unmet.sum()))])
    none: tuple[tuple[str, ...], ...] = ((),) * len(who)
    candidates = tuple(titles[item] for item in items)
    chosen = Choices(none, none, candidates, labels, who.astype(str), np.arange(len(who)))
    return units_of(adapted, chosen, 20, 0)[0]


def towers(asked: argparse.Namespace) -> None:
    """The id tower without pre-training and with some epochs of it, on the same questions."""
    dataset = load_dataset(asked.log or cache_folder() / "data" / "ml-100k")[0]
    split, n_users = split_events(dataset.events, len(dataset.users)), len(dataset.users)
    questions = next_item(split.train, split.valid, n_users, 1500, 0)
    told, plain = [], None
    for pretrained in (0, 2, 10):
        settings = IdTowerSettings(
            length=100, epochs=2 if asked.quick else asked.epochs, precision="fp32", pretrain_epochs=pretrained
        )
        seconds, gains = 0.0, []
        for seed in range(asked.seeds):
            data = FitData(
                split.train, n_users, len(dataset.catalogue), judge=lambda it, _: float(gains_of(it, questions).mean())
            )
            start = time.process_time()
            gains.append(gains_of(IdTower.fit(data, replace(settings, seed=seed)), questions))
            seconds += (time.process_time() - start) / asked.seeds
        own = np.mean(gains, axis=0)
        plain = own if plain is None else plain
        low, high = interval(own - plain, questions.block.users)
        row = {"pretrain_epochs": pretrained, "ndcg_10": float(own.mean()), "gain": float((own - plain).mean())}
        told.append(
            row | {"gain_interval": [low, high], "by_seed": [float(one.mean()) for one in gains], "seconds": seconds}
        )
        print(told[-1], flush=True)
        about = {"set": "ml-100k", "tower": "id_tower", "length": 100, "epochs": settings.epochs, "seeds": asked.seeds}
        keep("towers", {**about, "judged": "NDCG@10 on validation", "rows": told}, asked)


def gains_of(tower: IdTower, questions: Targets) -> np.ndarray:
    """(q,) NDCG@10 of each question."""
    parts = (questions.slice(start, start + 512) for start in range(0, len(questions), 512))
    return np.concatenate([gain_of_ranks(target_ranks(tower.score_block(part.block), part)) for part in parts])


def cut(file: Path, place: Path, labels: int | None) -> Path:
    """The file with the columns that adapt reads, of the first few labels where so many are asked for."""
    frame = pl.read_csv(file).rename({"category": "label"})
    if labels:
        frame = frame.filter(pl.col("label").is_in(sorted(set(frame["label"]))[:labels]))
    out = place / file.name.removesuffix(".gz")
    frame.write_csv(out)
    return out


def measure(base: AdaptSettings, changes: list[str], files: Files, seeds: int) -> tuple[np.ndarray, float]:
    """(seeds, rows) whether each test row was right, and processor seconds of a run."""
    found, start = [], time.process_time()
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as out:
            settings = with_overrides(base, [*changes, f"seed={seed}"])
            adapt("minilm", settings, files, Path(out))
            told = pl.read_parquet(Path(out) / "predictions.parquet")
            found.append((told["label"] == told["predicted"]).to_numpy())
    return np.array(found, dtype=float), (time.process_time() - start) / seeds


def gain(way: str, right: np.ndarray, plain: np.ndarray) -> dict:
    """The paired gain in accuracy with its interval over test rows, and what each seed gained."""
    each = (right - plain).mean(0)
    low, high = interval(each)
    return {
        "way": way,
        "accuracy": float(right.mean()),
        "gain": float(each.mean()),
        "gain_interval": [low, high],
        "gain_by_seed": [float(value) for value in (right - plain).mean(1)],
        "says": "gain" if low > 0 else "loss" if high < 0 else "no gain that the test shows",
    }


if __name__ == "__main__":
    main()
