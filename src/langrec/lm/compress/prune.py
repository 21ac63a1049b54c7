"""Fewer feed-forward units and attention heads in every layer, and what follows them refitted to make up for it.

A unit's importance is how much it moves the layer's output on the texts: the root mean square of its activation times
the norm of the weights it meets (Sun et al. 2024, Wanda, summed over a structure). What is left is refitted: the
following weights are those that reproduce the layer's whole output from the kept units with the least squared error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from langrec.errors import SettingsError
from langrec.lm import slim
from langrec.lm.compress import layers, read
from langrec.lm.compress.folder import write_model
from langrec.lm.compress.steps import Step, number
from langrec.lm.compress.work import Work
from langrec.lm.device import device_of
from langrec.lm.model import TextModel
from langrec.types import FloatMatrix, FloatVector, IntVector

# Texts that importance is measured on.
TEXTS = 512
# Ridge of the refit as a share of the mean diagonal.
RIDGE = 1e-3
FAMILIES = ("bert", slim.MODEL_TYPE, "roberta", "xlm-roberta")


def run(model: TextModel, step: Step, folder: Path, work: Work) -> tuple[TextModel, str]:
    """Writes the model with fewer units and heads; returns it and what was kept, in words.

    Raises:
        SettingsError: the model is of a family whose layers are not known here.
    """
    module = read.load_here(model)
    core = module.core
    if core.config.model_type not in FAMILIES:
        raise SettingsError(
            f"--steps {step}: {core.config.model_type} is not one of {', '.join(FAMILIES)}; "
            "drop, project and quantise work on every family",
            field="steps",
        )
    # A value alone is for both.
    both = step.value or ("" if step.options else "0.5")
    units_off = number(step, step.options.get("units", both or "0"), 0.0, 0.95)
    heads_off = number(step, step.options.get("heads", both or "0"), 0.0, 0.95)
    texts = work.corpus.training()
    texts = texts[:: max(1, len(texts) // TEXTS)][:TEXTS]
    stack = layers.stack(core)
    units, heads = core.config.intermediate_size, stack[0].attention.self.num_attention_heads
    kept_units = max(1, round(units * (1 - units_off) / 16) * 16) if units_off else units
    kept_heads = max(1, round(heads * (1 - heads_off))) if heads_off else heads
    for i, layer in enumerate(stack):
        work.told("prune layers", i, len(stack))
        # One after the other: what a layer reads is what the pruned ones before it write.
        if kept_heads < heads:
            gram = _gram(module, model, texts, layer.attention.output.dense)
            _prune_heads(layer.attention, gram, kept_heads)
        if kept_units < units:
            gram = _gram(module, model, texts, layer.output.dense)
            _prune_units(layer, gram, kept_units)
    core.config.intermediate_size = kept_units
    if kept_heads < heads:
        core = slim.with_heads(core, kept_heads)
    written = write_model(core, model, folder)
    return written, f"kept {kept_units} of {units} units and {kept_heads} of {heads} heads in each layer"


def _gram(module: Any, model: TextModel, texts: list[str], dense: Any) -> FloatMatrix:
    """(k, k) float64 second moments of what reaches a linear layer, over the texts' tokens."""
    import torch

    k, device = dense.in_features, device_of(dense)
    mask_now: list[Any] = []
    total = torch.zeros((k, k), dtype=torch.float64, device=device)
    n = 0

    def seen(_: Any, inputs: tuple[Any, ...]) -> None:
        nonlocal n
        rows = inputs[0][mask_now[-1]]
        total.add_((rows.T @ rows).double())
        n += len(rows)

    hook = dense.register_forward_pre_hook(seen)
    try:
        with torch.inference_mode():
            for _, ids, mask in read.token_batches(model, texts, 128):
                mask_now.append(torch.from_numpy(mask).bool().to(device))
                read.run(module, ids, mask)
    finally:
        hook.remove()
    found: FloatMatrix = (total / max(n, 1)).cpu().numpy()
    return found


def kept_groups(gram: FloatMatrix, weights: FloatMatrix, size: int, wanted: int) -> IntVector:
    """Numbers of the input channels to keep, ascending: those of the `wanted` most important groups of `size`."""
    power = np.diagonal(gram) * (weights**2).sum(0)
    groups = power.reshape(-1, size).sum(1)
    best = np.sort(np.argsort(-groups, kind="stable")[:wanted])
    return (best[:, None] * size + np.arange(size)).ravel().astype(np.int32)


def refit(gram: FloatMatrix, weights: FloatMatrix, kept: IntVector) -> FloatVector:
    """(out, len(kept)) weights that give what (out, k) gave, from the kept channels, with the least squared error."""
    inner = gram[np.ix_(kept, kept)]
    ridge = RIDGE * float(np.mean(np.diagonal(inner))) + 1e-12
    # The ridge pulls towards the weights as they were, not towards nothing.
    target = gram[kept] @ weights.T.astype(np.float64) + ridge * weights[:, kept].T
    found = np.linalg.solve(inner + ridge * np.eye(len(kept)), target)
    return np.ascontiguousarray(found.T, dtype=np.float32)


def _prune_units(layer: Any, gram: FloatMatrix, wanted: int) -> None:
    first, second = layer.intermediate.dense, layer.output.dense
    weights = second.weight.detach().cpu().numpy()
    kept = kept_groups(gram, weights, 1, wanted)
    _narrow_out(first, kept)
    _narrow_in(second, refit(gram, weights, kept))


def _prune_heads(attention: Any, gram: FloatMatrix, wanted: int) -> None:
    inner, dense = attention.self, attention.output.dense
    weights = dense.weight.detach().cpu().numpy()
    kept = kept_groups(gram, weights, inner.attention_head_size, wanted)
    for one in (inner.query, inner.key, inner.value):
        _narrow_out(one, kept)
    _narrow_in(dense, refit(gram, weights, kept))
    inner.num_attention_heads = wanted
    inner.all_head_size = wanted * inner.attention_head_size


def _narrow_out(dense: Any, kept: IntVector) -> None:
    import torch

    dense.weight = torch.nn.Parameter(dense.weight.detach()[kept].clone())
    if dense.bias is not None:
        dense.bias = torch.nn.Parameter(dense.bias.detach()[kept].clone())
    dense.out_features = len(kept)


def _narrow_in(dense: Any, weights: FloatMatrix) -> None:
    import torch

    dense.weight = torch.nn.Parameter(torch.from_numpy(weights).to(device_of(dense)))
    dense.in_features = weights.shape[1]
