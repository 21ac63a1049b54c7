"""All settings of one adaptation, as one value; what is not said takes the default of the kind."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langrec.errors import SettingsError
from langrec.lm.robust.ways import parse

TASKS = ("classify", "recommend", "pairs", "pretrain", "joint")
KINDS = ("full", "head", "last", "adapter", "lora", "adalora", "dora", "ia3", "bitfit", "side")


@dataclass(frozen=True, slots=True)
class AdaptSettings:
    """How a model is adapted.

    Attributes:
        task: one of TASKS.
        kind: one of KINDS: which parameters are trained.
        seed: of drawing, order, initial weights and dropout.
        shots: training rows drawn per class (recommend: in all); 0 = all rows.
        label_names: classify with shots: a label's name, where it is made of words, is one more text of it.
        epochs: at most so many; 0 = the kind's own.
        batch: texts in one step; 0 = the kind's own.
        accumulate: steps whose gradients are summed before the weights move.
        rate: learning rate; 0 = the kind's own.
        head_rate: learning rate of the task's head.
        schedule: constant, linear, cosine or plateau, after the rise.
        warmup: share of all steps over which the rate rises.
        weight_decay: AdamW's, of the encoder's matrices only.
        dropout: inside the trained model.
        layer_decay: the rate of a layer is that of the layer above it times this; 1 = all alike.
        clip: longest gradient; 0 = no limit.
        patience: epochs without a better validation before training stops.
        precision: auto measures fp32, bf16 (and fp16 on a GPU) and takes what is clearly faster; or one of them.
        max_tokens: longest text in tokens.
        train_embeddings: also train the token table, which the kinds full and bitfit leave alone by default.
        checkpointing: compute activations again in the backward pass instead of keeping them.
        cached: compute the frozen part once per text and keep its states, where the kind has a frozen part.
        layers: how many upper layers the kind last trains.
        rank: of lora, dora and (at the end of training) adalora.
        alpha: lora's scale is alpha / rank.
        bottleneck: inner width of adapters and of the side network.
        valid_share: share of the training rows held out where no validation file is given.
        reads: recommend: what the encoder reads: title (the candidate's alone; the history makes features) or question
            (history and candidate as one text: a cross-encoder).
        beside: recommend: named features and effects of titles stand beside the reading of the text; without them the
            model is the reading alone, which is all that a release reranks by.
        past: recommend: what the items of a history are read by, texts or titles, which are shorter: more of them
            are read. From a log it is made so; of a file it says what is in it. A release reranks by the same.
        asks: recommend: what is made of a log: auto asks about ratings where there are any, and else as choices does:
            every event is a like, set against items that its user never met.
        floor: recommend: the share of liked titles in a history may be used.
        meta: recommend: reptile learns, over users, a start of the head that a few rows of a new user adapt; or none.
        meta_rows: rows of a new user that adapt it.
        meta_steps: steps on them.
        pairs: pairs: what is made of a log: histories pairs the titles of what a user liked with the item liked next;
            items pairs the text of one of these likes, drawn by the seed, with that of the item.
        width: vector width that pairs trains besides the full one (Matryoshka); halved from the full width down to it.
        hard_negatives: pairs, and recommend from choices: bm25 (by the anchor's words) or ease (by what users have in
            common) finds a negative for each row; none takes those of the batch, of the file's column negative, or the
            evenly drawn ones alone.
        temperature: of contrastive losses.
        objective: pretrain: auto fills in masked tokens where the model has a head for that, else knows texts again;
            gpl learns a cross-encoder's margins between passages.
        gpl_cross: folder of that cross-encoder: a sequence classifier, or the model of recommend with reads=question.
        gpl_generator: folder of an encoder-decoder that makes queries; empty takes titles and first sentences.
        weigh: joint: uncertainty learns the weight of each task, equal does not.
        replay: share of each epoch's rows that every task of joint gets at least.
        augment: ways to alter training texts, with their rates: synonyms:0.1,delete:0.1,swap:0.1,translate:0.5; each
            reading of a text is itself or one of its altered copies.
        augment_copies: altered copies of each text.
        augment_wordnet: folder or file of synonyms; empty looks where WordNet is usually installed.
        augment_there: translator into another language: apertium:eng-spa, or a folder.
        augment_back: translator back from it.
        adversarial: fgm or freelb shift what the model reads in the direction that hurts most; none does not.
        adversarial_size: longest shift, as a share of the length of a text's embeddings.
        adversarial_steps: passes of freelb over a batch.
        keep_l2: pull of the encoder toward its start (L2-SP); where it is above 0, it stands for weight_decay.
        keep_interpolate: how far from the start toward the tuned weights the result lies; 1 = tuned (WiSE-FT).
        keep_replay: rows of keep_from that are trained on too, as a share of the training rows.
        keep_from: file of rows of an earlier domain, laid out like the training rows.
    """

    task: str = "classify"
    kind: str = "full"
    seed: int = 0
    shots: int = 0
    label_names: bool = True
    epochs: int = 0
    batch: int = 0
    accumulate: int = 1
    rate: float = 0.0
    head_rate: float = 1e-4
    schedule: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    layer_decay: float = 1.0
    clip: float = 1.0
    patience: int = 3
    precision: str = "auto"
    max_tokens: int = 128
    train_embeddings: bool = False
    checkpointing: bool = False
    cached: bool = True
    layers: int = 2
    rank: int = 8
    alpha: int = 16
    bottleneck: int = 64
    valid_share: float = 0.1
    reads: str = "title"
    beside: bool = True
    past: str = "texts"
    asks: str = "auto"
    floor: bool = True
    meta: str = "none"
    meta_rows: int = 8
    meta_steps: int = 5
    pairs: str = "histories"
    width: int = 64
    hard_negatives: str = "none"
    temperature: float = 0.05
    objective: str = "auto"
    gpl_cross: str = ""
    gpl_generator: str = ""
    weigh: str = "uncertainty"
    replay: float = 0.1
    augment: str = ""
    augment_copies: int = 1
    augment_wordnet: str = ""
    augment_there: str = ""
    augment_back: str = ""
    adversarial: str = "none"
    adversarial_size: float = 0.1
    adversarial_steps: int = 3
    keep_l2: float = 0.0
    keep_interpolate: float = 1.0
    keep_replay: float = 0.0
    keep_from: str = ""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                near = difflib.get_close_matches(str(value), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise SettingsError(f"adapt.{name} {value}: unknown ({hint})", field=f"adapt.{name}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(f"adapt.{name} {value}: must lie between {low} and {high}", field=f"adapt.{name}")
        parse(self.augment)


_CHOICES = {
    "task": TASKS,
    "kind": KINDS,
    "schedule": ("constant", "linear", "cosine", "plateau"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "weigh": ("uncertainty", "equal"),
    "reads": ("title", "question"),
    "past": ("texts", "titles"),
    "asks": ("auto", "choices"),
    "meta": ("none", "reptile"),
    "pairs": ("histories", "items"),
    "objective": ("auto", "gpl"),
    "hard_negatives": ("none", "bm25", "ease"),
    "adversarial": ("none", "fgm", "freelb"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "shots": (0, 1e9),
    "epochs": (0, 10_000),
    "batch": (0, 100_000),
    "accumulate": (1, 10_000),
    "rate": (0, 10),
    "head_rate": (0, 10),
    "warmup": (0, 1),
    "weight_decay": (0, 10),
    "dropout": (0, 0.9),
    "layer_decay": (0.01, 1),
    "clip": (0, 1e6),
    "patience": (1, 10_000),
    "max_tokens": (3, 100_000),
    "layers": (1, 1000),
    "rank": (1, 1024),
    "alpha": (1, 4096),
    "bottleneck": (1, 8192),
    "valid_share": (0.01, 0.9),
    "meta_rows": (1, 10_000),
    "meta_steps": (1, 10_000),
    "width": (1, 8192),
    "temperature": (1e-4, 10),
    "replay": (0, 1),
    "augment_copies": (1, 100),
    "adversarial_size": (1e-6, 10),
    "adversarial_steps": (1, 100),
    "keep_l2": (0, 1e6),
    "keep_interpolate": (0, 1),
    "keep_replay": (0, 100),
}


def with_overrides(settings: AdaptSettings, overrides: Sequence[str]) -> AdaptSettings:
    """The settings with `name=value` texts laid over them.

    Raises:
        SettingsError: an unknown name, or a value of the wrong type or out of range.
    """
    types, changes = typing.get_type_hints(AdaptSettings), dict[str, Any]()
    for text in overrides:
        name, sign, value = (part.strip() for part in text.partition("="))
        name = name.removeprefix("adapt.").replace(".", "_")  # keep.l2 and keep_l2 are one
        if not sign or name not in types:
            near = difflib.get_close_matches(name, types, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(types)}"
            raise SettingsError(f"--set {text}: unknown key {name} ({hint})", field=name)
        changes[name] = _as(types[name], value, text)
    return dataclasses.replace(settings, **changes)


def _as(kind: type, value: str, text: str) -> Any:
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise SettingsError(f"--set {text}: needs true or false")
        return value.lower() == "true"
    try:
        return kind(value)
    except ValueError as error:
        raise SettingsError(f"--set {text}: needs a {'whole number' if kind is int else 'number'}") from error
