"""Texts to vectors in PyTorch, for models that are being changed and have no ONNX file yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from langrec.lm.batches import LongMatrix, batches, pad
from langrec.lm.model import TextModel
from langrec.lm.tokens import Tokens
from langrec.types import FloatMatrix

BUDGET = 2_048


def read_torch(module: Any, model: TextModel, texts: Sequence[str], longest: int = 0) -> FloatMatrix:
    """(len(texts), d) float32 unit rows of a module that `load_torch` made."""
    import torch

    rows, parts = [], []
    with torch.inference_mode():
        for batch, ids, mask in token_batches(model, texts, longest):
            parts.append(module(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy())
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

    found = getattr(AutoConfig.from_pretrained(str(model.folder)), "pad_token_id", None)
    return int(found or 0)
