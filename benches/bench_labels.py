"""How far labels go on banking77: accuracy against labels for each way to choose them, and what comes beside.

    python benches/bench_labels.py --labels 500 --seeds 3

Every way begins at the same texts, drawn evenly, and chooses a step at a time; after each step a logistic regression on
frozen vectors is measured on the test. At the end one tuning pass on what each way chose (`--tune KIND`). Beside it:
how many turned labels the neighbours find, and what self-training brings from few labels. The test chooses nothing.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import common
from langrec.data.cache import cache_folder
from langrec.encoders import load_encoder
from langrec.encoders.cache import encode_cached
from langrec.lm.adapt.examples import Texts, draw, read_texts
from langrec.lm.labels.noise import flags
from langrec.lm.labels.pick import WAYS, classifier, pick, probabilities
from langrec.lm.labels.spread import spread
from langrec.settings import EncoderSettings

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
# Share of the labels that are turned, to be found again.
TURNED = 0.05


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--encoder", default="minilm", help="what reads the texts")
    parser.add_argument("--start", type=int, default=100, help="texts drawn evenly that every way begins with")
    parser.add_argument("--step", type=int, default=100, help="labels that are chosen at a time")
    parser.add_argument("--labels", type=int, default=1000, help="labels in all")
    parser.add_argument("--seeds", type=int, default=3, help="seeds that each is repeated with")
    parser.add_argument("--tune", default="", help="kind of the tuning pass at the end; empty = none")
    parser.add_argument("--quick", action="store_true", help="a sixth of the texts, one seed, nothing written")
    asked = parser.parse_args()
    train, test = (
        read_texts(asked.data / f"banking77/{name}.csv.gz", "text", "category") for name in ("train", "test")
    )
    if asked.quick:
        asked.labels, asked.seeds = 300, 1
        rng = np.random.default_rng(0)
        train, test = (part.take(rng.permutation(len(part))[: len(part) // 6]) for part in (train, test))
    encoder = load_encoder(EncoderSettings(name=asked.encoder))
    vectors = {
        name: encode_cached(encoder, part.texts, cache_folder() / "vectors")
        for name, part in (("train", train), ("test", test))
    }
    rows = {
        "curves": curves(train, test, vectors, asked),
        "turned_labels": turned(train, vectors["train"], asked.seeds),
        "self_training": free(train, test, vectors, asked.seeds, (1, 2) if asked.quick else (1, 2, 5, 10)),
    }
    for name, found in rows.items():
        print(pl.DataFrame(found).select(pl.exclude("rows")), name, flush=True)
    if not asked.quick:
        about = {"set": "banking77", "encoder": asked.encoder, "seeds": asked.seeds, "pool": len(train)}
        about |= {"tuned_by": asked.tune} if asked.tune else {}
        common.write("labels", {**about, "test": len(test), **rows})


def accuracy(known, labels, vectors, right) -> float:
    names, weight, bias = classifier(known, labels)
    found = np.array(names)[probabilities(vectors, weight, bias).argmax(axis=1)]
    return float((found == np.array(right)).mean())


def curves(train: Texts, test: Texts, vectors, asked) -> list[dict]:
    """A row per way and number of labels: the mean accuracy of the seeds, and how far it lies above random."""
    sizes = list(range(asked.start, asked.labels + 1, asked.step))
    found, chosen = {}, {}
    for seed in range(asked.seeds):
        start = np.random.default_rng(seed).permutation(len(train))[: asked.start]
        for way in WAYS:
            have = start.tolist()
            for size in sizes:
                while len(have) < size:
                    free = np.setdiff1d(np.arange(len(train)), have)
                    known = vectors["train"][have]
                    labels = [train.labels[i] for i in have]
                    new = pick(way, vectors["train"][free], known, labels, size - len(have), seed)
                    have += free[new.rows].tolist()
                labels = [train.labels[i] for i in have]
                found[way, size, seed] = accuracy(vectors["train"][have], labels, vectors["test"], test.labels)
            chosen[way, seed] = have
            print(way, seed, [round(found[way, size, seed], 4) for size in sizes], flush=True)
    rows = []
    for way in WAYS:
        for size in sizes:
            own = np.array([found[way, size, seed] for seed in range(asked.seeds)])
            other = np.array([found["random", size, seed] for seed in range(asked.seeds)])
            # As many labels as random needs for the same accuracy: where its curve crosses, linearly.
            means = [np.mean([found["random", one, seed] for seed in range(asked.seeds)]) for one in sizes]
            worth = float(np.interp(own.mean(), np.maximum.accumulate(means), sizes))
            row = {
                "way": way,
                "labels": size,
                "accuracy": float(own.mean()),
                "above_random": float((own - other).mean()),
            }
            row["seeds_above_random"] = int((own > other).sum())
            row["random_needs"] = round(worth) if own.mean() <= max(means) else None
            if asked.tune and size == sizes[-1]:
                row["tuned"] = float(
                    np.mean(
                        [
                            tuned(train.take(np.array(chosen[way, seed])), test, asked, seed)
                            for seed in range(asked.seeds)
                        ]
                    )
                )
            rows.append(row)
    return rows


def tuned(part: Texts, test: Texts, asked, seed: int) -> float:
    """Test accuracy of one tuning pass on the chosen rows."""
    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt
    from langrec.lm.adapt.settings import AdaptSettings

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for end, rows in (("train", part), ("test", test)):
            pl.DataFrame({"text": rows.texts, "label": rows.labels}).write_csv(place / f"{end}.csv")
        files = Files(place / "train.csv", None, place / "test.csv")
        told = adapt(asked.encoder, AdaptSettings(kind=asked.tune, seed=seed), files, place / "out")
    return float(told["test"]["accuracy"])


def turned(train: Texts, vectors, seeds: int) -> list[dict]:
    """How many of labels that were turned to another one, evenly drawn, are flagged, and how many flags are such."""
    rows, names = [], sorted(set(train.labels))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        wrong = rng.permutation(len(train))[: round(TURNED * len(train))]
        labels = list(train.labels)
        for i in wrong:
            labels[i] = str(rng.choice([name for name in names if name != labels[i]]))
        found = flags(vectors, labels)
        flagged = {flag.row for flag in found}
        hit = flagged & set(wrong.tolist())
        mended = sum(flag.suggested == train.labels[flag.row] for flag in found if flag.row in hit)
        rows.append(
            {
                "seed": seed,
                "turned": len(wrong),
                "flagged": len(flagged),
                "recall": len(hit) / len(wrong),
                "precision": len(hit) / max(1, len(flagged)),
                "right_suggestion": mended / max(1, len(hit)),
            }
        )
    return rows


def free(train: Texts, test: Texts, vectors, seeds: int, shots) -> list[dict]:
    """Test accuracy from K labels each, alone and with what the classifier labelled itself."""
    rows = []
    for each in shots:
        parts = []
        for seed in range(seeds):
            have = draw(train.labels, each, seed)
            rest = np.setdiff1d(np.arange(len(train)), have)
            labels = [train.labels[i] for i in have]
            known = vectors["train"][have]
            more = spread(vectors["train"][rest], known, labels, confidence=0.7, growth=1.0)
            own = rest[[one.row for one in more]] if more else rest[:0]
            given = [*labels, *(one.label for one in more)]
            right = (
                float(np.mean([train.labels[i] == one.label for i, one in zip(own, more, strict=True)]))
                if more
                else None
            )
            before = accuracy(known, labels, vectors["test"], test.labels)
            after = accuracy(np.concatenate([known, vectors["train"][own]]), given, vectors["test"], test.labels)
            parts.append((before, after, len(more), right))
        told = {"labels_each": each, "before": float(np.mean([one[0] for one in parts]))}
        told["after"] = float(np.mean([one[1] for one in parts]))
        told["labelled_itself"] = float(np.mean([one[2] for one in parts]))
        sure = [one[3] for one in parts if one[3] is not None]
        told["of_them_right"] = float(np.mean(sure)) if sure else None
        rows.append(told)
    return rows


if __name__ == "__main__":
    main()
