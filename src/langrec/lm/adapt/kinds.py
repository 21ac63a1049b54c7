"""The table of kinds: which parameters are trained, what is fed to them, and what is left when training is over."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from langrec.data.cache import cache_folder
from langrec.errors import MissingExtra, SettingsError
from langrec.lm import slim
from langrec.lm.adapt import adapters, folder, peft_kinds, side
from langrec.lm.adapt.adapters import count, layers_of
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.adapt.states import StateFeed, TokenFeed, TokenStateFeed, distinct, keep, keep_tokens
from langrec.lm.adapt.upper import Upper, lower_run, upper_of
from langrec.lm.device import chosen_device
from langrec.lm.export import has_decoder, pooled, with_parts
from langrec.lm.model import TextModel, read_json
from langrec.lm.robust.augment import Varied, copies
from langrec.lm.robust.ways import parse
from langrec.lm.tokens import Tokens


class Feed(Protocol):
    """Texts as a kind reads them; `lengths` (n,) says which are alike in size."""

    lengths: Any

    def __call__(self, rows: Any) -> tuple[Tensor, ...]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the table.

    Attributes:
        says: what it trains, for people.
        rate: its learning rate where none is set.
        epochs: its epochs where none are set.
        put: changes the transformer in place (or gives one around it) and says which parameters are trained.
        frozen: what can be kept instead of computed again: nothing, the vector, pooled states, or token states.
        batch: its batch where none is set: small networks learn from large ones.
        beside: it cannot be merged into the weights: what it trains is kept in a file beside them.
    """

    says: str
    rate: float
    epochs: int
    put: Callable[[Any, AdaptSettings], Any]
    frozen: str = ""
    beside: bool = False
    batch: int = 32


def _full(core: Any, settings: AdaptSettings) -> Any:
    return _only(core, lambda _: True, settings)


def _none(core: Any, _: AdaptSettings) -> Any:
    return core.requires_grad_(False)


def _last(core: Any, settings: AdaptSettings) -> Any:
    layers = layers_of(core)
    core.requires_grad_(False)
    for layer in list(layers)[max(0, len(layers) - settings.layers) :]:
        layer.requires_grad_(True)
    return core


def _bitfit(core: Any, settings: AdaptSettings) -> Any:
    return _only(core, lambda name: name.endswith("bias"), settings)


def _adapter(core: Any, settings: AdaptSettings) -> Any:
    adapters.insert(core, settings.bottleneck)
    return _only(core, lambda name: ".adapter." in name, settings)


def _only(core: Any, wanted: Callable[[str], bool], settings: AdaptSettings) -> Any:
    """Leaves only the wanted parameters trainable, and neither the unused pooler nor, by default, the token table."""
    for name, value in core.named_parameters():
        value.requires_grad_(wanted(name) and not name.startswith("pooler."))
    if not settings.train_embeddings:
        core.get_input_embeddings().weight.requires_grad_(False)
    return core


KINDS = {
    "full": Kind("every parameter but the token table", 1e-4, 6, _full),
    "head": Kind("the head alone, on kept vectors", 1e-3, 30, _none, "vector", batch=256),
    "last": Kind("the upper layers, on kept states of the layer below", 2e-4, 6, _last, "tokens"),
    "adapter": Kind("bottleneck adapters after each sublayer (Houlsby)", 1e-3, 8, _adapter, beside=True),
    "lora": Kind("low-rank changes of attention's query and value", 1e-3, 8, peft_kinds.lora),
    "adalora": Kind("low-rank changes whose ranks are dealt out in training", 2e-3, 8, peft_kinds.adalora),
    "dora": Kind("low-rank changes of the direction, and a magnitude", 1e-3, 8, peft_kinds.dora),
    "ia3": Kind("one factor per unit of keys, values and feed-forward", 5e-3, 8, peft_kinds.ia3),
    "bitfit": Kind("biases", 1e-3, 8, _bitfit),
    "side": Kind("a gated side network on kept pooled states", 3e-4, 30, _none, "pooled", beside=True, batch=256),
}


