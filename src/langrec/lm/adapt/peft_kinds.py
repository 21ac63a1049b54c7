"""Low-rank and scaling kinds by the library peft: LoRA, AdaLoRA, DoRA and IA3, with what AdaLoRA needs in a loop."""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from langrec.errors import MissingExtra
from langrec.lm.adapt.adapters import PLACES, layers_of
from langrec.lm.adapt.settings import AdaptSettings

QUERIES = ("query", "q", "q_lin", "q_proj", "Wqkv")
KEYS = ("key", "k", "k_lin", "k_proj", "Wqkv")
VALUES = ("value", "v", "v_lin", "v_proj", "Wqkv")
ORTHOGONAL = 0.1  # weight of AdaLoRA's penalty on matrices that are not orthogonal


def lora(core: Any, settings: AdaptSettings) -> Any:
    """LoRA (Hu et al. 2021) on queries and values."""
    return _peft(core, "LoraConfig", r=settings.rank, lora_alpha=settings.alpha, target_modules=_low_rank(core))


def dora(core: Any, settings: AdaptSettings) -> Any:
    """DoRA (Liu et al. 2024): direction by LoRA, magnitude by itself."""
    return _peft(
        core,
        "LoraConfig",
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=_low_rank(core),
        use_dora=True,
    )


def adalora(core: Any, settings: AdaptSettings) -> Any:
    """AdaLoRA (Zhang et al. 2023): starts with half as much rank again and deals out what is to stay."""
    return _peft(
        core,
        "AdaLoraConfig",
        init_r=settings.rank * 3 // 2 + 1,
        target_r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=_low_rank(core),
        total_step=1_000_000,
        orth_reg_weight=ORTHOGONAL,
    )


def ia3(core: Any, _: AdaptSettings) -> Any:
    """IA3 (Liu et al. 2022): factors on keys, values and what enters the end of the feed-forward."""
    names = dict(_linears(core))
    last = tuple("." + place[1] for place in PLACES)
    ends = [name for name in names if name.endswith(last) and "attention" not in name]
    attention = [name for name, tail in names.items() if tail in KEYS + VALUES]
    targets = sorted({*attention, *ends}) or list(names)
    return _peft(core, "IA3Config", target_modules=targets, feedforward_modules=[n for n in targets if n in ends])


def _low_rank(core: Any) -> list[str]:
    names = _linears(core)
    return [name for name, tail in names if tail in QUERIES + VALUES] or [name for name, _ in names]


def _linears(core: Any) -> list[tuple[str, str]]:
    """(name, last part of the name) of every linear layer inside the transformer's layers."""
    own = layers_of(core)
    start = next(name for name, module in core.named_modules() if module is own)
    found = [name for name, module in own.named_modules() if isinstance(module, nn.Linear)]
    return [(f"{start}.{name}", name.rpartition(".")[2]) for name in found]


def _peft(core: Any, config: str, **values: Any) -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("lm", "this kind of adaptation") from error
    with warnings.catch_warnings():
        # peft asks for a property of transformers by its old name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        return peft.get_peft_model(core, getattr(peft, config)(**values))


def _allocator(core: Any) -> Any:
    return getattr(getattr(core, "base_model", None), "rankallocator", None)


def begin(core: Any, steps: int) -> None:
    """Tells AdaLoRA how long training is: ranks are dealt out between a tenth and three quarters of it."""
    allocator = _allocator(core)
    if allocator is not None:
        config = allocator.peft_config
        config.total_step, config.tinit, config.tfinal = steps, steps // 10, steps // 4
        config.deltaT = max(1, steps // 100)


def stepped(core: Any, step: int) -> None:
    """Lets AdaLoRA weigh its ranks by the gradients of the step that was made."""
    if _allocator(core) is not None:
        core.base_model.update_and_allocate(step)


def penalty(core: Any) -> Any:
    """How far AdaLoRA's matrices are from orthogonal, weighed; 0 for the others."""
    if _allocator(core) is None:
        return 0.0
    total, n = torch.zeros(()), 0
    for name, value in core.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            square = value @ value.T if "lora_A" in name else value.T @ value
            total = total + torch.linalg.matrix_norm(square - torch.eye(len(square), device=square.device))
            n += 1
    return ORTHOGONAL * total / max(n, 1)


def extra(core: Any) -> dict[str, Tensor]:
    """AdaLoRA's running sensitivities and its ranks so far, as tensors."""
    allocator = _allocator(core)
    if allocator is None:
        return {}
    found: dict[str, Tensor] = {}
    for part in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
        found |= {f"{part}/{name}": value for name, value in getattr(allocator, part).items()}
    ranks = json.dumps(allocator.peft_config.rank_pattern or {})
    found["ranks"] = torch.tensor(list(ranks.encode()), dtype=torch.uint8)
    return found


def set_extra(core: Any, tensors: dict[str, Tensor]) -> None:
    """Takes what `extra` gave."""
    allocator = _allocator(core)
    if allocator is None or not tensors:
        return
    allocator.peft_config.rank_pattern = json.loads(bytes(tensors["ranks"].tolist()).decode())
    allocator.reset_ipt()
    for name, value in tensors.items():
        part, _, key = name.partition("/")
        if key:
            getattr(allocator, part)[key] = value
