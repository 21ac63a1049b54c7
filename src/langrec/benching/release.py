"""A sound release of any size without a training: scorers straight from a drawn shop, towers and trees drawn.

    from langrec.benching.release import write_large_release
    folder = write_large_release(Path("releases"), items=1_000_000, users=100_000, events=10_000_000)

`folder` is the release, `releases/CURRENT` names it, and `langrec serve --releases releases` serves it. Its catalogue,
users and events stand in `folder/catalog` as in every release, so that a store is seeded from it as from any other.
The towers were not trained, so its lists mean little; what a request costs is what it costs with trained ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.benching.shop import Shop, draw_shop
from langrec.bundle import write_release
from langrec.data.events import Events
from langrec.data.fitting import FitData
from langrec.encoders.hashing import HashingEncoder, add_word
from langrec.protocols import Progress, Scorer, untold
from langrec.ranking.facts import Facts
from langrec.ranking.features import feature_names
from langrec.ranking.fusion import Fusion, Signal
from langrec.ranking.mix import Mix
from langrec.ranking.rerank import Reranker
from langrec.ranking.trees import Trees, joined
from langrec.registry import find, kind_of
from langrec.retrieval.bm25 import BM25
from langrec.retrieval.transitions import Transitions
from langrec.retrieval.vectors import Vectors
from langrec.settings import EncoderSettings, IdTowerSettings, Settings, TextTowerSettings
from langrec.towers.id_tower import IdTower
from langrec.towers.sequences import GAPS
from langrec.towers.shaping import Shaping
from langrec.towers.text_tower import TextTower
from langrec.types import FloatMatrix, IntVector

Arrays = dict[str, npt.NDArray[np.float32]]

POPULAR = ("popular", "popular_7d", "popular_30d", "popular_decayed")
# Successors of an item that are kept, most frequent first: the tail of a popular item's says next to nothing.
SUCCESSORS = 200
WEIGHTS = {"popular": 0.1, "popular_7d": 0.05, "popular_30d": 0.05, "popular_decayed": 0.1, "transitions": 0.4}
TREES, LEAVES = 150, 15


def write_large_release(
    releases: Path,
    items: int = 1_000_000,
    users: int = 100_000,
    events: int = 10_000_000,
    seed: int = 0,
    dim: int = 64,
    told: Progress = untold,
) -> Path:
    """Writes a release of this size and makes it the current one; equal arguments give equal scorers.

    Args:
        releases: the folder of releases; made where it is not there.
        dim: width of the towers. Vectors of texts are 256 wide: those of the hashing encoder.
        told: is told which of the steps is being done.

    Returns:
        The release's folder.
    """
    steps = 6
    told("drawing the shop", 0, steps)
    shop = draw_shop(items, users, events, seed)
    told("fitting the scorers", 1, steps)
    encoder = HashingEncoder(256)
    vectors = _text_vectors(shop, encoder)
    scorers = _scorers(shop, vectors)
    told("drawing the towers", 2, steps)
    counts = np.bincount(shop.dataset.events.items, minlength=items).astype(np.int32)
    scorers |= _towers(shop, vectors, counts > 0, dim, np.random.default_rng(seed + 1))
    told("gathering facts", 3, steps)
    signals = _signals(scorers)
    names = tuple(signal.name for signal in signals)
    weights = np.array([WEIGHTS.get(signal.scorer, 0.3) for signal in signals], dtype=np.float32)
    facts = Facts.of(shop.dataset, shop.dataset.events)
    told("drawing the trees", 4, steps)
    trees = _trees(feature_names(facts, names, True), np.random.default_rng(seed + 2))
    settings = Settings(encoder=EncoderSettings(name="hashing"))
    second = Reranker(trees, facts, settings.ranking.depth)
    fusion = Fusion(scorers, signals, Mix(names, "linear", weights), items, counts=counts, reranker=second)
    told("writing the release", 5, steps)
    models = {name: {"kind": kind_of(name)[0], "params": {}} for name in scorers}
    notes = ["drawn for a bench: its towers and trees were not trained, and it was not measured"]
    return write_release(
        releases, shop.dataset, settings, fusion, models, {"vectors": encoder}, [], None, {"notes": notes}
    )


def _text_vectors(shop: Shop, encoder: HashingEncoder) -> FloatMatrix:
    """(n, d) what the encoder says of the texts: it adds up words, so each word is read once."""
    single = np.zeros((len(shop.words), encoder.dim), dtype=np.float32)
    for row, word in zip(single, shop.words, strict=True):
        add_word(row, word)
    vectors = np.asarray(shop.counts @ single, dtype=np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return vectors


def _scorers(shop: Shop, vectors: FloatMatrix) -> dict[str, Scorer]:
    log = shop.dataset.events
    data = FitData(log, len(shop.dataset.users), len(shop.topics), vectors={"vectors": vectors})
    scorers: dict[str, Scorer] = {}
    for name in POPULAR:
        kind, params = kind_of(name)
        scorers[name] = find("scorers", kind).fit(data, Settings().retrieval, **params)
    scorers["transitions"] = _successors(log, len(shop.topics))
    words = {word: place for place, word in enumerate(shop.words)}
    scorers["bm25"] = BM25.of_counts(words, shop.counts)
    scorers["vectors"] = Vectors.fit(data, Settings().retrieval)
    return scorers


def _successors(log: Events, n: int) -> Transitions:
    """What follows within three events, the most frequent successors of each item."""
    order = np.argsort(log.users, kind="stable")
    users, items = log.users[order], log.items[order]
    keys, values = [], []
    for distance in (1, 2, 3):
        pair = (users[distance:] == users[:-distance]) & (items[distance:] != items[:-distance])
        keys.append(items[:-distance][pair].astype(np.int64) * n + items[distance:][pair])
        values.append(np.full(len(keys[-1]), 1.0 / distance, dtype=np.float32))
    key, value = np.concatenate(keys), np.concatenate(values)
    order = np.argsort(key)
    key, value = key[order], value[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(key) != 0])) if len(key) else np.zeros(0, np.intp)
    counts = np.bincount(log.items, minlength=n)
    key, value = key[starts], np.add.reduceat(value, starts) if len(starts) else value
    first, then = key // n, key % n
    value = (value * (counts[then] + 5.0) ** -0.5).astype(np.float32)
    best = np.lexsort((-value, first))
    begins = np.searchsorted(first, np.arange(n + 1))
    kept = np.sort(best[np.arange(len(best)) - begins[first[best]] < SUCCESSORS])
    indptr = np.searchsorted(first[kept], np.arange(n + 1)).astype(np.int64)
    weights = sparse.csr_array((value[kept], then[kept].astype(np.int32), indptr), shape=(n, n))
    return Transitions(weights=weights, trained=counts > 0, decay=0.1)


def _towers(
    shop: Shop, vectors: FloatMatrix, trained: npt.NDArray[np.bool_], dim: int, rng: np.random.Generator
) -> dict[str, Scorer]:
    """Both towers: items lie near their topic, and a history's vector near its newest items."""
    centres = rng.normal(size=(int(shop.topics.max()) + 1, dim)).astype(np.float32)
    table = centres[shop.topics] + rng.normal(0, 0.7, (len(shop.topics), dim)).astype(np.float32)
    table *= np.float32(0.02)
    rest: dict[str, Any] = {"epochs": 1, "precision": "fp32", "rotary": True, "temperature": 0.05}
    ids, texts = IdTowerSettings(dim=dim), TextTowerSettings(dim=dim)
    id_tower = IdTower.of(
        {"table": table, **_blocks(dim, ids.layers, rng)}, trained, heads=ids.heads, length=ids.length, **rest
    )
    d, hidden = vectors.shape[1], texts.head[0]
    head = {
        "head.0.weight": rng.normal(0, d**-0.5, (hidden, d)).astype(np.float32),
        "head.0.bias": np.zeros(hidden, dtype=np.float32),
        "head.1.weight": rng.normal(0, hidden**-0.5, (dim, hidden)).astype(np.float32),
        "head.1.bias": np.zeros(dim, dtype=np.float32),
        "input_norm.weight": np.ones(dim, dtype=np.float32),
        "input_norm.bias": np.zeros(dim, dtype=np.float32),
    }
    some = vectors[:: max(1, len(vectors) // 20_000)]
    shaping = Shaping.fit(some, 0.0)
    arrays = {**head, **_blocks(dim, texts.layers, rng)}
    text_tower = TextTower.of(arrays, trained, shaping, vectors, heads=texts.heads, length=texts.length, **rest)
    return {"id_tower": id_tower, "text_tower": text_tower}


def _blocks(dim: int, layers: int, rng: np.random.Generator) -> Arrays:
    """Blocks that pass on what they read, and a little of what lies before."""

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return rng.normal(0, 0.3 * shape[-1] ** -0.5, shape).astype(np.float32)

    ones, zeros = np.ones(dim, dtype=np.float32), np.zeros(dim, dtype=np.float32)
    arrays: Arrays = {"gap": drawn(GAPS, dim), "norm.weight": ones, "norm.bias": zeros}
    for layer in range(layers):
        name = f"blocks.{layer}."
        arrays |= {name + "attention_norm.weight": ones, name + "attention_norm.bias": zeros}
        arrays |= {name + "feed_norm.weight": ones, name + "feed_norm.bias": zeros}
        for part, shape in {"qkv": (3 * dim, dim), "out": (dim, dim), "up": (4 * dim, dim)}.items():
            arrays |= {name + part + ".weight": drawn(*shape), name + part + ".bias": np.zeros(shape[0], np.float32)}
        arrays |= {name + "down.weight": drawn(dim, 4 * dim), name + "down.bias": zeros}
    return arrays


def _signals(scorers: dict[str, Scorer]) -> tuple[Signal, ...]:
    """As `entering.signals` makes them of these scorers, with one more decay of what is cheap to ask again."""
    decays = [Signal("transitions", (("decay", decay),)) for decay in (0.03, 0.3, 1.0)]
    rare = [Signal(name, only="rare") for name in ("bm25", "vectors", "text_tower")]
    near = [Signal(name, (("decay", 1.0),)) for name in ("bm25", "vectors")]
    return (*(Signal(name) for name in scorers), *decays, *near, *rare)


def _trees(names: Sequence[str], rng: np.random.Generator) -> Trees:
    """Trees of drawn splits, whose leaves add little: the order stays the mix's for the most part."""
    read = [place for place, name in enumerate(names) if name.startswith(("score:", "rank:", "mix", "count", "text_"))]
    return joined(tuple(names), [_tree(np.array(read, dtype=np.int32), rng) for _ in range(TREES)])


def _tree(read: IntVector, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """One tree: each split parts a drawn leaf, so that children come after their parents."""
    n = 2 * LEAVES - 1
    feature, threshold = np.zeros(n, dtype=np.int32), np.full(n, np.inf, dtype=np.float32)
    left, right = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32)
    value = np.zeros(n, dtype=np.float32)
    value[:] = rng.normal(0, 0.01, n)
    leaves = [0]
    for made in range(1, n, 2):
        node = leaves.pop(int(rng.integers(len(leaves))))
        feature[node], threshold[node] = rng.choice(read), rng.uniform(0.0, 6.0)
        left[node], right[node] = made, made + 1
        leaves += [made, made + 1]
    for node in range(n - 1, -1, -1):
        if left[node] != node:
            value[node] = (value[left[node]] + value[right[node]]) / 2
    return {"feature": feature, "threshold": threshold, "left": left, "right": right, "value": value}