class Adapted:
    """A language model with the trainable part of one kind in it.

    Attributes:
        model: the folder it came from.
        settings: how it is adapted; rates and epochs are filled in.
        core: the transformer, with what the kind put into it.
        module: the whole way, as it is served: (b, t) ids and mask -> (b, d) unit rows.
        trained: what training runs: what `feed` gives -> (b, d) unit rows.
        dim: d.
    """

    def __init__(self, model: TextModel, settings: AdaptSettings, cache: Path | None = None) -> None:
        """Loads the model and puts the kind's part into it.

        Raises:
            MissingExtra: torch, transformers or peft is not installed.
            SettingsError: this model cannot be adapted by this kind.
        """
        kind = KINDS[settings.kind]
        self.model, self.kind = model, kind
        self.settings = with_defaults(settings)
        self.cache = (cache or cache_folder()) / "states"
        self.device = chosen_device()
        self.tokens = Tokens.of_model(model)
        self.pad_id = int(read_json(model.folder / "config.json").get("pad_token_id") or 0)
        if settings.kind != "head" and any((model.folder / name).is_file() for name in folder.MODULES):
            raise SettingsError(
                f"{model.name}: holds parts beside its weights; adapt it by --kind head, or the model it came from",
                field="model",
            )
        torch.manual_seed(settings.seed)
        core = load_core(model, settings)
        self.core = kind.put(core, settings)
        if settings.checkpointing and hasattr(core, "gradient_checkpointing_enable"):
            core.gradient_checkpointing_enable({"use_reentrant": False})
        self.module: Any = with_parts(self.core, model) if settings.kind == "head" else pooled(self.core, model)
        for layer in self.module.dense.parameters():
            layer.requires_grad_(settings.kind == "full")
        self.dim = int(self._vectors_of_two().shape[1])
        self._upper: Upper | None = None
        self.trained: Any = self._trained()
        self.module.to(self.device)
        self.trained.to(self.device)

    def _vectors_of_two(self) -> Tensor:
        feed = TokenFeed(self.tokens(["a", "two words"]), self.pad_id)
        with torch.no_grad():
            found: Tensor = self.module.eval()(*feed(np.arange(2)))
        return found

    def _trained(self) -> Any:
        if self.settings.kind == "side":
            rows, width = len(layers_of(self.core)) + 1, int(self.core.config.hidden_size)
            network = side.Side(rows, width, 4 * self.settings.bottleneck, self.settings.dropout)
            self.module = side.Beside(self.module, self.model.pooling, network)
            return self.module.finish if self.settings.cached else _Hidden(self.module, frozen=self.core)
        if self.settings.kind == "head":
            return _Given() if self.settings.cached else _Hidden(self.module, frozen=self.core)
        if self.settings.kind == "last" and self.settings.cached:
            self._upper = upper_of(self.core, self.module, self.model.pooling, self.settings.layers)
            if self._upper is not None:
                return self._upper
        return self.module

    @property
    def keeps(self) -> str:
        """What is kept of the frozen part: nothing, the vector, pooled states or token states."""
        if not self.settings.cached or (self.kind.frozen == "tokens" and self._upper is None):
            return ""
        return self.kind.frozen

    def feed(self, texts: Sequence[str]) -> Feed:
        """The texts as `trained` reads them; the frozen part is computed here, once per distinct text."""
        numbers = self.tokens(texts)
        if not self.keeps:
            return TokenFeed(numbers, self.pad_id, self.device)
        rows, place = distinct(numbers)
        name, pad, where = f"{self.model.space}/{self.keeps}", self.pad_id, self.device
        self.module.eval()
        if self.keeps == "vector":
            return StateFeed(keep(name, rows, self.module, (self.dim,), pad, self.cache, where), place, where)
        width = int(self.core.config.hidden_size)
        if self.keeps == "pooled":

            def states(ids: Tensor, mask: Tensor) -> Tensor:
                return side.all_states(self.core, self.model.pooling, ids, mask)

            shape = (len(layers_of(self.core)) + 1, width)
            return StateFeed(keep(name, rows, states, shape, pad, self.cache, where), place, where)
        name += f"/{self.settings.layers}"
        run = lower_run(self.core, self.settings.layers)
        kept = keep_tokens(name, rows, run, (width,), pad, self.cache, where)
        starts = np.concatenate([[0], np.cumsum([len(one) for one in rows])]).astype(np.int64)
        return TokenStateFeed(kept, starts, place, where)

    def feed_to_train(self, texts: Sequence[str]) -> Feed:
        """The same; where settings.augment asks for it, training reads a text as one of its altered copies at times."""
        settings = self.settings
        ways = parse(settings.augment)
        if not ways or not texts:
            return self.feed(texts)
        altered = copies(
            texts,
            ways,
            settings.augment_copies,
            settings.seed,
            wordnet=settings.augment_wordnet,
            there=settings.augment_there,
            back=settings.augment_back,
        )
        return Varied(self.feed([*texts, *altered]), len(texts), lambda: bool(self.trained.training))

    def vectors(self, feed: Feed, precision: str = "fp32") -> Tensor:
        """(n, d) float32 unit rows of all texts of a feed, in evaluation mode."""
        from langrec.lm.batches import batches
        from langrec.lm.precision import autocast

        self.trained.eval()
        out = torch.zeros((len(feed.lengths), self.dim), device=self.device)
        with torch.no_grad(), autocast(precision, self.device):
            for rows in batches(feed.lengths, 2048):
                out[torch.from_numpy(rows).to(self.device)] = self.trained(*feed(rows)).float()
        return out

    def groups(self) -> list[dict[str, Any]]:
        """Parameters to train with their rate and decay; `layer_decay` makes a lower layer's rate smaller."""
        layers, settings, found = layers_of(self.core), self.settings, dict[tuple[float, float], list[Any]]()
        below = {id(p): len(layers) - i for i, layer in enumerate(layers, 1) for p in layer.parameters()}
        below |= {id(p): len(layers) for p in self.core.get_input_embeddings().parameters()}
        for value in self.trained.parameters():
            if value.requires_grad:
                rate = settings.rate * settings.layer_decay ** below.get(id(value), 0)
                found.setdefault((rate, settings.weight_decay if value.ndim > 1 else 0.0), []).append(value)
        return [{"params": values, "rate": rate, "weight_decay": decay} for (rate, decay), values in found.items()]

    def share(self, heads: nn.Module) -> float:
        """Trained parameters, those of the heads included, over all."""
        trained = count(self.trained, trained=True) + count(heads, trained=True)
        return trained / max(1, count(self.module) + count(heads))

    def begin(self, steps: int) -> None:
        """Told before training how many steps it may take."""
        peft_kinds.begin(self.core, steps)

    def penalty(self) -> Any:
        """What the kind adds to the loss; 0 for most."""
        return peft_kinds.penalty(self.core)

    def stepped(self, step: int) -> None:
        """Told after each step, before the gradients are dropped."""
        peft_kinds.stepped(self.core, step)

    def extra(self) -> dict[str, Tensor]:
        """What a checkpoint needs besides parameters and the optimiser."""
        return peft_kinds.extra(self.core)

    def set_extra(self, tensors: dict[str, Tensor]) -> None:
        """Takes what `extra` gave."""
        peft_kinds.set_extra(self.core, tensors)

    def save(self, out: Path) -> None:
        """Writes a folder that `find_model` finds and `load_torch` reads; low-rank changes are in its weights."""
        if self.settings.kind == "head":
            folder.copy(out, self.model)
            return
        core = self.core
        if hasattr(core, "merge_and_unload"):
            core = copy.deepcopy(core).merge_and_unload()
        beside: dict[str, dict[str, Tensor]] = {}
        weights = None
        if self.settings.kind == "adapter":
            beside[adapters.FILE], weights = adapters.parts(core), adapters.without(core)
        if self.settings.kind == "side":
            beside[side.FILE] = self.module.finish.side.state_dict()
        folder.write(out, self.model, core, self.module.dense, weights, beside)


