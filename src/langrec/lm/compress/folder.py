"""A model folder written anew: changed weights, and everything else as it was."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langrec.lm.model import TextModel, find_model
from langrec.lm.tokens import Tokens
from langrec.types import FloatMatrix

# What a tokenizer and the settings of a sentence encoder are kept in.
COPIED = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "config_sentence_transformers.json",
)
ST = "sentence_transformers.models"


def write_model(core: Any, model: TextModel, folder: Path, dense: Sequence[FloatMatrix] = ()) -> TextModel:
    """Writes the transformer `core` with the pooling, dense layers and tokenizer of `model`; returns what was written.

    Args:
        core: a transformers model, its weights and configuration as they are now.
        model: where all else comes from.
        folder: where to; must not exist.
        dense: further linear layers without bias, (out, in) each, after those of the model.
    """
    folder.mkdir(parents=True)
    core.save_pretrained(str(folder))
    for name in COPIED:
        if (model.folder / name).exists():
            shutil.copyfile(model.folder / name, folder / name)
    Tokens.of_model(model).save(folder / "tokenizer.json")
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")]
    _write(folder / "1_Pooling" / "config.json", _pooling(model, int(core.config.hidden_size)))
    for place in model.dense:
        kinds.append(("Dense", f"{len(kinds)}_Dense"))
        shutil.copytree(place, folder / kinds[-1][1])
    for weights in dense:
        kinds.append(("Dense", f"{len(kinds)}_Dense"))
        _write_dense(weights, folder / kinds[-1][1])
    kinds.append(("Normalize", f"{len(kinds)}_Normalize"))
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"{ST}.{kind}"} for i, (kind, path) in enumerate(kinds)]
    _write(folder / "modules.json", modules)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": model.max_tokens, "do_lower_case": model.lower})
    return dataclasses.replace(find_model(str(folder), model.max_tokens), name=model.name)


def _pooling(model: TextModel, width: int) -> dict[str, Any]:
    name = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}[model.pooling]
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    return {"word_embedding_dimension": width, **{f"pooling_mode_{one}": one == name for one in names}}


def _write_dense(weights: FloatMatrix, folder: Path) -> None:
    from safetensors.numpy import save_file

    config = {
        "in_features": int(weights.shape[1]),
        "out_features": int(weights.shape[0]),
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    _write(folder / "config.json", config)
    save_file({"linear.weight": weights.copy()}, folder / "model.safetensors")


def _write(file: Path, values: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
