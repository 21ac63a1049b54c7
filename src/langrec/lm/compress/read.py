"""Texts to vectors in PyTorch, for models that are being changed and have no ONNX file yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from langrec.lm import slim
from langrec.lm.batches import LongMatrix, batches, pad
from langrec.lm.device import chosen_device, device_of
from langrec.lm.export import load_torch
from langrec.lm.model import TextModel
from langrec.lm.tokens import Tokens
from langrec.types import FloatMatrix

BUDGET = 2_048


def load_here(model: TextModel) -> Any:
    """What `load_torch` makes, on the device where it is to be trained and read."""
    return load_torch(model).to(chosen_device())


def run(module: Any, ids: LongMatrix, mask: LongMatrix) -> Any:
    """(b, d) unit rows of (b, t) token numbers and their mask, computed where the module lies."""
    import torch

    device = device_of(module)
    return module(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))


def read_torch(module: Any, model: TextModel, texts: Sequence[str], longest: int = 0) -> FloatMatrix:
    """(len(texts), d) float32 unit rows of a module that `load_torch` made, read where it lies."""
    import torch

    rows, parts = [], []
    with torch.inference_mode():
        for batch, ids, mask in token_batches(model, texts, longest):
            parts.append(run(module, ids, mask).float().cpu().numpy())
            rows.append(batch)
    out = np.zeros((len(texts), parts[0].shape[1]), dtype=np.float32)
    out[np.concatenate(rows)] = np.concatenate(parts)
    return out


def token_batches(
    model: TextModel, texts: Sequence[str], longest: int = 0
) -> Iterator[tuple[np.ndarray, LongMatrix, LongMatrix]]:
    """(rows, ids, mask) of batches of like length; texts are cut at `longest` tokens, 0 = the model's own limit."""
    cut = dataclasses.replace(model, max_tokens=min(longest or model.max_tokens, model.max_tokens))
    numbers = Tokens.of_model(cut)(texts)
    padding = pad_id(model)
    for batch in batches(np.array([len(one) for one in numbers]), BUDGET):
        yield batch, *pad([numbers[i] for i in batch], padding)


def pad_id(model: TextModel) -> int:
    """The number of the padding token."""
    from transformers import AutoConfig

    slim.know(model.folder)
    found = getattr(AutoConfig.from_pretrained(str(model.folder)), "pad_token_id", None)
    return int(found or 0)