class _Given(nn.Module):  # type: ignore[misc]
    """Vectors as they were kept."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors


class _Hidden(nn.Module):  # type: ignore[misc]
    """The whole way, its frozen transformer kept in evaluation mode, so that kept and computed states are alike."""

    def __init__(self, module: Any, frozen: Any) -> None:
        super().__init__()
        self.module = module
        self._frozen = [frozen]

    def train(self, mode: bool = True) -> _Hidden:
        super().train(mode)
        self._frozen[0].eval()
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.module(input_ids, attention_mask)


def with_defaults(settings: AdaptSettings) -> AdaptSettings:
    """The settings with the kind's own rate, epochs and batch where none are set."""
    kind = KINDS[settings.kind]
    rate, epochs, batch = settings.rate or kind.rate, settings.epochs or kind.epochs, settings.batch or kind.batch
    return dataclasses.replace(settings, rate=rate, epochs=epochs, batch=batch)


def load_core(model: TextModel, settings: AdaptSettings) -> Any:
    """The transformer in fp32, its dropout as set.

    Raises:
        MissingExtra: transformers is not installed.
        SettingsError: an encoder-decoder.
    """
    try:
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise MissingExtra("lm", f"adapting the model {model.name}") from error
    transformers_logging.disable_progress_bar()
    slim.know(model.folder)
    config = AutoConfig.from_pretrained(str(model.folder))
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
        if hasattr(config, name):
            setattr(config, name, settings.dropout)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        core = AutoModel.from_pretrained(str(model.folder), config=config, dtype=torch.float32)
    finally:
        transformers_logging.set_verbosity(verbosity)
    if has_decoder(core):
        raise SettingsError(f"{model.name}: an encoder-decoder; adapt a model with an encoder alone", field="model")
    return core
