"""Bottleneck adapters (Houlsby et al. 2019): two small layers after each sublayer of a transformer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from langrec.errors import SettingsError

FILE = "adapters.safetensors"
# Where the linear layer that ends each sublayer stands within a layer, by family: attention, then feed-forward.
PLACES = (
    ("attention.output.dense", "output.dense"),  # BERT, RoBERTa, XLM-R, ELECTRA
    ("attention.attn.o", "output.dense"),  # MPNet
    ("attention.out_lin", "ffn.lin2"),  # DistilBERT
    ("attn.Wo", "mlp.Wo"),  # ModernBERT
    ("self_attn.o_proj", "mlp.down_proj"),  # Llama, Qwen, Gemma, Mistral
)


class Bottleneck(nn.Module):  # type: ignore[misc]
    """x + up(gelu(down(x))); `up` starts at zero, so that nothing changes before training."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, inner)
        self.up = nn.Linear(inner, dim)
        nn.init.normal_(self.down.weight, std=dim**-0.5)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(nn.functional.gelu(self.down(x)))


class WithAdapter(nn.Module):  # type: ignore[misc]
    """A linear layer and the adapter that reads what it gives."""

    def __init__(self, base: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(self.base(x))


def layers_of(core: Any) -> nn.ModuleList:
    """The transformer layers of a model, bottom first.

    Raises:
        SettingsError: no list of modules is as long as its configuration says.
    """
    wanted = getattr(core.config, "num_hidden_layers", None)
    for module in core.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return module
    raise SettingsError(f"{type(core).__name__}: its layers were not found; use --kind full or head", field="kind")


def insert(core: Any, inner: int) -> None:
    """Puts two adapters of inner width `inner` into each layer, in place."""
    for layer in layers_of(core):
        for place in _places(layer):
            parent, _, name = place.rpartition(".")
            owner = layer.get_submodule(parent)
            base = getattr(owner, name)
            setattr(owner, name, WithAdapter(base, Bottleneck(base.out_features, inner)))


def _places(layer: nn.Module) -> tuple[str, str]:
    names = {name for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    for places in PLACES:
        if names.issuperset(places):
            return places
    raise SettingsError(
        f"{type(layer).__name__}: where its sublayers end is not known; use --kind lora, last or side", field="kind"
    )


def parts(core: Any) -> dict[str, Tensor]:
    """The adapters' parameters by the name that they have in the model."""
    return {name: value for name, value in core.state_dict().items() if ".adapter." in name}


def without(core: Any) -> dict[str, Tensor]:
    """The other parameters, by the name that they have in a model without adapters."""
    return {name.replace(".base.", "."): value for name, value in core.state_dict().items() if ".adapter." not in name}


def put_back(core: Any, tensors: Mapping[str, Tensor]) -> None:
    """Inserts saved adapters into a plain model, in place."""
    inner = next(value.shape[0] for name, value in tensors.items() if name.endswith(".adapter.down.weight"))
    insert(core, inner)
    core.load_state_dict(dict(tensors), strict=False)


def read(folder: Path) -> dict[str, Tensor]:
    """The adapters saved in a model's folder; empty where there are none."""
    from safetensors.torch import load_file

    return load_file(folder / FILE) if (folder / FILE).is_file() else {}


def count(module: nn.Module, trained: bool = False) -> int:
    """Parameters of a module, or only those that training changes."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)
